"""Which part of a registry's history bears on a proposal, so that the rest need not be read.

A proposal is judged by the code that judges the history at a site (`validate.py`). What it asks of
main is little: the keys and roles of people, the objects that its documents name, with their
signatures, and what has ever been modified, since that alone can stall a site. All other files were
only added and are named by nobody here; whether they are valid changes no answer.

So what is followed is: `registry.yaml` and all owners; every file that the history did more with
than add it; every object that the proposal touches, and what these name, until nothing new is
named. An object counts with all files beside it that begin with its name: settings, statements.
Nothing is ever deleted, so main's tree has the names of them all.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..schemas import manifests as kinds
from ..schemas.errors import InvalidDocumentError, UsageError
from .paths import (
    REGISTRY,
    Place,
    association_path,
    benchmark_path,
    classify,
    cube_path,
    dataset_path,
)
from .snapshot import REGULAR, Library

if TYPE_CHECKING:
    from .git import Change, Repository
    from .git_objects import Folders

MOST = 1000  # paths that are asked of Git one by one; beyond that by the folders at the top


def bearing(
    repository: "Repository",
    base: str,
    folders: "Folders",
    changes: Iterable["Change"],
    library: Library,
) -> Sequence[str]:
    """The files and folders of main whose history has to be judged before these changes can be.

    `base` is main's tip, `folders` its tree.
    """
    search = _Search(folders, changes, library)
    search.follow(REGISTRY)
    altered = sorted(repository.altered(base))
    for path in [*search.new, *altered]:
        search.follow(path)
    found = dict.fromkeys(["owners", *search.found, *altered])
    if len(found) > MOST:
        found = dict.fromkeys(path.partition("/")[0] for path in found)
    return list(found)


class _Search:
    def __init__(self, folders: "Folders", changes: Iterable["Change"], library: Library) -> None:
        self.found: dict[str, None] = {}
        self.new = {one.path: one for one in changes if one.status != "D" and one.mode == REGULAR}
        self._folders = folders
        self._library = library
        self._followed: set[str] = set()

    def follow(self, path: str) -> None:
        """Take in the object that a path belongs to, and what it names."""
        waiting = [path]
        while waiting:
            place = classify(waiting.pop())
            while place.subject:  # of a statement, then of settings
                place = classify(place.subject)
            if place.path in self._followed or not place.governed or place.kind == "other":
                continue
            self._followed.add(place.path)
            if place.kind != "owner":  # they are all asked for anyway
                self._beside(place.path)
            waiting += self._named(place)

    def _beside(self, path: str) -> None:
        """The object's own file with its settings and statements."""
        folder, slash, name = path.rpartition("/")
        stem = name.partition(".")[0] + "."
        names = self._folders.names(folder)
        self.found |= dict.fromkeys(folder + slash + one for one in names if one.startswith(stem))

    def _named(self, place: Place) -> Iterator[str]:
        """The paths of what the documents at a path name, on main and as proposed."""
        for oid in self._oids(place.path):
            try:
                manifest = self._library.item(place, oid).manifest
            except InvalidDocumentError:
                continue  # whoever reads it next says what is wrong
            yield from _paths(manifest)
        if place.kind == "dataset":
            # each registers a commitment, which no other of this owner may have
            folder = f"datasets/{place.owner}"
            self.found[folder] = None

    def _oids(self, path: str) -> Iterator[str]:
        entry = self._folders.entry(path)
        if entry is not None and entry.mode == REGULAR:
            yield entry.oid
        if path in self.new:
            yield self.new[path].oid


def _paths(manifest: Any) -> Iterator[str]:
    for ref, path_of in _refs(manifest):
        if ref is not None:
            try:
                yield path_of(ref)
            except UsageError:
                continue  # a name that no path has


def _refs(manifest: Any) -> Iterator[tuple[str | None, Any]]:
    spec = manifest.spec
    if isinstance(manifest, kinds.Cube):
        yield spec.replaces, cube_path
    elif isinstance(manifest, kinds.Dataset):
        yield spec.preparator.ref, cube_path
        yield spec.replaces, dataset_path
    elif isinstance(manifest, kinds.Benchmark):
        for pin in (spec.preparator, spec.reference_model, spec.evaluator):
            yield pin.ref, cube_path
        yield spec.replaces, benchmark_path
    elif isinstance(manifest, kinds.Association):
        yield spec.benchmark.ref, benchmark_path
        yield manifest.component.ref, cube_path if spec.model else dataset_path
    elif isinstance(manifest, kinds.Result):
        bench = spec.benchmark.ref
        yield bench, benchmark_path
        yield spec.dataset.ref, dataset_path
        yield spec.model.ref, cube_path
        yield spec.dataset.ref, lambda ref: association_path(bench, "datasets", ref)
        yield spec.model.ref, lambda ref: association_path(bench, "models", ref)
