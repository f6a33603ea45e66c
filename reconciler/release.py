"""What is released leaves: looked at once more, checked once more, signed, proposed.

1. The registry is fetched and judged, and the plan made: a run that was revoked a moment ago, or
   whose numbers are not those that were released, is not in it any more.
2. Each result is written anew from the evaluator's file, by the disclosure check.
3. Results are signed and pushed; if main has moved since 1, all of it begins again.
"""

from collections.abc import Callable, Sequence

from ..registry.view import View
from ..schemas.errors import ConflictError, DataError
from .observe import associations_of, look
from .own_key import check_own_key
from .plan import Pair, Plan, State, Step
from .proposed import ask_forge
from .publish import MainMovedError, Proposed, Published, Ready, publish, show_again
from .workplace import Workplace

_TRIES = 8


def released(plan: Plan, wanted: Callable[[Pair], bool] = lambda _: True) -> list[Pair]:
    """The runs of a plan whose results may leave now."""
    return [run.pair for run in plan.due if run.step is Step.PUBLISH and wanted(run.pair)]


def publish_released(
    place: Workplace,
    *,
    wanted: Callable[[Pair], bool] = lambda _: True,
    say: Callable[[str], None] = lambda _: None,
) -> Published | None:
    """Proposes every released result that `wanted` names; None where nothing new is to propose.

    Nothing is added to a proposal that was closed: the forge is asked first.

    After a ConflictError or another RegistryError, what had been proposed before it stays so.
    """
    proposals: list[Proposed] = []
    for attempt in range(_TRIES):
        view, plan = look(place)
        if attempt == 0 and plan.of(State.PROPOSED):
            ask_forge(place, say=say)
        show_again(place.repository, place.url, told=proposals.append)
        pairs = released(plan, wanted)
        try:
            if pairs:
                _publish(place, view, pairs, proposals.append)
        except MainMovedError:
            continue
        return Published(tuple(proposals)) if proposals else None
    raise ConflictError(
        f"main of {place.url} moved {_TRIES} times while results were signed. Try again later."
    )


def _publish(
    place: Workplace, view: View, pairs: Sequence[Pair], told: Callable[[Proposed], None]
) -> None:
    ready = [Ready(pair, _bytes(place, view, pair)) for pair in pairs]
    site = place.site()
    check_own_key(view, site.by, site.signer.fingerprint)
    publish(place.repository, place.url, site, view.registry.id, view.tip, ready, told=told)


def _bytes(place: Workplace, view: View, pair: Pair) -> bytes:
    from .disclosure import Circumstances, check_results, result_bytes

    folder, record = place.runs.folder(pair), place.runs.record(pair)
    if record.done is None:
        raise DataError(f"The run {pair.short} is not finished.")
    policy = place.profile.policy
    found = check_results(
        folder.results, view.benchmark(pair.benchmark).manifest.spec, policy, record.done
    )
    model, dataset = associations_of(view, pair)
    around = Circumstances(view.registry.id, view.tip, model, dataset)
    return result_bytes(pair, record.done, found, around, policy)
