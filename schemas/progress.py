"""How far long work has come, told to whoever listens; where nobody does, it costs next to nothing.

Work is begun with `work(…)` where it is done, deep in a lower room, and shown where a person sits:
the command line listens if standard error is a terminal. What is told is for the eyes of whoever
started it: counts and bytes, with the work's own name, and how much is left.

A context has one listener; threads that are started elsewhere have none and so tell nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_SOON = 2.0  # seconds before which a guess at what is left would jump about


@dataclass(eq=False)
class Work:
    """Something under way: `total` is None where nobody knows it; `unit` is `bytes` or a noun."""

    what: str
    total: int | None = None
    unit: str = "bytes"
    done: int = 0
    start: int = 0  # what was done before, and says nothing of the speed
    began: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count

    def reach(self, done: int) -> None:
        """So much is done in all."""
        self.done = done

    def text(self, now: float) -> str:
        """The state of it as one line: what, how far, how long it will take."""
        seconds = max(0.0, now - self.began)
        if self.total is None:
            far = f" {_amount(self.done, self.unit)}," if self.done else ""
            return f"{self.what}:{far} {clock(seconds)} so far"
        done = min(self.done, self.total)
        line = f"{self.what}: {_amount(done, self.unit, of=self.total)}"
        fresh = done - self.start
        if fresh > 0 and done < self.total and seconds >= _SOON:
            line += f", about {clock(seconds / fresh * (self.total - done))} left"
        return line


def in_words(size: int) -> str:
    """A number of bytes as people say it: `1.6 kB`, `257.5 MB`."""
    return _amount(size, "bytes")


def _amount(done: int, unit: str, *, of: int | None = None) -> str:
    if unit != "bytes":
        return f"{done:,} {unit}" if of is None else f"{done:,} of {of:,} {unit}"
    whole = done if of is None else of
    name, size = next((one for one in _UNITS if whole >= one[1]), _UNITS[-1])
    told = f"{done / size:.1f}"
    return f"{told} {name}" if of is None else f"{told} of {of / size:.1f} {name}"


def clock(seconds: float) -> str:
    """Seconds as `1:05`, or `2:00:00`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Listener(Protocol):
    """Who is told: that work has begun, and that it has ended, well or not."""

    def begin(self, work: Work) -> None:
        """Look at `work` from now on; it changes while it is under way."""

    def end(self, work: Work) -> None:
        """It is over."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def is_watched() -> bool:
    """Whether anybody listens: only then is a total worth what it costs to find out."""
    return _LISTENER.get() is not None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell this listener of all work that is done in here."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def work(
    what: str, total: int | None = None, unit: str = "bytes", *, start: int = 0
) -> Iterator[Work]:
    """Work that is under way in here; whoever does it calls `advance`."""
    one = Work(what, total, unit, start, start)
    listener = _LISTENER.get()
    if listener is None:
        yield one
        return
    listener.begin(one)
    try:
        yield one
    finally:
        listener.end(one)
