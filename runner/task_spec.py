"""What a cube's tasks are, whichever file described them, and what each role's tasks must be.

Both readers (`mlcube_format`, `container_config`) end here; `task_run` turns a TaskSpec and some
folders into one task for an engine. Inputs are read-only whatever the file says.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..schemas.errors import CubeError

ALL_GPUS = -1
PARAMETERS_KEY = "parameters_file"
ADDITIONAL_KEY = "additional_files"
PARAMETERS_NAME = "parameters.yaml"
ADDITIONAL_FOLDER = "additional_files"

Kind = Literal["file", "directory"]


@dataclass(frozen=True)
class Slot:
    """One input or output of a task.

    `path` is relative to the MLCube's workspace, without a trailing slash; `target` is the mount
    path of a container-config, None for an MLCube. `kind` None: what is given decides.
    """

    key: str
    path: str
    kind: Kind | None
    target: str | None = None

    @property
    def below_additional(self) -> str | None:
        """The path below the additional files that this input names ('' for all of them)."""
        if self.key == ADDITIONAL_KEY and (self.target or self.path == ADDITIONAL_FOLDER):
            return ""
        if self.target is None and self.path == ADDITIONAL_FOLDER:
            return ""
        if self.target is None and self.path.startswith(ADDITIONAL_FOLDER + "/"):
            return self.path.removeprefix(ADDITIONAL_FOLDER + "/")
        return None

    @property
    def names_nothing(self) -> bool:
        """Whether an MLCube's input says that it is not given: `default: "null"`."""
        nothing = self.path.lower() in ("null", "none")
        return nothing and self.target is None and self.kind != "directory"


@dataclass(frozen=True)
class TaskSpec:
    """One task: how it is called, what it takes and gives, what it asks for.

    `entrypoint` None is the image's own. `arguments` stand before the `--key=path` arguments of an
    MLCube; they are all the arguments of a container-config task. `other_custom` are those of the
    other custom in which a task's own entrypoint may be meant. `problem`: why it cannot be read.
    """

    name: str
    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    shm: int | None = None
    gpus: int = 0
    other_custom: tuple[str, ...] | None = None
    problem: str | None = None

    def input(self, key: str) -> Slot | None:
        """The input of this key, if the task has it."""
        return next((slot for slot in self.inputs if slot.key == key), None)

    def output(self, key: str) -> Slot | None:
        """The output of this key, if the task has it."""
        return next((slot for slot in self.outputs if slot.key == key), None)


@dataclass(frozen=True)
class Contract:
    """What a role's task takes and gives; the kind of each output, and which may be left out."""

    inputs: frozenset[str]
    outputs: Mapping[str, Kind] = field(default_factory=dict)
    optional_inputs: frozenset[str] = frozenset()
    optional_outputs: Mapping[str, Kind] = field(default_factory=dict)

    def all_outputs(self) -> dict[str, Kind]:
        """Key → kind of every output that this task may have."""
        return {**self.outputs, **self.optional_outputs}


SANITY_CHECK = "sanity_check"
MAY_LACK = frozenset({SANITY_CHECK})
"""Tasks that a cube may do without: today's MedPerf lets `statistics` check the data (ADR 11)."""

_PREPARED = frozenset({"labels_path", "metadata_path", "report_file"})
CONTRACTS: Mapping[str, Mapping[str, Contract]] = {
    "preparator": {
        "prepare": Contract(
            frozenset({"data_path", "labels_path"}),
            {"output_path": "directory"},
            optional_inputs=frozenset({"manual_path", "metadata_path"}),
            optional_outputs={
                "output_labels_path": "directory",
                "metadata_path": "directory",
                "report_file": "file",
            },
        ),
        SANITY_CHECK: Contract(frozenset({"data_path"}), optional_inputs=_PREPARED),
        "statistics": Contract(
            frozenset({"data_path"}), {"output_path": "file"}, optional_inputs=_PREPARED
        ),
    },
    "model": {"infer": Contract(frozenset({"data_path"}), {"output_path": "directory"})},
    "evaluator": {
        "evaluate": Contract(
            frozenset({"predictions", "labels"}),
            {"output_path": "file"},
            optional_outputs={"local_outputs_path": "directory"},
        )
    },
}


def check_tasks(tasks: Mapping[str, TaskSpec], role: str, *, file: str) -> None:
    """CubeError, naming the file and the key, if the role's tasks are not all there and whole.

    Tasks beside the role's own are left alone: cubes in the wild have a `train` or a `download`.
    """
    for name, contract in CONTRACTS[role].items():
        spec = tasks.get(name)
        if spec is None and name in MAY_LACK:
            _check_not_misspelt(name, tasks, file)
            continue
        if spec is None:
            found = ", ".join(sorted(tasks)) or "none"
            raise CubeError(f"{file}: a {role} needs the task {name!r}; it has {found}. Add it.")
        _check_task(spec, contract, f"{file}: tasks.{name}")
    prepare = tasks.get("prepare")
    if role == "preparator" and prepare is not None:
        for key in ("metadata_path", "report_file"):
            for name in (SANITY_CHECK, "statistics"):
                spec = tasks.get(name)
                if prepare.output(key) is None and spec is not None and spec.input(key):
                    raise CubeError(
                        f"{file}: tasks.{name} takes {key}, but tasks.prepare has no such "
                        "output. Add it there or remove it here."
                    )


def _check_not_misspelt(name: str, tasks: Mapping[str, TaskSpec], file: str) -> None:
    """CubeError if a task that may be left out is there, but so written that it would not run."""
    for other in tasks:
        if _letters(other) == _letters(name):
            raise CubeError(f"{file}: the task {other!r} must be called {name!r} to be run.")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _check_task(spec: TaskSpec, contract: Contract, place: str) -> None:
    if spec.problem is not None:
        raise CubeError(spec.problem)
    for key in sorted(contract.inputs):
        if spec.input(key) is None:
            raise CubeError(f"{place}: the input {key!r} is missing. Add it.")
    for key in contract.outputs:
        if spec.output(key) is None:
            raise CubeError(f"{place}: the output {key!r} is missing. Add it.")
    for slot in spec.inputs:
        known = slot.key in contract.inputs | contract.optional_inputs | {PARAMETERS_KEY}
        if not known and slot.below_additional is None and not slot.names_nothing:
            raise CubeError(
                f"{place}: nothing can be given for the input {slot.key!r}. Take one of "
                f"{', '.join(sorted(contract.inputs | contract.optional_inputs))}, "
                f"{PARAMETERS_KEY}, or a path below {ADDITIONAL_FOLDER}/."
            )
    for slot in spec.outputs:
        kind = contract.all_outputs().get(slot.key)
        if kind is None:  # a log, a cache: the task gets a place for it, which goes with the task
            continue
        if slot.kind is not None and slot.kind != kind:
            raise CubeError(f"{place}: the output {slot.key!r} must be a {kind}, not {slot.kind}.")


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_STARTER = ("APPTAINER", "SINGULARITY")


def read_environment(value: Any, place: str) -> dict[str, str]:
    """The variables of a mapping, a list of `NAME=value`, or a string of `-e NAME=value`.

    `PATH`, `HOME` and the loader's (`LD_PRELOAD`) are the cube's to set, as in its image: every
    engine sets a task's variables behind the lock, where nothing of its own runs any more. Those of
    Apptainer are refused: they steer the scripts by which it starts an image, inside it too.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        words = [word for word in split_words(value, place) if word not in ("-e", "--env")]
        value = [word.removeprefix("--env=") for word in words]
    if isinstance(value, list):
        if not all(isinstance(item, str) and "=" in item for item in value):
            raise CubeError(f"{place}: write each variable as NAME=value.")
        value = dict(item.split("=", 1) for item in value)
    if not isinstance(value, dict):
        raise CubeError(f"{place}: write the variables as NAME: value.")
    variables = {}
    for name, text in value.items():
        if not _VARIABLE.match(name):
            raise CubeError(f"{place}: {name!r} is no name of a variable: use letters and _.")
        if name.startswith(_STARTER):
            raise CubeError(
                f"{place}: {name} may not be set: variables of Apptainer and Singularity steer how "
                "the site starts the image. Remove it."
            )
        variables[name] = _variable(text, f"{place}.{name}")
    return variables


def _variable(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or not isinstance(value, str | int | float) or "\0" in str(value):
        raise CubeError(f"{place}: write one word or number.")
    return str(value)


_SIZE = re.compile(r"([0-9]{1,12})\s*([bkmgt]?)i?b?\Z", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def read_size(value: Any, place: str) -> int | None:
    """Bytes of a size as Docker writes it: `8gb`, `512m`, `1073741824`."""
    if value is None:
        return None
    match = _SIZE.match(str(value).strip()) if isinstance(value, str | int) else None
    if match is None or isinstance(value, bool) or not int(match[1]):
        raise CubeError(f"{place}: {value!r} is no size: write 512m or 8g.")
    return int(match[1]) * _UNITS[match[2].lower()]


def read_gpus(value: Any, place: str) -> int:
    """How many GPUs are asked for; which ones is the site's choice, so device lists only count."""
    if value is None or value == "":
        return 0
    if value == "all":
        return ALL_GPUS
    text = str(value)
    if isinstance(value, str) and text.startswith("device=") and len(text) > len("device="):
        return text.count(",") + 1
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,2}", text):
        raise CubeError(f"{place}: {value!r} is no number of GPUs: write 0, 1, … or all.")
    return int(text)


def read_words(value: Any, place: str) -> tuple[str, ...]:
    """A command as a string for the shell's word rules (no shell runs), or a list of words."""
    if isinstance(value, str):
        words = split_words(value, place)
    elif isinstance(value, list):
        words = [_variable(word, place) for word in value]
    else:
        raise CubeError(f"{place}: write a command, as one line or as a list of words.")
    if not words or not words[0] or any("\0" in word for word in words):
        raise CubeError(f"{place}: the command is empty.")
    return tuple(words)


def split_words(line: str, place: str) -> list[str]:
    """`line` in words by the shell's quoting."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise CubeError(f"{place}: a quote is not closed in {line!r}.") from error
