"""Associations as people see them: on main, in open proposals, and rejected."""

from collections.abc import Callable
from dataclasses import dataclass

from ..registry import proposals
from ..registry.paths import classify
from ..registry.view import View
from .workplace import Workplace


@dataclass(frozen=True)
class Listed:
    """One association: where it stands, and why."""

    benchmark: str
    component: str
    part: str
    state: str
    why: str
    path: str


def list_associations(
    place: Workplace, view: View, *, benchmark: str | None = None, say: Callable[[str], None]
) -> list[Listed]:
    """All associations by path; those in open proposals are pending, closed ones rejected.

    A proposal that cannot be looked at is told by `say`, and hides no other.
    """
    found: dict[str, Listed] = {}
    # looks, too: closed ones come with it
    open_ones = proposals.list_open(place.repository, place.url, say=say)
    for rejected in proposals.list_rejected(place.repository, place.url):
        for path in rejected.paths:
            _add(found, path, "rejected", rejected.reason)
    for state in view.associations:
        why = "; ".join(state.reasons) or ", ".join(state.missing)
        found[state.path] = Listed(
            state.benchmark, state.component, state.part, state.state, why, state.path
        )
    for proposal, change in proposals.changes_of(place.repository, open_ones, say=say):
        _add(found, change.path, "pending", f"proposed as {proposal.id}")
    wanted = view.benchmark(benchmark).ref if benchmark else None
    return [one for _, one in sorted(found.items()) if wanted in (None, one.benchmark)]


def _add(found: dict[str, Listed], path: str, state: str, why: str) -> None:
    spot = classify(path)
    if spot.kind == "association":
        found[path] = Listed(spot.ref, spot.component, spot.side or "", state, why, path)
