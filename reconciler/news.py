"""What is new since somebody last looked: the notice of new work, and a command that is told of it.

The site keeps one small file, `seen.json`: how each run, and what else concerns its owner
(`concerns.py`), stood when `status` last showed it, and when the hook was last told; and the commit
of main then, from which on results of his models and benchmarks are new (`new_results.py`). Losing
it makes every run new once, and nothing else: the rest is told from the second look on.

The hook is a command of the site's own (`notify.command` in the profile), started by
`reconcile` and `status` when there is news, with one JSON document on its standard input. It names
benchmarks, models and states, never data, numbers or logs.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .concerns import Concern, concerns
from .new_results import Counted, new_results
from .plan import CLOSED, Plan, PlannedRun, State
from .workplace import Workplace

if TYPE_CHECKING:
    from ..registry.view import View

SEEN = "seen.json"
HOOK_SECONDS = 60
WORTH_TELLING = frozenset(
    (
        State.DUE,
        State.AWAITING_CONSENT,
        State.AWAITING_RELEASE,
        State.FAILED,
        State.WITHHELD,
        State.PUBLISHED,
    )
)


@dataclass(frozen=True)
class New:
    """What is new, or stands differently from when somebody last looked (`before`).

    `about` is `run`; `results` for so many (`count`) results of a model or a benchmark; or
    `registry` for what else concerns this owner, with its path as the name.
    """

    about: str
    name: str
    benchmark: str
    model: str
    dataset: str
    state: str
    before: str
    text: str
    count: int = 1


@dataclass(frozen=True)
class Seen:
    """How all stood when somebody last looked; `registry` is None before a first look at it."""

    runs: Mapping[str, str]
    registry: Mapping[str, str] | None = None
    commit: str = ""


def news(
    plan: Plan, concerning: Sequence[Concern], seen: Seen, came: Sequence[Counted] = ()
) -> tuple[New, ...]:
    """What of a plan, and of the registry beside, is worth telling, against what was seen. Pure.

    `came` are the results that came since.
    """
    return (
        *_of_runs(plan, seen.runs),
        *_of_results(came),
        *_of_registry(concerning, seen.registry),
    )


def results_since(place: Workplace, view: "View", plan: Plan, seen: Seen) -> tuple[Counted, ...]:
    """The results of this owner's models and benchmarks that came between `seen` and the plan."""
    return new_results(place.repository, view, place.owner, since=seen.commit, until=plan.commit)


def _of_runs(plan: Plan, seen: Mapping[str, str]) -> Iterator[New]:
    for run in plan.runs:
        state, before = _stands(run), seen.get(run.pair.key, "")
        if state == before or not (run.state in WORTH_TELLING or run.reason == CLOSED):
            continue
        pair = run.pair
        was = f" (was {before})" if before else " (new)"
        text = f"{pair.model} on {pair.dataset} for {pair.benchmark} is {state}{was}"
        yield New(
            about="run",
            name=pair.local_name,
            benchmark=pair.benchmark,
            model=pair.model,
            dataset=pair.dataset,
            state=state,
            before=before,
            text=text,
        )


def _stands(run: PlannedRun) -> str:
    """A run's state with what was said of its result since: closed, withdrawn, superseded."""
    also = [CLOSED] if run.reason == CLOSED else list(run.marks)
    return f"{run.state} ({', '.join(also)})" if also else str(run.state)


def _of_results(came: Sequence[Counted]) -> Iterator[New]:
    for one in came:
        yield New(
            about="results",
            name=f"results/{one.benchmark}",
            benchmark=one.benchmark,
            model=one.model,
            dataset="",
            state=one.state,
            before="",
            text=one.sentence,
            count=one.count,
        )


def _of_registry(concerning: Sequence[Concern], seen: Mapping[str, str] | None) -> Iterator[New]:
    for one in concerning if seen is not None else ():
        before = (seen or {}).get(one.key, "")
        if one.state != before:
            yield New(
                about="registry",
                name=one.key,
                benchmark=one.benchmark,
                model=one.model,
                dataset=one.dataset,
                state=one.state,
                before=before,
                text=one.sentence(before),
            )


def read_seen(place: Workplace, who: str) -> Seen:
    """What `who` (`person` or `hook`) has seen; nothing where nothing can be read."""
    try:
        found = json.loads((place.storage / SEEN).read_text())
    except (OSError, ValueError):
        return Seen({})
    if not isinstance(found, dict):
        return Seen({})
    return Seen(
        _words(found.get(who)) or {},
        _words(found.get(f"{who}.registry")),
        str(found.get(f"{who}.commit", "")),
    )


def _words(found: object) -> dict[str, str] | None:
    if not isinstance(found, dict):
        return None
    return {str(key): str(state) for key, state in found.items()}


def write_seen(place: Workplace, who: str, plan: Plan, concerning: Sequence[Concern]) -> None:
    """Remembers that `who` has seen the plan and the rest."""
    other = "hook" if who == "person" else "person"
    content: dict[str, Mapping[str, str] | str] = {}
    for name, seen in ((who, _as_of(plan, concerning)), (other, read_seen(place, other))):
        content[name] = seen.runs
        if seen.registry is not None:
            content[f"{name}.registry"] = seen.registry
        if seen.commit:
            content[f"{name}.commit"] = seen.commit
    place.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.storage / f"{SEEN}.{os.getpid()}.tmp"
    beside.write_text(json.dumps(content))
    beside.replace(place.storage / SEEN)


def _as_of(plan: Plan, concerning: Sequence[Concern]) -> Seen:
    return Seen(
        {run.pair.key: _stands(run) for run in plan.runs},
        {one.key: one.state for one in concerning},
        plan.commit,
    )


def tell_hook(
    place: Workplace,
    plan: Plan,
    concerning: Sequence[Concern] | None = None,
    view: "View | None" = None,
) -> str:
    """Starts the site's command with what is new for it; a sentence if it failed, else nothing.

    It is told again next time if it failed: a mail that was not sent is not lost.
    """
    command = place.profile.notify.command
    if not command:
        return ""
    view = view or place.view(fetch=False)
    if concerning is None:
        concerning = concerns(view, place.owner)
    seen = read_seen(place, "hook")
    found = news(plan, concerning, seen, results_since(place, view, plan, seen))
    problem = _start(command, found, place.storage) if found else ""
    if not problem and seen != _as_of(plan, concerning):
        # also what is not worth telling: a proposal that is closed, opened and closed is told twice
        write_seen(place, "hook", plan, concerning)
    return problem


def _start(command: Sequence[str], found: Sequence[New], where: Path) -> str:
    document = json.dumps({"news": [asdict(one) for one in found]})
    try:
        done = subprocess.run(  # noqa: S603 - the site's own command, from its own settings
            list(command),
            input=document,
            text=True,
            cwd=where,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=HOOK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"notify.command did not work ({type(error).__name__}): try it by hand."
    return (
        f"notify.command ended with {done.returncode}: try it by hand." if done.returncode else ""
    )
