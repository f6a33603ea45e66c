"""One run under the keeper, as the sandbox and Singularity share it.

1. A real uid (root), a control group (root), a note of what begins.
2. The outputs' staging, and the engine's own command line.
3. The run, its end, the look at the outputs; then everything is taken away again.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroups, checks, leftovers
from .bubblewrap import MemoryWatch, conclude, cpu_mask, held, rlimits, watchers
from .outputs import Staging, stage
from .protocol import LIMITS, Limits, Outcome, Task
from .supervise import Bind, Command, NoDiskError, supervise


@dataclass
class Place:
    """Where a task is put together: its folder, staging and real uid; collects root's binds."""

    task: Task
    folder: Path
    staging: Staging
    owner: tuple[int, int] | None
    pinned: bool
    binds: list[Bind] = field(default_factory=list)

    def readable(self, source: Path) -> Path:
        """Where to bind `source` from: for root, a place where its owner is the task's uid."""
        source = source.resolve()
        if self.owner is None:
            return source
        target = self.folder / f"in{len(self.binds)}"
        if source.is_dir():
            target.mkdir(mode=0o700, exist_ok=True)
        else:
            target.touch(mode=0o600)
        self.binds.append(Bind(source, target, *self.owner))
        return target

    def staged(self, mount: object) -> Path:
        """What is bound into the task for one of its outputs."""
        return next(output.bound for output in self.staging.outputs if output.mount is mount)


@dataclass(frozen=True)
class Built:
    """What an engine makes of a place: bubblewrap's whole command line, and what it needs."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()


Builder = Callable[[Place, contextlib.ExitStack], Built]


class KeptEngine:
    """What the sandbox and Singularity have in common."""

    name: str
    extra_processes = 4
    pins_cpus = False

    def __init__(self, *, state: Path | None = None) -> None:
        self._state = state
        self._disk = True

    def build(self, place: Place, stack: contextlib.ExitStack) -> Built:
        """The engine's own part: the command line for this task."""
        raise NotImplementedError

    def scratch(self, task: Task) -> Path | None:
        """A folder of which the task gets a writable throw-away copy, if it asked for one."""
        del task
        return None

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        """Run the task to its end."""
        checks.check_task(task, engine=self.name)
        if self._disk and os.geteuid() == 0:
            try:
                return self._run(task, stop, disk=True)
            except NoDiskError:
                self._disk = False  # no loop devices or no mkfs.ext4: outputs are watched instead
        return self._run(task, stop, disk=False)

    def _run(self, task: Task, stop: threading.Event | None, *, disk: bool) -> Outcome:
        limits, folder = task.limits, checks.private_folder(task.folder)
        with contextlib.ExitStack() as stack:
            owner = stack.enter_context(leftovers.uid_for_task())
            key = f"{task.label}-{secrets.token_hex(4)}"
            group = cgroups.create(key, limits, extra_processes=self.extra_processes)
            if group is not None:
                stack.callback(group.remove)
            lock = folder / "lock"
            noted = leftovers.note(
                self.name,
                state=self._state,
                label=task.label,
                name=task.name,
                lock=lock,
                cgroups=group.paths if group else (),
            )
            stack.callback(noted.forget)
            staging = stage(task, owner=owner, disk=disk, scratch=self.scratch(task))
            stack.push(staging.leave)
            mask = cpu_mask(limits) if group is None else ()
            pinned = bool(mask) and self.pins_cpus
            place = Place(task, folder, staging, owner, pinned)
            built = self.build(place, stack)
            memory = MemoryWatch(limits.memory) if group is None else None
            command = Command(
                argv=built.argv,
                environment=built.environment,
                lock=lock,
                descriptors=built.descriptors,
                rlimits=rlimits(limits, memory=limits.memory if group is None else None),
                cgroups=group.procs if group else (),
                cpus=mask,
                binds=place.binds,
                disk=staging.disk,
                goes_on=task.goes_on,
            )
            ended = supervise(
                command,
                log=task.log,
                timeout=limits.timeout,
                stop=stop,
                watchers=watchers(staging, memory),
            )
            return conclude(
                ended,
                staging,
                oom_kills=group.oom_kills() if group else 0,
                peak=group.peak() if group else memory.peak if memory else None,
                held=held(limits, staging, group, pinned=pinned),
                limits=limits,
            )

    def clean(self, label_prefix: str) -> list[str]:
        """What an earlier pass left; all died with it, so this waits and removes control groups."""
        names = []
        for note in leftovers.orphans(self.name, label_prefix, state=self._state):
            cgroups.remove(note.cgroups)
            if note.lock is not None:
                leftovers.wait_gone(note.lock)
            note.forget()
            names.append(f"{note.label} {note.name}")
        return names

    def probe_limits(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The limits that hold for this caller, and sentences about those that do not."""
        root = os.geteuid() == 0
        words = {"timeout", "processes", "shm", "tmp"}
        problems = []
        group = cgroups.create(f"probe-{secrets.token_hex(4)}", Limits()) if root else None
        if group is not None:
            words |= {"memory"} | ({"cpus"} if "cpu" in group.folders else set())
            group.remove()
        else:
            problems.append("Memory is limited per process and by looking, not by the kernel.")
        if self.pins_cpus:
            words.add("cpus")
        if root:
            words |= {"output-bytes", "output-files"}
        else:
            problems.append("Outputs are limited by looking ten times a second.")
        return frozenset(word for word in LIMITS if word in words), tuple(problems)
