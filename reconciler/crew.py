"""Work side by side: a thread for each piece, which starts its tasks and waits for their end.

The kernel binds "die with your parent" to the thread that started a process, so a piece of work
keeps its thread until its last task is over. What is no thread's own (the clone, its index) belongs
to the thread that made the crew: whoever works asks it a question, and waits for the answer.

The threads are daemons: where the whole program is told to end at once, no thread keeps it, and
the kernel ends what the threads had started.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..schemas.errors import MedperfError

T = TypeVar("T")
Ask = Callable[[], None]
Answer = Callable[[str], None]

PATIENCE = 10.0
"""How long those at work may take to end theirs when all of it is broken off."""


@dataclass(frozen=True)
class _Question:
    name: str
    reply: "Future[None]"


@dataclass(frozen=True)
class _End(Generic[T]):
    name: str
    outcome: "Future[T]"


class Crew(Generic[T]):
    """Pieces of work under way, by name; `stop` ends them all."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._mail: SimpleQueue[_Question | _End[T]] = SimpleQueue()
        self._threads: dict[str, threading.Thread] = {}

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, name: str, work: Callable[[Ask], T]) -> None:
        """Begins a piece of work, which is given what it asks with; it ends in a `wait`."""
        thread = threading.Thread(target=self._work, args=(name, work), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _work(self, name: str, work: Callable[[Ask], T]) -> None:
        outcome: Future[T] = Future()
        try:
            outcome.set_result(work(lambda: self._ask(name)))
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            outcome.set_exception(error)
        self._mail.put(_End(name, outcome))

    def _ask(self, name: str) -> None:
        reply: Future[None] = Future()
        self._mail.put(_Question(name, reply))
        while not reply.done():
            if self._stop.is_set():
                raise KeyboardInterrupt
            wait([reply], timeout=0.1)
        reply.result()

    def wait(self, answer: Answer) -> tuple[str, T]:
        """The next piece of work that ends and its outcome; raises what it has raised.

        `answer` is called with the name of whoever asks meanwhile; what it raises, he raises.
        """
        while True:
            letter = self._mail.get()
            if isinstance(letter, _End):
                self._threads.pop(letter.name).join()
                return letter.name, letter.outcome.result()
            try:
                answer(letter.name)
            except (MedperfError, OSError) as error:
                letter.reply.set_exception(error)
            else:
                letter.reply.set_result(None)

    def finish(self, answer: Answer) -> None:
        """Lets what is under way end by itself; its failures are its own."""
        while self._threads:
            with suppress(MedperfError):
                self.wait(answer)

    def close(self) -> None:
        """Breaks off what is still under way, and waits a moment for its end."""
        if not self._threads:
            return
        self._stop.set()
        until = time.monotonic() + PATIENCE
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))
