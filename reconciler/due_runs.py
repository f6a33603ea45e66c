"""The due runs of a pass, made by priority, as many at once as there is room for.

Each run has a thread of its own (`crew.py`) and what it needs of the machine (`capacity.py`); the
registry is read, and the plan made, in the pass's own thread alone. Runs begin in the plan's order:
where the next one has to wait, for memory, for a GPU or for one of `jobs`, those behind it wait
too, so that none is overtaken for ever.

A run that fails is written to its record and never stops the others. What is not about a run (an
engine that does not answer, a full disk) ends the running: no run is to blame, and none is charged.
What is under way then ends by itself; only an interrupt breaks it off.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..registry.view import View
from ..schemas.errors import (
    DataError,
    MedperfError,
    RegistryError,
    StalledError,
    TaskError,
    WithheldError,
)
from .capacity import Capacity, Lease, need_of
from .crew import Ask, Crew
from .lock import Lock, found_no_room, full, is_full
from .observe import evaluator_of, mirrors_of
from .observe import look as look
from .partial import KeptError, infer_whole, keeping, may_keep, partial_of
from .plan import Pair, Plan, PlannedRun, State, Step
from .workplace import Workplace

if TYPE_CHECKING:  # what runs cubes is loaded when there is something to run
    from .execute import Order

Say = Callable[[str], None]
T = TypeVar("T")


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


@dataclass
class Pass:
    """One pass under way."""

    place: Workplace
    say: Say
    stop: threading.Event
    wanted: Callable[[Pair], bool]
    lock: Lock
    jobs: int
    capacity: Capacity
    keep_partial: bool = False
    running: dict[str, tuple[Pair, Lease]] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)
    waiting: str = ""
    interrupted: bool = False

    def book(self, ran: Ran) -> None:
        """Keeps how a run has ended; that it was interrupted is no outcome."""
        if ran.outcome == "interrupted":
            self.interrupted = True
        else:
            self.ran.append(ran)


def run_due(at_work: Pass) -> Plan:
    """Makes what is due; the plan as it is afterwards."""

    def answer(key: str) -> None:
        _check_wanted(at_work, at_work.running[key][0])

    crew: Crew[Ran] = Crew(at_work.stop)
    try:
        view, plan = look(at_work.place)
        _start(at_work, crew, view, plan)
        while len(crew):
            key, ran = crew.wait(answer)
            _ended(at_work, key, ran)
            if not at_work.interrupted:
                view, plan = look(at_work.place)
                _tell_rest(at_work, plan, ran)
                _start(at_work, crew, view, plan)
    except MedperfError:
        crew.finish(answer)
        raise
    finally:
        crew.close()
    if at_work.interrupted:
        raise KeyboardInterrupt
    return plan


def _start(at_work: Pass, crew: "Crew[Ran]", view: View, plan: Plan) -> None:
    """Begins the runs that are due and not tried yet, in their order, as far as they fit."""
    for run in _untried(at_work, plan):
        if len(crew) >= at_work.jobs or at_work.problems or at_work.stop.is_set():
            return
        pair = run.pair
        order = _guarded(at_work, pair, partial(_order, at_work, view, pair))
        if isinstance(order, Ran):
            at_work.book(order)
            continue
        lease = _lease(at_work, order)
        if lease is None:
            return
        at_work.running[pair.key] = (pair, lease)
        at_work.lock.working_on(*at_work.running)
        at_work.say(f"{pair.benchmark} on {pair.dataset}: {pair.model}")
        crew.start(pair.key, partial(_work, at_work, replace(order, gpus=lease.gpus)))


def _untried(at_work: Pass, plan: Plan) -> list[PlannedRun]:
    """The due runs that this pass has neither tried nor begun."""
    known = {ran.pair.key for ran in at_work.ran} | set(at_work.running)
    due = (run for run in plan.due if run.step is Step.RUN and at_work.wanted(run.pair))
    return [run for run in due if run.pair.key not in known]


def _order(at_work: Pass, view: View, pair: Pair) -> "Order":
    return order_for(at_work.place, view, pair, keep_partial=at_work.keep_partial)


def _lease(at_work: Pass, order: "Order") -> Lease | None:
    """What a run may use; None, told once, if it has to wait. Those behind it wait too."""
    from .execute import site_limits

    pair, profile = order.pair, at_work.place.profile
    tasks = ((order.model, "infer"), (order.evaluator, "evaluate"))
    need = need_of(tasks, site_limits(profile.limits), engine=profile.engine)
    # a model's partial run and its whole one use the same folders
    twin = any(
        replace(one, key="", partial=False) == replace(pair, key="", partial=False)
        for one, _ in at_work.running.values()
    )
    lease = None if twin else at_work.capacity.take(need)
    if lease is None and at_work.waiting != pair.key:
        at_work.waiting = pair.key
        why = "its model runs already" if twin else at_work.capacity.lacks(need)
        at_work.say(f"{pair.model} waits: {why}.")
    return lease


def _ended(at_work: Pass, key: str, ran: Ran) -> None:
    """Takes a run that has ended off the books."""
    _, lease = at_work.running.pop(key)
    at_work.capacity.give_back(lease)
    at_work.lock.working_on(*at_work.running)
    at_work.book(ran)


def _tell_rest(at_work: Pass, plan: Plan, ran: Ran) -> None:
    """With several at once: who has ended, and what is left."""
    if at_work.jobs > 1:
        left = len(_untried(at_work, plan))
        at_work.say(f"{ran.pair.model}: {ran.outcome}; {len(at_work.running)} at work, {left} due")


def order_for(place: Workplace, view: View, pair: Pair, *, keep_partial: bool = False) -> "Order":
    """Everything that one run takes, from the registry and from this machine."""
    from .execute import Order

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


def _check_wanted(at_work: Pass, pair: Pair) -> None:
    """Raises NotWantedError if the registry does not ask for a run any more."""
    _, plan = look(at_work.place)
    now = next((run for run in plan.runs if run.pair.key == pair.key), None)
    still = (State.DUE, State.AWAITING_RELEASE, State.WITHHELD)
    if now is None or now.state not in still:
        why = now.explanation if now else "The registry does not ask for it any more."
        raise NotWantedError(f"{pair.model} was stopped: {why}")


def _work(at_work: Pass, order: "Order", still_wanted: Ask) -> Ran:
    """Makes one run and remembers how it ended; in a thread of its own."""
    from .execute import make_run

    pair, say = order.pair, at_work.say
    if at_work.jobs > 1:
        say = _named(pair.model, say)

    def make() -> Ran:
        try:
            made = make_run(
                at_work.place, order, still_wanted=still_wanted, say=say, stop=at_work.stop
            )
        except KeyboardInterrupt:
            return Ran(pair, "interrupted")
        return Ran(pair, "done", cached=made.cached)

    return _guarded(at_work, pair, make)


def _named(model: str, say: Say) -> Say:
    """Says of which model it speaks, where others speak too."""

    def speak(text: str) -> None:
        say(text if text.startswith(model) else f"{model}: {text}")

    return speak


def _guarded(at_work: Pass, pair: Pair, work: Callable[[], T]) -> T | Ran:
    """What `work` gives, or how the run ended that it was for."""
    place = at_work.place
    try:
        return work()
    except WithheldError as error:
        return Ran(pair, "withheld", error=str(error))
    except NotWantedError as error:
        return Ran(pair, "stopped", error=str(error))
    except StalledError:
        raise
    except MedperfError as error:
        interrupted = isinstance(error, TaskError) and error.reason == "interrupted"
        if interrupted or at_work.stop.is_set():  # a download ends too: no attempt is counted
            return Ran(pair, "interrupted")
        if is_full(place.storage) or found_no_room(error):
            return _without_room(at_work, pair)
        return _failed(at_work, pair, error)
    except OSError as error:
        if found_no_room(error):
            return _without_room(at_work, pair)
        return _failed(at_work, pair, DataError(f"A file of this site: {error}."))


def _failed(at_work: Pass, pair: Pair, error: MedperfError) -> Ran:
    """Writes down why a run failed, and whether time may help."""
    word = type(error).__name__.removesuffix("Error").lower()
    if isinstance(error, TaskError):
        word = error.reason
    transient = isinstance(error, RegistryError) or bool(getattr(error, "transient", False))
    at_work.place.runs.failed(pair, failure=word, problem=str(error), transient=transient)
    return Ran(pair, "partial" if isinstance(error, KeptError) else "failed", error=str(error))


def _without_room(at_work: Pass, pair: Pair) -> Ran:
    """Ends the running: the others would find no room either, and a record may not be written."""
    problem = str(full(at_work.place.storage))
    at_work.problems[problem] = None
    return Ran(pair, "failed", error=problem)
