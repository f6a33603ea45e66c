"""How many models a pass ran, and how each stands: MedPerf's summary, counted right. Pure.

A model counts once for a benchmark and a dataset, whether its run is whole or partial. It is
counted by what happened to it in this pass; a model that nothing happened to was skipped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .due_runs import Ran
from .plan import Pair, PlannedRun, State

Model = tuple[str, str, str]
HAVE = (State.AWAITING_RELEASE, State.WITHHELD, State.PROPOSED, State.PUBLISHED, State.DECLINED)


@dataclass(frozen=True)
class Tally:
    """Models in all, and by what this pass did; `…_partial`: those with a partial result."""

    total: int
    skipped: int
    skipped_partial: int
    failed: int
    ran: int
    ran_partial: int
    withheld: int
    stopped: int


def model_of(pair: Pair) -> Model:
    """What counts as one model: the pair, whole or partial."""
    return (pair.benchmark, pair.dataset, pair.model)


def tally(runs: Sequence[PlannedRun], ran: Iterable[Ran]) -> Tally:
    """The counts of one pass: `runs` as they stand after it, `ran` what it did."""
    outcomes: dict[Model, set[str]] = {}
    partly: set[Model] = set()
    for one in ran:
        outcomes.setdefault(model_of(one.pair), set()).add(one.outcome)
        if one.pair.partial and one.outcome == "done":
            partly.add(model_of(one.pair))
    models = {model_of(run.pair) for run in runs} | set(outcomes)
    skipped = models - set(outcomes)
    left = {
        model_of(run.pair)
        for run in runs
        if run.pair.partial and (run.state in HAVE or run.state is State.DUE)
    }
    done = {model for model, found in outcomes.items() if "done" in found}
    withheld = {model for model, found in outcomes.items() if "withheld" in found} - done
    stopped = {model for model, found in outcomes.items() if "stopped" in found} - done - withheld
    return Tally(
        total=len(models),
        skipped=len(skipped),
        skipped_partial=len(skipped & left - _whole(runs)),
        failed=len(set(outcomes) - done - withheld - stopped),
        ran=len(done),
        ran_partial=len(partly & done),
        withheld=len(withheld),
        stopped=len(stopped),
    )


def _whole(runs: Sequence[PlannedRun]) -> set[Model]:
    """The models with a whole result."""
    return {model_of(run.pair) for run in runs if not run.pair.partial and run.state in HAVE}


def shown(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """One run a model for the table: the partial one only while there is no whole one."""
    whole = _whole(runs)
    partial = {model_of(run.pair) for run in runs if run.pair.partial}
    return [
        run
        for run in runs
        if model_of(run.pair) not in partial or run.pair.partial != (model_of(run.pair) in whole)
    ]
