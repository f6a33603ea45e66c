"""What one commit of the chain brings, by the form of its change (design §5, rule 1).

Additions and the four modifications with their increments; all else stalls (`history`). An addition
never does: one that is no document at a right path is ignored and noted.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ..schemas.errors import InvalidDocumentError, StalledError
from . import rules
from .ledger import Ledger
from .paths import Place, classify
from .snapshot import (
    REGULAR,
    Item,
    Library,
    file_problem,
    first_number_problem,
    shown_path,
)

if TYPE_CHECKING:
    from .git import Change, Step

_DID = {
    "A": "It adds",
    "M": "It modifies",
    "D": "It deletes",
    "T": "It changes the type of",
}
_ONLY_ADD = (
    "Only registry.yaml, owners' files, settings and associations may ever change, "
    "and nothing is deleted."
)


@dataclass
class Arrivals:
    """What one commit brings: documents, modifications, statements, and results to judge."""

    index: int
    decides: bool = False  # whether more than results has come, so that associations may change
    added: dict[str, tuple[Item[Any], str]] = field(default_factory=dict)
    changed: dict[str, tuple[Item[Any], Item[Any], str]] = field(default_factory=dict)
    ignored: list[tuple[Place, str]] = field(default_factory=list)
    statements: list[tuple[Place, str]] = field(default_factory=list)
    signatures: dict[str, tuple[Place, str]] = field(default_factory=dict)

    def item(self, path: str) -> Item[Any] | None:
        """The document that this commit brings to a path."""
        if path in self.added:
            return self.added[path][0]
        return self.changed[path][1] if path in self.changed else None


def read_arrivals(ledger: Ledger, library: Library, step: "Step") -> Arrivals:
    """What the newest commit of the ledger brings; a StalledError if it may not (rule 1)."""
    arrivals = Arrivals(len(ledger.commits) - 1)
    for change in step.changes:
        place = classify(change.path)
        if not place.governed:
            continue
        if place.kind == "handover" and (change.status, change.mode) == ("A", REGULAR):
            continue  # whether it counts is asked before the walk (handover.py)
        arrivals.decides |= not (place.subject or place.path).startswith("results/")
        if change.status == "A":
            _read_added(ledger, library, place, change, arrivals)
        elif (
            change.status == "M" and place.modifiable and change.mode == change.old_mode == REGULAR
        ):
            _read_changed(ledger, library, place, change, arrivals)
        else:
            path = shown_path(change.path)
            stall(ledger, "history", f"{_DID[change.status]} {path}. {_ONLY_ADD}")
    return arrivals


def _read_added(
    ledger: Ledger, library: Library, place: Place, change: "Change", arrivals: Arrivals
) -> None:
    wrong = file_problem(place, change.mode)
    if wrong is None and place.kind == "statement":
        if place.number:
            arrivals.statements.append((place, change.oid))
        else:
            arrivals.signatures[place.subject] = (place, change.oid)
        return
    try:
        if wrong is not None:
            raise InvalidDocumentError([wrong])
        item = library.item(place, change.oid)
        wrong = first_number_problem(item)
        if wrong is not None:
            raise InvalidDocumentError([wrong])
    except InvalidDocumentError as error:
        for problem in error.problems:
            ledger.note(place.path, str(problem).removeprefix(f"{shown_path(place.path)}: "))
        arrivals.ignored.append((place, change.oid))
        return
    arrivals.added[place.path] = (item, change.oid)


def _read_changed(
    ledger: Ledger, library: Library, place: Place, change: "Change", arrivals: Arrivals
) -> None:
    old = ledger.item(place.path)
    if old is None:
        stall(ledger, "history", f"It modifies {place.path}, which was no valid document before.")
    try:
        new = library.item(place, change.oid)
    except InvalidDocumentError as error:
        reason = "history" if place.kind == "association" else "signature"
        stall(ledger, reason, f"It modifies {place.path}, which is invalid now: {error}")
    name = "round" if place.kind == "association" else "serial"
    wrong = rules.increment_problem(
        rules.number(old.manifest.spec), rules.number(new.manifest.spec), name
    )
    problems = [wrong] if wrong else []
    if place.kind == "association":
        problems += rules.association_change_problems(old.manifest, new.manifest)
    if problems:
        stall(ledger, "history", f"It modifies {place.path}, but {'; '.join(problems)}.")
    arrivals.changed[place.path] = (old, new, change.oid)


def stall(ledger: Ledger, reason: str, text: str) -> NoReturn:
    """Stop before the newest commit of the ledger, and say why."""
    commit = ledger.commits[-1]
    raise StalledError(
        reason,
        f"The registry's commit {commit[:12]} is not accepted. {text} Nothing new starts until "
        "a person has looked: ask the registry's admins.",
        commit=commit,
    )
