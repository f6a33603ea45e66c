"""How a task is called: what is mounted where, and the words that tell the task so.

1. Each input and output has a container path: an MLCube's are `/mlcube_io0`, `/mlcube_io1`, … as
   MLCube numbers them; a container-config names its own.
2. Inputs are read-only; what the task writes goes into fresh folders with names that say nothing.
3. An MLCube is called as `T --key=path …`, a container-config by its own command. In the sandbox,
   where no image brings a command, the manifest's command is called in both cases, with `T`.

Of a file only the file itself is shown to the task, never the folder around it; additional files
are the exception, whose neighbours belong to the same cube.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..schemas.errors import CubeError, DataError
from .cubes import ReadyCube
from .engines.protocol import Mount
from .task_spec import ADDITIONAL_KEY, PARAMETERS_KEY, Slot, TaskSpec


@dataclass(frozen=True)
class Call:
    """How a task is called, and where what it writes is staged, by key."""

    entrypoint: tuple[str, ...] | None
    arguments: tuple[str, ...]
    mounts: tuple[Mount, ...]
    staged: Mapping[str, Path]


def call_of(
    ready: ReadyCube,
    spec: TaskSpec,
    inputs: Mapping[str, Path],
    seeds: Mapping[str, Path],
    staging: Path,
) -> Call:
    """The call of a task on these inputs; `staging` gets the folders that it writes into.

    `seeds` is what outputs begin with, by key. CubeError or DataError: an input is not there.
    """
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
    return Call(entrypoint, arguments, tuple(mounts), staged)


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


def staged_at(slot: Slot, folder: Path) -> Path:
    """Where the engine puts an output that has `folder` for its own: a file by itself, or that."""
    if slot.target is not None and slot.kind == "file":
        return folder / PurePosixPath(slot.target).name
    return folder


def _output_mount(
    slot: Slot, folder: Path, number: int, seed: Path | None
) -> tuple[Mount, str, Path]:
    """The mount of an output, its path in the container, and where the result then lies."""
    if slot.target is not None:
        result = staged_at(slot, folder)
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
