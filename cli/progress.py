"""A line at the foot of the terminal for work that takes long; nothing where there is no terminal.

It appears when work has lasted a second, is drawn anew twice a second on standard error, and is
wiped out before anything else is printed, so that no log ever holds it.
"""

import sys
import threading
import time
from contextlib import suppress
from typing import TextIO

from ..schemas.progress import Work

_PATIENCE = 1.0
_EVERY = 0.5
_WIPE = "\r\x1b[K"


class Foot:
    """Shows the innermost work under way, drawn by a thread that starts with the first."""

    def __init__(self, stream: TextIO, *, width: int = 80) -> None:
        self._stream = stream
        self._width = width
        self._under_way: list[Work] = []
        self._drawn = False
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def begin(self, work: Work) -> None:
        """Show this work from a second on."""
        with self._lock:
            self._under_way.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._draw_on, daemon=True)
                self._thread.start()

    def end(self, work: Work) -> None:
        """Show it no more."""
        with self._lock:
            self._under_way.remove(work)
            self.wipe()

    def wipe(self) -> None:
        """Clear the line, for something else to be printed."""
        with self._lock:
            if self._drawn:
                self._drawn = False
                self._write(_WIPE)

    def draw(self, now: float) -> None:
        """Draw the line as it is at this moment."""
        from .output import clean

        with self._lock:
            old = [one for one in self._under_way if now - one.began >= _PATIENCE]
            if not old:
                return
            text = clean(old[-1].text(now))
            if len(text) >= self._width:
                text = text[: self._width - 2] + "…"
            self._write(_WIPE + text)
            self._drawn = True

    def _draw_on(self) -> None:
        while True:
            time.sleep(_EVERY)
            self.draw(time.monotonic())

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that went away stops no work
            self._stream.write(text)
            self._stream.flush()


_foot: Foot | None = None


def foot() -> Foot | None:
    """The terminal's line; None where standard error is none."""
    global _foot
    if _foot is None and sys.stderr.isatty():
        import shutil

        _foot = Foot(sys.stderr, width=shutil.get_terminal_size().columns)
    return _foot


def wipe() -> None:
    """Clear the line, if there is one."""
    if _foot is not None:
        _foot.wipe()
