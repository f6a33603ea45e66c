"""`container_config.yaml`, MedPerf's own form, read into tasks.

    container_type: DockerImage                # DockerArchive, SingularityFile
    image: …                                   # ignored: the manifest's pinned images run
    tasks:
      evaluate:
        run_args: {command: python3 /app/eval.py, entrypoint: …, environment: {…}, shm_size: 1g}
        input_volumes: {labels: {mount_path: /io/labels, type: directory}, …}
        output_volumes: {output_path: {mount_path: /io/results.yaml, type: file}}

The mount paths are the interface: no `--key` arguments. `command` replaces the image's default
arguments, `entrypoint` the image's entrypoint (an empty one clears it). Arguments that a task may
not choose (`network`, `privileged`) are refused, as by MedPerf; other keys that are not known here
are ignored. Parameters and additional files that the cube has not got are empty.

In the sandbox there is no image with a default command, and `command` names programs of an image
that is not there: the manifest's own command is called with the task's name (see `task_call`).
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ..schemas.errors import CubeError
from . import cube_yaml
from .task_spec import (
    ADDITIONAL_KEY,
    PARAMETERS_KEY,
    Slot,
    TaskSpec,
    read_environment,
    read_gpus,
    read_size,
    read_words,
)

FILE = "container_config.yaml"
TYPES = ("DockerImage", "DockerArchive", "SingularityFile")
_RUN_ARGS = frozenset({"command", "entrypoint", "environment", "gpus", "shm_size"})
_NEVER: Mapping[tuple[str, ...], str] = {
    ("network", "network_mode", "ports", "hostname", "dns", "extra_hosts"): (
        "a task has no network"
    ),
    (
        "user",
        "group_add",
        "userns_mode",
    ): "a task runs as an unprivileged user of the site's choice",
    ("ipc", "ipc_mode", "pid", "pid_mode"): (
        "a task shares nothing with its host; ask for shared memory by shm_size"
    ),
    ("volumes", "mounts", "tmpfs", "devices"): (
        "a task sees only its input_volumes and output_volumes; ask for GPUs by gpus"
    ),
    ("privileged", "cap_add", "security_opt", "runtime"): "a task gets no rights",
    ("read_only", "working_dir", "workdir"): (
        "the root is read-only unless the cube's manifest says scratchRoot, and the working folder "
        "is the image's"
    ),
    ("mem_limit", "memory", "cpus", "ulimits"): (
        "memory and time belong into the manifest's resources (mlcube submit --memory, --timeout)"
    ),
}
"""What people write for Docker and may not here, with the reason."""
_PROGRAMS = frozenset({"bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"})
_SYSTEM = _PROGRAMS | {"boot", "cube", "dev", "etc", "proc", "run", "sys", "tmp", "var"}
_KERNEL = frozenset({"dev", "proc", "sys"})


def read(text: str, *, file: str = FILE) -> dict[str, TaskSpec]:
    """The tasks of a `container_config.yaml`."""
    document = _mapping(cube_yaml.parse(text, file=file), file)
    kind = document.get("container_type")
    if kind not in TYPES:
        raise CubeError(
            f"{file}: container_type: found {kind!r}; write one of {', '.join(TYPES)}. Encrypted "
            "images cannot be run here: nobody could say what ran."
        )
    tasks = _mapping(document.get("tasks"), f"{file}: tasks")
    return {name: _wanted(name, raw, f"{file}: tasks.{name}") for name, raw in tasks.items()}


def _wanted(name: str, raw: Any, place: str) -> TaskSpec:
    """A task; one that cannot be read is an error only where it is wanted."""
    try:
        return _task(name, raw, place)
    except CubeError as error:
        return TaskSpec(name=name, problem=str(error))


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CubeError(f"{place}: a mapping was expected here. Write `key: value` lines.")
    return value


def _known(values: dict[str, Any], allowed: frozenset[str], place: str) -> None:
    if extra := sorted(values.keys() - allowed):
        why = next((why for keys, why in _NEVER.items() if extra[0] in keys), None)
        raise CubeError(
            f"{place}: {extra[0]!r} is not {'allowed: ' + why if why else 'known'}. "
            f"Use {', '.join(sorted(allowed))}: everything else of how a task runs is the site's "
            "decision, as with MedPerf."
        )


def _task(name: str, raw: Any, place: str) -> TaskSpec:
    task = _mapping(raw or {}, place)
    run = _mapping(task.get("run_args") or {}, f"{place}.run_args")
    _known(run, _RUN_ARGS, f"{place}.run_args")
    entrypoint, arguments = _call(run, f"{place}.run_args")
    spec = TaskSpec(
        name=name,
        inputs=_volumes(task, "input_volumes", place),
        outputs=_volumes(task, "output_volumes", place),
        entrypoint=entrypoint,
        arguments=arguments,
        environment=read_environment(run.get("environment"), f"{place}.run_args.environment"),
        shm=read_size(run.get("shm_size"), f"{place}.run_args.shm_size"),
        gpus=read_gpus(run.get("gpus"), f"{place}.run_args.gpus"),
    )
    _check_targets(spec, place)
    return spec


def _call(run: dict[str, Any], place: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Entrypoint and arguments; None is the image's own, and an empty one clears it, as in Docker.

    Then the command's first word is the program.
    """
    entrypoint, command = run.get("entrypoint"), run.get("command")
    arguments = read_words(command, f"{place}.command") if command else ()
    if entrypoint is None:
        return None, arguments
    if entrypoint not in ("", []):
        return read_words(entrypoint, f"{place}.entrypoint"), arguments
    if not arguments:
        raise CubeError(
            f"{place}.entrypoint: an empty one clears the image's, and then `command` must name "
            "the program. Add it."
        )
    return arguments[:1], arguments[1:]


def _volumes(task: dict[str, Any], side: str, place: str) -> tuple[Slot, ...]:
    volumes = _mapping(task.get(side) or {}, f"{place}.{side}")
    return tuple(_volume(key, raw, f"{place}.{side}.{key}") for key, raw in volumes.items())


def _volume(key: str, raw: Any, place: str) -> Slot:
    volume = _mapping(raw, place)
    kind, target = volume.get("type"), volume.get("mount_path")
    if kind not in ("file", "directory"):
        raise CubeError(f"{place}.type: found {kind!r}; write file or directory.")
    if not isinstance(target, str) or not target.startswith("/"):
        raise CubeError(f"{place}.mount_path: found {target!r}; write a path from / on.")
    path = PurePosixPath(target)
    plain = all(32 <= ord(letter) != 127 for letter in target) and not target.startswith("//")
    if ".." in path.parts or not plain or len(path.parts) < 2 or len(target) > 500:
        raise CubeError(f"{place}.mount_path: {target!r} is no plain path: no `..`, not / itself.")
    top = path.parts[1]
    if top in _KERNEL or (top in _SYSTEM and len(path.parts) == 2):
        raise CubeError(f"{place}.mount_path: {target!r} would hide the system; use /io/… instead.")
    if key == PARAMETERS_KEY and kind != "file":
        raise CubeError(f"{place}.type: the parameters are a file.")
    if key == ADDITIONAL_KEY and kind != "directory":
        raise CubeError(f"{place}.type: the additional files are a directory.")
    return Slot(key, path.name, kind, path.as_posix())


def _check_targets(spec: TaskSpec, place: str) -> None:
    """No two volumes have one place, and none lies in a file; in a folder it may (see nested)."""
    slots = sorted([*spec.inputs, *spec.outputs], key=lambda slot: slot.target or "")
    for one in slots:
        for other in slots:
            same = one.target == other.target
            inside = f"{other.target}/".startswith(f"{one.target}/")
            if one is not other and inside and (same or one.kind == "file"):
                raise CubeError(
                    f"{place}: {other.key} ({other.target}) lies in {one.key} ({one.target})"
                    f"{'' if same else ', which is a file'}. Give each volume a place of its own."
                )
