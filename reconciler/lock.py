"""The lock of a site's storage: one process at work at a time, and what it works on.

The kernel holds the lock and lets it go when its process ends, however it ends, so nothing has to
be cleaned up. The file's text is for others: which process, and which runs it is working on.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..schemas.errors import DataError, WaitError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LEAST_FREE = 1 << 20


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds."""

    file: IO[str]

    def working_on(self, *keys: str) -> None:
        """Tells others the keys of the runs that are under way."""
        with contextlib.suppress(OSError):  # on a full disk others see less, and that is all
            self.file.seek(0)
            self.file.truncate()
            self.file.write("\n".join([str(os.getpid()), *keys, ""]))
            self.file.flush()


@contextlib.contextmanager
def locked(storage: Path) -> Iterator[Lock]:
    """Keeps others out of this storage; WaitError if somebody is at work in it.

    A full disk, wherever the work under the lock meets it, is a DataError that says so.
    """
    with disk_errors(storage):
        storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (storage / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                process, _ = _read(file)
                raise WaitError(
                    f"Another pass is at work here (process {process or 'unknown'}). "
                    "It does the same work: wait for it, or stop it first."
                ) from error
            lock = Lock(file)
            lock.working_on()
            yield lock


def worked_on(storage: Path) -> frozenset[str]:
    """The keys of the runs that another process is working on now."""
    try:
        file = (storage / "lock").open("r+")
    except OSError:
        return frozenset()
    with file:
        process, keys = _read(file)
        if process == str(os.getpid()):
            return frozenset()
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return keys
        return frozenset()  # whoever wrote this is gone


def _read(file: IO[str]) -> tuple[str, frozenset[str]]:
    file.seek(0)
    process, _, rest = file.read(1 << 16).partition("\n")
    return process.strip(), frozenset(rest.split())


@contextlib.contextmanager
def disk_errors(storage: Path) -> Iterator[None]:
    """Says in words that the disk is full, or that a limit of the system on files was hit."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(storage) from error


def is_full(storage: Path) -> bool:
    """Whether the disk that holds the storage has no room left."""
    facts = os.statvfs(storage)
    return facts.f_bavail * facts.f_frsize < LEAST_FREE


def full(storage: Path) -> DataError:
    """What to say and to do when the disk is full."""
    return DataError(
        f"The disk that holds {storage} is full. Make room and run the same command again: it goes "
        "on where it was, nothing is lost."
    )


def found_no_room(error: BaseException | None) -> bool:
    """Whether an error comes from a full disk, however often it was translated since.

    Other programs (Git, the process that keeps a task) tell it in words only.
    """
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
