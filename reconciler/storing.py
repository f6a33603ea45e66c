"""What lies in a site's storage, with sizes, and making room; `moving` moves it elsewhere.

Everything in a storage is one of three: *made once* (datasets, their secrets, finished runs that
have not left, the site's records), *made again* by the next pass at the cost of time (images,
downloads, trials, runs whose results are published), or *working files* of a pass. Cleaning up
removes only the second and third, and never a prepared dataset or a run that holds a person's
decision; a preparation that has not ended goes only where it is asked for by its kind.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..schemas.errors import DataError
from . import loosening, news, suspending
from .lock import locked
from .observe import look
from .plan import State
from .workplace import Workplace

Kind = Literal["datasets", "runs", "trials", "images", "assets", "registry", "notes", "other"]
FOLDERS: dict[str, Kind] = {
    "datasets": "datasets",
    "runs": "runs",
    "trials": "trials",
    "images": "images",
    "engine": "images",
    "assets": "assets",
    "registry.git": "registry",
    "index.sqlite": "registry",
}
MADE_AGAIN = frozenset({"index.sqlite"})
NOTES = frozenset(  # each a few bytes: one line for all of them
    {"lock", "verified", "fetched", news.SEEN, loosening.FILE, suspending.MARKER}
)
UNFINISHED = "unfinished"
CLEANABLE: tuple[Kind, ...] = ("trials", "images", "assets", "runs")
_GONE = (State.PUBLISHED,)


@dataclass(frozen=True)
class Item:
    """One thing in the storage: how large it is, and whether a pass would make it again."""

    kind: Kind
    name: str
    path: Path
    size: int
    again: bool
    about: str = ""

    @property
    def unfinished(self) -> bool:
        """Whether it is a dataset whose preparation has not ended."""
        return self.kind == "datasets" and self.about == UNFINISHED


def size_of(path: Path) -> int:
    """Bytes on disk below `path`, links not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(path)
        for name in names
        if (Path(folder) / name).exists()
    )


def list_storage(place: Workplace, *, offline: bool = False) -> list[Item]:
    """Everything in the storage, by kind and name; datasets and runs one by one."""
    found: list[Item] = []
    notes = 0
    for path in sorted(place.storage.iterdir()) if place.storage.is_dir() else []:
        kind = FOLDERS.get(path.name, "other")
        if path.name in NOTES:
            notes += size_of(path)
            continue
        if kind == "datasets":
            found += _datasets(place)
        elif kind == "runs":
            found += _runs(place, offline=offline)
        else:
            size, again = size_of(path), kind in CLEANABLE or path.name in MADE_AGAIN
            if size or not again:
                found.append(Item(kind, path.name, path, size, again))
    if notes:
        about = "what this site has seen and decided"
        found.append(Item("notes", "notes", place.storage, notes, False, about))
    return found


def _datasets(place: Workplace) -> Iterator[Item]:
    for dataset in place.datasets.all():
        prepared = (dataset.path / "content.txt").is_file()
        name = f"{dataset.record.name} ({dataset.uid})" if prepared else dataset.record.name
        about = "prepared" if prepared else UNFINISHED
        yield Item("datasets", name, dataset.path, size_of(dataset.path), False, about)


def _runs(place: Workplace, *, offline: bool) -> Iterator[Item]:
    states = _states(place, offline=offline)
    root = place.runs.root
    for path in sorted(root.iterdir()):
        name, state = states.get(path.name, (path.name, "unknown"))
        yield Item("runs", name, path, size_of(path), state in _GONE, str(state))


def _states(place: Workplace, *, offline: bool) -> dict[str, tuple[str, str]]:
    _, plan = look(place, fetch=not offline)
    return {run.pair.short: (run.pair.local_name, run.state) for run in plan.runs}


def cleanup(
    place: Workplace, kinds: Sequence[Kind], *, unfinished: bool = False, offline: bool = False
) -> list[Item]:
    """What may be removed of these kinds: all of it a pass makes again, or finds in the registry.

    With `unfinished` preparations that have not ended, too. Nothing is removed yet: `remove` does,
    after somebody has seen the list.
    """
    return [
        item
        for item in list_storage(place, offline=offline)
        if (item.again and item.kind in kinds) or (unfinished and item.unfinished)
    ]


def remove(place: Workplace, items: Sequence[Item]) -> int:
    """Removes these items, and says how many bytes that were; a pass at work is waited for."""
    freed = 0
    with locked(place.storage):
        if any(item.kind == "images" for item in items):
            place.end_leftovers()
        for item in items:
            may_go = item.again or item.unfinished
            if not may_go or not item.path.resolve().is_relative_to(place.storage.resolve()):
                raise DataError(f"{item.path} is not to be removed: nothing makes it again.")
            _force(item.path)
            freed += item.size
    return freed


def _force(path: Path) -> None:
    """Removes a file or a tree, read-only folders of unpacked archives included."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path)
