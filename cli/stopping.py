"""Ctrl-C and SIGTERM, for commands whose tasks are to be ended in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the work in order: tasks are killed, nothing is lost."""

    def handle(number: int, frame: Any) -> None:  # noqa: ARG001
        if stop.is_set():  # a second time: at once
            raise KeyboardInterrupt
        stop.set()
        click.echo("Stopping: what runs is being ended. Once more stops at once.", err=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
