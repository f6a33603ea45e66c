"""Reviewing: what a proposal says, the caller's signatures that it lacks, and the merge.

1. The proposal's new files are read, byte for byte what will be signed.
2. Where the caller has a part (member of the owner, admin, committee), a statement over each file
   that needs one is made, unless the caller's is there.
3. The statements are pushed onto the proposal, if it is still what was looked at.
4. The rules are asked; only when nobody is waited for is it merged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..registry import proposals
from ..registry.git import Author
from ..registry.paths import Place, classify, statement_path
from ..registry.proposals import Proposal
from ..registry.rules import number
from ..registry.snapshot import Item, read_item
from ..registry.summary import Summary, summarize
from ..registry.validate import Verdict
from ..registry.view import View
from ..schemas.errors import InvalidDocumentError, UsageError, WaitError
from ..schemas.names import resolve
from .workplace import Workplace

SIGNED = ("registry", "owner", "benchmark", "settings", "association")


@dataclass(frozen=True)
class Subject:
    """A file that the caller may sign: its path, serial or round, and bytes."""

    path: str
    number: int
    data: bytes


@dataclass(frozen=True)
class Review:
    """A proposal as the caller sees it: its files, what the rules say, what he would sign."""

    proposal: Proposal
    files: Mapping[str, bytes]
    verdict: Verdict
    to_sign: tuple[Subject, ...]
    by: str
    summary: Summary


def review(place: Workplace, view: View, uid: str) -> Review:
    """The open proposal that `uid` means, read and judged for the caller."""
    return _review(place, view, proposals.find(place.repository, place.url, uid))


def _review(place: Workplace, view: View, proposal: Proposal) -> Review:
    repository = place.repository
    changes = proposals.view(repository, proposal).changes
    wanted = [change for change in changes if change.status in ("A", "M")]
    blobs = dict(repository.blobs({change.oid for change in wanted if change.mode == "100644"}))
    files = {change.path: blobs[change.oid] for change in wanted if change.oid in blobs}
    verdict = place.judge(view.tip, proposal.head)
    member = place.profile.me.member
    by = f"{place.owner}/{member.name}" if member else ""
    subjects = _subjects(view, files, by) if by else ()
    summary = summarize(repository, verdict, proposal=proposal.id)
    return Review(proposal, files, verdict, subjects, by, summary)


def _subjects(view: View, files: Mapping[str, bytes], by: str) -> tuple[Subject, ...]:
    """The files of a proposal over which `by` has a part and has not signed yet."""
    found = []
    for path, data in sorted(files.items()):
        place = classify(path)
        if place.kind not in SIGNED:
            continue
        try:
            item = read_item(path, data)
        except InvalidDocumentError:
            continue  # the verdict says what is wrong with it
        at = number(item.manifest.spec)
        owner, _, member = by.partition("/")
        if _has_part(view, place, item, files, by) and (
            statement_path(path, at, owner, member) not in files
        ):
            found.append(Subject(path, at, data))
    return tuple(found)


def _has_part(
    view: View, place: Place, item: Item[object], files: Mapping[str, bytes], by: str
) -> bool:
    """Whether a signature of `by` over this file can count (design §5.2)."""
    owner = by.partition("/")[0]
    is_admin = by in view.registry.admins.members
    if place.kind == "registry":
        return is_admin or by in getattr(item.manifest, "spec").admins.members  # noqa: B009
    if place.kind == "owner":
        return is_admin or place.owner == owner
    if place.kind == "association":
        component_owner = place.component.partition("/")[0]
        return component_owner == owner or _in_committee(view, place.ref, files, by)
    subject = classify(place.subject) if place.subject else place
    if subject.kind != "benchmark":
        return False
    if view.file(subject.path) is None or place.kind == "benchmark":
        return is_admin or subject.owner == owner
    return _in_committee(view, subject.ref, files, by)


def _in_committee(view: View, benchmark: str, files: Mapping[str, bytes], by: str) -> bool:
    """Whether `by` is of a benchmark's committee, as it is or as this proposal first sets it."""
    if benchmark in view.benchmarks:
        return by in view.benchmark_settings(benchmark).committee.members
    owner, _, name = benchmark.partition("/")
    data = files.get(f"benchmarks/{owner}/{name}.settings.yaml")
    if data is None:
        return False
    spec = read_item(f"benchmarks/{owner}/{name}.settings.yaml", data).manifest.spec
    return by in spec.committee.members


@dataclass(frozen=True)
class Merged:
    """What a merge did: the new tip of main, and the files that the caller signed on the way."""

    commit: str
    signed: tuple[str, ...]


def sign_and_merge(place: Workplace, view: View, seen: Review) -> Merged:
    """Adds the caller's missing statements, and merges if nobody else is waited for.

    A WaitError says whose signature is missing; the caller's statements are pushed by then.
    """
    proposal = seen.proposal
    actor = place.member()
    if seen.to_sign:
        statements: dict[str, bytes] = {}
        for subject in seen.to_sign:
            statements.update(place.statement(subject.path, subject.data, number=subject.number))
        proposal = proposals.add_statements(
            place.repository,
            place.url,
            proposal=proposal,
            statements=statements,
            author=Author.of(actor.by),
            signer=actor.signer,
        )
    signed = tuple(subject.path for subject in seen.to_sign)
    verdict = place.judge(view.tip, proposal.head)
    _refuse(verdict, signed)

    def check(main: str, merge: str) -> None:
        _refuse(place.judge(main, merge), signed)

    commit = proposals.merge(
        place.repository,
        place.url,
        proposal=proposal,
        author=Author.of(actor.by),
        signer=actor.signer,
        check=check,
    )
    return Merged(commit, signed)


def _refuse(verdict: Verdict, signed: tuple[str, ...]) -> None:
    """Raises unless the rules let this be merged now."""
    if verdict.answer == "failed":
        raise InvalidDocumentError(verdict.problems)
    if verdict.answer == "waits":
        pushed = "Your signature is pushed. " if signed else ""
        raise WaitError(
            f"{pushed}Not merged yet: it waits for {', and for '.join(verdict.waits_for)}."
        )


Side = Literal["models", "datasets"]


def find_association(
    place: Workplace, view: View, *, benchmark: str, side: Side, component: str
) -> tuple[str, Proposal | None]:
    """The path of an association, and the open proposal that brings it (None if main has it)."""
    ref = view.benchmark(benchmark).ref
    open_ones = proposals.list_open(place.repository, place.url)
    paths: dict[str, Proposal | None] = {}
    for state in view.associations_of(ref, side):
        paths[state.path] = None
    # one that nobody can look at brings nothing that could be approved, and hides no other
    for proposal, change in proposals.changes_of(place.repository, open_ones, say=lambda _: None):
        spot = classify(change.path)
        if spot.kind == "association" and spot.ref == ref and spot.side == side:
            paths[change.path] = _further(place, view, paths.get(change.path), proposal)
    known = {classify(path).component: path for path in paths}
    path = known[resolve(component, known, f"{side[:-1]} in {ref} called")]
    return path, paths[path]


def _further(place: Workplace, view: View, one: Proposal | None, other: Proposal) -> Proposal:
    """Of two proposals of one file that which lacks less: it may be the other one, signed.

    What does not hold, as something that a stranger put on top, never comes first.
    """
    if one is None:
        return other

    def lacks(proposal: Proposal) -> tuple[bool, int]:
        verdict = place.judge(view.tip, proposal.head)
        return verdict.answer == "failed", len(verdict.waits_for)

    return min(one, other, key=lacks)


@dataclass(frozen=True)
class Sending:
    """Statements over a file of the registry, before they are sent."""

    path: str
    data: bytes
    statements: dict[str, bytes]


Agree = Callable[[Sending], None]
"""Sees what would be sent, and raises if that must not be."""


def review_association(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    side: Side,
    component: str,
    agree: Agree,
) -> Review:
    """The proposal that brings or signs an association, judged for the caller.

    Where the association is merged already and still pending, a proposal with the caller's
    statement alone is made for it, once `agree` has seen that.
    """
    path, proposal = find_association(
        place, view, benchmark=benchmark, side=side, component=component
    )
    if proposal is not None:
        return _review(place, view, proposal)
    state = view.ledger.association_state(path)
    if state.state != "pending":
        raise UsageError(f"The association of {state.component} is {state.sentence} already.")
    data = state.item.data
    at = state.item.manifest.spec.round
    statements = place.statement(path, data, number=at)
    agree(Sending(path, data, statements))
    proposal = place.propose(
        f"sign-{state.benchmark}-{state.component}", statements, f"Sign {path}"
    )
    return _review(place, view, proposal)


def revoke_association(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    side: Side,
    component: str,
    reason: str | None,
    agree: Agree,
) -> Merged:
    """Revokes an association with the caller's statement, and merges that at once.

    `agree` sees first what would be sent, or raises.
    """
    ref = view.benchmark(benchmark).ref
    known = [classify(state.path).component for state in view.associations_of(ref, side)]
    component = resolve(component, known, f"{side[:-1]} in {ref} called")
    state = view.association(ref, side, component)
    assert state is not None  # noqa: S101  (it is one of those above)
    if state.state == "revoked":
        raise UsageError(f"The association of {component} is revoked already.")
    at = state.item.manifest.spec.round
    statements = place.statement(
        state.path, state.item.data, number=at, decision="revoke", reason=reason
    )
    agree(Sending(state.path, state.item.data, statements))
    proposal = place.propose(f"revoke-{ref}-{component}", statements, f"Revoke {state.path}")
    return sign_and_merge(place, view, _review(place, view, proposal))


def close_proposal(
    place: Workplace, uid: str, reason: str, *, agree: Callable[[Proposal], None] | None = None
) -> Proposal:
    """Ends an open proposal without a merge; `agree` sees it first, or raises."""
    proposal = proposals.find(place.repository, place.url, uid)
    if agree is not None:
        agree(proposal)
    actor = place.member()
    proposals.close(
        place.repository,
        place.url,
        proposal=proposal,
        reason=reason,
        author=Author.of(actor.by),
        signer=actor.signer,
    )
    return proposal
