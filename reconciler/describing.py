"""A dataset of this machine, as its owner sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..registry.view import View
from ..runner.preparation import waits_for_person
from ..schemas.errors import MedperfError
from ..schemas.metrics import parse_evaluator_file
from .datasets import LocalDataset
from .disclosure import read_once
from .workplace import Workplace


@dataclass(frozen=True)
class Described:
    """What is known of a local dataset; nothing of this leaves by being looked at.

    `registered` is its name in the registry once it is there.
    """

    uid: str
    name: str
    state: str
    description: str
    location: str
    benchmark: str
    preparator: str
    folder: Path
    files: int
    size: int
    statistics: object
    report: Path | None
    metadata: Path | None
    registered: str
    sanity_checked: bool | None = None


def describe(view: View | None, dataset: LocalDataset) -> Described:
    """What the site knows of a dataset, prepared or not."""
    prepared = (dataset.path / "content.txt").is_file()
    entries = dataset.lines.splitlines() if prepared else []
    registered = ""
    if prepared and view is not None:
        commitment = dataset.commitment()
        registered = next(
            (
                ref
                for ref, item in view.datasets.items()
                if item.manifest.spec.commitment == commitment
            ),
            "",
        )
    record = dataset.record
    return Described(
        uid=dataset.uid if prepared else "",
        name=record.name,
        state="prepared" if prepared else state_of(dataset.path),
        description=record.description,
        location=record.location,
        benchmark=record.benchmark,
        preparator=record.preparator.ref,
        folder=dataset.path,
        files=len(entries),
        size=sum(int(line.split(b" ", 2)[1]) for line in entries),
        statistics=_statistics(dataset.path / "statistics.yaml"),
        report=_there(dataset.path / "report.yaml"),
        metadata=_there(dataset.path / "metadata"),
        registered=registered,
        sanity_checked=record.sanity_checked if prepared else None,
    )


def state_of(folder: Path) -> str:
    """`manual work` where the preparator waits for a person, else `unfinished`."""
    return "manual work" if waits_for_person(folder) else "unfinished"


def local_dataset(place: Workplace, uid: str) -> LocalDataset:
    """The local dataset that `uid` means, an unfinished one by its name too."""
    try:
        return place.datasets.find(uid)
    except MedperfError:
        found = place.datasets.unfinished(uid)
        if found is None:
            raise
        return found


def _statistics(file: Path) -> object:
    try:
        value: Mapping[str, object] | object = parse_evaluator_file(read_once(file))
    except (OSError, MedperfError):
        return None
    return value


def _there(path: Path) -> Path | None:
    return path if path.exists() else None
