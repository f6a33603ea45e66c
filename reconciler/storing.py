"""What lies in a site's storage, with sizes; moving it elsewhere, and making room.

Everything in a storage is one of three: *made once* (datasets, their secrets, finished runs that
have not left, the site's records), *made again* by the next pass at the cost of time (images,
downloads, trials, runs whose results are published), or *working files* of a pass. Cleaning up
removes only the second and third, and never a dataset or a run that holds a person's decision.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..schemas import progress
from ..schemas.errors import DataError, UsageError
from .lock import locked
from .observe import look
from .plan import State
from .workplace import Workplace

Kind = Literal["datasets", "runs", "trials", "images", "assets", "registry", "other"]
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
    for path in sorted(place.storage.iterdir()) if place.storage.is_dir() else []:
        kind = FOLDERS.get(path.name, "other")
        if kind == "datasets":
            found += _datasets(place)
        elif kind == "runs":
            found += _runs(place, offline=offline)
        else:
            again = kind in CLEANABLE
            found.append(Item(kind, path.name, path, size_of(path), again))
    return found


def _datasets(place: Workplace) -> Iterator[Item]:
    for dataset in place.datasets.all():
        prepared = (dataset.path / "content.txt").is_file()
        name = f"{dataset.record.name} ({dataset.uid})" if prepared else dataset.record.name
        about = "prepared" if prepared else "unfinished"
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


def cleanup(place: Workplace, kinds: Sequence[Kind], *, offline: bool = False) -> list[Item]:
    """What may be removed of these kinds: all of it a pass makes again, or finds in the registry.

    Nothing is removed yet: `remove` does, after somebody has seen the list.
    """
    return [
        item for item in list_storage(place, offline=offline) if item.again and item.kind in kinds
    ]


def remove(place: Workplace, items: Sequence[Item]) -> int:
    """Removes these items, and says how many bytes that were; a pass at work is waited for."""
    freed = 0
    with locked(place.storage):
        if any(item.kind == "images" for item in items):
            place.end_leftovers()
        for item in items:
            if not item.again or not item.path.resolve().is_relative_to(place.storage.resolve()):
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


def move(place: Workplace, target: Path) -> Path:
    """The storage, moved to the new folder `target`; the caller's profile must be told of it.

    On one file system it is renamed; elsewhere it is copied, and what was there is removed only
    when the copy is whole. Killed in between, the old one is what counts.
    """
    source = place.storage
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty: name a new folder.")
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{target} lies in the storage itself: name a folder elsewhere.")
    target.parent.mkdir(parents=True, exist_ok=True)
    place.close()
    with locked(source):
        if target.exists():
            target.rmdir()
        try:
            source.rename(target)
        except OSError:
            _copy(source, target)
    return target


def _copy(source: Path, target: Path) -> None:
    """A copy beside the target's place, renamed once it is whole."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.moving")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with progress.work("Copying the storage", size_of(source)) as work:

            def copy(one: str, other: str) -> object:
                done = shutil.copy2(one, other, follow_symlinks=False)
                work.advance(Path(one).lstat().st_size)
                return done

            shutil.copytree(source, beside, symlinks=True, copy_function=copy)
        if size_of(beside) < size_of(source):
            raise DataError(f"The copy at {target} is not whole: nothing was moved.")
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
