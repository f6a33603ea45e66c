"""Taking a registry to a site without a network, and its results out (docs/site.md).

The folder that is carried holds `registry.git`, which the site has as its registry, and `assets/`,
a store by digest with what the site's runs need. The site reads that store by itself, since it
lies beside its registry; every file is verified by digest there, as from any other address.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..registry import carrying
from ..registry.carrying import Carried, Waiting
from ..registry.forges import Forge, forge_of
from ..registry.git import Repository
from ..registry.view import View
from ..runner.assets import stored
from ..runner.workshop import choose_image
from ..schemas.errors import CubeError, DataError
from ..schemas.manifests import Asset, Cube
from ..schemas.progress import in_words
from .freshness import CHECKPOINTS
from .workplace import CARRIED, Workplace

REGISTRY = "registry.git"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """A file that a site needs, whose it is, and where else it may be had."""

    asset: Asset
    what: str
    mirrors: Sequence[str] = ()


@dataclass(frozen=True)
class Cargo:
    """What benchmarks need at a site, and what cannot be carried, with the reason."""

    pieces: tuple[Piece, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """How many files are in the folder's store, and how many of them and bytes are new."""

    files: int
    fresh: int
    size: int


class Trip:
    """One carrying: a folder, looked at against the registry as it is now."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self.place = place
        self.folder = folder.absolute()
        self.view: View = place.view()
        self._forge: Forge = forge_of(place.repository, place.url)
        with Repository.create(self.folder / REGISTRY):
            pass  # there from now on
        self.carried: Carried = carrying.look(
            place.repository, self._forge, place.url, self.url, self.view.tip
        )

    @property
    def url(self) -> str:
        """The address that the offline site has as its registry's."""
        return str(self.folder / REGISTRY)

    def contents(self) -> Iterator[tuple[str, bytes | None]]:
        """Each file that would be sent, with its bytes; None for one that would be removed."""
        for one in self.carried.waiting:
            for path in one.files:
                yield path, self.place.repository.file(one.head, path)

    def send(self) -> list[tuple[Waiting, str]]:
        """Proposes what the site wrote; each branch with the address where people find it."""
        return carrying.send(self.place.repository, self._forge, self.url, self.carried)

    def refresh(self) -> None:
        """Brings the folder's registry up to what was verified here."""
        repository = self.place.repository
        checkpoint = repository.resolve(CHECKPOINTS)
        carrying.refresh(repository, self.url, self.carried, self.view.tip, checkpoint)

    def load(self, cargo: Cargo, *, say: Say) -> Loaded:
        """Fetches what is not in the folder yet, verifies it, and puts it there."""
        store, fresh, size = self.folder / CARRIED, 0, 0
        for at, piece in enumerate(cargo.pieces, 1):
            target = stored(store, piece.asset.digest)
            if target.is_file() and target.stat().st_size == piece.asset.size:
                continue
            say(f"{at} of {len(cargo.pieces)}: {piece.what} ({in_words(piece.asset.size)})")
            source = self.place.assets.fetch(piece.asset, mirrors=piece.mirrors)
            _put(source, target)
            fresh, size = fresh + 1, size + piece.asset.size
        return Loaded(len(cargo.pieces), fresh, size)


def cargo_of(view: View, benchmarks: Sequence[str], engines: Sequence[str]) -> Cargo:
    """What runs of these benchmarks (of all, if none is named) take on these engines."""
    refs = [view.benchmark(uid).ref for uid in benchmarks] or sorted(view.benchmarks)
    pieces: dict[str, Piece] = {}
    left: dict[str, None] = {}
    for ref in refs:
        for piece in _needed(view, ref, engines):
            if isinstance(piece, Piece):
                pieces.setdefault(piece.asset.digest, piece)
            else:
                left[piece] = None
    return Cargo(tuple(pieces.values()), tuple(left))


def _needed(view: View, ref: str, engines: Sequence[str]) -> Iterator[Piece | str]:
    spec = view.benchmark(ref).manifest.spec
    mirrors = view.benchmark_settings(ref).mirrors or {}
    demo = spec.demo_dataset
    yield Piece(demo, f"the demo dataset of {ref}", mirrors.get(demo.digest, ()))
    models = [one.component for one in view.associations_of(ref, "models")
              if one.state == "approved"]  # fmt: skip
    fixed = [spec.preparator.ref, spec.evaluator.ref, spec.reference_model.ref]
    for cube in dict.fromkeys([*fixed, *models]):
        settings = view.cube_settings(cube)
        known = {**mirrors, **((settings.mirrors if settings else None) or {})}
        yield from _of_cube(view.cube(cube).manifest, cube, engines, known)


def _of_cube(
    cube: Cube, ref: str, engines: Sequence[str], mirrors: Mapping[str, Sequence[str]]
) -> Iterator[Piece | str]:
    additional = cube.spec.additional_files
    if additional is not None:
        what = f"the additional files of {ref}"
        yield Piece(additional, what, mirrors.get(additional.digest, ()))
    for engine in engines:
        try:
            entry = choose_image(cube, engine)
        except CubeError as error:
            yield str(error)
            continue
        if entry.archive is None:
            yield (
                f"{ref} is the image {entry.image}, which {engine} pulls from its image registry: "
                "put it into the site's engine by other means, or ask its owner for an archive."
            )
        else:
            what = f"the image of {ref} for {engine}"
            yield Piece(entry.archive, what, mirrors.get(entry.archive.digest, ()))


def _put(source: Path, target: Path) -> None:
    """A whole file at its place: whoever pulls the folder out leaves none that is half."""
    size = source.stat().st_size
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DataError(
            f"{target.parent} has {free} bytes left, and {size} are needed: take a larger medium, "
            "or name fewer benchmarks."
        )
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with source.open("rb") as reading, beside.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
