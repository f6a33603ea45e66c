"""Archives of our own making: the same files give the same bytes, whoever packs them, and when.

Only plain files go in, by their path below the root; owners, times and modes tell nothing. What
others pack is read in `archives`.
"""

import contextlib
import gzip
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from ..schemas import progress
from ..schemas.errors import DataError, UsageError
from .content import open_plain


def files_below(folder: Path) -> dict[str, Path]:
    """Every file below `folder`, by its path there; a UsageError for a link or a device."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            raise UsageError(f"{path} is a link or a device: replace it by a copy to pack it.")
        found[path.relative_to(folder).as_posix()] = path
    return found


def write_tar(files: Mapping[str, Path | bytes], target: Path, *, compress: bool = True) -> Path:
    """`target`, holding these files (or bytes) by name; it appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as sink, _packed(sink, compress=compress) as stream:
            _fill(files, stream)
        Path(fresh).replace(target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        Path(fresh).unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def _packed(sink: IO[bytes], *, compress: bool) -> Iterator[IO[bytes]]:
    if not compress:
        yield sink
        return
    with gzip.GzipFile("", "wb", 6, sink, mtime=0) as stream:
        yield cast("IO[bytes]", stream)


def _fill(files: Mapping[str, Path | bytes], stream: IO[bytes]) -> None:
    import io

    total = sum(map(_size, files.values()))
    with (
        progress.work("Packing", total) as work,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            source: IO[bytes] = (
                io.BytesIO(content) if isinstance(content, bytes) else _opened(content)
            )
            with source:
                entry.size = source.seek(0, os.SEEK_END)
                source.seek(0)
                tar.addfile(entry, cast("IO[bytes]", _Counted(source, work)))


def _size(content: Path | bytes) -> int:
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.lstat().st_size
    except OSError:  # opening it says what is wrong
        return 0


class _Counted:
    """A file whose bytes are counted as they are read."""

    def __init__(self, source: IO[bytes], work: progress.Work) -> None:
        self._source = source
        self._work = work

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._work.advance(len(data))
        return data


def _opened(path: Path) -> IO[bytes]:
    return open_plain(path)
