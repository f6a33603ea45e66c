"""One task of a cube, from its call to its outputs' place.

`run_task` runs one task:

1. call it (see `task_call`), within the limits of cube and site, in a folder of its own;
2. only if the task ended well, move what it wrote to where the caller wants it. An output that
   nobody asked for (a log, a cache) gets a place as well, and goes with the task.

Where a task's own entrypoint was called in one custom (see `mlcube_format`) and failed at once with
nothing written (one without outputs: with status 2, as programs do that are called wrongly), it is
called once more in the other. The second call counts if it goes well and writes something, and how
it was stopped is told; if it fails by itself too, the first counts.

`rescue_outputs` takes what a task had written when it was killed with this process.
"""

import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..schemas import progress
from ..schemas.errors import EngineError
from ..schemas.progress import clock
from .cubes import ReadyCube
from .engines.nested import made_below, make
from .engines.outputs import remove_tree
from .engines.protocol import Engine, Limits, Outcome, Task
from .engines.rescue import forget, rescue
from .task_call import call_of, staged_at
from .task_limits import task_limits
from .task_spec import ADDITIONAL_KEY, PARAMETERS_KEY, PARAMETERS_NAME, Slot, TaskSpec

MAIN = "output_path"
"""The output that says that a task has done its work: moved last, and not at all if empty."""
_READ_ONLY = "Read-only file system"
_ADVICE = (
    "It wrote beside its outputs, it seems: --scratch-root of 'mlcube submit', 'mlcube run-test' "
    "and 'test run' gives a cube a layer for that, which is thrown away."
)
_CALLED_WRONGLY = 2
_AT_ONCE = 60.0
_KEPT = ("exit", "timeout", "memory", "interrupted")


@dataclass(frozen=True)
class Execution:
    """Where and within what tasks run: the engine, the site's limits, the run's label, its logs.

    `label` is how the engine finds what a killed pass left; `logs` gets `<task>.log` of each task.
    """

    engine: Engine
    limits: Limits
    label: str
    logs: Path
    stop: threading.Event | None = field(default=None, compare=False)
    timeouts: Mapping[str, float] = field(default_factory=dict)


def run_task(
    ready: ReadyCube,
    name: str,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    execution: Execution,
    *,
    work: Path,
    keep_failed: bool = False,
    seeds: Mapping[str, Path] | None = None,
) -> Outcome:
    """Run one task; afterwards, if it went well, each output stands at its path in `outputs`.

    `inputs` and `outputs` are by key; those that the task does not have are left out. `work` is a
    folder for this task alone on the outputs' file system; it is emptied first, and removed after
    a task that went well. After one that failed it still holds what the task wrote, for a person
    to look at; with `keep_failed` that is moved to the outputs as well (a partial result). `seeds`:
    what outputs begin with, by key; None if the task does not go on with its own outputs.
    """
    spec = ready.task(name)
    outcome, staged = _once(ready, spec, inputs, execution, work, seeds)
    if _called_wrongly(spec, ready, outcome, staged):
        log = execution.logs / f"{name}.log"
        first, told = outcome, log.read_bytes()
        other = replace(spec, arguments=spec.other_custom or ())
        outcome, staged = _once(ready, other, inputs, execution, work, seeds)
        empty = outcome.reason == "done" and staged and _wrote_nothing(staged)
        if outcome.reason == "exit" or empty:  # it was not the call
            outcome, staged = first, {}
            log.write_bytes(told)
    whole = outcome.reason == "done"
    if whole or (keep_failed and outcome.reason in _KEPT):
        for key, path in sorted(staged.items(), key=lambda output: output[0] == MAIN):
            if key in outputs and (key != MAIN or not _is_empty(path)):
                _move(path, outputs[key], aside=work / f"{key}.old")
    if whole:
        shutil.rmtree(work)
    else:
        forget(work / "engine")  # what still lies there is for a person to look at
    return _with_advice(ready, outcome)


def _with_advice(ready: ReadyCube, outcome: Outcome) -> Outcome:
    """Where a task seems to have failed since its root is read-only, say what lets it write."""
    resources = ready.cube.spec.resources
    if outcome.reason != "exit" or (resources is not None and resources.scratch_root):
        return outcome
    if _READ_ONLY not in outcome.log_tail:
        return outcome
    return replace(outcome, detail=f"{outcome.detail} {_ADVICE}")


def rescue_outputs(
    ready: ReadyCube,
    name: str,
    outputs: Mapping[str, Path],
    execution: Execution,
    *,
    work: Path,
) -> None:
    """Put at `outputs` what this task had written in `work` when it was killed, if anything.

    A RescueError says what is there and cannot be taken: it stays, and the task must not be run.
    """
    spec = ready.task(name)
    for key, target in outputs.items():
        aside = work / f"{key}.old"
        if os.path.lexists(aside) and not os.path.lexists(target):
            aside.rename(target)  # killed just while the new one was put in its place
    engine, staging = work / "engine", work / "out"
    delivered = [staged_at(slot, staging / f"{n}") for n, slot in enumerate(spec.outputs)]
    found = rescue(engine, execution.limits, delivered=delivered, stop=execution.stop)
    for number, slot in enumerate(spec.outputs):
        path = found.get(number)
        if path is None or slot.key not in outputs:
            continue
        if slot.kind != "file":
            for place in _files_below(spec, slot):
                if path.joinpath(place).is_file() and not path.joinpath(place).stat().st_size:
                    path.joinpath(place).unlink()  # where another file was mounted, see `nested`
            written = None if _is_empty(path) else path
        elif slot.target is None:
            written = path / PurePosixPath(slot.path).name
        else:
            written = path if path.stat().st_mtime_ns else None
        if written is not None:
            _move(written, outputs[slot.key], aside=work / f"{slot.key}.old")
    forget(engine)


def _files_below(spec: TaskSpec, slot: Slot) -> list[PurePosixPath]:
    """Where a task's other files are mounted below this one of its folders."""
    return [
        PurePosixPath(other.target).relative_to(slot.target)
        for other in (*spec.inputs, *spec.outputs)
        if slot.target and other.target and other.kind == "file"
        if PurePosixPath(other.target).is_relative_to(slot.target)
    ]


def _called_wrongly(
    spec: TaskSpec, ready: ReadyCube, outcome: Outcome, staged: Mapping[str, Path]
) -> bool:
    """Whether a task's own entrypoint may have failed only because of the task's name.

    One without outputs is asked again only where it says so itself: a check that has found the
    data wrong must not be talked out of it. Nor is one that has written something: that stays.
    """
    if spec.other_custom is None or ready.image.engine == "sandbox":
        return False
    if outcome.reason != "exit" or outcome.seconds >= _AT_ONCE:
        return False
    return _wrote_nothing(staged) if staged else outcome.exit == _CALLED_WRONGLY


def _wrote_nothing(staged: Mapping[str, Path]) -> bool:
    return all(not path.exists() or _is_empty(path) for path in staged.values())


def _once(
    ready: ReadyCube,
    spec: TaskSpec,
    inputs: Mapping[str, Path],
    execution: Execution,
    work: Path,
    seeds: Mapping[str, Path] | None,
) -> tuple[Outcome, Mapping[str, Path]]:
    """One call of a task: how it ended, and where what it wrote is staged."""
    name = spec.name
    empty_work(work)
    work.mkdir(mode=0o700, parents=True)
    execution.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    blanks = _blanks(ready, work)
    call = call_of(ready, spec, {**blanks, **inputs}, seeds or {}, work / "out")
    for mount in call.mounts:
        if mount.source in blanks.values():
            make(mount.source, made_below(mount, call.mounts), None)
    engine_folder = work / "engine"
    engine_folder.mkdir(mode=0o700)
    limits = task_limits(
        ready.cube,
        spec,
        execution.limits,
        engine=ready.image.engine,
        timeout=execution.timeouts.get(name),
    )
    task = Task(
        label=execution.label,
        name=name,
        image=ready.image,
        folder=engine_folder,
        log=execution.logs / f"{name}.log",
        entrypoint=call.entrypoint,
        arguments=call.arguments,
        mounts=call.mounts,
        environment=spec.environment,
        limits=limits,
        scratch_root=bool(ready.cube.spec.resources and ready.cube.spec.resources.scratch_root),
        goes_on=seeds is not None,
    )
    about = ready.cube.metadata
    running = f"{about.owner}/{about.name}: {name}, at most {clock(limits.timeout)}"
    with progress.work(running):
        outcome = execution.engine.run(task, stop=execution.stop)
    return outcome, call.staged


def _blanks(ready: ReadyCube, work: Path) -> dict[str, Path]:
    """What a task may take though the cube has none: it is empty, as with MedPerf."""
    found: dict[str, Path] = {}
    if ready.parameters is None:
        found[PARAMETERS_KEY] = work / "blank" / PARAMETERS_NAME
        found[PARAMETERS_KEY].parent.mkdir(mode=0o755)
        found[PARAMETERS_KEY].write_text("{}\n")
    if ready.additional is None:
        found[ADDITIONAL_KEY] = work / "blank-folder"
        found[ADDITIONAL_KEY].mkdir(mode=0o755)
    return found


def empty_work(work: Path) -> None:
    """Remove what an earlier try left, but never through a mount of a pass that was killed."""
    if not work.exists():
        return
    real = work.resolve()
    for mounted in _mount_points():
        if mounted.is_relative_to(real):
            raise EngineError(
                f"{mounted} is still mounted, left by a run that was killed. Run `medperf "
                "reconcile`, which cleans up first, or unmount it."
            )
    shutil.rmtree(work)


def _mount_points() -> list[Path]:
    """Every mount point that this process sees; `is_mount` misses binds of one file system."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except FileNotFoundError:  # not Linux: docker alone, and no mounts of ours
        return []
    octal = re.compile(r"\\([0-7]{3})")  # space, tab, line break and backslash come as \040 …
    return [Path(octal.sub(lambda o: chr(int(o[1], 8)), line.split(" ")[4])) for line in lines]


def _is_empty(staged: Path) -> bool:
    """Whether a folder holds no file: others' places may be in it (see `engines.nested`)."""
    return staged.is_dir() and all(path.is_dir() for path in staged.rglob("*"))


def _move(staged: Path, target: Path, *, aside: Path) -> None:
    """Put what was staged in its place, by two renames: a kill leaves the old or the new, whole."""
    if not os.path.lexists(staged):
        return
    if target.is_dir() and not target.is_symlink():
        remove_tree(aside)
        target.rename(aside)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(target)
    remove_tree(aside)
