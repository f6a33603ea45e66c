"""A pass: everything that is due at this site, and one summary that alone writes status.

The steps of a pass, in order (design §9); each finds its work in Git, in files and in the engine,
so a pass can be killed anywhere and the next one finishes it:

1. lock the storage: one pass at a time;
2. clean up what a killed pass left in the engine;
3. fetch, verify, observe, plan;
4. each due run by priority, as many at once as `jobs` allows and memory and GPUs suffice for,
   planned anew whenever one has ended, so that what changed meanwhile counts;
5. publish what is released, after looking at the registry once more; ask the forge whether what
   was proposed earlier was closed;
6. summarise.

Step 4 is `due_runs.py`: a run that fails never stops the others.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..runner import machine
from ..schemas.errors import EngineError, RegistryError, StalledError
from .capacity import Capacity
from .due_runs import Pass, Ran, run_due
from .lock import locked
from .observe import look as look
from .plan import Pair, Plan, State
from .proposed import ask_forge
from .publish import Published
from .release import publish_released, released
from .unshown import unshown
from .workplace import Workplace

Say = Callable[[str], None]


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


def reconcile(
    place: Workplace,
    *,
    say: Say,
    stop: threading.Event | None = None,
    wanted: Callable[[Pair], bool] = lambda _: True,
    keep_partial: bool = False,
    jobs: int | None = None,
) -> Summary:
    """One pass over the runs that `wanted` names (all of them by default).

    With `keep_partial` what a failed model has written is evaluated, where the benchmark allows it.
    `jobs` runs at once, by default as many as the site's settings say; `say` is then called from
    several threads. `stop` ends it in order; it is also set where the pass itself breaks off.
    """
    limits = place.profile.limits
    with locked(place.storage) as lock:
        at_work = Pass(
            place,
            say,
            stop or threading.Event(),
            wanted,
            lock,
            jobs or limits.jobs,
            Capacity(machine.memory(), limits.gpus),
            keep_partial,
        )
        _clean(at_work)
        plan = run_due(at_work)
        published = None
        if released(plan, wanted) or unshown(place.repository):
            published = _publish(at_work)
            _, plan = look(place)
        elif plan.of(State.PROPOSED) and ask_forge(place, say=say):
            _, plan = look(place, fetch=False)
        return Summary(plan, tuple(at_work.ran), published, "\n".join(at_work.problems))


def _clean(at_work: Pass) -> None:
    """Ends what a killed pass left; with an engine that does not answer nothing is run."""
    try:
        at_work.place.end_leftovers()
    except EngineError as error:
        at_work.problems[str(error)] = None


def _publish(at_work: Pass) -> Published | None:
    """Publishes what is released; what cannot be sent now waits for the next pass."""
    try:
        return publish_released(at_work.place, wanted=at_work.wanted, say=at_work.say)
    except StalledError:
        raise
    except RegistryError as error:
        at_work.problems[f"Publishing waits for the next pass: {error}"] = None
        return None
