"""From a cube's files to its manifest: what is small goes in, what is large is named by digest.

Nothing is uploaded. A large file has an address already, or `--host DIR` lays a copy out under the
name that the address will have, and the person uploads that folder.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import ValidationError

from ..schemas.digests import file_digest
from ..schemas.errors import CubeError, UsageError
from ..schemas.manifests import (
    API_VERSION,
    Asset,
    Cube,
    CubeSpec,
    Image,
    LabelledMetadata,
    Metric,
    Resources,
)
from ..schemas.names import nearest
from . import docker_pins
from .assets import Assets
from .cubes import check_role, read_cube
from .docker_pins import pinned
from .engines.docker_archive import is_docker_archive

Role = Literal["preparator", "model", "evaluator"]
Files = dict[Literal["mlcube.yaml", "container_config.yaml", "parameters.yaml"], str]
ENGINES = ("docker", "singularity", "sandbox")
PLATFORM = "linux/amd64"


@dataclass(frozen=True)
class Hosting:
    """Where others will find large local files: a folder to lay them out, and its address."""

    folder: Path
    url: str

    def place(self, file: Path, digest: str) -> str:
        """Copies `file` into the folder, and returns the address that it will have there.

        What another cube laid out under the same name stays: this one's name is told by its digest.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / file.name
        if target.exists() and not target.samefile(file) and file_digest(target) != digest:
            target = self.folder / f"{digest[7:19]}-{file.name}"
        if not target.exists():
            beside = target.with_name(target.name + ".tmp")
            shutil.copyfile(file, beside)
            beside.replace(target)
        return self.address(target)

    def address(self, file: Path) -> str:
        """The address that a file of the folder will have."""
        return f"{self.url.rstrip('/')}/{quote(file.name)}"

    def save(self, name: str, identity: str) -> Asset:
        """An image that only this machine's Docker engine has, saved into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "image"
        target = self.folder / f"{plain}-{identity.removeprefix('sha256:')[:12]}.tar"
        if not target.exists():
            beside = target.with_name(target.name + ".tmp")
            docker_pins.save(identity, beside)
            beside.replace(target)
        return Asset(
            url=self.address(target), digest=file_digest(target), size=target.stat().st_size
        )

    def holds(self, cube: Cube) -> list[Path]:
        """The files of this folder that a cube's manifest gives addresses of."""
        pinned = [image.archive for image in cube.spec.images if image.archive is not None]
        if cube.spec.additional_files is not None:
            pinned.append(cube.spec.additional_files)
        urls = {asset.url for asset in pinned}
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        files = sorted(path for path in there if path.is_file())
        return [path for path in files if self.address(path) in urls]


def asset_for(where: str, assets: Assets, hosting: Hosting | None) -> Asset:
    """The pinned asset for a URL or a local file; its digest and size are computed here.

    A URL is downloaded once, by this site's policy. A local file needs `hosting`, or must lie in a
    folder from which the policy lets `file:` addresses be read.
    """
    if "://" in where:
        return assets.pin(where)
    file = Path(where).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"There is no file {where}.")
    digest = file_digest(file)
    if hosting is not None:
        url = hosting.place(file, digest)
    elif assets.policy.allows_file(file):
        url = file.as_uri()
    else:
        raise UsageError(
            f"{where} is on this machine only: others need an address for it. Upload it and give "
            "its https address, or lay it out with --host DIR --host-url https://…"
        )
    return Asset(url=url, digest=digest, size=file.stat().st_size)


def image_for(
    where: str,
    assets: Assets,
    hosting: Hosting | None,
    *,
    sandbox_command: Sequence[str] = (),
    platform: str = PLATFORM,
) -> Image:
    """The image entry for `[ENGINE=]PATH|URL|NAME@sha256:…`; a name's end tells the engine.

    `docker=NAME:TAG` is resolved to its digest: what a tag means tomorrow nobody knows. One that is
    in this machine's engine only is saved where `hosting` lays files out.
    """
    engine, equals, rest = where.partition("=")
    if not (equals and engine in ENGINES):
        if equals and engine.isalpha() and not Path(where).exists():
            close = nearest(engine, ENGINES) or list(ENGINES)
            raise UsageError(f"{where}: {engine} is no engine. Did you mean {' or '.join(close)}?")
        rest = where
        engine = _engine_of(where)
    if "@sha256:" in rest and "://" not in rest:
        if engine != "docker":
            raise UsageError(f"{where}: an image by digest is for the docker engine.")
        if re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", rest) is None:
            raise UsageError(f"{where}: a digest is sha256: and 64 hex digits, after the name.")
        return Image(engine="docker", image=rest, platform=platform)
    if engine == "docker" and _is_tag(rest):
        identity = docker_pins.only_here(rest) if hosting is not None else None
        if hosting is not None and identity is not None:
            return Image(engine="docker", archive=hosting.save(rest, identity), platform=platform)
        return Image(engine="docker", image=pinned(rest), platform=platform)
    asset = asset_for(rest, assets, hosting)
    if engine == "docker":
        return Image(engine="docker", archive=asset, platform=platform)
    if engine == "singularity":
        return Image(engine="singularity", archive=asset)
    if not sandbox_command:
        raise UsageError(f"{where}: a sandbox archive needs --sandbox-command 'python3 main.py'.")
    return Image(engine="sandbox", archive=asset, command=tuple(sandbox_command))


def _is_tag(where: str) -> bool:
    """Whether this is the name of an image rather than a file or an address."""
    return not ("://" in where or where.endswith(".tar") or Path(where).expanduser().exists())


def _engine_of(where: str) -> str:
    if "@sha256:" in where or where.endswith(".tar"):
        return "docker"
    if where.endswith(".sif"):
        return "singularity"
    if where.endswith((".tar.gz", ".tgz")):
        packed = "://" not in where and is_docker_archive(Path(where).expanduser())
        return "docker" if packed else "sandbox"
    raise UsageError(
        f"{where}: which engine is this for? Write docker=…, singularity=… or sandbox=…"
    )


@dataclass(frozen=True)
class CubeParts:
    """What a person hands in for a cube."""

    name: str
    owner: str
    description: str
    cube_file: Path
    parameters_file: Path | None = None
    role: Role | None = None
    images: tuple[Image, ...] = ()
    additional_files: Asset | None = None
    statistics: dict[str, Metric] | None = None
    resources: Resources | None = None
    labels: dict[str, str] | None = None
    replaces: str | None = None


def cube_manifest(parts: CubeParts) -> Cube:
    """The manifest of a cube; its tasks are read, so that it can be run as its role."""
    text = small_text(parts.cube_file)
    config = "container_type:" in text
    files: Files = {"container_config.yaml" if config else "mlcube.yaml": text}
    if parts.parameters_file is not None:
        files["parameters.yaml"] = small_text(parts.parameters_file)
    draft = _draft(parts, files)
    tasks = read_cube(draft)
    role = parts.role or _role_of(set(tasks.tasks))
    check_role(tasks, role)
    return draft.model_copy(update={"spec": draft.spec.model_copy(update={"role": role})})


def _draft(parts: CubeParts, files: Files) -> Cube:
    """The manifest as handed in, with the role of a model where none is said."""
    try:
        return Cube(
            api_version=API_VERSION,
            kind="Cube",
            metadata=LabelledMetadata(
                name=parts.name,
                owner=parts.owner,
                description=parts.description,
                labels=parts.labels or None,
            ),
            spec=CubeSpec(
                role=parts.role or "model",
                format="container-config" if "container_config.yaml" in files else "mlcube",
                files=files,
                images=parts.images,
                additional_files=parts.additional_files,
                statistics=parts.statistics,
                resources=parts.resources,
                replaces=parts.replaces,
            ),
        )
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}." for e in error.errors())
        raise UsageError("The cube cannot be described like this: " + " ".join(lines)) from error


def _role_of(tasks: set[str]) -> Role:
    roles: dict[str, Role] = {"prepare": "preparator", "infer": "model", "evaluate": "evaluator"}
    found = [role for task, role in roles.items() if task in tasks]
    if len(found) == 1:
        return found[0]
    raise CubeError(
        f"The cube's tasks ({', '.join(sorted(tasks)) or 'none'}) do not tell its role: "
        "say --role preparator, model or evaluator."
    )


def small_text(file: Path) -> str:
    """The text of a file that goes into a manifest; CubeError if it is none."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CubeError(f"{file} is not UTF-8 text, so it cannot go into a manifest.") from error
