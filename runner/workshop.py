"""Cubes made ready to run: each piece fetched, verified, unpacked and loaded, once.

`store` keeps what was made from assets: `additional/<hex>` (unpacked, verified again at each use),
`parameters/<hex>/parameters.yaml`, and what the engine itself keeps below `images/`.
"""

import os
import platform
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..schemas.digests import digest as digest_of
from ..schemas.errors import CubeError
from ..schemas.manifests import Asset, Cube, Image
from ..schemas.progress import in_words
from .archives import unpacked
from .assets import Assets
from .cubes import CubeFiles, ReadyCube, check_role, read_cube
from .engines.protocol import Engine, ImageSource
from .task_spec import PARAMETERS_NAME

Progress = Callable[[str], None]
"""Called with one short sentence when a slow step begins."""

_MACHINES = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
    "armv7l": "linux/arm/v7",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
}
_SUITABLE: Mapping[str, Sequence[tuple[str, str]]] = {
    # engine → (an entry's engine, what it has), best first
    "sandbox": (("sandbox", "archive"),),
    "docker": (("docker", "image"), ("docker", "archive")),
    "singularity": (("singularity", "archive"), ("docker", "archive"), ("docker", "image")),
}


def host_platform() -> str:
    """This machine as images name it, `linux/amd64`."""
    machine = platform.machine().lower()
    return _MACHINES.get(machine, f"linux/{machine}")


def choose_image(cube: Cube, engine: str) -> Image:
    """The image entry of a cube that this engine runs here; CubeError lists what there is.

    Singularity takes its own entry first, then a Docker archive, then a Docker image by digest:
    it converts both.
    """
    here = host_platform()
    entries = [one for one in cube.spec.images if one.platform in (None, here)]
    for kind, has in _SUITABLE[engine]:
        for entry in entries:
            if entry.engine == kind and getattr(entry, has) is not None:
                return entry
    there = ", ".join(_describe(one) for one in cube.spec.images)
    raise CubeError(
        f"{cube.metadata.owner}/{cube.metadata.name} has no image for {engine} on {here}; it has "
        f"{there}. Use another engine, or ask its owner for one."
    )


def _describe(entry: Image) -> str:
    what = "image" if entry.image is not None else "archive"
    return f"{entry.engine} {what}" + (f" for {entry.platform}" if entry.platform else "")


class Workshop:
    """Makes cubes ready for one engine of one site."""

    def __init__(self, assets: Assets, engine: Engine, store: Path) -> None:
        self.assets = assets
        self.engine = engine
        self.store = store

    def ready(
        self,
        cube: Cube,
        digest: str,
        *,
        mirrors: Mapping[str, Sequence[str]] | None = None,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> ReadyCube:
        """The cube with image, additional files and parameters here and verified.

        `digest` is the manifest's; `mirrors` are further addresses by asset digest. What can be
        wrong with the cube's files is found first, before anything is fetched.
        """
        files = read_cube(cube)
        check_role(files, cube.spec.role)
        entry = choose_image(cube, self.engine.name)
        name = f"{cube.metadata.owner}/{cube.metadata.name}"
        fetch = _Fetch(self.assets, mirrors or {}, progress, stop)
        source = ImageSource(
            engine=entry.engine,
            reference=entry.image,
            archive=fetch(entry.archive, f"the image of {name}"),
            digest=_image_digest(entry),
            platform=entry.platform,
            command=entry.command,
        )
        image = self.engine.ensure_image(
            source, store=self.store / "images", progress=progress, stop=stop
        )
        return ReadyCube(
            cube=cube,
            digest=digest,
            files=files,
            image=image,
            additional=self._additional(cube, fetch, name),
            parameters=self._parameters(files),
        )

    def _additional(self, cube: Cube, fetch: "_Fetch", name: str) -> Path | None:
        asset = cube.spec.additional_files
        archive = fetch(asset, f"the additional files of {name}")
        if asset is None or archive is None:
            return None
        store = self.store / "additional"
        what = f"The archive of {name}'s additional files"
        return unpacked(archive, asset.digest, store, what=what)

    def _parameters(self, files: CubeFiles) -> Path | None:
        """The parameters as a file, byte for byte those of the manifest."""
        data = files.parameters
        if data is None:
            return None
        path = self.store / "parameters" / digest_of(data)[7:] / PARAMETERS_NAME
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, fresh = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(handle, 0o444)
            Path(fresh).replace(path)
        return path


def _image_digest(entry: Image) -> str:
    if entry.image is not None:
        return entry.image.partition("@")[2]
    assert entry.archive is not None, "an image entry has an image or an archive"  # noqa: S101
    return entry.archive.digest


class _Fetch:
    """Fetches the assets of one cube, with its mirrors, telling the person once for each."""

    def __init__(
        self,
        assets: Assets,
        mirrors: Mapping[str, Sequence[str]],
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> None:
        self.assets = assets
        self.mirrors = mirrors
        self.progress = progress
        self.stop = stop

    def __call__(self, asset: Asset | None, what: str) -> Path | None:
        if asset is None:
            return None
        if self.progress is not None and not self.assets.path(asset.digest).exists():
            self.progress(f"Fetching {what} ({in_words(asset.size)})")
        mirrors = self.mirrors.get(asset.digest, ())
        return self.assets.fetch(asset, mirrors=mirrors, stop=self.stop)
