"""A cube to start from, and a cube's files packed for submitting.

The templates of the three roles fit together: the model and the evaluator read what the preparator
writes, so a fresh set runs at once in `medperf test run`.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..schemas.digests import file_digest
from ..schemas.errors import UsageError
from ..schemas.names import check_name
from .assets import Assets
from .local_cubes import (
    MAIN,
    additional_archive,
    find_cube,
    local_cube,
    sandbox_files,
)
from .packing import Role
from .tarballs import files_below, write_tar

_NAME = "NAME"


def create_cube(role: Role, name: str, folder: Path) -> list[str]:
    """Writes the template of `role` into the new folder; the paths of its files there."""
    check_name(name, "cube's name")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder.")
    source = resources.files(__package__).joinpath("templates", role)
    with resources.as_file(source) as template:
        files = [
            (path, rest)
            for rest, path in files_below(template).items()
            if "__pycache__" not in path.parts
        ]
        for path, rest in files:
            target = folder / rest
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name == "mlcube.yaml":
                target.write_text(path.read_text("utf-8").replace(_NAME, name), "utf-8")
            else:
                shutil.copyfile(path, target)
    return sorted(rest for _, rest in files)


@dataclass(frozen=True)
class Packed:
    """One file of a packed cube: what it is for, where it lies, its digest and size."""

    what: str
    path: Path
    digest: str
    size: int


def package_cube(
    where: Path, output: Path, *, role: Role | None, sif: Path | None, scratch: Path
) -> list[Packed]:
    """The cube's files in `output`, as `mlcube submit` takes them; its role's tasks are checked.

    `scratch` is a folder for the check alone.
    """
    folder = find_cube(where)
    parts: dict[str, Path] = {}
    output.mkdir(parents=True, exist_ok=True)
    _check(folder.file, role, scratch)
    parts["--mlcube-file"] = _copied(folder.file, output / folder.file.name)
    if folder.parameters is not None:
        parts["--parameters-file"] = _copied(folder.parameters, output / "parameters.yaml")
    additional = additional_archive(folder, output / "additional_files.tar.gz")
    if additional is not None:
        parts["--additional-file"] = _copied(additional, output / "additional_files.tar.gz")
    code = sandbox_files(folder)
    if MAIN in code:
        parts["--image-file sandbox="] = write_tar(code, output / "sandbox.tar.gz")
    if sif is not None:
        parts["--image-file singularity="] = _copied(sif, output / sif.name)
    return [
        Packed(what, path, file_digest(path), path.stat().st_size) for what, path in parts.items()
    ]


def _check(file: Path, role: Role | None, scratch: Path) -> None:
    """A CubeError if the role's tasks are not whole; the image is of no interest here."""
    from .assets import AssetPolicy

    assets = Assets(scratch, AssetPolicy())
    try:
        local_cube(
            file, "sandbox", assets, owner="local", role=role, sandbox_command=("python3", MAIN)
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copied(source: Path, target: Path) -> Path:
    if not (target.exists() and target.samefile(source)):
        shutil.copyfile(source, target)
    return target


def pack_demo(data: Path, labels: Path, target: Path, *, metadata: Path | None = None) -> Packed:
    """A demo dataset as benchmarks name it: a tar.gz with `paths.yaml` at its root."""
    files: dict[str, Path | bytes] = {}
    index: dict[str, str] = {}
    for key, where in (("data_path", data), ("labels_path", labels), ("metadata_path", metadata)):
        if where is not None:
            index[key] = _add(files, key.removesuffix("_path"), where)
    lines: Mapping[str, str] = index
    files["paths.yaml"] = "".join(f"{key}: {value}\n" for key, value in lines.items()).encode()
    beside = target.with_name(f".{target.name}.{os.getpid()}.tar.gz")
    try:
        write_tar(files, beside)
        if target.exists() and (target.is_dir() or file_digest(target) != file_digest(beside)):
            raise UsageError(f"{target} is there already and something else: name a new file.")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return Packed("--demo-url", target, file_digest(target), target.stat().st_size)


def _add(files: dict[str, Path | bytes], name: str, where: Path) -> str:
    """Puts a file or a folder into the archive; its path there."""
    if where.is_dir():
        below = files_below(where)
        if not below:
            raise UsageError(f"{where} is empty.")
        files.update({f"{name}/{rest}": path for rest, path in below.items()})
        return name
    if not where.is_file():
        raise UsageError(f"There is nothing at {where}.")
    inside = f"{name}{where.suffix}" if where.suffix.isascii() else name
    files[inside] = where
    return inside
