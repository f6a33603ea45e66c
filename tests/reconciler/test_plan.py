"""The table of run states, line by line."""

import pytest

from medperf.reconciler.plan import (
    MOST_ATTEMPTS,
    Asked,
    Here,
    Pair,
    State,
    Step,
    decide,
    make_plan,
)


def pair(model: str = "modeler/resnet", benchmark: str = "committee/cxr") -> Pair:
    digest = "sha256:" + "0" * 64
    key = (model + benchmark).encode().hex().ljust(64, "0")[:64]
    return Pair(key, benchmark, "hospital/chest", model, digest, digest, digest)


DONE = Here(finished=True)

TABLE = [
    (Asked(pair(), found="result"), Here(), State.PUBLISHED, Step.NOTHING, ""),
    (Asked(pair(), found="result"), Here(proposed=True), State.PUBLISHED, Step.NOTHING, ""),
    (Asked(pair(), found="other"), Here(), State.BLOCKED, Step.NOTHING, "collision"),
    (Asked(pair(), found="other"), Here(proposed=True), State.BLOCKED, Step.NOTHING, "collision"),
    (Asked(pair()), Here(proposed=True), State.PROPOSED, Step.NOTHING, ""),
    (Asked(pair(), obstacle="revoked"), Here(proposed=True), State.PROPOSED, Step.NOTHING, ""),
    (
        Asked(pair()),
        Here(proposed=True, closed="https://forge/pull/1", finished=True, released=True),
        State.PROPOSED,
        Step.NOTHING,
        "closed",
    ),
    (Asked(pair()), Here(declined=True), State.DECLINED, Step.NOTHING, ""),
    (Asked(pair(), obstacle="model-pending"), Here(), State.BLOCKED, Step.NOTHING, "model-pending"),
    (Asked(pair(), obstacle="revoked"), DONE, State.BLOCKED, Step.NOTHING, "revoked"),
    (Asked(pair()), Here(running=True), State.RUNNING, Step.NOTHING, ""),
    (
        Asked(pair()),
        Here(finished=True, withheld=("x",)),
        State.WITHHELD,
        Step.NOTHING,
        "disclosure",
    ),
    (Asked(pair()), Here(finished=True, released=True), State.DUE, Step.PUBLISH, ""),
    (Asked(pair()), DONE, State.AWAITING_RELEASE, Step.NOTHING, ""),
    (
        Asked(pair()),
        Here(finished=True, obstacle="no-image"),
        State.AWAITING_RELEASE,
        Step.NOTHING,
        "",
    ),
    (Asked(pair()), Here(obstacle="no-image"), State.BLOCKED, Step.NOTHING, "no-image"),
    (Asked(pair()), Here(consented=False), State.AWAITING_CONSENT, Step.NOTHING, ""),
    (Asked(pair()), Here(failure="exit", attempts=1), State.FAILED, Step.NOTHING, "exit"),
    (
        Asked(pair()),
        Here(failure="asset", transient=True, attempts=1, next_try=60),
        State.RETRYING,
        Step.NOTHING,
        "asset",
    ),
    (Asked(pair()), Here(failure="asset", transient=True, attempts=1), State.DUE, Step.RUN, ""),
    (
        Asked(pair()),
        Here(failure="asset", transient=True, attempts=MOST_ATTEMPTS),
        State.FAILED,
        Step.NOTHING,
        "asset",
    ),
    (Asked(pair()), Here(), State.DUE, Step.RUN, ""),
]


@pytest.mark.parametrize(("asked", "here", "state", "step", "reason"), TABLE)
def test_a_run_is_in_the_state_of_the_first_line_that_holds(
    asked: Asked, here: Here, state: State, step: Step, reason: str
) -> None:
    run = decide(asked, here, now=10)
    assert (run.state, run.step, run.reason) == (state, step, reason)


def test_every_state_can_be_reached() -> None:
    assert {state for _, _, state, _, _ in TABLE} == set(State)


def test_every_blocked_failed_or_withheld_run_says_why_in_words() -> None:
    asked = Asked(pair(), obstacle="model-pending", missing=("It waits for alice.",))
    assert decide(asked, Here(), now=0).explanation == "It waits for alice."
    failed = decide(Asked(pair()), Here(failure="exit", problem="It ended with 1."), now=0)
    assert failed.explanation == "It ended with 1. 'medperf retry' runs it again."


def test_higher_priority_runs_first_and_ties_go_by_name() -> None:
    asked = [
        Asked(pair("b/two")),
        Asked(pair("a/one")),
        Asked(pair("z/last"), priority=-1),
        Asked(pair("m/first"), priority=7),
    ]
    order = [run.pair.model for run in make_plan("c" * 40, asked, {}, now=0).runs]
    assert order == ["m/first", "a/one", "b/two", "z/last"]
