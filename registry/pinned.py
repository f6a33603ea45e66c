"""What a site has pinned of a registry at enrolment, and what must hold ever since (design §6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..schemas.errors import StalledError
from .ledger import Ledger


@dataclass(frozen=True)
class Pinned:
    """What a site has pinned at enrolment, compared out of band (design §6)."""

    id: str
    root: str
    admins: frozenset[str]
    approval: Literal["signed", "merge"]


def check_chain(chain: Sequence[str], pinned: Pinned | None, verified: str | None) -> None:
    """Raise a StalledError unless this first-parent chain goes on from what the site knows."""
    if pinned is not None and chain[0] != pinned.root:
        raise StalledError(
            "history",
            f"The registry's root commit is {chain[0][:12]}, and this site has enrolled with "
            f"{pinned.root[:12]}: it is another registry, or its history was replaced. Ask its "
            "admins by another way. If they have signed a hand-over, 'medperf registry follow' "
            "shows it; else enrol again if they confirm it.",
            commit=chain[0],
        )
    if verified is not None and verified not in chain:
        raise StalledError(
            "history",
            f"The commit {verified[:12]}, which this site verified last, is not on the "
            f"first-parent chain of the registry's main (now {chain[-1][:12]}): main was set back, "
            "rewritten, or replaced by a branch that main was merged into. Ask the registry's "
            "admins to restore it; if they have signed a hand-over, 'medperf registry follow' "
            "shows it.",
            commit=chain[-1],
        )


def check_pinned(ledger: Ledger, pinned: Pinned) -> None:
    """Raise a StalledError if the registry is another one by now, or looser than was pinned."""
    if ledger.spec.id != pinned.id:
        raise StalledError(
            "history",
            f"The registry's id is {ledger.spec.id}, and this site has enrolled with {pinned.id}: "
            "it is another registry. Check the address.",
            commit=ledger.commits[-1],
        )
    if pinned.approval == "signed" and ledger.believed:
        raise StalledError(
            "signature",
            "The registry's approval is now `merge`: whoever may merge there decides what runs "
            "here. This site has enrolled with `signed`; enrol again if that is wanted.",
            commit=ledger.commits[-1],
        )
