"""Run one command under the keeper: bounded log, time limit, stop, watchers, one answer.

The calling thread stays here until everything is dead, because the kernel binds "die with your
parent" to the thread that started a process, not to the process.
"""

import contextlib
import errno
import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...schemas.errors import EngineError
from . import keeper
from .protocol import Reason
from .tasklog import TaskLog

POLL = 0.05
GRACE = 60.0
"""How long the keeper may take to store outputs after a kill, before it is killed itself."""

PATIENCE = 5.0
"""How long the log may go on when the keeper has ended."""

Watcher = Callable[[int], Reason | None]
"""Called now and then with the task's first host process; answers why to kill the task, if so."""


class StoreError(EngineError):
    """A task has ended, but what it wrote could not be taken out of where it wrote it."""

    def __init__(self, why: str, *, goes_on: bool) -> None:
        again = f" When that is mended, {_AGAIN}." if goes_on else ""
        super().__init__(f"The outputs could not be stored: {why}.{again}")


class KilledError(EngineError):
    """The keeper was killed by somebody else, and its task with it."""

    def __init__(self, *, goes_on: bool) -> None:
        again = f" To go on, {_AGAIN}." if goes_on else ""
        super().__init__(
            f"The process that kept the task was killed from outside, and the task too.{again}",
            transient=True,
        )


_AGAIN = "give the same command again: it takes over what the task had written"


SCRATCH = "scratch"
"""What the throw-away copy of an image is called in `Disk.copies`; outputs have numbers."""


class NoDiskError(EngineError):
    """No sized file system can be made here: the run may be tried again without one."""


BEGUN = "begun"
"""The file that says: the task itself has been started, so what lies in its outputs is its own."""


@dataclass(frozen=True)
class Disk:
    """A sized file system for the outputs (root): see keeper.sized_disk."""

    image: Path
    folder: Path
    collect: Path
    bytes: int
    files: int
    uid: int
    gid: int
    folders: tuple[str, ...]
    blanks: tuple[str, ...]
    copies: Mapping[str, Path] = field(default_factory=dict)
    places: Mapping[str, list[list[str | bool]]] = field(default_factory=dict)
    extra_bytes: int = 0
    extra_files: int = 0
    sync: bool = False


def cannot_fill(disk: Disk, why: str) -> EngineError:
    """The error for what does not go into a sized file system, though one can be made.

    A full one is told in other words than the kernel's, which say that the site's disk is full.
    """
    what = ["What the task's outputs begin with"] if disk.copies.keys() - {SCRATCH} else []
    what += ["the writable copy of its image"] if SCRATCH in disk.copies else []
    text = " and ".join(what) or "The outputs' places"
    return EngineError(
        f"{text[0].upper()}{text[1:]} cannot be laid out in a file system for {disk.bytes} bytes "
        f"and {disk.files} files: {why.replace(os.strerror(errno.ENOSPC), 'no room in it')}. "
        f"{RAISE}"
    )


def too_large(disk: Disk) -> EngineError:
    """The error for a sized file system that no file here can hold."""
    return EngineError(
        f"A file system for {disk.bytes} bytes and {disk.files} files is larger than a file in "
        f"{disk.image.parent} can be: give tasks of this site less, `medperf profile set "
        "limits.output=100Gi`."
    )


RAISE = (
    "Take away what is not needed there, or let tasks of this site write more: `medperf profile "
    "set limits.output=20Gi` (bytes), `limits.outputFiles=400000`."
)


@dataclass(frozen=True)
class Bind:
    """A source that is bound read-only at `target`, its owner shown as uid and gid (root)."""

    source: Path
    target: Path
    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """What the keeper starts: bubblewrap, to which it adds the lock and the status descriptors."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    lock: Path
    descriptors: Sequence[int] = ()
    rlimits: Mapping[str, int] = field(default_factory=dict)
    cgroups: Sequence[Path] = ()
    cpus: Sequence[int] = ()
    binds: Sequence[Bind] = ()
    disk: Disk | None = None
    goes_on: bool = False


@dataclass(frozen=True)
class Ended:
    """How a supervised command ended; `killed` is why we killed it, if we did."""

    exit: int | None
    killed: Reason | None
    seconds: float
    refused: str | None
    full: bool
    log_tail: str


def supervise(
    command: Command,
    *,
    log: Path,
    timeout: float,
    stop: threading.Event | None,
    watchers: Sequence[Watcher] = (),
) -> Ended:
    """Run the command to its end; raises EngineError if the sandbox could not be made."""
    return _Run(command, log, timeout, stop, watchers).run()


class _Run:
    def __init__(
        self,
        command: Command,
        log: Path,
        timeout: float,
        stop: threading.Event | None,
        watchers: Sequence[Watcher],
    ) -> None:
        self._command = command
        self._timeout = timeout
        self._stop = stop
        self._watchers = watchers
        self._log = TaskLog(log)
        self._events = b""
        self._child: int | None = None
        self._started = time.monotonic()
        self._watched = 0.0
        self._killed: Reason | None = None
        self._given_up = False

    def run(self) -> Ended:
        events, events_write = os.pipe()
        output, output_write = os.pipe()
        plan = memory_file(json.dumps(self._plan(events_write)).encode())
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
                keeper.command(plan),
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(plan, events_write, *self._command.descriptors),
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
        except OSError as error:
            os.close(events)
            os.close(output)
            self._log.close()
            raise EngineError(f"The task's keeper cannot be started: {error}.") from error
        finally:
            os.close(plan)
            os.close(events_write)
            os.close(output_write)
        try:
            self._follow(process, events, output)
        finally:
            _finish(process)
            os.close(events)
            os.close(output)
            tail = self._log.close()
        return self._ended(tail)

    def _plan(self, events: int) -> dict[str, Any]:
        command = self._command
        return {
            "parent": os.getpid(),
            "events": events,
            "argv": list(command.argv),
            "environment": dict(command.environment),
            "lock": str(command.lock),
            "begun": str(command.lock.with_name(BEGUN)),
            "rlimits": dict(command.rlimits),
            "cgroups": [str(path) for path in command.cgroups],
            "cpus": list(command.cpus),
            "binds": [_texts(bind) for bind in command.binds],
            "disk": _texts(command.disk) if command.disk else None,
        }

    def _follow(self, process: subprocess.Popen[bytes], events: int, output: int) -> None:
        """Read until both pipes end, looking at the clock, the stop and the watchers between."""
        with selectors.DefaultSelector() as selector:
            for descriptor in (events, output):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            waiting = {events, output}
            killed_at: float | None = None
            ended_at: float | None = None
            while waiting:
                for key, _ in selector.select(POLL):
                    piece = _read(key.fd)
                    if piece is None:
                        continue
                    if not piece:
                        selector.unregister(key.fd)
                        waiting.discard(key.fd)
                    elif key.fd == events:
                        self._take_events(piece)
                    else:
                        self._log.write(piece)
                if killed_at is None:
                    self._killed = self._why_kill()
                    if self._killed:
                        killed_at = time.monotonic()
                        process.terminate()
                elif time.monotonic() - killed_at > GRACE:
                    self._given_up = True
                    process.kill()
                if waiting == {output} and process.poll() is not None:
                    # somebody may hold the log's pipe who must not hold us
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at > PATIENCE:
                        return

    def _take_events(self, piece: bytes) -> None:
        self._events += piece
        if self._child is None and b"\n" in self._events:
            self._child = json.loads(self._events.split(b"\n")[0]).get("child")

    def _why_kill(self) -> Reason | None:
        if b'"ended"' in self._events:
            return None
        if self._stop is not None and self._stop.is_set():
            return "interrupted"
        now = time.monotonic()
        if now - self._started > self._timeout:
            return "timeout"
        if self._child is None or now < self._watched:
            return None
        for watcher in self._watchers:
            reason = watcher(self._child)
            if reason:
                return reason
        # a watcher of a large tree may be slow: it gets a tenth of the time at most
        self._watched = time.monotonic() + max(POLL, 10 * (time.monotonic() - now))
        return None

    def _ended(self, tail: str) -> Ended:
        seconds = time.monotonic() - self._started
        ended: dict[str, Any] = {}
        for line in self._events.splitlines():
            with contextlib.suppress(ValueError):
                ended = json.loads(line).get("ended", ended)
        if error := ended.get("error"):
            if ended.get("step") == "disk":
                raise NoDiskError(f"No sized file system can be made: {error}.")
            if ended.get("step") == "size" and self._command.disk is not None:
                raise too_large(self._command.disk)
            if ended.get("step") == "fill" and self._command.disk is not None:
                raise cannot_fill(self._command.disk, error)
            if ended.get("step") == "store":
                raise StoreError(error, goes_on=self._command.goes_on)
            raise EngineError(f"The engine failed: {error}.")
        if not ended and self._child is not None:  # half of it may be copied
            if self._given_up:
                why = f"it took over {GRACE:g} seconds"
                raise StoreError(why, goes_on=self._command.goes_on)
            raise KilledError(goes_on=self._command.goes_on)
        code = ended.get("exit")
        if code is None and not self._killed:
            raise EngineError(f"The sandbox could not be made: {tail.strip() or 'it was killed'}")
        return Ended(
            exit=None if self._killed else code,
            killed=self._killed,
            seconds=seconds,
            refused=ended.get("refused"),
            full=ended.get("full", False),
            log_tail=tail,
        )


def _texts(value: Bind | Disk) -> dict[str, Any]:
    def text(item: Any) -> Any:
        if isinstance(item, Path):
            return str(item)
        return {key: text(inner) for key, inner in item.items()} if isinstance(item, dict) else item

    return {key: text(item) for key, item in vars(value).items()}


def memory_file(data: bytes) -> int:
    """A descriptor behind which `data` can be read once; it is on no disk."""
    descriptor = os.memfd_create("medperf")
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, 1 << 18)
    except BlockingIOError:
        return None


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing alive, whatever brought us here (Ctrl-C too)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
