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
is a folder), the name of a file, and what lies below `additional_files/`. So a path that leads out
of the workspace (`$HOME/data`, `../raw`) keeps its last name and opens nothing. `opts: rw` on an
input is read and ignored, as is every key that is not known here. What the file says about images
is ignored too: the manifest's pinned images run. A task that cannot be read is an error only where
it is wanted: files in the wild have a `train` or a `download` beside the task that matters.

MLCube calls the image's entrypoint as `T --key=path …`, and by its contract a task's own
`entrypoint` without the task's name: the program is the task's. Where several tasks share one it
cannot tell them apart without, so there the name is passed, and always: without it, the program may
do another task's work. `other_custom` is the other way for a task's very own entrypoint, with the
name, as one version of MLCube's Docker runner did it: see `task_run` for when it is tried.
"""

import re
from pathlib import PurePosixPath
from typing import Any

from ..schemas.errors import CubeError
from . import cube_yaml
from .task_spec import (
    ADDITIONAL_KEY,
    CONTRACTS,
    PARAMETERS_KEY,
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
    if "steps" in document and "tasks" not in document:
        raise CubeError(
            f"{file}: this is an Airflow workflow, which needs services and a network of its own: "
            "it cannot run here. Submit a container that has the tasks."
        )
    docker = _mapping(document.get("docker") or {}, f"{file}: docker")
    singularity = _mapping(document.get("singularity") or {}, f"{file}: singularity")
    arguments = _run_arguments({"docker": docker, "singularity": singularity}, file)
    environment = _environment(arguments, docker, file)
    shm = _shm(arguments)
    platform = _mapping(document.get("platform") or {}, f"{file}: platform")
    gpus = read_gpus(platform.get("accelerator_count"), f"{file}: platform.accelerator_count")
    tasks = _mapping(document.get("tasks"), f"{file}: tasks")
    shared = _shared(tasks)
    specs = {}
    for name, raw in tasks.items():
        place = f"{file}: tasks.{name}"
        try:
            specs[name] = _task(name, raw, place, environment, shm, gpus, shared)
        except CubeError as error:
            specs[name] = TaskSpec(name=name, problem=str(error))
    return specs


def _task(
    name: str,
    raw: Any,
    place: str,
    environment: dict[str, str],
    shm: int | None,
    gpus: int,
    shared: frozenset[str],
) -> TaskSpec:
    task = _mapping(raw or {}, place)
    parameters = _mapping(task.get("parameters") or {}, f"{place}.parameters")
    entrypoint = task.get("entrypoint")
    none = entrypoint is None or (isinstance(entrypoint, str) and not entrypoint.strip())
    words = None if none else read_words(entrypoint, f"{place}.entrypoint")
    named: tuple[str, ...] = (name,)
    alone = words is not None and str(entrypoint) not in shared
    return TaskSpec(
        name=name,
        inputs=_slots(parameters, "inputs", place, None),
        outputs=_slots(parameters, "outputs", place, _output_kinds(name)),
        entrypoint=words,
        arguments=() if alone else named,
        other_custom=named if alone else None,
        environment=environment,
        shm=shm,
        gpus=gpus,
    )


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CubeError(f"{place}: a mapping was expected here. Write `key: value` lines.")
    return value


def _plain(variables: Any) -> Any:
    """Without those that MLCube fills in from its user's own (`${oc.env:HOME}`): not given here."""
    if not isinstance(variables, dict):
        return variables
    return {name: text for name, text in variables.items() if "${" not in str(text)}


def _shared(tasks: dict[str, Any]) -> frozenset[str]:
    """The entrypoints that more than one task has."""
    found = [str(raw["entrypoint"]) for raw in tasks.values() if _has_entrypoint(raw)]
    return frozenset(one for one in found if found.count(one) > 1)


def _has_entrypoint(raw: Any) -> bool:
    return isinstance(raw, dict) and bool(raw.get("entrypoint"))


_RUN_ARGUMENTS = (("docker", "cpu_args"), ("docker", "gpu_args"), ("singularity", "run_args"))
_SHARED_WITH_HOST = 8 << 30
"""What `--ipc=host` gets instead of the host's shared memory: what is meant is "enough"."""


def _run_arguments(document: dict[str, Any], file: str) -> list[tuple[str, str, str]]:
    """The options of the file's run arguments, as (place, option, value).

    MLCube gives them to `docker run`; most of them are the site's to decide and go unread.
    """
    found = []
    for section, key in _RUN_ARGUMENTS:
        line = (document.get(section) or {}).get(key)
        place = f"{file}: {section}.{key}"
        words = split_words(line, place) if isinstance(line, str) else []
        for at, word in enumerate(words):
            option, equals, value = word.partition("=")
            if word.startswith("-"):
                found.append((place, option, value if equals else "".join(words[at + 1 : at + 2])))
    return found


_SETS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def _shm(arguments: list[tuple[str, str, str]]) -> int | None:
    for place, option, value in arguments:
        if option == "--shm-size":
            return read_size(value, place)
    shared = any(option == "--ipc" and value == "host" for _, option, value in arguments)
    return _SHARED_WITH_HOST if shared else None


def _environment(
    arguments: list[tuple[str, str, str]], docker: dict[str, Any], file: str
) -> dict[str, str]:
    """What `-e NAME=value` and `env_args` set; `-e NAME` alone is the user's own, and left out.

    Singularity's `-e` is `--cleanenv`: what follows it is another option, or no variable.
    """
    found: dict[str, str] = {}
    for place, option, value in arguments:
        if option in ("-e", "--env") and _SETS.match(value) and "${" not in value:
            found |= read_environment([value], place)
    return found | read_environment(_plain(docker.get("env_args")), f"{file}: docker.env_args")


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
    if not _OPTION.match(key):
        raise CubeError(f"{place}: {key!r} cannot be an option: use letters, digits, - and _.")
    kind: Kind | None = None
    if isinstance(value, dict):
        if value.get("type") not in ("file", "directory", "unknown", None):
            raise CubeError(f"{place}.type: found {value['type']!r}; write file or directory.")
        named = value.get("type")
        kind = named if named in ("file", "directory") else None
        value = value.get("default", key)
    if not isinstance(value, str) or not value:
        raise CubeError(f"{place}: write a path below the workspace.")
    if value.endswith("/"):  # as with MLCube, the slash outweighs the type
        kind = "directory"
    if kinds is not None:
        kind = kind or kinds.get(key)
    elif kind is None:
        kind = _input_kind(key)
    return Slot(key, _inside(value, key), kind)


_OPTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


def _input_kind(key: str) -> Kind | None:
    if key == PARAMETERS_KEY:
        return "file"
    return "directory" if key == ADDITIONAL_KEY else None


def _inside(value: str, key: str) -> str:
    """The path below the workspace; of one that leads out of it, the last name alone."""
    plain = "".join(letter for letter in value if ord(letter) >= 32 and letter != "\\")
    path = PurePosixPath(plain)
    if path.is_absolute() or ".." in path.parts or value[0] in "~$":
        name = path.name.lstrip("~$")
        return name if name not in ("", "..") else key
    return path.as_posix() if path.parts else key
