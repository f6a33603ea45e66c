"""What a task wrote: plain files and folders alone, within bounds, written anew for the caller."""

import os
import stat
from pathlib import Path

MOST_DEPTH = 64


class Refused(Exception):  # noqa: N818 - not an error of the project: it becomes reason "output"
    """A task's output is not plain files and folders, or is too much."""


def plain_tree(root: Path, *, most_bytes: int, most_files: int) -> list[tuple[Path, bool]]:
    """Everything below `root` as (relative path, is it a folder), looked at without following.

    Raises Refused for links, devices, FIFOs and sockets, and beyond the bounds. Sizes are counted
    as files pretend them to be, so that a sparse file of terabytes is not read later.
    """
    entries: list[tuple[Path, bool]] = []
    total = 0
    waiting = [(root, Path())]
    while waiting:
        folder, relative = waiting.pop()
        if len(relative.parts) > MOST_DEPTH:
            raise Refused(f"its output has folders nested deeper than {MOST_DEPTH}")
        with os.scandir(folder) as found:
            for entry in found:
                status = entry.stat(follow_symlinks=False)
                inner = relative / entry.name
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((Path(entry.path), inner))
                elif not stat.S_ISREG(status.st_mode):
                    raise Refused(f"its output holds {_kind(status.st_mode)}, not only plain files")
                else:
                    total += status.st_size
                entries.append((inner, stat.S_ISDIR(status.st_mode)))
                if len(entries) > most_files:
                    raise Refused(f"its output holds more than {most_files} files and folders")
                if total >= most_bytes:  # a file cut off by RLIMIT_FSIZE is exactly as large
                    raise Refused(f"its output is larger than {most_bytes} bytes")
    return entries


def _kind(mode: int) -> str:
    kinds = [
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    ]
    return next((word for test, word in kinds if test(mode)), "something strange")


def copy_tree(source: Path, target: Path, *, most_bytes: int, most_files: int) -> None:
    """Write plain files anew below `target`: the owner is the caller, modes are 0700 and 0600."""
    entries = plain_tree(source, most_bytes=most_bytes, most_files=most_files)
    for relative, is_folder in entries:
        if is_folder:
            (target / relative).mkdir(mode=0o700, parents=True, exist_ok=True)
    for relative, is_folder in entries:
        if not is_folder:
            copy_file(source / relative, target / relative)


def copy_file(source: Path, target: Path) -> None:
    """Write one plain file anew; its time is kept, since it tells whether it was written."""
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("its output changed while it was read")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        written = os.open(target, flags, 0o600)
        try:
            while os.sendfile(written, handle, None, 1 << 24):
                pass
            os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(written)
    finally:
        os.close(handle)
