"""Associations as people see them: on main, in open proposals, and rejected."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from ..registry import proposals
from ..registry.paths import Side, classify
from ..registry.proposals import Proposal
from ..registry.view import View
from ..schemas.digests import digest as digest_of
from ..schemas.errors import InvalidDocumentError
from ..schemas.names import resolve
from ..schemas.yaml_subset import parse
from .reviewing import find_association
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


@dataclass(frozen=True)
class Shown(Listed):
    """One association with all that is known: its bytes, who has signed them, what is missing.

    `proposal` is the open one that brings or signs it. A rejected one has no bytes any more.
    """

    digest: str
    manifest: object
    text: str
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    proposal: str


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


def view_association(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    side: Side,
    component: str,
    say: Callable[[str], None],
) -> Shown:
    """The association that is meant, on main, proposed or rejected; else a UsageError."""
    listed = list_associations(place, view, benchmark=benchmark, say=say)
    known = {one.component: one for one in listed if one.part == side}
    ref = view.benchmark(benchmark).ref
    one = known[resolve(component, known, f"{side[:-1]} in {ref} called")]
    digest, data = "", b""
    signed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    proposal: Proposal | None = None
    state = view.association(ref, side, one.component)
    if state is not None:
        digest, data = state.item.digest, state.item.data
        signed, missing = state.signed, state.missing
    if one.state == "pending":
        _, proposal = find_association(
            place, view, benchmark=ref, side=side, component=one.component
        )
    if proposal is not None:
        missing = place.judge(view.tip, proposal.head).waits_for
        data = place.repository.file(proposal.head, one.path) or b""
        digest = digest_of(data)
    return Shown(
        **asdict(one),
        digest=digest,
        manifest=_read(data, one.path),
        text=data.decode(errors="replace"),
        signed=signed,
        missing=missing,
        proposal=proposal.id if proposal else "",
    )


def _read(data: bytes, path: str) -> object:
    """What a manifest says; None where it says nothing that can be read."""
    try:
        return parse(data, file=path).value if data else None
    except InvalidDocumentError:
        return None


def _add(found: dict[str, Listed], path: str, state: str, why: str) -> None:
    spot = classify(path)
    if spot.kind == "association":
        found[path] = Listed(spot.ref, spot.component, spot.side or "", state, why, path)
