"""Where the datasets of this machine stand in the registry.

A dataset is known there by its commitment: another of the same name is not taken for it. What is
proposed is asked for only where something here is not merged, and whoever cannot reach the registry
still sees what it had at the last look.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..registry import proposals
from ..registry.paths import classify
from ..registry.view import View
from ..schemas.documents import load_as
from ..schemas.errors import DataError, InvalidDocumentError, RegistryError
from ..schemas.manifests import Dataset
from .datasets import LocalDataset
from .workplace import Workplace

Say = Callable[[str], None]
State = Literal["merged", "proposed", "rejected", "no", "unknown"]


@dataclass(frozen=True)
class Registered:
    """How a dataset stands, under which name, and the open proposal that would bring it."""

    state: State
    ref: str = ""
    proposal: str = ""


@dataclass(frozen=True)
class Standings:
    """All that the registry has of an owner's datasets, by commitment; `other` is the rest's."""

    known: Mapping[str, Registered]
    other: Registered

    def of(self, dataset: LocalDataset) -> Registered:
        """How a dataset of this machine stands; one that is not prepared is nowhere."""
        if not (dataset.path / "content.txt").is_file():
            return Registered("no")
        try:
            return self.known.get(dataset.commitment(), self.other)
        except DataError:
            return Registered("unknown")


def standings(place: Workplace, *, say: Say) -> Standings:
    """Where this machine's datasets stand; what cannot be asked is `unknown`, and told by `say`."""
    here = set()
    for one in place.datasets.prepared():
        try:
            here.add(one.commitment())
        except DataError as error:
            say(str(error))
    if not here:
        return Standings({}, Registered("no"))
    try:
        known = _merged(place.view(), place.owner)
        if here <= known.keys():
            return Standings(known, Registered("no"))
        return Standings(_proposed(place, say) | known, Registered("no"))
    except RegistryError as error:
        say(f"What the registry has now is not known: {error}")
    try:
        known = _merged(place.view(fetch=False), place.owner)
    except RegistryError:  # told already: the clone is not there, or does not hold
        known = {}
    return Standings(known, Registered("unknown"))


def _merged(view: View, owner: str) -> dict[str, Registered]:
    return {
        item.manifest.spec.commitment: Registered("merged", item.ref)
        for item in view.ledger.items(f"datasets/{owner}/")
        if item.place.kind == "dataset"
    }


def _proposed(place: Workplace, say: Say) -> dict[str, Registered]:
    """What is in open proposals, and in rejected ones if no open one brings it again."""
    repository = place.repository
    open_ones = proposals.list_open(repository, place.url, say=say)  # closed ones come with it
    found: dict[str, Registered] = {}
    for one in proposals.list_rejected(repository, place.url):
        for path in one.paths:
            data = repository.file(one.head, path) if _is_own(place, path) else None
            for commitment, ref in _read(path, data):
                found[commitment] = Registered("rejected", ref)
    for proposal, change in proposals.changes_of(repository, open_ones, say=say):
        if change.status == "A" and _is_own(place, change.path):
            for commitment, ref in _read(change.path, repository.file(proposal.head, change.path)):
                found[commitment] = Registered("proposed", ref, proposal.id)
    return found


def _is_own(place: Workplace, path: str) -> bool:
    return path.startswith(f"datasets/{place.owner}/") and classify(path).kind == "dataset"


def _read(path: str, data: bytes | None) -> Iterator[tuple[str, str]]:
    """The commitment and the name in a dataset's manifest, if that is what it is."""
    try:
        manifest = load_as(data or b"", Dataset, file=path)
    except InvalidDocumentError:
        return
    yield manifest.spec.commitment, classify(path).ref
