"""What a site, a person or a program asks a registry: one verified tip, and answers about it.

`open_view` judges the whole history (rules 1 to 7) and gives a `View`: the documents that are in
force at the tip, with the states of associations and results. Owners and benchmarks whose
signatures are not complete count as absent here; `pending` says what they wait for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..schemas import manifests as kinds
from ..schemas.errors import UsageError
from ..schemas.names import resolve
from . import rules
from .history import History, walk
from .ledger import AssociationState, Holder, Ledger, Note, ResultState
from .paths import (
    SIDES,
    Side,
    association_path,
    associations_start,
    benchmark_path,
    classify,
    cube_path,
    dataset_path,
    results_folder,
)
from .pinned import Pinned
from .results import association_paths
from .snapshot import Item, Library, Snapshot

if TYPE_CHECKING:
    from .git import Repository
    from .handover import Handed
    from .index import Index

__all__ = [
    "AssociationState",
    "Holder",
    "Note",
    "Pinned",
    "ResultState",
    "Run",
    "View",
    "open_view",
    "standing_of",
]


@dataclass(frozen=True)
class Run:
    """What the registry asks for: a benchmark's model on a dataset, with both associations."""

    benchmark: str
    dataset: str
    model: str
    dataset_association: AssociationState
    model_association: AssociationState


@dataclass(frozen=True)
class View:
    """A registry at one verified tip."""

    tip: str
    ledger: Ledger

    # ------------------------------------------------------------------------- documents

    @cached_property
    def snapshot(self) -> Snapshot:
        """Every valid document at the tip, accepted or not."""
        items = [file.item for file in self.ledger.files.values() if file.item is not None]
        return Snapshot.of(self.tip, items)

    @property
    def registry(self) -> kinds.RegistrySpec:
        """What registry.yaml says."""
        return self.ledger.spec

    @property
    def owners(self) -> Mapping[str, Item[kinds.Owner]]:
        """The owners in force, by name."""
        return self.ledger.owners

    @property
    def cubes(self) -> Mapping[str, Item[kinds.Cube]]:
        """All cubes, by owner/name."""
        return _Objects(self.ledger, "cubes/", "cube", cube_path)

    @property
    def datasets(self) -> Mapping[str, Item[kinds.Dataset]]:
        """All datasets, by owner/name."""
        return _Objects(self.ledger, "datasets/", "dataset", dataset_path)

    @property
    def benchmarks(self) -> Mapping[str, Item[kinds.Benchmark]]:
        """The benchmarks in force, by owner/name."""
        return self.ledger.benchmarks

    def cube(self, uid: str) -> Item[kinds.Cube]:
        """The cube that `uid` means; a UsageError with the nearest names if there is none."""
        return _meant(uid, self.cubes, "cube")

    def dataset(self, uid: str) -> Item[kinds.Dataset]:
        """The dataset that `uid` means."""
        return _meant(uid, self.datasets, "dataset")

    def benchmark(self, uid: str) -> Item[kinds.Benchmark]:
        """The benchmark in force that `uid` means."""
        return _meant(uid, self.benchmarks, "benchmark")

    def benchmark_settings(self, ref: str) -> kinds.BenchmarkSettingsSpec:
        """The settings in force of a benchmark in force."""
        spec = self.ledger.settings[benchmark_path(ref)].manifest.spec
        assert isinstance(spec, kinds.BenchmarkSettingsSpec)  # noqa: S101  (by its path)
        return spec

    def cube_settings(self, ref: str) -> kinds.SettingsSpec | None:
        """The settings in force of a cube."""
        return self._settings(cube_path(ref))

    def dataset_settings(self, ref: str) -> kinds.SettingsSpec | None:
        """The settings in force of a dataset."""
        return self._settings(dataset_path(ref))

    def deprecated_cubes(self) -> frozenset[str]:
        """The cubes instead of which their owners want others to be used."""
        return frozenset(
            ref for ref in self.cubes if (one := self.cube_settings(ref)) and one.deprecated
        )

    def _settings(self, path: str) -> kinds.SettingsSpec | None:
        item: Item[Any] | None = self.ledger.settings.get(path)
        return item.manifest.spec if item else None

    def file(self, path: str) -> Item[Any] | None:
        """The document at a path, accepted or not."""
        return self.ledger.item(path)

    # ------------------------------------------------------------------ associations, runs

    @cached_property
    def associations(self) -> tuple[AssociationState, ...]:
        """All associations with their states, by path."""
        return tuple(self._associations("associations/"))

    def associations_of(
        self, benchmark: str, part: Side | None = None, *, owner: str = ""
    ) -> list[AssociationState]:
        """The associations of a benchmark, of its `models`, its `datasets` or both, by path.

        With `owner` those of his components. Nothing else is read.
        """
        if part is None:
            both = [self.associations_of(benchmark, side, owner=owner) for side in SIDES.values()]
            return [state for states in both for state in states]
        return list(self._associations(associations_start(benchmark, part, owner)))

    def _associations(self, start: str) -> Iterator[AssociationState]:
        for path in self.ledger.paths_below(start):
            if path.endswith(".yaml") and classify(path).kind == "association":
                with suppress(LookupError):  # what is no valid document is no association
                    yield self.ledger.association_state(path)

    def association(self, benchmark: str, part: Side, component: str) -> AssociationState | None:
        """The association of a component with a benchmark, or None."""
        try:
            return self.ledger.association_state(association_path(benchmark, part, component))
        except LookupError:
            return None

    def runs(self, benchmark: str, dataset: str | None = None) -> list[Run]:
        """What is asked for: each approved model on each approved dataset, in rule 7's order."""
        approved = [one for one in self.associations_of(benchmark) if one.state == "approved"]
        models = {one.component: one for one in approved if one.part == "models"}
        datasets = {one.component: one for one in approved if one.part == "datasets"}
        order = rules.in_priority(models, self.benchmark_settings(benchmark).priorities)
        return [
            Run(benchmark, data, model, datasets[data], models[model])
            for data in sorted(datasets)
            if dataset in (None, data)
            for model in order
        ]

    # ------------------------------------------------------------------------------ results

    @property
    def results(self) -> Mapping[str, ResultState]:
        """All results by path, with what they are worth."""
        return self.ledger.results

    def result(self, path: str) -> ResultState | None:
        """What lies at a result's path; None if nothing does."""
        state = self.ledger.results.get(path)
        if state is None and path in self.ledger.files:
            state = ResultState(path, "invalid", ("it is no valid document",))
        return state

    def results_at(self, benchmark: str, dataset: str) -> Mapping[str, ResultState]:
        """What lies at the paths of a dataset's results of a benchmark, by path, in one reading."""
        return self.ledger.results_below(results_folder(benchmark, dataset))

    def result_item(self, path: str) -> Item[kinds.Result]:
        """The result document at a path that `results` has."""
        item = self.ledger.item(path)
        if item is None or item.place.kind != "result":
            raise KeyError(path)
        return item

    def results_of(self, benchmark: str, dataset: str | None = None) -> list[ResultState]:
        """The results of a benchmark, of one dataset or of all, by path."""
        found = []
        for item in self.ledger.items(f"results/{benchmark}/"):
            if item.place.kind == "result" and dataset in (None, item.place.dataset):
                found.append(self.ledger.results[item.path])
        return sorted(found, key=lambda state: state.path)

    def standing(self, path: str) -> str:
        """`current`, or why a valid result's runs would not be asked for today, as a mark."""
        return standing_of(
            self.ledger.association_state(one) for one in association_paths(classify(path))
        )

    # ------------------------------------------------------------------------ people, notes

    def holder(self, key: str) -> Holder | None:
        """Whose key this fingerprint is, among the owners in force."""
        return self.ledger.holder(key)

    @property
    def pending(self) -> Mapping[str, tuple[str, ...]]:
        """New owners and benchmarks that lack signatures: path, and what they wait for."""
        return self.ledger.pending

    @property
    def notes(self) -> tuple[Note, ...]:
        """What a person should see: files that are ignored, or odd."""
        return tuple(self.ledger.notes)


def standing_of(associations: Iterable[AssociationState]) -> str:
    """The mark of a valid result by its two associations as they are now."""
    states = {one.state for one in associations}
    if "revoked" in states:
        return "revoked"
    return "current" if states == {"approved"} else "superseded"


class _Objects(Mapping[str, Item[Any]]):
    """The documents of one kind in a ledger, by owner/name; each is looked up when asked for."""

    def __init__(
        self, ledger: Ledger, folder: str, kind: str, path_of: Callable[[str], str]
    ) -> None:
        self._ledger, self._folder, self._kind, self._path_of = ledger, folder, kind, path_of

    def __getitem__(self, ref: str) -> Item[Any]:
        try:
            item = self._ledger.item(self._path_of(ref))
        except UsageError as error:
            raise KeyError(ref) from error
        if item is None:
            raise KeyError(ref)
        return item

    def __iter__(self) -> Iterator[str]:
        found = self._ledger.items(self._folder)
        return (item.ref for item in found if item.place.kind == self._kind)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _meant(uid: str, known: Mapping[str, Item[Any]], what: str) -> Item[Any]:
    if uid in known:
        return known[uid]
    try:
        return known[resolve(uid, known, what)]
    except UsageError as error:
        if str(error).startswith("There is no"):
            said = f"{error} What is not merged yet is in 'medperf proposal ls'."
            raise UsageError(said) from None
        raise


def open_view(
    repository: "Repository",
    tip: str,
    *,
    pinned: Pinned | None = None,
    verified: str | None = None,
    library: Library | None = None,
    index: "Index | None" = None,
    handed: "Handed | None" = None,
) -> View:
    """The registry at `tip`, its history judged; a StalledError where a site must stop.

    `pinned` is what the site enrolled with, `verified` the commit that it verified last. A library
    that is kept between two calls saves reading and parsing again; an index on disk, judging too.
    `handed` are the hand-overs that count, where that is not for the tree at `tip` to say.
    """
    history: History = walk(
        repository,
        tip,
        library=library,
        pinned=pinned,
        verified=verified,
        index=index,
        handed=handed,
    )
    return View(tip, history.ledger)
