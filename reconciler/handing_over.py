"""A legal erasure, from the admins' side: another history, signed, and put in main's place.

1. `erase`: main's history is made again without some files; the hand-over is written beside it and
   signed by the admin who does this; both go to the branch `handover`. Main stays as it is.
2. `sign`: each further admin looks, commit by commit, whether only files were left out, and signs.
3. `publish`: with enough signatures, and while main is still what was signed, main becomes the
   branch's head. It is the one push that goes over what was there, so the forge must let it.

What this cannot do: clones and forks that others have, and the forge's own copies of old commits,
are theirs to delete. `docs/registry-admin.md` has the whole list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..registry.erasing import files_below, left_out, lost, made_again
from ..registry.git import Author
from ..registry.handover import (
    LIMIT,
    MOST,
    Handover,
    admins_at,
    count,
    handed_over,
    handover_path,
    read_handover,
    signature_path,
    signers,
)
from ..registry.statements import make_handover
from ..registry.view import View, open_view
from ..schemas.errors import RegistryError, StalledError, UsageError, WaitError
from .own_key import check_own_key
from .workplace import Actor, Workplace

BRANCH = "refs/heads/handover"


@dataclass(frozen=True)
class Erasure:
    """Another history in main's place: its tip, what it leaves out, and what ceases to hold."""

    handover: Handover
    number: int
    tip: str
    files: tuple[str, ...]
    changes: tuple[str, ...]
    signed: tuple[str, ...]
    threshold: int

    @property
    def missing(self) -> int:
        """How many admins have still to sign."""
        return max(0, self.threshold - len(self.signed))


def prepare(place: Workplace, names: Sequence[str], *, reason: str) -> Erasure:
    """The history without these files, and the hand-over for it, made here and sent nowhere yet."""
    view = place.view()
    actor = _admin(place, view)
    repository = place.repository
    steps = repository.first_parents(view.tip)
    files = files_below(steps, names)
    made = made_again(repository, steps, files, by=actor.by, signer=actor.signer)
    chain = tuple(view.ledger.commits)
    handover = Handover(view.registry.id, reason, chain, made[0], made[-1])
    number = count(repository, view.tip) + 1
    if number > MOST or len(handover.data()) > LIMIT:
        raise UsageError(f"A registry has at most {MOST} hand-overs of {LIMIT} bytes.")
    tip = _signed_commit(place, made[-1], number, handover, first=True)
    return _erasure(place, view, tip, number, handover, files)


def send(place: Workplace, erasure: Erasure) -> None:
    """Put the branch `handover` of the registry on what was prepared."""
    before = place.repository.fetch_ref(place.url, BRANCH)
    place.repository.replace(place.url, BRANCH, erasure.tip, before)


def proposed(place: Workplace) -> Erasure:
    """The hand-over on the registry's branch, looked at again in full."""
    view = place.view()
    repository = place.repository
    tip = repository.fetch_ref(place.url, BRANCH)
    if tip is None:
        raise UsageError("Nobody has prepared a hand-over: 'medperf registry erase' does.")
    number = count(repository, view.tip) + 1
    data = repository.file(tip, handover_path(number), cap=LIMIT + 1)
    if data is None:
        raise RegistryError(f"The branch handover has no {handover_path(number)}: erase again.")
    handover = read_handover(data)
    if handover.commits != tuple(view.ledger.commits):
        raise RegistryError(
            f"Main is at {view.tip[:12]} by now, and the hand-over is of "
            f"{handover.commits[-1][:12]}: prepare it again with 'medperf registry erase'."
        )
    new = repository.first_parents(tip)
    at = len(handover.commits)
    if (new[0].commit, new[at - 1].commit) != (handover.root, handover.head):
        raise RegistryError("The branch handover is not what its hand-over says: erase again.")
    beyond = [change.path for step in new[at:] for change in step.changes]
    mine = f"{handover_path(number).removesuffix('.json')}."
    if [path for path in beyond if not path.startswith(mine)]:
        raise RegistryError("The branch handover has more than the hand-over: erase again.")
    files = left_out(repository.first_parents(view.tip), new[:at])
    return _erasure(place, view, tip, number, handover, files)


def sign(place: Workplace, seen: Erasure) -> Erasure:
    """Add this admin's statement to the branch, if it is still what was looked at."""
    view = place.view()
    _admin(place, view)
    tip = _signed_commit(place, seen.tip, seen.number, seen.handover)
    place.repository.push(place.url, {BRANCH: (tip, seen.tip)})
    return _erasure(place, view, tip, seen.number, seen.handover, seen.files)


def publish(place: Workplace, seen: Erasure) -> str:
    """Put main on the new history, and take the branch away; the new tip."""
    if seen.missing:
        raise WaitError(
            f"The hand-over waits for {seen.missing} more of the admins' signatures: each says "
            "'medperf registry handover --sign'."
        )
    repository = place.repository
    repository.replace(place.url, "refs/heads/main", seen.tip, seen.handover.commits[-1])
    repository.push(place.url, {BRANCH: (None, seen.tip)})
    return seen.tip


def left_behind(place: Workplace) -> tuple[str, ...]:
    """References of the registry that still hold the old history, for the admins to delete."""
    refs = place.repository.remote_refs(place.url)
    main = refs.get("refs/heads/main")
    return tuple(
        ref
        for ref, oid in sorted(refs.items())
        if ref not in ("refs/heads/main", "refs/heads/checkpoints") and oid != main
    )


def _admin(place: Workplace, view: View) -> Actor:
    actor = place.member()
    if not view.ledger.is_admin(actor.by):
        raise UsageError(f"{actor.by} is no admin of this registry: only admins hand it over.")
    check_own_key(view, actor.by, actor.signer.fingerprint)
    return actor


def _signed_commit(
    place: Workplace, parent: str, number: int, handover: Handover, *, first: bool = False
) -> str:
    """A commit with this admin's statement; the `first` one brings the hand-over itself too."""
    actor = place.member()
    path = handover_path(number)
    bundle = make_handover(
        actor.signer,
        by=actor.by,
        registry=handover.registry,
        subject_name=path.rpartition("/")[2],
        data=handover.data(),
    )
    files = {signature_path(number, actor.by): bundle}
    if first:
        files[path] = handover.data()
    return place.repository.commit(
        [parent],
        parent,
        files,
        message="Hand the registry over",
        author=Author.of(actor.by),
        signer=actor.signer,
    )


def _erasure(
    place: Workplace,
    view: View,
    tip: str,
    number: int,
    handover: Handover,
    files: Sequence[str],
) -> Erasure:
    repository = place.repository
    spec, holders = admins_at(repository, handover.head)
    signed = signers(repository, tip, number, handover.data(), registry=spec.id, holders=holders)
    chain = repository.first_parent_ids(tip)
    try:
        handed = handed_over(repository, tip, chain, unsigned=number)
        new = open_view(repository, tip, handed=handed)
    except StalledError as error:
        raise UsageError(f"Without these files no site would go on: {error}") from error
    changes = tuple(changed(view, new, files))
    return Erasure(handover, number, tip, tuple(files), changes, signed, spec.admins.threshold)


def changed(old: View, new: View, files: Iterable[str]) -> list[str]:
    """What held before and does not after, beside the files themselves."""
    gone = frozenset(files)
    return [line for line in lost(_states(old), _states(new)) if line.split(":")[0] not in gone]


def _states(view: View) -> list[tuple[str, str]]:
    found = [(f"owners/{name}.yaml", "in force") for name in view.owners]
    found += [(item.path, "in force") for item in view.benchmarks.values()]
    found += [(one.path, one.state) for one in view.associations]
    return found + [(path, one.answer) for path, one in view.results.items()]
