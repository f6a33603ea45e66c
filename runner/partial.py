"""A file that is still arriving: counted, hashed, bounded, locked, and fit to go on later.

Beside a partial file may stand its validator (`<hex>.etag`): the server's name for the version that
the first half is of, so that a second half of another version is not appended to it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from ..schemas import progress
from ..schemas.errors import AssetError
from .download import Reply

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all) as they arrive."""

_PIECE = 1 << 20


class Sink:
    """A file being filled: counts, hashes, bounds, reports."""

    def __init__(
        self,
        file: IO[bytes],
        limit: int,
        url: str,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> None:
        self.file = file
        self.limit = limit
        self.total: int | None = limit  # for people: None where only a bound is known
        self.url = url
        self.progress = progress
        self.stop = stop
        self.sha = hashlib.sha256()
        self.done = 0

    def resume(self) -> None:
        """Count and hash what is there already."""
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            self.sha.update(piece)
            self.done += len(piece)

    def restart(self) -> None:
        """Forget what is there."""
        self.file.seek(0)
        self.file.truncate(0)
        self.sha = hashlib.sha256()
        self.done = 0

    def take(self, pieces: Iterator[bytes]) -> None:
        """Write all pieces; AssetError as soon as there are more bytes than there may be."""
        name = unquote(self.url.partition("?")[0].rstrip("/").rpartition("/")[2]) or self.url
        with progress.work(f"Fetching {name}", self.total, start=self.done) as work:
            self._take(pieces, work)
        self.file.flush()

    def _take(self, pieces: Iterator[bytes], work: progress.Work) -> None:
        for piece in pieces:
            if self.stop is not None and self.stop.is_set():
                raise AssetError(f"{self.url}: the download was interrupted.", transient=True)
            if self.done + len(piece) > self.limit:
                self.restart()  # nothing of it can be right
                raise AssetError(
                    f"{self.url} is larger than the {self.limit} bytes that were pinned: it was "
                    "refused. Ask its owner which file is meant."
                )
            self.file.write(piece)
            self.sha.update(piece)
            self.done += len(piece)
            work.advance(len(piece))
            if self.progress is not None:
                self.progress(self.done, self.limit)


def validator(partial: Path) -> Path:
    """Where the server's name for the version of a partial file is kept."""
    return partial.with_name(partial.name + ".etag")


def record_validator(partial: Path, reply: Reply, url: str) -> None:
    """Keep the name that the server gives to what it is about to send, if it gives one."""
    etag = reply.headers.get("etag", "")
    if etag.startswith('"'):  # a weak one (W/"…") may not be used for ranges
        validator(partial).write_text(json.dumps({"url": url, "etag": etag}))
    else:
        validator(partial).unlink(missing_ok=True)


def known_validator(partial: Path, url: str) -> str | None:
    """The name under which this address gave the first half, None if it gave none."""
    try:
        known = json.loads(validator(partial).read_text())
        return str(known["etag"]) if known["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(partial: Path) -> None:
    """Remove a partial file from which nothing can go on."""
    partial.unlink(missing_ok=True)
    validator(partial).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(partial: Path, stop: threading.Event | None) -> Iterator[IO[bytes]]:
    """The partial file, opened and locked; closing it lets the next process in."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(partial, flags, 0o600), "r+b") as unnamed:
            _wait_for_lock(unnamed, partial, stop)
            # whoever had the lock may have moved or removed the file that we opened
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(unnamed.fileno()), partial.lstat()):
                    # TLS brings 16 KiB at a time: so many writes cost half as much as the hash
                    with partial.open("r+b", buffering=_PIECE) as file:
                        yield file
                        return


def _wait_for_lock(file: IO[bytes], partial: Path, stop: threading.Event | None) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if stop is not None and stop.is_set():
                raise AssetError(
                    f"Waiting for another download of {partial.name} was interrupted.",
                    transient=True,
                ) from None
            time.sleep(0.05)
