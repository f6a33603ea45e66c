"""The image that a cube's own file names, where a person does not name one.

    docker: {image: example/toy:0.1.0}               an MLCube's: to be resolved to its digest
    container_type: DockerImage      image: example/toy:0.1.0
    container_type: DockerArchive    image: model.tar, or https://…
    container_type: SingularityFile  image: model.sif, or https://…

A file is looked for beside the cube's file, and in its workspace.
"""

from pathlib import Path
from typing import Any

from ..schemas.errors import UsageError
from . import cube_yaml

_ARCHIVES = {"DockerArchive": "docker", "SingularityFile": "singularity"}


def named_image(file: Path, text: str) -> str:
    """`ENGINE=WHERE`, as `--image-file` takes it; a UsageError where there is none."""
    document = cube_yaml.parse(text, file=str(file))
    name = image_name(document)
    if name is None:
        raise UsageError(
            f"{file} names no image: say --image-file, as docker=NAME:TAG, a docker-save tar or a "
            "SIF."
        )
    engine = archive_engine(document)
    if engine is None or "://" in name:
        return f"{engine or 'docker'}={name}"
    found = beside(file.absolute().parent, name)
    if found is None:
        raise UsageError(f"{file} names the image {name}, which is not there: say --image-file.")
    return f"{engine}={found}"


def image_name(document: Any) -> str | None:
    """What the file calls its image; None if it has no name for one."""
    if not isinstance(document, dict):
        return None
    section = document.get("docker")
    inner = section.get("image") if isinstance(section, dict) else None
    name = inner or document.get("image")
    return name if isinstance(name, str) and name else None


def archive_engine(document: Any) -> str | None:
    """The engine of an image that is a file; None for an image of an image registry."""
    kind = document.get("container_type") if isinstance(document, dict) else None
    return _ARCHIVES.get(kind) if isinstance(kind, str) else None


def beside(root: Path, name: str) -> Path | None:
    """The file of this name beside the cube's file, or in its workspace."""
    return next((path for path in (root / name, root / "workspace" / name) if path.is_file()), None)
