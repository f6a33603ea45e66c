"""A cube from its manifest to one task for an engine.

`read_cube` reads the files that the manifest carries, `check_role` asks that the role's tasks are
whole, `workshop` makes a ReadyCube of it (image, additional files, parameters, all verified), and
`run_task` runs one task:

1. find a container path for each input and output (an MLCube's are `/mlcube_io0`, `/mlcube_io1`, …
   as MLCube numbers them; a container-config names its own);
2. give inputs read-only; the task writes into fresh folders with names that say nothing;
3. call it: an MLCube as `T --key=path …`, a container-config by its own command. In the sandbox,
   where no image brings a command, the manifest's command is called in both cases, with `T`;
4. only if the task ended well, move what it wrote to where the caller wants it. An output that
   nobody asked for (a log, a cache) gets a place as well, and goes with the task.

Where a task's own entrypoint was called in one custom (see `mlcube_format`) and failed at once with
nothing written (one without outputs: with status 2, as programs do that are called wrongly), it is
called once more in the other. The second call counts if it goes well and writes something, and how
it was stopped is told; if it fails by itself too, the first counts.

Of a file only the file itself is shown to the task, never the folder around it; additional files
are the exception, whose neighbours belong to the same cube.
"""

import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from ..schemas import progress
from ..schemas.errors import CubeError, DataError, EngineError
from ..schemas.manifests import Cube
from ..schemas.progress import clock
from . import container_config, mlcube_format
from .engines.nested import made_below, make
from .engines.outputs import remove_tree
from .engines.protocol import Engine, Limits, LocalImage, Mount, Outcome, Task
from .engines.rescue import forget, rescue
from .task_limits import task_limits
from .task_spec import (
    ADDITIONAL_KEY,
    CONTRACTS,
    PARAMETERS_KEY,
    PARAMETERS_NAME,
    SANITY_CHECK,
    Slot,
    TaskSpec,
    check_tasks,
)

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
class CubeFiles:
    """What a cube's own files say: its tasks, and whether parameters and more files come along."""

    file: str
    format: Literal["mlcube", "container-config"]
    tasks: Mapping[str, TaskSpec]
    parameters: bytes | None
    additional: bool

    @property
    def has_sanity_check(self) -> bool:
        """Whether a preparator has a task that does nothing but judge the prepared data."""
        return SANITY_CHECK in self.tasks


def read_cube(cube: Cube) -> CubeFiles:
    """The tasks of a cube, read from the files in its manifest; CubeError names file and key."""
    spec = cube.spec
    form = spec.format
    file: Literal["mlcube.yaml", "container_config.yaml"]
    file = "mlcube.yaml" if form == "mlcube" else "container_config.yaml"
    text = spec.files.get(file)
    if text is None:
        raise CubeError(f"The cube says format: {form}, but its files have no {file}. Add it.")
    read = mlcube_format.read if form == "mlcube" else container_config.read
    parameters = spec.files.get("parameters.yaml")
    return CubeFiles(
        file=file,
        format=form,
        tasks=read(text, file=file),
        parameters=None if parameters is None else parameters.encode(),
        additional=spec.additional_files is not None,
    )


def check_role(files: CubeFiles, role: str) -> None:
    """CubeError if the tasks of this role are not all there, or take what the cube has not got.

    Parameters and the whole of the additional files may be lacking, as with MedPerf: see `lacking`.
    """
    check_tasks(files.tasks, role, file=files.file)
    for name in CONTRACTS[role].keys() & files.tasks.keys():
        place = f"{files.file}: tasks.{name}"
        for slot in files.tasks[name].inputs:
            if slot.below_additional and not files.additional:
                raise CubeError(
                    f"{place} takes {slot.key} from the additional files, but the cube has none. "
                    "Submit them with it."
                )


def lacking(files: CubeFiles, role: str) -> list[str]:
    """Sentences about what a cube's author may have forgotten, though it runs without."""
    found = []
    tasks = [task for name, task in files.tasks.items() if name in CONTRACTS[role]]
    takes = [slot for task in tasks for slot in task.inputs]
    if files.parameters is None and any(slot.key == PARAMETERS_KEY for slot in takes):
        found.append(f"The cube takes {PARAMETERS_KEY} but has no {PARAMETERS_NAME}: it gets {{}}.")
    if not files.additional and any(slot.below_additional == "" for slot in takes):
        found.append("The cube takes additional files but has none: it gets an empty folder.")
    if role == "preparator" and not files.has_sanity_check:
        found.append("It has no task sanity_check: only its statistics will judge prepared data.")
    return found


@dataclass(frozen=True)
class ReadyCube:
    """A cube whose image, additional files and parameters are here and verified."""

    cube: Cube
    digest: str
    files: CubeFiles
    image: LocalImage
    additional: Path | None = None
    parameters: Path | None = None

    @property
    def name(self) -> str:
        """`owner/name`."""
        return f"{self.cube.metadata.owner}/{self.cube.metadata.name}"

    def task(self, name: str) -> TaskSpec:
        """The task of this name; CubeError lists those that there are."""
        spec = self.files.tasks.get(name)
        if spec is None:
            known = ", ".join(sorted(self.files.tasks)) or "none"
            raise CubeError(f"{self.name} has no task {name!r}; its tasks are {known}.")
        if spec.problem is not None:
            raise CubeError(f"{self.name}: {spec.problem}")
        return spec


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
    delivered = [_staged_at(slot, staging / f"{n}") for n, slot in enumerate(spec.outputs)]
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
    call = _call(ready, spec, {**blanks, **inputs}, seeds or {}, work / "out")
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


@dataclass(frozen=True)
class _Call:
    """How a task is called, and where what it writes is staged, by key."""

    entrypoint: tuple[str, ...] | None
    arguments: tuple[str, ...]
    mounts: tuple[Mount, ...]
    staged: Mapping[str, Path]


def _call(
    ready: ReadyCube,
    spec: TaskSpec,
    inputs: Mapping[str, Path],
    seeds: Mapping[str, Path],
    staging: Path,
) -> _Call:
    mounts: list[Mount] = []
    options: list[str] = []
    staged: dict[str, Path] = {}
    for slot in spec.inputs:
        source = _source(ready, slot, inputs)
        if source is None and not slot.names_nothing:
            continue
        if source is None:  # a path at which there is nothing, as with MLCube
            home = f"/mlcube_io{len(mounts)}"
            nothing = staging.with_name("nothing")
            nothing.mkdir(mode=0o755, exist_ok=True)
            mounts.append(Mount(nothing, home))
            options.append(f"--{slot.key}={home}/{slot.path}")
            continue
        mount, path = _input_mount(slot, source, len(mounts))
        mounts.append(mount)
        options.append(f"--{slot.key}={path}")
    for number, slot in enumerate(spec.outputs):
        folder = staging / f"{number}"
        folder.mkdir(mode=0o700, parents=True)
        mount, path, result = _output_mount(slot, folder, len(mounts), seeds.get(slot.key))
        mounts.append(mount)
        options.append(f"--{slot.key}={path}")
        staged[slot.key] = result
    entrypoint, arguments = spec.entrypoint, spec.arguments
    if ready.image.engine == "sandbox":
        entrypoint, arguments = None, (spec.name,)
    if ready.files.format == "mlcube":
        arguments = (*arguments, *options)
    return _Call(entrypoint, arguments, tuple(mounts), staged)


def _source(ready: ReadyCube, slot: Slot, inputs: Mapping[str, Path]) -> Path | None:
    """The host path of an input; None for one that may be left out and is."""
    if slot.key in inputs:
        return inputs[slot.key]
    place = f"{ready.name}: {ready.files.file}: {slot.key}"
    if slot.key == PARAMETERS_KEY:
        return ready.parameters
    below = slot.below_additional
    if below is not None:
        if not below and ADDITIONAL_KEY in inputs:
            return inputs[ADDITIONAL_KEY]
        if ready.additional is None:
            raise CubeError(f"{place}: the cube has no additional files.")
        source = ready.additional / below
        if not source.exists():
            raise CubeError(f"{place}: the additional files have no {below!r}.")
        return source
    return None


def _input_mount(slot: Slot, source: Path, number: int) -> tuple[Mount, str]:
    """The mount of an input and its path in the container."""
    if source.is_dir():
        kind: Literal["file", "directory"] = "directory"
    elif source.is_file():
        kind = "file"
    else:
        raise DataError(f"The input {slot.key} is missing: there is no such file or folder.")
    if slot.kind is not None and slot.kind != kind:
        raise DataError(f"The cube takes {slot.key} as a {slot.kind}, but a {kind} was given.")
    if slot.target is not None:
        return Mount(source, slot.target, kind=kind), slot.target
    home = f"/mlcube_io{number}"
    if kind == "directory":
        return Mount(source, home), home
    if slot.below_additional:  # a model file's neighbours (`x.onnx.data`) are read beside it
        return Mount(source.parent, home), f"{home}/{source.name}"
    path = f"{home}/{_file_name(slot, source)}"
    return Mount(source, path, kind="file"), path


def _file_name(slot: Slot, source: Path) -> str:
    """The name under which a task sees a file: the cube's, never the site's."""
    named = PurePosixPath(slot.path).name
    return named if PurePosixPath(named).suffix else f"{slot.key}{_suffix(source)}"


def _suffix(source: Path) -> str:
    suffix = source.suffix
    return suffix if suffix.isascii() and suffix[1:].isalnum() and len(suffix) <= 10 else ""


def _staged_at(slot: Slot, folder: Path) -> Path:
    """Where the engine puts an output that has `folder` for its own: a file by itself, or that."""
    if slot.target is not None and slot.kind == "file":
        return folder / PurePosixPath(slot.target).name
    return folder


def _output_mount(
    slot: Slot, folder: Path, number: int, seed: Path | None
) -> tuple[Mount, str, Path]:
    """The mount of an output, its path in the container, and where the result then lies."""
    if slot.target is not None:
        result = _staged_at(slot, folder)
        kind: Literal["file", "directory"] = "file" if slot.kind == "file" else "directory"
        mount = Mount(result, slot.target, writable=True, kind=kind, seed=seed)
        return mount, slot.target, result
    home = f"/mlcube_io{number}"
    if slot.kind == "file":  # a folder of its own, so that the task may write and rename beside it
        name = PurePosixPath(slot.path).name
        begins = (
            None if seed is None else _alone(seed, name, folder.with_name(f"{folder.name}.seed"))
        )
        return (
            Mount(folder, home, writable=True, seed=begins),
            f"{home}/{name}",
            folder / name,
        )
    return Mount(folder, home, writable=True, seed=seed), home, folder


def _alone(file: Path, name: str, folder: Path) -> Path:
    """A new folder that holds nothing but a copy of `file`, under `name`."""
    folder.mkdir(mode=0o700)
    shutil.copyfile(file, folder / name)
    return folder


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
