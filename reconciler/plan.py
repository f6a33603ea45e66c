"""What is there and what is asked for, turned into a plan: pure, so each rule can be tried alone.

A run's state is decided by the first line of this table that holds (design §9); nothing is
remembered that Git, files or a person's decision do not say:

    1  a result of this key is on main                → published (withdrawn ones too: never again)
    2  something else stands at its path              → blocked(collision)
    3  it is on a proposal of this site               → proposed; (closed) once the forge said so
    4  the site declined to let it out                → declined
    5  benchmark, dataset or model is not approved    → blocked(…), with who must sign
    6  the site cannot or will not run it             → blocked(…)
    7  it ran; the disclosure check keeps it          → withheld
    8  it ran; a person decides what leaves           → awaiting-release, or due to be published
    9  a person decides what runs                     → awaiting-consent
    10 it failed                                      → retrying or failed
    11 otherwise                                      → due
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a run is."""

    BLOCKED = "blocked"
    DUE = "due"
    AWAITING_CONSENT = "awaiting-consent"
    RUNNING = "running"
    RETRYING = "retrying"
    FAILED = "failed"
    WITHHELD = "withheld"
    AWAITING_RELEASE = "awaiting-release"
    PROPOSED = "proposed"
    PUBLISHED = "published"
    DECLINED = "declined"


class Step(StrEnum):
    """What a due run needs next."""

    RUN = "run"
    PUBLISH = "publish"
    NOTHING = ""


CLOSED = "closed"
PROPOSED = (  # whether a proposal was closed in a browser is known to its forge alone
    "The result is on this site's branch and waits to be merged. Whether its proposal was closed "
    "in a browser, 'medperf reconcile' and 'medperf explain' ask the forge, if that is GitHub."
)


@dataclass(frozen=True)
class Pair:
    """One model on one dataset for one benchmark, as bytes: what a run key names."""

    key: str
    benchmark: str
    dataset: str
    model: str
    benchmark_digest: str
    dataset_digest: str
    model_digest: str
    partial: bool = False

    @property
    def short(self) -> str:
        """The 16 hex digits of the run's path and folder."""
        return self.key[:16]

    @property
    def local_name(self) -> str:
        """`<benchmark>.<model>.<dataset>` by bare names: what people call a local result.

        A partial one ends in `.partial`, which no name of an object can be mistaken for.
        """
        words = [ref.rpartition("/")[2] for ref in (self.benchmark, self.model, self.dataset)]
        return ".".join([*words, "partial"] if self.partial else words)


@dataclass(frozen=True)
class Asked:
    """What the registry says of a pair at one commit.

    `obstacle` is a machine word and `missing` the sentences that explain it, both empty when the
    benchmark is active and both associations are approved. `found` is `result` (valid or
    withdrawn), `other` or nothing.
    """

    pair: Pair
    found: str = ""
    marks: tuple[str, ...] = ()
    obstacle: str = ""
    missing: tuple[str, ...] = ()
    priority: int = 0
    engines: Sequence[str] = ()


@dataclass(frozen=True)
class Here:
    """What this site has of a pair: its data, its decisions, what was tried, what is proposed.

    `obstacle` is why this site cannot run it now, `problem` the sentence. `attempts` counts the
    tries that failed, `failure` is the class of the last one; `next_try` in seconds since 1970.
    `closed` is where a proposal is shown that has it and was closed without a merge.
    `agreed` are the people who have agreed to the release, where one more is asked for.
    """

    obstacle: str = ""
    problem: str = ""
    proposed: bool = False
    closed: str = ""
    running: bool = False
    finished: bool = False
    withheld: tuple[str, ...] = ()
    released: bool = False
    agreed: tuple[str, ...] = ()
    declined: bool = False
    consented: bool = True
    failure: str = ""
    transient: bool = False
    attempts: int = 0
    next_try: float = 0.0


@dataclass(frozen=True)
class PlannedRun:
    """One run with its state, a machine word and a sentence for why, and what comes next."""

    pair: Pair
    state: State
    step: Step = Step.NOTHING
    reason: str = ""
    explanation: str = ""
    marks: tuple[str, ...] = ()
    priority: int = 0


MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Plan:
    """Every run of a site's datasets in the order in which they would run."""

    commit: str
    runs: tuple[PlannedRun, ...] = field(default=())

    @property
    def due(self) -> tuple[PlannedRun, ...]:
        """The runs that a pass would work on."""
        return tuple(run for run in self.runs if run.state is State.DUE)

    def of(self, state: State) -> tuple[PlannedRun, ...]:
        """The runs in one state."""
        return tuple(run for run in self.runs if run.state is state)


def make_plan(commit: str, asked: Iterable[Asked], here: Mapping[str, Here], *, now: float) -> Plan:
    """The plan for what is asked at `commit`: priority first, ties by name.

    `here` maps run keys to what the site has; `now` is in seconds since 1970.
    """
    runs = [decide(item, here.get(item.pair.key, Here()), now=now) for item in asked]
    runs.sort(key=lambda run: (-run.priority, run.pair.benchmark, run.pair.dataset, run.pair.model))
    return Plan(commit, tuple(runs))


def decide(asked: Asked, here: Here, *, now: float) -> PlannedRun:
    """One run's state, by the table at the top of this module."""
    state, step, reason, text = _decide(asked, here, now)
    return PlannedRun(asked.pair, state, step, reason, text, asked.marks, asked.priority)


def _decide(asked: Asked, here: Here, now: float) -> tuple[State, Step, str, str]:
    none = Step.NOTHING
    if asked.found == "result":
        return State.PUBLISHED, none, "", "The result is in the registry."
    if asked.found:
        text = "Something that is not a valid result stands at this run's path in the registry."
        return State.BLOCKED, none, "collision", text
    if here.closed:
        return State.PROPOSED, none, CLOSED, _closed(asked.pair, here.closed)
    if here.proposed:
        return State.PROPOSED, none, "", PROPOSED
    if here.declined:
        return State.DECLINED, none, "", "This site decided that the result does not leave."
    if asked.obstacle:
        return State.BLOCKED, none, asked.obstacle, " ".join(asked.missing)
    if here.running:
        return State.RUNNING, none, "", "Another pass works on it now."
    if here.withheld:
        return State.WITHHELD, none, "disclosure", "; ".join(here.withheld)
    if here.finished and here.released:
        return State.DUE, Step.PUBLISH, "", "The result is released and will be published."
    if here.finished:
        text = "The run is done; 'medperf result release' decides what leaves."
        if here.agreed:
            agreed = " and ".join(here.agreed)
            text = f"{agreed} has agreed that it leaves; a second person must agree too. {text}"
        return State.AWAITING_RELEASE, none, "", text
    if here.obstacle:
        return State.BLOCKED, none, here.obstacle, here.problem
    if not here.consented:
        text = "This site consents to each cube: see 'medperf approve-run'."
        return State.AWAITING_CONSENT, none, "", text
    if here.failure and not (here.transient and here.attempts < MOST_ATTEMPTS):
        text = f"{here.problem} 'medperf retry' runs it again."
        return State.FAILED, none, here.failure, text
    if here.failure and now < here.next_try:
        wait = max(1, round(here.next_try - now))
        text = f"Try {here.attempts} failed: {here.problem} The next try is in {wait} s."
        return State.RETRYING, none, here.failure, text
    return State.DUE, Step.RUN, "", "Everything is approved and ready."


def _closed(pair: Pair, shown: str) -> str:
    """What a person does about a result whose proposal was closed."""
    return (
        f"The proposal of the result was closed without a merge: {shown} may say why. Opened again "
        "there it waits as before. It is not proposed anew by itself: 'medperf result submit "
        f"--result {pair.local_name}' does that."
    )
