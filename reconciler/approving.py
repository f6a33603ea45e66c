"""What can still be signed, said before anything is; and merging what waits for nobody.

Approving twice is a mistake that is told: who has signed already is waited for no more.
"""

from collections.abc import Callable

from ..registry.proposals import Proposal
from ..registry.view import View
from ..schemas.errors import (
    ConflictError,
    InvalidDocumentError,
    RegistryError,
    UsageError,
    WaitError,
)
from .reviewing import (
    Agree,
    Merged,
    Review,
    Side,
    find_association,
    review,
    review_association,
    sign_and_merge,
)
from .workplace import Workplace


def check_can_sign(seen: Review) -> None:
    """A UsageError if the caller's signature can add nothing: given already, or not asked for."""
    if seen.to_sign or seen.verdict.answer == "valid":
        return
    if seen.verdict.answer == "failed":
        raise InvalidDocumentError(seen.verdict.problems)
    waits = ", and for ".join(seen.verdict.waits_for)
    owner, _, member = seen.by.partition("/")
    mine = f".{owner}.{member}.sigstore.json"
    if any(path.endswith(mine) for path in seen.files):
        raise UsageError(
            f"You ({seen.by}) have signed {seen.proposal.id} already: it waits for {waits}."
        )
    raise UsageError(f"{seen.by} has no part in {seen.proposal.id}: it waits for {waits}.")


def approve_association(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    side: Side,
    component: str,
    agree: Callable[[Review], None],
    agree_alone: Agree,
) -> Merged:
    """The caller's signature under an association, and its merge, which `agree` sees first.

    Where the association is in the registry already and only lacks signatures, `agree_alone` sees
    the one that is added. Both raise where that must not be. A UsageError where the caller has
    signed already, a WaitError where others must sign too.
    """
    path, proposal = find_association(
        place, view, benchmark=benchmark, side=side, component=component
    )
    by = place.member().by
    if proposal is None:
        state = view.ledger.association_state(path)
        if state.state == "pending" and by in state.signed:
            raise UsageError(
                f"You ({by}) have signed the association of {state.component} already: it waits "
                f"for {', and for '.join(state.missing)}."
            )
    seen = review_association(
        place, view, benchmark=benchmark, side=side, component=component, agree=agree_alone
    )
    check_can_sign(seen)
    if proposal is not None:
        agree(seen)
    done = sign_and_merge(place, view, seen)
    after = place.view().ledger.association_state(path)
    if after.state == "pending":
        raise WaitError(
            f"Your signature is in the registry. {after.component} does not take part yet: it "
            f"waits for {', and for '.join(after.missing)}."
        )
    return done


def merge_if_ready(place: Workplace, view: View, proposal: Proposal) -> Merged | None:
    """The merge of a proposal that waits for nobody (else); None where it has to wait.

    Also None where the caller may not merge: then somebody who may does it.
    """
    seen = review(place, view, proposal.id)
    if seen.verdict.answer != "valid":
        return None
    try:
        return sign_and_merge(place, view, seen)
    except ConflictError:
        raise
    except RegistryError:
        return None
