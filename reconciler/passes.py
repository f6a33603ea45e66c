"""A pass: everything that is due at this site, and one summary that alone writes status.

The steps of a pass, in order (design §9); each finds its work in Git, in files and in the engine,
so a pass can be killed anywhere and the next one finishes it:

1. lock the storage: one pass at a time;
2. clean up what a killed pass left in the engine;
3. fetch, verify, observe, plan;
4. each due run by priority, planned anew before each, so that what changed meanwhile counts;
5. publish what is released, after looking at the registry once more;
6. summarise.

A run that fails is written to its record and never stops the others.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..registry.view import View
from ..schemas.errors import (
    AssetError,
    ConflictError,
    EngineError,
    MedperfError,
    RegistryError,
    StalledError,
    TaskError,
    WaitError,
    WithheldError,
)
from .disclosure import Circumstances, check_results, result_bytes, shown_digest
from .execute import Order, make_run
from .observe import associations_of, evaluator_of, mirrors_of, observe
from .plan import Pair, Plan, PlannedRun, State, Step
from .publish import Published, Ready, publish
from .records import Decision, RunFolder
from .workplace import Workplace

Say = Callable[[str], None]


class NotWantedError(MedperfError):
    """The registry does not ask for this run any more."""


@dataclass(frozen=True)
class Ran:
    """What this pass did with one run: `done`, `withheld`, `failed` or `stopped`."""

    pair: Pair
    outcome: str
    cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """What a pass did, and how everything stands after it."""

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
    ran: list[Ran] = field(default_factory=list)


def reconcile(
    place: Workplace,
    *,
    say: Say,
    stop: threading.Event | None = None,
    wanted: Callable[[Pair], bool] = lambda _: True,
) -> Summary:
    """One pass over the runs that `wanted` names (all of them by default)."""
    at_work = _Pass(place, say, stop or threading.Event(), wanted)
    with locked(place.storage):
        place.engine.clean(place.label_prefix)
        view, plan = look(place)
        while (run := _next(at_work, plan)) is not None:
            at_work.ran.append(_work(at_work, view, run))
            view, plan = look(place)
        published, problem = _publish(at_work, view, plan)
        if published is not None:
            _, plan = look(place)
        return Summary(plan, tuple(at_work.ran), published, problem)


@contextmanager
def locked(storage: Path) -> Iterator[None]:
    """Keeps other passes out of this storage; WaitError if one is at work."""
    storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (storage / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise WaitError(
                f"Another pass is at work here (process {file.read().strip() or 'unknown'}). "
                "It does the same work: wait for it, or stop it first."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def look(place: Workplace, *, fetch: bool = True) -> tuple[View, Plan]:
    """The registry as it is now, and the plan for this site."""
    view = place.view(fetch=fetch)
    return view, observe(place, view, now=time.time())


def _next(at_work: _Pass, plan: Plan) -> PlannedRun | None:
    """The first due run that this pass has not tried yet."""
    tried = {ran.pair.key for ran in at_work.ran}
    return next(
        (
            run
            for run in plan.due
            if run.step is Step.RUN
            and run.pair.key not in tried
            and at_work.wanted(run.pair)
            and not at_work.stop.is_set()
        ),
        None,
    )


def order_for(place: Workplace, view: View, pair: Pair) -> Order:
    """Everything that one run takes, from the registry and from this machine."""
    benchmark = view.benchmark(pair.benchmark).manifest
    evaluator = evaluator_of(view, pair.benchmark)
    dataset = place.datasets.committed(view.dataset(pair.dataset).manifest.spec.commitment)
    if dataset is None:
        raise RegistryError(f"The data of {pair.dataset} are not on this machine.")
    return Order(
        pair=pair,
        benchmark=benchmark,
        model=view.cube(pair.model).manifest,
        evaluator=evaluator.manifest,
        evaluator_digest=evaluator.digest,
        dataset=dataset,
        mirrors=mirrors_of(view, pair),
    )


def _work(at_work: _Pass, view: View, run: PlannedRun) -> Ran:
    """Makes one run and remembers how it ended."""
    place, pair = at_work.place, run.pair
    at_work.say(f"{pair.benchmark} on {pair.dataset}: {pair.model}")

    def still_wanted() -> None:
        if at_work.stop.is_set():
            raise KeyboardInterrupt
        _, now = look(place)
        state = next((one for one in now.runs if one.pair.key == pair.key), None)
        if state is None or state.state not in (State.DUE, State.AWAITING_RELEASE, State.WITHHELD):
            why = state.explanation if state else "The registry does not ask for it any more."
            raise NotWantedError(f"{pair.model} was stopped: {why}")

    try:
        made = make_run(
            place,
            order_for(place, view, pair),
            still_wanted=still_wanted,
            say=at_work.say,
            stop=at_work.stop,
        )
    except WithheldError as error:
        return Ran(pair, "withheld", error=str(error))
    except NotWantedError as error:
        return Ran(pair, "stopped", error=str(error))
    except StalledError:
        raise
    except TaskError as error:
        if error.reason == "interrupted":
            raise KeyboardInterrupt from error
        return _failed(place, pair, error.reason, error, transient=False)
    except (AssetError, EngineError) as error:
        word = "asset" if isinstance(error, AssetError) else "engine"
        return _failed(place, pair, word, error, transient=error.transient)
    except RegistryError as error:
        return _failed(place, pair, "registry", error, transient=True)
    except OSError as error:
        return _failed(place, pair, "disk", error, transient=True)
    except MedperfError as error:
        word = type(error).__name__.removesuffix("Error").lower()
        return _failed(place, pair, word, error, transient=False)
    _release_if_automatic(place, pair, view)
    return Ran(pair, "done", cached=made.cached)


def _failed(
    place: Workplace, pair: Pair, failure: str, error: Exception, *, transient: bool
) -> Ran:
    place.runs.failed(pair, failure=failure, problem=str(error), transient=transient)
    return Ran(pair, "failed", error=str(error))


def _release_if_automatic(place: Workplace, pair: Pair, view: View) -> None:
    release = place.profile.policy.release
    if release == "automatic" or (release != "manual" and pair.benchmark in release):
        benchmark = view.benchmark(pair.benchmark).manifest
        decide(place, pair, benchmark_spec=benchmark.spec, answer="released")


def decide(place: Workplace, pair: Pair, *, benchmark_spec: object, answer: str) -> None:
    """Writes down what a person (or the policy) said about exactly the metrics that there are."""
    from ..schemas.manifests import BenchmarkSpec

    assert isinstance(benchmark_spec, BenchmarkSpec)  # noqa: S101
    folder = place.runs.folder(pair)
    found = check_results(folder.results, benchmark_spec, place.profile.policy)
    decision = Decision.model_validate({"answer": answer, "shown": shown_digest(found)})
    record = place.runs.record(pair)
    folder.write(record.model_copy(update={"decision": decision}))


def _publish(at_work: _Pass, view: View, plan: Plan) -> tuple[Published | None, str]:
    """Publishes what is released; what cannot be sent now waits for the next pass."""
    released = [run for run in plan.due if run.step is Step.PUBLISH and at_work.wanted(run.pair)]
    if not released:
        return None, ""
    try:
        return publish_runs(at_work.place, view, [run.pair for run in released]), ""
    except (ConflictError, RegistryError) as error:
        if isinstance(error, StalledError):
            raise
        return None, f"Publishing waits for the next pass: {error}"


def publish_runs(place: Workplace, view: View, pairs: Sequence[Pair]) -> Published | None:
    """Signs and proposes the results of released runs."""
    ready = [Ready(pair, _bytes(place, view, pair)) for pair in pairs]
    site = place.site()
    return publish(place.repository, place.url, site, view.registry.id, ready)


def _bytes(place: Workplace, view: View, pair: Pair) -> bytes:
    folder: RunFolder = place.runs.folder(pair)
    record = place.runs.record(pair)
    if record.done is None:
        raise RegistryError(f"The run {pair.short} is not finished.")
    policy = place.profile.policy
    found = check_results(folder.results, view.benchmark(pair.benchmark).manifest.spec, policy)
    model, dataset = associations_of(view, pair)
    around = Circumstances(view.registry.id, view.tip, model, dataset)
    return result_bytes(pair, record.done, found, around, policy)
