"""`mlcube.yaml`, as it has been written since 2021, read into tasks.

    docker: {image: …, gpu_args: --shm-size 8g, env_args: {A: b}}
    platform: {accelerator_count: 1}
    tasks:
      infer:
        entrypoint: python3 /app/main.py          # optional
        parameters:
          inputs: {data_path: data/, parameters_file: {type: file, default: parameters.yaml}}
          outputs: {output_path: {type: directory, default: predictions}}

Paths are relative to a workspace that does not exist here: they only tell the kind (a trailing `/`
is a folder) and the name of a file. `opts: rw` on an input is read and ignored. What the file says
about images is ignored too: the manifest's pinned images run.

MLCube calls the image's entrypoint as `T --key=path …`. A task's own `entrypoint` is called the
same way, unless it names a program made for this one task (`/app/infer.py` for `infer`): like
MLCube's own runners, we leave the task's name out then.
"""

from pathlib import PurePosixPath
from typing import Any

from ..schemas.errors import CubeError
from . import cube_yaml
from .task_spec import (
    ADDITIONAL_KEY,
    CONTRACTS,
    PARAMETERS_KEY,
    PARAMETERS_NAME,
    Kind,
    Slot,
    TaskSpec,
    read_environment,
    read_gpus,
    read_size,
    read_words,
    split_words,
)

FILE = "mlcube.yaml"


def read(text: str, *, file: str = FILE) -> dict[str, TaskSpec]:
    """The tasks of an `mlcube.yaml`; a known task tells the kind of outputs without a type."""
    document = _mapping(cube_yaml.parse(text, file=file), file)
    docker = _mapping(document.get("docker") or {}, f"{file}: docker")
    singularity = _mapping(document.get("singularity") or {}, f"{file}: singularity")
    environment = read_environment(docker.get("env_args"), f"{file}: docker.env_args")
    shm = _shm(docker, singularity, file)
    platform = _mapping(document.get("platform") or {}, f"{file}: platform")
    gpus = read_gpus(platform.get("accelerator_count"), f"{file}: platform.accelerator_count")
    tasks = _mapping(document.get("tasks"), f"{file}: tasks")
    specs = {}
    for name, raw in tasks.items():
        place = f"{file}: tasks.{name}"
        task = _mapping(raw or {}, place)
        parameters = _mapping(task.get("parameters") or {}, f"{place}.parameters")
        entrypoint = task.get("entrypoint")
        words = None if entrypoint in (None, "") else read_words(entrypoint, f"{place}.entrypoint")
        specs[name] = TaskSpec(
            name=name,
            inputs=_slots(parameters, "inputs", place, None),
            outputs=_slots(parameters, "outputs", place, _output_kinds(name)),
            entrypoint=words,
            arguments=() if words is not None and _made_for(name, words) else (name,),
            environment=environment,
            shm=shm,
            gpus=gpus,
        )
    return specs


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CubeError(f"{place}: a mapping was expected here. Write `key: value` lines.")
    return value


def _made_for(task: str, words: tuple[str, ...]) -> bool:
    return any(PurePosixPath(word).stem == task for word in words)


def _shm(docker: dict[str, Any], singularity: dict[str, Any], file: str) -> int | None:
    for section, values, key in (
        ("docker", docker, "gpu_args"),
        ("docker", docker, "cpu_args"),
        ("singularity", singularity, "run_args"),
    ):
        place = f"{file}: {section}.{key}"
        line = values.get(key)
        words = split_words(line, place) if isinstance(line, str) else []
        for at, word in enumerate(words):
            option, equals, value = word.partition("=")
            if option == "--shm-size":
                return read_size(value if equals else "".join(words[at + 1 : at + 2]), place)
    return None


def _output_kinds(task: str) -> dict[str, Kind]:
    contracts = [role[task] for role in CONTRACTS.values() if task in role]
    return {key: kind for one in contracts for key, kind in one.all_outputs().items()}


def _slots(
    parameters: dict[str, Any], side: str, place: str, kinds: dict[str, Kind] | None
) -> tuple[Slot, ...]:
    place = f"{place}.parameters.{side}"
    raw = _mapping(parameters.get(side) or {}, place)
    return tuple(_slot(key, value, f"{place}.{key}", kinds) for key, value in raw.items())


def _slot(key: str, value: Any, place: str, kinds: dict[str, Kind] | None) -> Slot:
    if not key.isidentifier() or not key.isascii():
        raise CubeError(f"{place}: {key!r} cannot be an option: use letters, digits and _.")
    kind: Kind | None = None
    if isinstance(value, dict):
        if extra := sorted(value.keys() - {"type", "default", "opts"}):
            raise CubeError(f"{place}: {extra[0]!r} is not known: use type, default and opts.")
        if value.get("type") not in ("file", "directory", "unknown", None):
            raise CubeError(f"{place}.type: found {value['type']!r}; write file or directory.")
        if value.get("opts") not in ("ro", "rw", None):
            raise CubeError(f"{place}.opts: found {value['opts']!r}; write ro or rw.")
        named = value.get("type")
        kind = named if named in ("file", "directory") else None
        value = value.get("default", key)
    if not isinstance(value, str) or not value:
        raise CubeError(f"{place}: write a path below the workspace.")
    if value.endswith("/"):
        if kind == "file":
            raise CubeError(f"{place}: {value!r} ends in / but its type is file.")
        kind = "directory"
    path = _inside(value, place)
    if kinds is not None:
        kind = kind or kinds.get(key)
    elif kind is None:
        kind = _input_kind(key)
    if key == PARAMETERS_KEY and PurePosixPath(path).name != PARAMETERS_NAME:
        raise CubeError(f"{place}: the parameters file is always called {PARAMETERS_NAME}.")
    return Slot(key, path, kind)


def _input_kind(key: str) -> Kind | None:
    if key == PARAMETERS_KEY:
        return "file"
    return "directory" if key == ADDITIONAL_KEY else None


def _inside(value: str, place: str) -> str:
    path = PurePosixPath(value)
    bad = path.is_absolute() or ".." in path.parts or value[0] in "~$" or "\\" in value
    if bad or not path.parts or any(ord(letter) < 32 for letter in value):
        raise CubeError(f"{place}: {value!r} must be a path below the workspace, without `..`.")
    return path.as_posix()
