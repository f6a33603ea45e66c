"""A hand-over, from a site's side: what it would follow is shown before it does.

A site follows no history that does not go on from what it verified last. Here it looks at one that
the admins have signed in the other's place, with its own old view as the only judge:

1. the hand-over names the root that this site has pinned, and has among its old commits the one
   that the site verified last;
2. as many admins as *that* view asks for have signed it, with keys that are active in that view;
3. commit by commit, the new history is the old one without some files, and nothing else;
4. from its new root on it holds by all rules.

Then an engineer is asked. Once he agrees the new root is pinned, and what was kept of the old
history is deleted: the clone with its objects, and the index of documents. Results, run keys and
the runs of this site stay what they are.
"""

import shutil
from dataclasses import dataclass

from ..registry.erasing import left_out
from ..registry.git import Repository
from ..registry.handover import (
    LIMIT,
    Handover,
    count,
    handover_path,
    read_handover,
    signers,
)
from ..registry.ledger import Holder
from ..registry.view import Pinned, View, open_view
from ..schemas.errors import RegistryError, SignatureError, UsageError
from .handing_over import changed
from .settings import Profile
from .workplace import MAIN, Workplace


@dataclass(frozen=True)
class Offer:
    """What a site is asked to follow: both histories, who signed, what is gone, what ceases."""

    handover: Handover
    tip: str
    verified: str
    signed: tuple[str, ...]
    threshold: int
    files: tuple[str, ...]
    changes: tuple[str, ...]


def offer(place: Workplace) -> Offer | None:
    """The hand-over on main that this site may follow; None where it follows main already.

    A RegistryError or SignatureError says why this is nothing to follow.
    """
    place.fetch()
    repository, pinned = place.repository, place.pinned
    tip, verified = repository.resolve(MAIN), _verified(place)
    if tip is None or verified is None:
        raise UsageError("This site has verified nothing yet, so there is nothing to follow.")
    chain = repository.first_parent_ids(tip)
    if chain[0] == pinned.root and verified in chain:
        return None
    number, handover, data = _found(repository, tip)
    _check_form(handover, pinned, chain, verified)
    if chain[0] == pinned.root:  # it was agreed to before, and the site was stopped in between
        return Offer(handover, tip, verified, (), 0, (), ())
    old = open_view(repository, verified, pinned=pinned)
    signed = signers(
        repository, tip, number, data, registry=old.registry.id, holders=_admins_keys(old)
    )
    if len(signed) < old.registry.admins.threshold:
        who = ", ".join(signed) or "none of them"
        raise SignatureError(
            f"A hand-over takes {old.registry.admins.threshold} signatures of the admins whom this "
            f"site knows, and {who} has signed this one. Do not follow it; ask them."
        )
    steps = repository.first_parents(verified)
    files = left_out(steps, repository.first_parents(tip)[: len(steps)])
    moved = Pinned(pinned.id, handover.root, pinned.admins, pinned.approval)
    new = open_view(repository, tip, pinned=moved)
    if new.registry.id != pinned.id:
        raise RegistryError(f"The new history is of another registry, {new.registry.id}.")
    changes = tuple(changed(old, new, files))
    threshold = old.registry.admins.threshold
    return Offer(handover, tip, verified, signed, threshold, files, changes)


def follow(place: Workplace, seen: Offer) -> Profile:
    """Pin the new root, and delete what was kept of the old history; the profile as it is now.

    It may be interrupted anywhere and said again.
    """
    enrolment = place.profile.registry.model_copy(update={"root": seen.handover.root})
    profile = place.profile.model_copy(update={"registry": enrolment})
    place.close()
    clone = place.storage / "registry.git"
    fresh = place.storage / "registry.git.new"
    shutil.rmtree(fresh, ignore_errors=True)
    with Repository.create(fresh) as repository:
        repository.fetch(place.url, [f"+refs/heads/main:{MAIN}"])
        if not repository.is_on_chain(seen.tip, repository.resolve(MAIN) or seen.tip):
            raise RegistryError("Main has changed meanwhile: look at it again.")
    place.home.save(place.name, profile)
    for name in ("index.sqlite", "index.sqlite-journal"):
        (place.storage / name).unlink(missing_ok=True)
    shutil.rmtree(clone)
    fresh.rename(clone)
    (place.storage / "verified").write_text(seen.tip + "\n")
    return profile


def _verified(place: Workplace) -> str | None:
    marker = place.storage / "verified"
    return marker.read_text().strip() if marker.exists() else None


def _found(repository: Repository, tip: str) -> tuple[int, Handover, bytes]:
    number = count(repository, tip)
    if not number:
        raise RegistryError(
            "Main is another history than the one this site knows, and no hand-over is in it: "
            "nobody has signed for that. Ask the registry's admins by another way."
        )
    data = repository.file(tip, handover_path(number), cap=LIMIT + 1) or b""
    return number, read_handover(data), data


def _check_form(handover: Handover, pinned: Pinned, chain: list[str], verified: str) -> None:
    if handover.registry != pinned.id:
        raise SignatureError(f"The hand-over is of another registry, {handover.registry}.")
    last = len(handover.commits) - 1
    if handover.root != chain[0] or chain[last : last + 1] != [handover.head]:
        raise SignatureError(
            f"The hand-over is for a history from {handover.root[:12]} to {handover.head[:12]}, "
            "and main is another one. Do not follow it; ask the admins by another way."
        )
    if pinned.root not in (handover.commits[0], handover.root):
        raise SignatureError(
            f"The hand-over replaces a history from {handover.commits[0][:12]} on, and this site "
            f"knows one from {pinned.root[:12]} on. If it has missed a hand-over, enrol again: "
            "'medperf login' with another --name, and compare."
        )
    if verified not in handover.commits:
        raise SignatureError(
            f"This site has verified {verified[:12]}, which is not among the commits that the "
            "hand-over replaces: what came to main since would be lost unseen. Ask the admins "
            "to hand over what main was at last."
        )


def _admins_keys(view: View) -> dict[str, Holder]:
    return {
        key: holder
        for key, holder in view.ledger.holders()
        if holder.role == "member"
        and holder.key.state == "active"
        and view.ledger.is_admin(holder.by)
    }
