"""Passes of a site, on the real sandbox and a real registry."""

from .world import World


def test_a_pass_runs_what_is_due_and_awaits_a_person(world: World) -> None:
    assert world.states() == {"committee/ref": "due"}
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["done"]
    assert world.states() == {"committee/ref": "awaiting-release"}
    assert not summary.failed
