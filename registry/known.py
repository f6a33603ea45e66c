"""A registry's objects as a proposal would leave them: looked up one by one, listed by name only.

The names are those in main's tree, for who lists them wants to say which name was meant; what an
object says is asked of the ledger, which knows those that bear on the proposal (`bearing.py`).
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..schemas.errors import UsageError
from .ledger import Ledger
from .paths import benchmark_path, classify, cube_path, dataset_path, settings_path
from .snapshot import Item

if TYPE_CHECKING:
    from .git_objects import Folders

_PATHS = {"cubes": cube_path, "datasets": dataset_path, "benchmarks": benchmark_path}


class KnownObjects(Mapping[str, Item[Any]]):
    """The cubes, the datasets or the benchmarks, by owner/name; `new` are those proposed."""

    def __init__(
        self, ledger: Ledger, main: "Folders", top: str, new: Mapping[str, Item[Any]]
    ) -> None:
        self._ledger, self._main, self._top, self._new = ledger, main, top, new

    def __getitem__(self, ref: str) -> Item[Any]:
        if ref in self._new:
            return self._new[ref]
        try:
            item = self._ledger.item(_PATHS[self._top](ref))
        except UsageError as error:
            raise KeyError(ref) from error
        if item is None:
            raise KeyError(ref)
        return item

    def __iter__(self) -> Iterator[str]:
        yield from self._new
        for owner in self._main.names(self._top):
            folder = f"{self._top}/{owner}"
            for name in self._main.names(folder):
                place = classify(f"{folder}/{name}")
                if place.kind in ("cube", "dataset", "benchmark") and place.ref not in self._new:
                    yield place.ref

    def __len__(self) -> int:
        return sum(1 for _ in self)


class KnownSettings(Mapping[str, Item[Any]]):
    """The settings, by the path of what they belong to; only those proposed are listed."""

    def __init__(self, ledger: Ledger, new: Mapping[str, Item[Any]]) -> None:
        self._ledger, self._new = ledger, new

    def __getitem__(self, path: str) -> Item[Any]:
        item = self._new.get(path) or self._ledger.item(settings_path(path))
        if item is None:
            raise KeyError(path)
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(self._new)

    def __len__(self) -> int:
        return len(self._new)
