"""`benchmark run`: one benchmark on one dataset, by the same pass that `reconcile` makes.

Beside the pass it can do what a person at a terminal asks for: only some models, a failed model
again, a finished run again as long as it has not left, and partial results.
"""

import threading
from collections.abc import Callable, Sequence

from ..registry.view import View
from ..schemas.errors import UsageError
from ..schemas.names import resolve
from .execute import forget
from .lock import locked
from .observe import look
from .passes import Summary, reconcile
from .plan import Pair, Plan, PlannedRun, State
from .workplace import Workplace

Say = Callable[[str], None]
LEFT = (State.PROPOSED, State.PUBLISHED)
TRIED = (State.FAILED, State.RETRYING)
AGAIN = (State.AWAITING_RELEASE, State.WITHHELD, State.DECLINED, State.DUE, *TRIED)


def run_benchmark(
    place: Workplace,
    *,
    benchmark: str,
    data_uid: str,
    models: Sequence[str] = (),
    ignore_model_errors: bool = False,
    cache: bool = True,
    jobs: int | None = None,
    say: Say,
    stop: threading.Event | None = None,
) -> Summary:
    """One pass over the runs of a benchmark on a dataset; the summary is of these runs alone.

    A UsageError where they do not belong together, or where a result that has left is to be made
    again. Models that are named, and with `ignore_model_errors` all, are tried again if they
    failed.
    """
    view, plan = look(place)
    wanted = _wanted(place, view, benchmark, data_uid, models)
    runs = [run for run in plan.runs if wanted(run.pair)]
    if ignore_model_errors and not view.benchmark(benchmark).manifest.spec.allow_partial:
        say(f"{benchmark} accepts no partial results: failed models just fail.")
    with locked(place.storage):
        if not cache:
            _forget(place, runs, named=bool(models), say=say)
        elif models or ignore_model_errors:
            _forgive(place, runs)
    summary = reconcile(
        place, say=say, stop=stop, wanted=wanted, keep_partial=ignore_model_errors, jobs=jobs
    )
    kept = tuple(run for run in summary.plan.runs if wanted(run.pair))
    return Summary(Plan(summary.plan.commit, kept), summary.ran, summary.published, summary.problem)


def _wanted(
    place: Workplace, view: View, benchmark: str, data_uid: str, models: Sequence[str]
) -> Callable[[Pair], bool]:
    ref = view.benchmark(benchmark).ref
    dataset = registered_dataset(place, view, data_uid)
    if view.association(ref, "datasets", dataset) is None:
        raise UsageError(
            f"{dataset} does not take part in {ref}: "
            f"'medperf dataset associate --benchmark_uid {ref} --data_uid {dataset}' asks for it."
        )
    taking_part = [one.component for one in view.associations_of(ref, "models")]
    chosen = {resolve(model, taking_part, f"model of {ref}") for model in models}
    return lambda pair: (
        pair.benchmark == ref and pair.dataset == dataset and (not chosen or pair.model in chosen)
    )


def registered_dataset(place: Workplace, view: View, uid: str) -> str:
    """`owner/name` of a registered dataset; this machine's own comes before others'."""
    owner = uid.rpartition("/")[0] or place.owner
    if owner != place.owner or not place.datasets.meant(uid):
        return view.dataset(uid).ref
    ref = f"{place.owner}/{place.datasets.find(uid).record.name}"
    if ref not in view.datasets:
        raise UsageError(
            f"The dataset {uid} is not in the registry yet: "
            f"'medperf dataset submit --data_uid {uid}', then merge its proposal."
        )
    return ref


def _forget(place: Workplace, runs: Sequence[PlannedRun], *, named: bool, say: Say) -> None:
    """Removes what these runs have left on this machine, so that they are made anew."""
    for run in runs:
        if run.state in LEFT and named and not run.pair.partial:
            raise UsageError(
                f"{run.pair.local_name} is {run.state} already: a result that has left is never "
                "made again. A new version of the model is a new cube."
            )
    for run in runs:
        if run.state in LEFT:
            say(f"{run.pair.local_name} is {run.state} already and stays as it is.")
        elif run.state in AGAIN:
            forget(place.runs.folder(run.pair))


def _forgive(place: Workplace, runs: Sequence[PlannedRun]) -> None:
    """Forgets the failed tries of these runs, so that they are due."""
    for run in runs:
        if run.state in TRIED:
            record = place.runs.record(run.pair)
            place.runs.folder(run.pair).write(record.model_copy(update={"attempts": ()}))
