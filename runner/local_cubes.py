"""Cubes that are files on this machine, as their makers have them: run before they are submitted.

    resnet/
      mlcube.yaml                    or container_config.yaml
      workspace/parameters.yaml      or parameters.yaml
      workspace/additional_files/    or additional_files/, or additional_files.tar.gz
      main.py                        what runs in the sandbox, as `python3 main.py`
      workspace/.image/resnet.sif    what the file's singularity section names

`local_cube` makes the manifest that such a cube would have, with everything large packed into the
asset cache, so that it runs on the very way that a registered cube takes. An image that only has a
tag is resolved to its digest once; what is not in an image registry is saved from the engine.
"""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..schemas.documents import dump
from ..schemas.errors import CubeError, UsageError
from ..schemas.manifests import Asset, Cube, Image, Resources
from . import cube_yaml, docker_pins, mlcube_format
from .assets import Assets
from .named_images import archive_engine, beside, image_name
from .packing import PLATFORM, CubeParts, Role, cube_manifest
from .tarballs import files_below, write_tar
from .task_spec import PARAMETERS_KEY

CUBE_FILES = ("mlcube.yaml", "container_config.yaml")
MAIN = "main.py"
_NOT_CODE = frozenset({"workspace", "additional_files", "sample", "assets", "__pycache__"})
_IMAGES = (".tar", ".sif", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class CubeFolder:
    """Where the parts of a cube lie; what there is not is None."""

    file: Path
    parameters: Path | None
    additional: Path | None

    @property
    def root(self) -> Path:
        """The folder of the MLCube file."""
        return self.file.parent


@dataclass(frozen=True)
class Extras:
    """Parameters and additional files that lie elsewhere than beside the MLCube file."""

    parameters: Path | None = None
    additional: Path | None = None


NOTHING_EXTRA = Extras()


def find_cube(where: Path) -> CubeFolder:
    """The cube at `where`: its MLCube file, or the folder that holds it."""
    file = where
    if where.is_dir():
        there = [where / name for name in CUBE_FILES if (where / name).is_file()]
        if len(there) != 1:
            found = " and ".join(CUBE_FILES) if there else "neither " + " nor ".join(CUBE_FILES)
            raise UsageError(f"{where} has {found}: name the file that you mean.")
        file = there[0]
    if not file.is_file():
        raise UsageError(f"There is no cube at {where}: name its mlcube.yaml.")
    root = file.absolute().parent
    return CubeFolder(
        file.absolute(),
        _parameters(file, root),
        _first(
            root / "workspace/additional_files",
            root / "additional_files",
            root / "additional_files.tar.gz",
        ),
    )


def _parameters(file: Path, root: Path) -> Path | None:
    """`parameters.yaml`, or the file that the tasks call so."""
    found = _first(root / "workspace/parameters.yaml", root / "parameters.yaml")
    if found is not None:
        return found
    try:
        tasks = mlcube_format.read(file.read_text("utf-8"), file=str(file))
    except (CubeError, OSError, UnicodeDecodeError):
        return None  # said in its place, when the cube itself is read
    slots = (task.input(PARAMETERS_KEY) for task in tasks.values())
    names = {slot.path for slot in slots if slot is not None}
    return _first(*(root / "workspace" / name for name in sorted(names)))


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def sandbox_files(folder: CubeFolder) -> dict[str, Path]:
    """What goes into the sandbox's archive: the cube's code, without data, weights and images."""
    found = {}
    for path in sorted(folder.root.iterdir()):
        if path.name in _NOT_CODE or path.name.startswith(".") or path.name.endswith(_IMAGES):
            continue
        if path.is_dir():
            for name, file in files_below(path).items():
                if "__pycache__" not in file.parts:
                    found[f"{path.name}/{name}"] = file
        elif path.name not in (*CUBE_FILES, "parameters.yaml", "Dockerfile"):
            found[path.name] = path
    return found


def additional_archive(folder: CubeFolder, target: Path) -> Path | None:
    """The additional files as one archive, contents at its root: packed at `target`, or as it is.

    None where the cube has none.
    """
    where = folder.additional
    if where is None or where.is_file():
        return where
    files = files_below(where)
    return write_tar(files, target) if files else None


def local_cube(
    where: Path,
    engine: str,
    assets: Assets,
    *,
    owner: str,
    role: Role | None = None,
    sandbox_command: Sequence[str] = (),
    scratch_root: bool = False,
    extras: Extras = NOTHING_EXTRA,
) -> Cube:
    """The manifest of a cube that lies at `where`, ready to be made ready here by `engine`."""
    folder = _with(find_cube(where), extras)
    work = assets.root / "packing"
    work.mkdir(parents=True, exist_ok=True)
    packed = additional_archive(folder, work / f"additional.{os.getpid()}.tar.gz")
    additional = None if packed is None else _kept(assets, packed, f"{folder.root}/additional")
    return cube_manifest(
        CubeParts(
            name=_name(folder),
            owner=owner,
            description="A cube on this machine.",
            cube_file=folder.file,
            parameters_file=folder.parameters,
            role=role,
            images=(_image(folder, engine, assets, work, tuple(sandbox_command)),),
            additional_files=additional,
            resources=Resources(scratch_root=True) if scratch_root else None,
        )
    )


def _with(folder: CubeFolder, extras: Extras) -> CubeFolder:
    """`folder` with what was named beside it; what was named must be there."""
    for path in (extras.parameters, extras.additional):
        if path is not None and not path.exists():
            raise UsageError(f"There is nothing at {path}.")
    if extras.parameters is not None and not extras.parameters.is_file():
        raise UsageError(f"{extras.parameters} is a folder: name the parameters file.")
    return replace(
        folder,
        parameters=extras.parameters or folder.parameters,
        additional=extras.additional or folder.additional,
    )


def manifest_bytes(cube: Cube) -> bytes:
    """The bytes over which a local cube's digest is taken."""
    return dump(cube)


def _name(folder: CubeFolder) -> str:
    text = "".join(char if char.isascii() and char.isalnum() else "-" for char in folder.root.name)
    return text.lower().strip("-")[:60].strip("-") or "cube"


def _kept(assets: Assets, file: Path, shown: str) -> Asset:
    """`file` in the cache; files of our own packing are removed, they can be packed again."""
    asset = assets.keep_copy(file, Path(shown).as_uri())
    if file.parent == assets.root / "packing":
        file.unlink(missing_ok=True)
    return asset


def _image(
    folder: CubeFolder, engine: str, assets: Assets, work: Path, command: tuple[str, ...]
) -> Image:
    if engine == "sandbox":
        return _sandbox_image(folder, assets, work, command)
    document = cube_yaml.parse(folder.file.read_text("utf-8"), file=str(folder.file))
    name, kind = image_name(document), archive_engine(document)
    if kind is not None and name is not None and "://" in name:
        return _archive_image(kind, assets.pin(name))
    sif = _sif(folder, document)
    if sif is not None and (engine == "singularity" or kind == "singularity"):
        return _archive_image("singularity", _kept(assets, sif, str(sif)))
    if kind is not None and name is not None:
        file = beside(folder.root, name)
        if file is None:
            raise CubeError(f"{folder.file} names the image {name}, which is not there.")
        return _archive_image(kind, _kept(assets, file, str(file)))
    return _docker_image(folder, document, assets, work)


def _archive_image(kind: str, asset: Asset) -> Image:
    if kind == "singularity":
        return Image(engine="singularity", archive=asset)
    return Image(engine="docker", archive=asset, platform=PLATFORM)


def _sandbox_image(
    folder: CubeFolder, assets: Assets, work: Path, command: tuple[str, ...]
) -> Image:
    files = sandbox_files(folder)
    if not command and MAIN not in files:
        raise CubeError(
            f"{folder.root} has no {MAIN}, so the sandbox cannot tell what to run: say "
            "--sandbox-command 'python3 …', or use another engine."
        )
    archive = write_tar(files, work / f"sandbox.{os.getpid()}.tar.gz")
    asset = _kept(assets, archive, f"{folder.root}/sandbox.tar.gz")
    return Image(engine="sandbox", archive=asset, command=command or ("python3", MAIN))


def _section(document: Any, name: str) -> dict[str, Any]:
    section = document.get(name) if isinstance(document, dict) else None
    return section if isinstance(section, dict) else {}


def _sif(folder: CubeFolder, document: Any) -> Path | None:
    """The SIF that the MLCube file names, if it is here."""
    section = _section(document, "singularity")
    name = section.get("image")
    if isinstance(document, dict) and document.get("container_type") == "SingularityFile":
        name = document.get("image")
    if not isinstance(name, str):
        return None
    inside = section.get("image_dir")
    places = [folder.root, folder.root / "workspace", folder.root / "workspace/.image"]
    if isinstance(inside, str):
        places.insert(0, folder.root / inside.replace("{workspace}", "workspace"))
    return next((place / name for place in places if (place / name).is_file()), None)


def _docker_image(folder: CubeFolder, document: Any, assets: Assets, work: Path) -> Image:
    section = _section(document, "docker")
    tar = section.get("tar_file")
    name = image_name(document)
    for archive in (tar, name):
        if isinstance(archive, str) and archive.endswith(".tar"):
            file = beside(folder.root, archive)
            if file is not None:
                return _archive_image("docker", _kept(assets, file, str(file)))
    if name is None:
        raise CubeError(f"{folder.file} names no image for docker: write docker.image.")
    if "@sha256:" in name:
        return Image(engine="docker", image=name, platform=PLATFORM)
    found = docker_pins.look(name)
    if found.digests:
        return Image(engine="docker", image=found.digests[0], platform=PLATFORM)
    if not found.identity:
        raise CubeError(
            f"{folder.file} names the image {name}, which is not here: build it with "
            f"'{_build_command(folder.root, section, name)}', or pull it."
        )
    return Image(
        engine="docker", archive=_saved(name, found.identity, assets, work), platform=PLATFORM
    )


def _build_command(root: Path, section: dict[str, Any], name: str) -> str:
    """How MLCube would build the image: `build_file` lies in `build_context`, beside the file."""
    context, file = section.get("build_context"), section.get("build_file")
    where = os.path.normpath(root / context) if isinstance(context, str) else str(root)
    named = isinstance(file, str) and file != "Dockerfile"
    words = ["docker", "build", "-t", name, *(["-f", f"{where}/{file}"] if named else []), where]
    return shlex.join(words)


def _saved(name: str, identity: str, assets: Assets, work: Path) -> Asset:
    """An image that only this machine has, as an archive in the cache; saved once."""
    note = assets.root / "saved" / f"{identity.removeprefix('sha256:')}.json"
    try:
        asset = Asset.model_validate_json(note.read_text())
        if assets.path(asset.digest).is_file():
            return asset
    except (OSError, ValueError):
        pass
    target = work / f"image.{os.getpid()}.tar"
    docker_pins.save(identity, target)
    asset = _kept(assets, target, f"/{name.replace(':', '-')}.tar")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(asset.model_dump()))
    return asset
