"""What holds a whole plan back, whoever approved its runs: pure, over a plan that is made.

* `hold`: nothing new starts and nothing leaves (a stale view, rest, a rule that was loosened).
* `keep_within`: only so many results of a dataset leave to one benchmark, or to one model owner,
  since each tells a little about the same data (design §10).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .plan import Plan, PlannedRun, State, Step
from .settings import Policy

_STARTS = (State.DUE, State.RETRYING, State.AWAITING_CONSENT)
_LEFT = (State.PUBLISHED, State.PROPOSED)
_WOULD_LEAVE = (State.AWAITING_RELEASE, State.RUNNING)


@dataclass(frozen=True)
class Told:
    """How many results of a dataset have left for one reader; `most` is the policy's limit."""

    dataset: str
    reader: str
    results: int
    most: int | None


def hold(plan: Plan, reason: str, explanation: str, *, benchmark: str = "") -> Plan:
    """The plan with everything blocked that would start or leave, of one benchmark or of all."""
    return replace(
        plan,
        runs=tuple(
            _blocked(run, reason, explanation)
            if run.state in _STARTS and benchmark in ("", run.pair.benchmark)
            else run
            for run in plan.runs
        ),
    )


def told(plan: Plan, policy: Policy) -> tuple[Told, ...]:
    """What has left so far, per dataset and benchmark, and per dataset and model owner."""
    counted = Counter(
        (run.pair.dataset, reader)
        for run in plan.runs
        if run.state in _LEFT
        for reader in _readers(run)
    )
    return tuple(
        Told(dataset, reader, number, _most(policy, reader))
        for (dataset, reader), number in sorted(counted.items())
    )


def keep_within(plan: Plan, policy: Policy) -> Plan:
    """The plan with those runs blocked that would go beyond the policy's numbers of results.

    What has left counts first, then what is finished and may leave, then what is due, in order.
    """
    if policy.results_per_benchmark is None and policy.results_per_model_owner is None:
        return plan
    taken: Counter[tuple[str, str]] = Counter()
    held: dict[str, str] = {}
    for run in _in_turn(plan):
        full = [
            reader
            for reader in _readers(run)
            if (most := _most(policy, reader)) is not None
            and taken[run.pair.dataset, reader] >= most
        ]
        if run.state in _STARTS and full:
            held[run.pair.key] = full[0]
            continue
        taken.update((run.pair.dataset, reader) for reader in _readers(run))
    return replace(
        plan,
        runs=tuple(
            _blocked(run, "budget", _spent(run, held[run.pair.key], policy))
            if run.pair.key in held
            else run
            for run in plan.runs
        ),
    )


def _in_turn(plan: Plan) -> Iterator[PlannedRun]:
    def publishes(run: PlannedRun) -> bool:
        return run.state is State.DUE and run.step is Step.PUBLISH

    yield from (run for run in plan.runs if run.state in _LEFT)
    yield from (run for run in plan.runs if publishes(run))
    yield from (run for run in plan.runs if run.state in _WOULD_LEAVE)
    yield from (run for run in plan.runs if run.state in _STARTS and not publishes(run))


def _readers(run: PlannedRun) -> tuple[str, str]:
    """Who learns from a result: its benchmark, and the model's owner (`owner/*`)."""
    return run.pair.benchmark, run.pair.model.partition("/")[0] + "/*"


def _most(policy: Policy, reader: str) -> int | None:
    if reader.endswith("/*"):
        return policy.results_per_model_owner
    return policy.results_per_benchmark


def _spent(run: PlannedRun, reader: str, policy: Policy) -> str:
    owner = reader.endswith("/*")
    whom = f"models of {reader[:-2]}" if owner else reader
    field = "resultsPerModelOwner" if owner else "resultsPerBenchmark"
    return (
        f"This site lets out {_most(policy, reader)} results of {run.pair.dataset} to {whom} "
        f"(policy.{field}), and as many have left or are finished."
    )


def _blocked(run: PlannedRun, reason: str, explanation: str) -> PlannedRun:
    return replace(
        run, state=State.BLOCKED, step=Step.NOTHING, reason=reason, explanation=explanation
    )
