"""A task's log, bounded: its first 64 KiB, its last 128 KiB, and how much was between.

A hostile task may write gigabytes a second; neither disk nor memory may pay for it.
"""

from collections import deque
from pathlib import Path
from typing import BinaryIO

HEAD = 64 << 10
TAIL = 128 << 10
SHOWN = 4 << 10


class TaskLog:
    """Takes a task's output piece by piece; the head is on disk at once, the tail at `close`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("wb")
        path.chmod(0o600)
        self._room = HEAD
        self._tail: deque[bytes] = deque()
        self._kept = 0
        self._dropped = 0
        self._last = b""

    def write(self, data: bytes) -> None:
        """Keep what fits."""
        if self._room:
            head, data = data[: self._room], data[self._room :]
            self._file.write(head)
            self._file.flush()
            self._room -= len(head)
            self._last = (self._last + head)[-SHOWN:]
        if data:
            self._tail.append(data)
            self._kept += len(data)
            while self._kept - len(self._tail[0]) >= TAIL:
                self._forget(self._tail.popleft())

    def _forget(self, piece: bytes) -> None:
        self._kept -= len(piece)
        self._dropped += len(piece)

    def close(self) -> str:
        """Write the tail out; the last lines, for a person, as text."""
        if self._file.closed:
            return self._last.decode(errors="replace")
        tail = b"".join(self._tail)
        cut = max(0, len(tail) - TAIL)
        if self._dropped + cut:
            note = f"\n[{self._dropped + cut} bytes of the log were left out here]\n"
            self._file.write(note.encode())
        self._file.write(tail[cut:])
        self._file.close()
        self._last = (self._last + tail[-SHOWN:])[-SHOWN:]
        self._tail.clear()
        return self._last.decode(errors="replace")
