"""A pass: everything that is due at this site, and one summary that alone writes status.

The steps of a pass, in order (design §9); each finds its work in Git, in files and in the engine,
so a pass can be killed anywhere and the next one finishes it:

1. lock the storage: one pass at a time;
2. clean up what a killed pass left in the engine;
3. fetch, verify, observe, plan;
4. each due run by priority, planned anew before each, so that what changed meanwhile counts;
5. publish what is released, after looking at the registry once more;
6. summarise.

A run that fails is written to its record and never stops the others. What is not about a run (an
engine that does not answer, a full disk) ends step 4: no run is to blame, and none is charged.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..registry.view import View
from ..schemas.errors import (
    DataError,
    EngineError,
    MedperfError,
    RegistryError,
    StalledError,
    TaskError,
    WithheldError,
)
from .execute import Order, make_run
from .lock import Lock, found_no_room, full, is_full, locked
from .observe import evaluator_of, mirrors_of
from .observe import look as look
from .partial import KeptError, infer_whole, keeping, may_keep, partial_of
from .plan import Pair, Plan, PlannedRun, State, Step
from .publish import Published
from .release import publish_released, released
from .workplace import Workplace

Say = Callable[[str], None]


class NotWantedError(MedperfError):
    """The registry does not ask for this run any more."""


@dataclass(frozen=True)
class Ran:
    """What this pass did with one run: `done`, `withheld`, `failed`, `partial` or `stopped`.

    `partial`: the model failed, and what it had written is evaluated as a run of its own.
    """

    pair: Pair
    outcome: str
    cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """What a pass did, and how everything stands after it; `problem` is about no run alone."""

    plan: Plan
    ran: tuple[Ran, ...] = ()
    published: Published | None = None
    problem: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything of this pass failed; older failures do not count."""
        return bool(self.problem) or any(run.outcome == "failed" for run in self.ran)


@dataclass
class _Pass:
    """One pass under way."""

    place: Workplace
    say: Say
    stop: threading.Event
    wanted: Callable[[Pair], bool]
    lock: Lock
    keep_partial: bool = False
    ran: list[Ran] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reconcile(
    place: Workplace,
    *,
    say: Say,
    stop: threading.Event | None = None,
    wanted: Callable[[Pair], bool] = lambda _: True,
    keep_partial: bool = False,
) -> Summary:
    """One pass over the runs that `wanted` names (all of them by default).

    With `keep_partial` what a failed model has written is evaluated, where the benchmark allows it.
    """
    with locked(place.storage) as lock:
        at_work = _Pass(place, say, stop or threading.Event(), wanted, lock, keep_partial)
        _clean(at_work)
        view, plan = look(place)
        while (run := _next(at_work, plan)) is not None:
            lock.working_on(run.pair.key)
            at_work.ran.append(_work(at_work, view, run))
            lock.working_on("")
            view, plan = look(place)
        published = None
        if released(plan, wanted):
            published = _publish(at_work)
            _, plan = look(place)
        return Summary(plan, tuple(at_work.ran), published, "\n".join(at_work.problems))


def _clean(at_work: _Pass) -> None:
    """Ends what a killed pass left; with an engine that does not answer nothing is run."""
    try:
        at_work.place.engine.clean(at_work.place.label_prefix)
    except EngineError as error:
        at_work.problems.append(str(error))


def _next(at_work: _Pass, plan: Plan) -> PlannedRun | None:
    """The first due run that this pass has not tried yet."""
    if at_work.problems or at_work.stop.is_set():
        return None
    tried = {ran.pair.key for ran in at_work.ran}
    due = (run for run in plan.due if run.step is Step.RUN and at_work.wanted(run.pair))
    return next((run for run in due if run.pair.key not in tried), None)


def order_for(place: Workplace, view: View, pair: Pair, *, keep_partial: bool = False) -> Order:
    """Everything that one run takes, from the registry and from this machine."""
    benchmark = view.benchmark(pair.benchmark).manifest
    keep = keep_partial and may_keep(place.runs, pair, benchmark.spec, view.registry.id)
    evaluator = evaluator_of(view, pair.benchmark)
    dataset = place.datasets.committed(view.dataset(pair.dataset).manifest.spec.commitment)
    if dataset is None:
        raise DataError(f"The data of {pair.dataset} are not on this machine.")
    return Order(
        pair=pair,
        benchmark=benchmark,
        model=view.cube(pair.model).manifest,
        evaluator=evaluator.manifest,
        evaluator_digest=evaluator.digest,
        dataset=dataset,
        mirrors=mirrors_of(view, pair),
        infer=keeping(place.runs, partial_of(pair, view.registry.id)) if keep else infer_whole,
    )


def _check_wanted(at_work: _Pass, pair: Pair) -> None:
    """Raises what ends a run whose time has passed: an interrupt, or the registry's no."""
    if at_work.stop.is_set():
        raise KeyboardInterrupt
    _, plan = look(at_work.place)
    now = next((run for run in plan.runs if run.pair.key == pair.key), None)
    still = (State.DUE, State.AWAITING_RELEASE, State.WITHHELD)
    if now is None or now.state not in still:
        why = now.explanation if now else "The registry does not ask for it any more."
        raise NotWantedError(f"{pair.model} was stopped: {why}")


def _work(at_work: _Pass, view: View, run: PlannedRun) -> Ran:
    """Makes one run and remembers how it ended."""
    place, pair = at_work.place, run.pair
    at_work.say(f"{pair.benchmark} on {pair.dataset}: {pair.model}")
    try:
        made = make_run(
            place,
            order_for(place, view, pair, keep_partial=at_work.keep_partial),
            still_wanted=lambda: _check_wanted(at_work, pair),
            say=at_work.say,
            stop=at_work.stop,
        )
        return Ran(pair, "done", cached=made.cached)
    except WithheldError as error:
        return Ran(pair, "withheld", error=str(error))
    except NotWantedError as error:
        return Ran(pair, "stopped", error=str(error))
    except StalledError:
        raise
    except MedperfError as error:
        interrupted = isinstance(error, TaskError) and error.reason == "interrupted"
        if interrupted or at_work.stop.is_set():  # a download ends too: no attempt is counted
            raise KeyboardInterrupt from error
        if is_full(place.storage) or found_no_room(error):
            return _without_room(at_work, pair)
        return _failed(at_work, pair, error)
    except OSError as error:
        if found_no_room(error):
            return _without_room(at_work, pair)
        return _failed(at_work, pair, DataError(f"A file of this site: {error}."))


def _failed(at_work: _Pass, pair: Pair, error: MedperfError) -> Ran:
    """Writes down why a run failed, and whether time may help."""
    word = type(error).__name__.removesuffix("Error").lower()
    if isinstance(error, TaskError):
        word = error.reason
    transient = isinstance(error, RegistryError) or bool(getattr(error, "transient", False))
    at_work.place.runs.failed(pair, failure=word, problem=str(error), transient=transient)
    return Ran(pair, "partial" if isinstance(error, KeptError) else "failed", error=str(error))


def _without_room(at_work: _Pass, pair: Pair) -> Ran:
    """Ends the running: the others would find no room either, and a record may not be written."""
    problem = str(full(at_work.place.storage))
    at_work.problems.append(problem)
    return Ran(pair, "failed", error=problem)


def _publish(at_work: _Pass) -> Published | None:
    """Publishes what is released; what cannot be sent now waits for the next pass."""
    try:
        return publish_released(at_work.place, wanted=at_work.wanted)
    except StalledError:
        raise
    except RegistryError as error:
        at_work.problems.append(f"Publishing waits for the next pass: {error}")
        return None
