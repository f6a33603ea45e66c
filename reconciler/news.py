"""What is new since somebody last looked: the notice of new work, and a command that is told of it.

The site keeps one small file, `seen.json`: each run's state when `status` last showed it, and when
the hook was last told. Losing it makes everything new once, and nothing else.

The hook is a command of the site's own (`notify.command` in the profile), started by
`reconcile` and `status` when there is news, with one JSON document on its standard input. It names
benchmarks, models and states, never data, numbers or logs.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .plan import Plan, State
from .workplace import Workplace

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
    """A run that is new, or stands differently from when somebody last looked (`before`)."""

    name: str
    benchmark: str
    model: str
    dataset: str
    state: str
    before: str

    @property
    def sentence(self) -> str:
        """One line for a person."""
        was = f" (was {self.before})" if self.before else " (new)"
        return f"{self.model} on {self.dataset} for {self.benchmark} is {self.state}{was}"


def news(plan: Plan, seen: Mapping[str, str]) -> tuple[New, ...]:
    """What of a plan is worth telling, against the states that were seen. Pure."""
    return tuple(
        New(
            name=run.pair.local_name,
            benchmark=run.pair.benchmark,
            model=run.pair.model,
            dataset=run.pair.dataset,
            state=str(run.state),
            before=seen.get(run.pair.key, ""),
        )
        for run in plan.runs
        if run.state in WORTH_TELLING and seen.get(run.pair.key) != str(run.state)
    )


def read_seen(place: Workplace, who: str) -> dict[str, str]:
    """The states that `who` (`person` or `hook`) has seen; none where nothing can be read."""
    try:
        found = json.loads((place.storage / SEEN).read_text())[who]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(key): str(state) for key, state in found.items()} if isinstance(found, dict) else {}


def write_seen(place: Workplace, who: str, plan: Plan) -> None:
    """Remembers that `who` has seen the plan."""
    other = "hook" if who == "person" else "person"
    states = {run.pair.key: str(run.state) for run in plan.runs}
    content = {who: states, other: read_seen(place, other)}
    place.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.storage / f"{SEEN}.{os.getpid()}.tmp"
    beside.write_text(json.dumps(content))
    beside.replace(place.storage / SEEN)


def tell_hook(place: Workplace, plan: Plan) -> str:
    """Starts the site's command with what is new for it; a sentence if it failed, else nothing.

    It is told again next time if it failed: a mail that was not sent is not lost.
    """
    command = place.profile.notify.command
    found = news(plan, read_seen(place, "hook")) if command else ()
    if not found:
        return ""
    problem = _start(command, found, place.storage)
    if not problem:
        write_seen(place, "hook", plan)
    return problem


def _start(command: Sequence[str], found: Sequence[New], where: Path) -> str:
    document = json.dumps({"news": [{**asdict(one), "text": one.sentence} for one in found]})
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
