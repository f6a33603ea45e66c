"""Archives from strangers, unpacked into a folder of their own or not at all.

Only plain files and folders come out, with modes 0644, 0755 and nothing else of the archive's
owners, times or bits. Refused before anything is written for it: links, devices, sparse files,
names that are absolute, climb out (`..`), carry a drive or a control character, stand twice or
differ only in case; and too many entries, too many bytes, too deep a tree, or a file that grows far
beyond its packed size. What came out is listed in `content.txt` beside it, and is compared with
that list before each use, since an unpacked tree is otherwise never looked at again.
"""

import contextlib
import errno
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from ..schemas import progress
from ..schemas.errors import AssetError, DataError
from . import content
from .tar_headers import BoundedTarInfo, HeaderError

_DRIVE = re.compile(r"[A-Za-z]:")
_PIECE = 1 << 20
_BROKEN = (tarfile.TarError, EOFError, zlib.error, UnicodeError, RecursionError)


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold: entries, bytes, unpacked bytes per packed byte, names, depth.

    The ratio is asked only beyond `ratio_free` bytes: small texts pack very well.
    """

    entries: int = 200_000
    size: int = 200 << 30
    ratio: int = 200
    ratio_free: int = 256 << 20
    path: int = 1024
    depth: int = 32


DEFAULT_LIMITS = ArchiveLimits()


def unpacked(
    archive: Path,
    digest: str,
    store: Path,
    *,
    what: str = "The archive",
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Path:
    """The folder with the files of a verified archive, unpacked once and verified at each call.

    `store/<hex>/files` and `store/<hex>/content.txt` appear together, or not at all, also when two
    processes unpack at once. A tree that was changed since is thrown away and unpacked again.
    """
    home = store / digest.removeprefix("sha256:")
    if home.exists():
        if _unchanged(home):
            return home / "files"
        _remove(home)
    store.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=store))
    try:
        unpack(archive, fresh / "files", what=what, limits=limits)
        fresh.joinpath("content.txt").write_bytes(content.tree_content(fresh / "files").lines)
        fresh.chmod(0o755)
        try:
            fresh.rename(home)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not _unchanged(home):
                raise
        return home / "files"
    except OSError as error:
        _translate(error, what)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unchanged(home: Path) -> bool:
    try:
        recorded = home.joinpath("content.txt").read_bytes()
        return content.tree_content(home / "files").lines == recorded
    except (OSError, DataError):
        return False


def _remove(home: Path) -> None:
    away = Path(tempfile.mkdtemp(prefix=".removing-", dir=home.parent))
    with contextlib.suppress(FileNotFoundError):  # somebody else was faster
        home.rename(away / "old")
    shutil.rmtree(away, ignore_errors=True)


def unpack(
    archive: Path,
    into: Path,
    *,
    what: str = "The archive",
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> None:
    """Unpack a `.tar` or `.tar.gz` into the new folder `into`; AssetError says what is refused.

    After an error `into` may hold a part: unpack into a temporary folder and rename it, or call
    `unpacked`, which does.
    """
    try:
        packed = archive.stat().st_size
        into.mkdir(mode=0o755)
        with archive.open("rb") as raw, _plain(raw) as stream:
            bounded: Any = _Bounded(stream, packed, limits, what)
            # "r|": strictly forwards, so that no header can send us back or far ahead
            with (
                tarfile.open(
                    fileobj=bounded, mode="r|", tarinfo=BoundedTarInfo, errors="strict"
                ) as tar,
                progress.work(f"Unpacking {_inner(what)}", packed) as work,
            ):
                bounded.reading = lambda: work.reach(raw.tell())
                _unpack_members(tar, into, limits, what)
    except HeaderError as error:
        raise AssetError(f"{what} was refused: {error}.") from error
    except (*_BROKEN, gzip.BadGzipFile) as error:
        raise AssetError(f"{what} is not a whole .tar or .tar.gz file ({error}).") from error
    except OSError as error:
        _translate(error, what)


def _translate(error: OSError, what: str) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise AssetError(
            f"The disk is full: {_inner(what)} cannot be unpacked. Make room and try again.",
            transient=True,
        ) from error
    raise AssetError(f"{what} cannot be unpacked: {error.strerror or error}.") from error


def _inner(what: str) -> str:
    """`what` as it stands inside a sentence."""
    return what[0].lower() + what[1:]


def _plain(raw: IO[bytes]) -> contextlib.AbstractContextManager[Any]:
    magic = raw.read(2)
    raw.seek(0)
    if magic == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    return contextlib.nullcontext(raw)


class _Bounded:
    """A stream that stops where an archive has given more than it may."""

    def __init__(self, stream: Any, packed: int, limits: ArchiveLimits, what: str) -> None:
        self.read_from: Callable[[int], bytes] = stream.read
        self.given = 0
        self.reading: Callable[[], None] = lambda: None  # told of each reading
        overhead = limits.entries * 2048 + (1 << 20)
        self.limit = min(
            limits.size + overhead, max(limits.ratio_free, packed * limits.ratio) + overhead
        )
        self.what = what

    def read(self, size: int) -> bytes:
        data = self.read_from(size)
        self.given += len(data)
        self.reading()
        if self.given > self.limit:
            raise AssetError(f"{self.what} unpacks to far too many bytes: it was refused.")
        return data


def _unpack_members(tar: tarfile.TarFile, into: Path, limits: ArchiveLimits, what: str) -> None:
    names = _Names(limits, what)
    total = 0
    for count, member in enumerate(tar, start=1):
        if count > limits.entries:
            raise AssetError(f"{what} has more than {limits.entries} entries: it was refused.")
        parts = names.add(member)
        if not parts:
            continue
        target = into.joinpath(*parts)
        if member.isdir():
            _make_folders(target)
            continue
        total += member.size
        if total > limits.size:
            raise AssetError(f"{what} unpacks to more than {limits.size} bytes: it was refused.")
        _make_folders(target.parent)
        source = tar.extractfile(member)
        assert source is not None, "a plain file has bytes"  # noqa: S101
        _write(source, target, member.size, executable=bool(member.mode & 0o111), what=what)


def _make_folders(folder: Path) -> None:
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)


def _write(source: IO[bytes], target: Path, size: int, *, executable: bool, what: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        shutil.copyfileobj(source, file, _PIECE)
        if file.tell() != size:
            raise AssetError(f"{what} ends in the middle of a file: fetch or pack it again.")
        os.fchmod(file.fileno(), 0o755 if executable else 0o644)


class _Names:
    """The names seen so far, to find those that meet on one file or on a case-blind disk."""

    def __init__(self, limits: ArchiveLimits, what: str) -> None:
        self.limits = limits
        self.what = what
        self.spelled: dict[str, str] = {}
        self.files: set[str] = set()
        self.folders: set[str] = set()

    def add(self, member: tarfile.TarInfo) -> tuple[str, ...]:
        """The parts of the member's path; () for the root itself. AssetError if refused."""
        name = member.name
        if not (member.isreg() or member.isdir()) or member.issparse():
            self._refuse(name, "is a link, a device or a sparse file")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/") or ".." in parts or "\\" in name or _DRIVE.match(name):
            self._refuse(name, "leads out of its folder")
        if not name.isprintable():
            self._refuse(name, "has control characters in its name")
        if len(name) > self.limits.path or len(parts) > self.limits.depth:
            self._refuse(name[:80] + "…", "is too long or too deep")
        if any(len(part.encode()) > 255 for part in parts):
            self._refuse(name[:80] + "…", "has a name that is too long")
        if not parts and not member.isdir():
            self._refuse(name, "has no name")
        for end in range(1, len(parts) + 1):
            self._enter("/".join(parts[:end]), file=end == len(parts) and not member.isdir())
        return parts

    def _enter(self, path: str, *, file: bool) -> None:
        folded = unicodedata.normalize("NFC", path).casefold()
        known = self.spelled.setdefault(folded, path)
        if known != path:
            self._refuse(path, f"differs from {known!r} only in its spelling")
        if folded in self.files:
            self._refuse(path, "stands twice, or is a file and a folder")
        if file:
            if folded in self.folders:
                self._refuse(path, "stands twice, or is a file and a folder")
            self.files.add(folded)
        else:
            self.folders.add(folded)

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise AssetError(f"{self.what} was refused: its entry {name!r} {why}. Pack it without.")
