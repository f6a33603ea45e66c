"""What a folder holds, file by file: the content hash of a prepared dataset, and what has changed.

The hash is design §3's: sha256 over `<sha256 hex> <size> <path>\\n`, sorted bytewise by path. It
covers names as well as bytes, so a renamed file or two swapped label files are seen, and
`sha256sum` can check any line by hand. Links, devices and names that would break a line are
refused: what cannot be said plainly cannot be pinned.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..schemas.digests import content_lines
from ..schemas.errors import DataError
from ..schemas.progress import Work, is_watched, work

PREPARED = ("data", "labels")
DEPTH_LIMIT = 64
_BATCH = 512
_PIECE = 1 << 20
_SMALL = 1 << 17

Entry = tuple[str, int, str]


@dataclass(frozen=True)
class Content:
    """A folder's content hash (32 bytes), the lines that it hashes, and how much there is."""

    hash: bytes
    lines: bytes
    files: int
    size: int

    @classmethod
    def from_lines(cls, lines: bytes) -> "Content":
        """The content that recorded lines describe."""
        entries = parse_lines(lines)
        size = sum(size for size, _ in entries.values())
        return cls(hashlib.sha256(lines).digest(), lines, len(entries), size)


def content_hash(folder: Path) -> Content:
    """The content of a prepared dataset: all files below `data/` and, if it is there, `labels/`."""
    if not folder.joinpath("data").is_dir():
        raise DataError(f"{folder} has no folder `data`: it is not a prepared dataset.")
    return tree_content(folder, [name for name in PREPARED if os.path.lexists(folder / name)])


def tree_content(folder: Path, roots: Sequence[str] = ("",)) -> Content:
    """The content of `folder`, or of these parts of it; paths are relative to `folder`."""
    entries: list[Entry] = []
    base = str(folder)
    total = _bytes_below(folder, roots) if is_watched() else None
    # sha256 lets go of the GIL; two threads keep a disk busy
    with work("Hashing every file", total) as hashing, ThreadPoolExecutor(2) as pool:
        paths = (path for root in roots for path in _walk(base, root, 0))
        while batch := list(islice(paths, _BATCH)):
            large: list[str] = []
            for path in batch:  # a thread is worth its price for large files only
                small = _small(base, path)
                if small is None:
                    large.append(path)
                else:
                    entries.append(small)
                    hashing.advance(small[1])
            entries.extend(pool.map(lambda path: _entry(folder, path, hashing), large))
    lines = content_lines(entries)
    size = sum(size for _, size, _ in entries)
    return Content(hashlib.sha256(lines).digest(), lines, len(entries), size)


def _walk(folder: str, below: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_LIMIT:
        raise DataError(f"{below!r} is nested deeper than {DEPTH_LIMIT} folders.")
    try:
        with os.scandir(os.path.join(folder, below)) as found:  # noqa: PTH118
            entries = list(found)
    except OSError as error:
        raise DataError(f"The folder {below!r} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        _check_name(path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder, path, depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise DataError(
                f"{path!r} is a link or a device; only plain files and folders can be hashed. "
                "Replace it by a copy."
            )


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"The name {path!r} is not UTF-8: rename the file.") from error
    if "\n" in path:
        raise DataError(f"The name {path!r} has a line break in it: rename the file.")


def _small(folder: str, path: str) -> Entry | None:
    """The entry of a file that one small reading takes in; None of any other."""
    try:
        handle = os.open(f"{folder}/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or state.st_size > _SMALL:
                return None
            data = os.read(handle, _SMALL + 1)
            if len(data) != state.st_size:  # it grows, or the reading was cut
                return None
        finally:
            os.close(handle)
    except OSError:  # the careful way says what is wrong
        return None
    return hashlib.sha256(data).hexdigest(), len(data), path


def _bytes_below(folder: Path, roots: Sequence[str]) -> int:
    """How much there is to hash, for people who wait."""
    walks = (os.walk(folder / root) for root in roots)
    files = (Path(below, name) for walk in walks for below, _, names in walk for name in names)
    total = 0
    for file in files:
        with suppress(OSError):  # who reads it says what is wrong
            total += file.lstat().st_size
    return total


def _entry(folder: Path, path: str, hashing: Work) -> Entry:
    sha, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    try:
        with open_plain(folder / path) as file:
            while count := file.readinto(buffer):
                sha.update(buffer[:count])
                size += count
                hashing.advance(count)
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {error.strerror}.") from error
    return sha.hexdigest(), size, path


def open_plain(path: Path) -> io.FileIO:
    """`path` opened for reading if it is a plain file; OSError for links, folders and devices."""
    # O_NONBLOCK: a FIFO that was put there since we looked must not hold us
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        return io.FileIO(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_small(path: Path, limit: int) -> bytes:
    """The bytes of a plain file of somebody else's; OSError if there are more than `limit`."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it has {size} bytes, and {limit} are allowed")
        return file.read(limit)


def parse_lines(lines: bytes) -> dict[str, tuple[int, str]]:
    """Path → (size, sha256 hex) of recorded lines; DataError if they are not such lines."""
    entries: dict[str, tuple[int, str]] = {}
    try:
        for line in lines.decode().split("\n")[:-1]:
            sha, size, path = line.split(" ", 2)
            entries[path] = (int(size), sha)
        whole = content_lines((sha, size, path) for path, (size, sha) in entries.items())
    except ValueError as error:
        raise DataError("The recorded list of files is damaged: record it anew.") from error
    if whole != lines:
        raise DataError("The recorded list of files is damaged: record it anew.")
    return entries


def changed(folder: Path, recorded: bytes) -> list[str]:
    """What of a prepared dataset differs from the recorded lines, a sentence each; [] if nothing.

    The sentences name files, so they are for the site alone.
    """
    return differences(recorded, content_hash(folder).lines)


def differences(recorded: bytes, found: bytes) -> list[str]:
    """What differs between two lists of lines: renamed, removed, added and changed files."""
    if recorded == found:
        return []
    before, after = parse_lines(recorded), parse_lines(found)
    gone = sorted(before.keys() - after.keys())
    new = sorted(after.keys() - before.keys())
    by_bytes: dict[tuple[int, str], list[str]] = {}
    for path in reversed(new):
        by_bytes.setdefault(after[path], []).append(path)
    renamed: dict[str, str] = {}
    for path in gone:
        if twins := by_bytes.get(before[path]):
            renamed[path] = twins.pop()
    taken = set(renamed.values())
    return [
        *(f"{old} was renamed to {now}" for old, now in renamed.items()),
        *(f"{path} is missing" for path in gone if path not in renamed),
        *(f"{path} is new" for path in new if path not in taken),
        *(f"{path} has other bytes" for path in sorted(before) if _other(path, before, after)),
    ]


def _other(
    path: str, before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]
) -> bool:
    return path in after and after[path] != before[path]
