"""Partial results, and `benchmark run`, which makes them; on the real sandbox."""

from typing import Any

import pytest

from medperf.reconciler import observe
from medperf.reconciler.partial import is_begun, may_keep, partial_of
from medperf.reconciler.passes import Summary
from medperf.reconciler.plan import Pair
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.running import run_benchmark
from medperf.reconciler.tally import shown, tally
from medperf.schemas.errors import UsageError
from medperf.schemas.manifests import BenchmarkSpec

from .world import World, quiet

REF = "committee/ref"


def summary_of(world: World, **options: Any) -> Summary:
    """`medperf benchmark run` at the hospital."""
    words = {"benchmark": "toy", "data_uid": "chest", "say": quiet, **options}
    return run_benchmark(world.hospital, **words)


def test_benchmark_run_does_what_is_due_for_one_benchmark(world: World) -> None:
    world.add_model("a")
    first = summary_of(world)
    assert {one.outcome for one in first.ran} == {"done"}
    assert tally(first.plan.runs, first.ran).ran == 2
    again = summary_of(world)
    assert again.ran == ()
    counts = tally(again.plan.runs, again.ran)
    assert (counts.total, counts.skipped, counts.ran) == (2, 2, 0)


def test_only_the_named_models_run(world: World) -> None:
    world.add_model("a")
    summary = summary_of(world, models=("a",))
    assert [one.pair.model for one in summary.ran] == ["modeler/a"]
    assert [one.pair.model for one in summary.plan.runs] == ["modeler/a"]
    with pytest.raises(UsageError, match="Did you mean modeler/a"):
        summary_of(world, models=("modeler/b",))


def test_a_failing_models_predictions_are_kept_only_when_asked(world: World) -> None:
    world.add_model("half", {"infer": ["half"]})
    plain = summary_of(world, models=("half",))
    assert [one.outcome for one in plain.ran] == ["failed"]
    assert plain.failed
    assert [run.pair.partial for run in plain.plan.runs] == [False]

    kept = summary_of(world, models=("half",), ignore_model_errors=True)
    assert [(one.outcome, one.pair.partial) for one in kept.ran] == [
        ("partial", False),
        ("done", True),
    ]
    assert not kept.failed, "the person has said that model errors are to be ignored"
    counts = tally(kept.plan.runs, kept.ran)
    assert (counts.total, counts.ran, counts.ran_partial, counts.failed) == (1, 1, 1, 0)
    (row,) = shown(kept.plan.runs)
    assert row.pair.partial
    assert row.pair.local_name == "toy.half.chest.partial"


def test_a_partial_result_is_published_under_a_key_of_its_own(world: World) -> None:
    world.add_model("half", {"infer": ["half"]})
    summary_of(world, models=("half",), ignore_model_errors=True)
    _, (waiting,) = awaiting(world.hospital, "toy.half.chest.partial")
    decide(world.hospital, waiting, "released")
    assert world.reconcile(wanted=lambda pair: pair.partial).published is not None
    world.accept("sites/hospital/ward")
    view = world.committee.view()
    (path,) = view.results
    spec = view.result_item(path).manifest.spec
    assert spec.run.partial
    assert view.results[path].answer == "valid"
    whole = next(
        run for run in world.plan().runs if not run.pair.partial and "half" in run.pair.model
    )
    assert spec.run_key != whole.pair.key
    assert whole.state == "failed", "a partial result does not stand for the whole one"
    counts = tally(world.plan().runs, ())
    assert counts.skipped_partial == 1


def test_a_partial_result_where_none_is_allowed_is_seen_though_nobody_asks_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.set("hospital", "policy.release=automatic")
    world.add_model("half", {"infer": ["half"]})
    summary_of(world, models=("half",), ignore_model_errors=True)
    forbid = property(lambda _: False)
    looked_up: list[bool] = []
    found = observe._Results.found

    def counted(self: Any, pair: Pair, *associations: Any) -> tuple[str, tuple[str, ...]]:
        looked_up.append(pair.partial)
        return found(self, pair, *associations)

    monkeypatch.setattr(observe._Results, "found", counted)

    def states() -> dict[tuple[str, bool], tuple[str, str]]:
        """Each run, judged from the root by a benchmark that allows no partial results."""
        world.close("hospital")
        (world.hospital.storage / "index.sqlite").unlink()
        looked_up.clear()
        with monkeypatch.context() as patch:
            patch.setattr(BenchmarkSpec, "allow_partial", forbid, raising=False)
            runs = world.plan().runs
            world.close("hospital")
        (world.hospital.storage / "index.sqlite").unlink()
        return {(run.pair.model, run.pair.partial): (run.state, run.reason) for run in runs}

    # 1. A partial run that was begun here is not planned, and none is looked up.
    begun = states()
    assert set(begun) == {(REF, False), ("modeler/half", False)}
    assert looked_up == [False, False]

    # 2. What stands at its place in the registry is told, and that of no other model.
    world.reconcile()
    world.accept("sites/hospital/ward")
    seen = states()
    assert seen["modeler/half", True] == ("blocked", "collision")
    assert set(seen) == {*begun, ("modeler/half", True)}
    assert seen[REF, False] == ("published", "")


def test_a_finished_partial_run_is_not_made_anew(world: World) -> None:
    world.add_model("half", {"infer": ["half"]})
    summary_of(world, models=("half",), ignore_model_errors=True)
    again = summary_of(world, models=("half",), ignore_model_errors=True)
    assert [one.outcome for one in again.ran] == ["failed"]
    assert [run.state for run in again.plan.runs if run.pair.partial] == ["awaiting-release"]


def test_a_model_that_does_not_fail_leaves_no_partial_run(world: World) -> None:
    summary = summary_of(world, ignore_model_errors=True)
    assert [(one.outcome, one.pair.partial) for one in summary.ran] == [("done", False)]
    pair = summary.ran[0].pair
    partial = partial_of(pair, world.hospital.profile.registry.id)
    assert not is_begun(world.hospital.runs, partial)
    assert partial.key != pair.key


def test_partial_runs_are_kept_only_where_the_benchmark_allows_them(world: World) -> None:
    spec = world.hospital.view().benchmark("toy").manifest.spec
    pair, registry = world.run().pair, world.hospital.profile.registry.id
    assert may_keep(world.hospital.runs, pair, spec, registry)
    strict = spec.model_copy(update={"allow_partial": None})
    assert not may_keep(world.hospital.runs, pair, strict, registry)


def test_a_finished_run_is_made_again_until_it_has_left(world: World) -> None:
    summary_of(world)
    again = summary_of(world, cache=False)
    assert [(one.outcome, one.cached) for one in again.ran] == [("done", False)]
    _, (waiting,) = awaiting(world.hospital, "toy.ref.chest")
    decide(world.hospital, waiting, "released")
    world.reconcile()
    with pytest.raises(UsageError, match="is proposed already: a result that has left"):
        summary_of(world, models=(REF,), cache=False)
    said: list[str] = []
    assert summary_of(world, cache=False, say=said.append).ran == ()
    assert "toy.ref.chest is proposed already and stays as it is." in said
    world.accept("sites/hospital/ward")
    with pytest.raises(UsageError, match="is published already"):
        summary_of(world, models=(REF,), cache=False)


def test_a_dataset_that_takes_no_part_is_told_what_to_do(world: World) -> None:
    with pytest.raises(UsageError, match="Did you mean hospital/chest"):
        summary_of(world, data_uid="chets")
    uid = world.dataset().uid
    assert [one.outcome for one in summary_of(world, data_uid=uid).ran] == ["done"]


def test_the_command_prints_medperfs_table_with_right_counts(world: World) -> None:
    world.add_model("half", {"infer": ["half"]})
    world.add_model("broken", {"infer": ["fail"]})
    words = ("benchmark", "run", "--benchmark", "toy", "--data_uid", "chest")
    done = world.medperf(*words, "--ignore-model-errors")
    assert done.returncode == 1, done.stderr
    assert "Total number of models: 3" in done.stdout
    assert "0 skipped" in done.stdout
    assert "1 failed" in done.stdout
    assert "2 ran successfully, of which 1 with a partial result" in done.stdout
    again = world.medperf(*words)
    assert again.returncode == 0, again.stderr
    assert "3 skipped (already executed, or not due), of which 1 with a partial" in again.stdout
