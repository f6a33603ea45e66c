"""A cube: what its own files say, and what is here once it is made ready.

`read_cube` reads the files that the manifest carries, `check_role` asks that the role's tasks are
whole, `lacking` tells what runs all the same, and `workshop` makes a ReadyCube of it (image,
additional files, parameters, all verified). How one of its tasks is run: see `task_run`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..schemas.errors import CubeError
from ..schemas.manifests import Cube
from . import container_config, mlcube_format
from .engines.protocol import LocalImage
from .task_spec import (
    CONTRACTS,
    PARAMETERS_KEY,
    PARAMETERS_NAME,
    SANITY_CHECK,
    TaskSpec,
    check_tasks,
)


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
