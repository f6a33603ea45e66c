"""Passes of a site, on the real sandbox and a real registry."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from medperf.reconciler import observe, passes
from medperf.reconciler.lock import locked
from medperf.reconciler.observe import look
from medperf.reconciler.passes import reconcile
from medperf.reconciler.plan import Plan, State
from medperf.reconciler.release import publish_released
from medperf.reconciler.results import awaiting, consent, decide, describe_run, retry
from medperf.reconciler.workplace import Workplace
from medperf.registry.paths import result_path
from medperf.registry.view import View
from medperf.schemas import digests
from medperf.schemas.errors import EngineError, RegistryError, StalledError, WaitError

from .world import World, git, pack, pinned, quiet

REF = "committee/ref"


def release(world: World) -> int:
    """The hospital lets out all that waits; how many results that are."""
    _, results = awaiting(world.hospital, None)
    for one in results:
        decide(world.hospital, one, "released")
    return len(results)


def test_a_pass_runs_what_is_due_and_awaits_a_person(world: World) -> None:
    assert world.states() == {REF: "due"}
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["done"]
    assert world.states() == {REF: "awaiting-release"}
    assert not summary.failed


def test_a_pass_with_nothing_due_does_nothing(world: World) -> None:
    world.reconcile()
    again = world.reconcile()
    assert again.ran == ()
    assert again.published is None
    assert not again.failed


def test_released_results_are_published_once(world: World) -> None:
    world.reconcile()
    assert release(world) == 1
    assert world.states() == {REF: "due"}
    first = world.reconcile()
    assert first.published is not None
    assert first.published.results == 1
    assert first.ran == ()
    assert world.states() == {REF: "proposed"}
    assert world.reconcile().published is None
    world.accept("sites/hospital/ward")
    assert world.states() == {REF: "published"}
    assert len(world.results()) == 1
    assert world.reconcile().published is None


def test_runs_go_by_priority_then_by_name(world: World) -> None:
    for name in ("b", "a", "z"):
        world.add_model(name)
    world.change_settings(priorities={"modeler/z": 10})
    said: list[str] = []
    summary = world.reconcile(say=said.append)
    order = [run.pair.model for run in summary.ran]
    assert order == ["modeler/z", REF, "modeler/a", "modeler/b"]
    assert [line for line in said if line.endswith(": infer")] == [f"{m}: infer" for m in order]


def test_a_model_that_fails_fails_alone_and_for_this_pass_only(world: World) -> None:
    world.add_model("broken", {"infer": ["fail"]})
    world.change_settings(priorities={"modeler/broken": 10})
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["failed", "done"]
    assert summary.failed
    assert world.states() == {"modeler/broken": "failed exit", REF: "awaiting-release"}
    again = world.reconcile()
    assert again.ran == ()
    assert not again.failed


def test_what_a_task_said_stays_in_its_log(world: World) -> None:
    world.add_model("broken", {"infer": ["fail"]})
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/broken")
    run = world.run("modeler/broken")
    log = world.hospital.runs.folder(run.pair).logs / "infer.log"
    assert "patient 4711" in log.read_text()
    assert "4711" not in summary.ran[0].error + run.explanation
    record = world.hospital.runs.folder(run.pair).record_file.read_text()
    assert "4711" not in record


def test_a_failed_run_is_tried_again_when_a_person_says_so(world: World) -> None:
    world.add_model("broken", {"infer": ["fail"]})
    world.reconcile()
    name = world.run("modeler/broken").pair.local_name
    assert "will be tried again" in retry(world.hospital, name)
    assert world.states()["modeler/broken"] == "due"
    assert "has not failed" in retry(world.hospital, name)
    assert [run.outcome for run in world.reconcile().ran] == ["failed"]


def test_an_evaluator_that_fails_keeps_the_predictions(world: World) -> None:
    world.add_model("odd", {"evaluate": ["fail"]})
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/odd")
    assert summary.ran[0].outcome == "failed"
    run = world.run("modeler/odd")
    assert world.hospital.runs.folder(run.pair).predictions.is_dir()
    retry(world.hospital, run.pair.local_name)
    said: list[str] = []
    world.reconcile(say=said.append)
    assert "modeler/odd: infer" not in said


def test_a_timeout_fails_the_run(world: World) -> None:
    world.set("hospital", "limits.timeout={infer: 1}")
    world.add_model("slow", {"infer": ["sleep", 30]})
    world.reconcile(wanted=lambda pair: pair.model == "modeler/slow")
    assert world.states()["modeler/slow"] == "failed timeout"


def test_a_missing_asset_fails_the_run_and_a_later_try_succeeds(
    world: World, tmp_path: Path
) -> None:
    weights = pack(tmp_path / "weights.tar.gz", {"w.txt": b"weights"})
    asset = {**pinned(weights), "url": (tmp_path / "later.tar.gz").as_uri()}
    world.add_model("heavy", additionalFiles=asset)
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/heavy")
    assert summary.failed
    assert "later.tar.gz" in summary.ran[0].error
    weights.rename(tmp_path / "later.tar.gz")
    if world.states()["modeler/heavy"] == "failed asset":
        retry(world.hospital, world.run("modeler/heavy").pair.local_name)
    else:
        wait_is_over(world, "modeler/heavy")
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/heavy")
    assert [(run.outcome, run.error) for run in summary.ran] == [("done", "")]


def wait_is_over(world: World, model: str) -> None:
    """Puts a run's last try back by an hour."""
    pair = world.run(model).pair
    record = world.hospital.runs.record(pair)
    last = record.attempts[-1].model_copy(update={"at": int(time.time()) - 3600})
    attempts = (*record.attempts[:-1], last)
    world.hospital.runs.folder(pair).write(record.model_copy(update={"attempts": attempts}))


def test_transient_faults_back_off_and_end_after_five_tries(world: World) -> None:
    pair = world.run().pair
    runs = world.hospital.runs
    for tries in range(1, 6):
        runs.failed(pair, failure="asset", problem="The network is away.", transient=True)
        state = world.states()[REF]
        assert state == ("retrying asset" if tries < 5 else "failed asset")
        assert world.reconcile().ran == ()


def test_a_run_whose_wait_is_over_is_due(world: World) -> None:
    pair = world.run().pair
    world.hospital.runs.failed(pair, failure="asset", problem="Away.", transient=True)
    wait_is_over(world, REF)
    assert world.states() == {REF: "due"}
    assert [run.outcome for run in world.reconcile().ran] == ["done"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"write": '{"AUC": {"Edema": 0.5}, "n": {"Edema": 60}, "patient": 1}'}, "patient"),
        ({"write": '{"AUC": {"Edema": "high"}, "n": {"Edema": 60}}'}, "auc-edema"),
        ({"write": '{"AUC": {"Edema": 1e300}, "n": {"Edema": 60}}'}, "auc-edema"),
        ({"write": '{"AUC": {"Edema": 0.5}, "n": {"Edema": 99999999999999}}'}, "n-edema"),
        ({"write": '{"AUC": {"Edema": {"deep": 0.5}}, "n": {"Edema": 60}}'}, "auc-edema"),
        ({"write": '{"AUC": ' + "[" * 200 + "]" * 200 + "}"}, ""),
        ({"write": "AUC: &a {Edema: 1}\nn: *a\n"}, ""),
        ({"write": "\x00"}, ""),
        ({"evaluate": ["fill", 1 << 20]}, "larger than 16384 bytes"),
    ],
)
def test_what_an_evaluator_may_not_say_is_withheld(
    world: World, how: dict[str, object], reason: str
) -> None:
    if "evaluate" in how:
        how["results"] = "keep"
    world.add_model("leaky", how)
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/leaky")
    assert [run.outcome for run in summary.ran] == ["withheld"]
    assert not summary.failed
    run = world.run("modeler/leaky")
    assert (run.state, run.reason) == (State.WITHHELD, "disclosure")
    assert reason in run.explanation
    _, waiting = awaiting(world.hospital, None)
    assert waiting == []


@pytest.mark.parametrize("results", ["link", "fifo", "folder", "nothing"])
def test_an_evaluator_that_leaves_no_plain_file_fails(world: World, results: str) -> None:
    world.add_model("odd", {"results": results})
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/odd")
    assert [run.outcome for run in summary.ran] == ["failed"]
    assert world.states()["modeler/odd"] == "failed output"


def test_a_metric_that_is_not_a_number_is_suppressed(world: World) -> None:
    world.add_model("nan", {"write": "AUC: {Edema: .nan}\nn: {Edema: 60}\n"})
    summary = world.reconcile(wanted=lambda pair: pair.model == "modeler/nan")
    assert [run.outcome for run in summary.ran] == ["done"]
    _, (result,) = awaiting(world.hospital, None)
    assert [(one.metric, one.reason) for one in result.suppressed] == [
        ("auc-edema", "not-computable")
    ]


def test_few_cases_are_suppressed(world: World) -> None:
    world.add_model("few", {"write": "AUC: {Edema: 0.9}\nn: {Edema: 9}\n"})
    world.reconcile(wanted=lambda pair: pair.model == "modeler/few")
    _, (result,) = awaiting(world.hospital, None)
    assert result.metrics == {}
    assert {one.metric: one.reason for one in result.suppressed} == {
        "auc-edema": "small-cells",
        "n-edema": "small-cells",
    }


def test_a_declined_result_never_leaves(world: World) -> None:
    world.reconcile()
    _, (result,) = awaiting(world.hospital, None)
    decide(world.hospital, result, "declined")
    assert world.states() == {REF: "declined"}
    world.set("hospital", "policy.release=automatic")
    assert world.reconcile().published is None
    assert world.states() == {REF: "declined"}


def test_a_release_is_for_the_numbers_that_were_shown(world: World) -> None:
    world.reconcile()
    release(world)
    results = world.hospital.runs.folder(world.run().pair).results
    results.write_text(json.dumps({"AUC": {"Edema": 0.5}, "n": {"Edema": 60}}))
    assert world.states() == {REF: "awaiting-release"}
    assert world.reconcile().published is None


def test_by_policy_results_leave_without_a_person(world: World) -> None:
    world.set("hospital", "policy.release=[committee/toy]")
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["done"]
    assert summary.published is not None
    assert world.states() == {REF: "proposed"}


def test_automatic_release_takes_in_what_ran_before(world: World) -> None:
    world.reconcile()
    world.set("hospital", "policy.release=automatic")
    summary = world.reconcile()
    assert summary.ran == ()
    assert summary.published is not None


def test_a_site_may_consent_to_each_cube(world: World) -> None:
    world.set("hospital", "policy.consent=cube")
    assert world.states() == {REF: "awaiting-consent"}
    assert world.reconcile().ran == ()
    name = world.run().pair.local_name
    shown = describe_run(world.hospital, name)
    assert "committee/ref would run on hospital/chest" in shown
    assert "sandbox: sha256:" in shown
    assert "may run" in consent(world.hospital, name)
    assert [run.outcome for run in world.reconcile().ran] == ["done"]


def test_nothing_runs_for_a_benchmark_that_is_not_active(world: World) -> None:
    world.change_settings(active=False)
    assert world.states() == {REF: "blocked benchmark-inactive"}
    assert world.reconcile().ran == ()


def test_an_association_that_waits_blocks_with_whom_it_waits_for(world: World) -> None:
    world.add_model("waiting", approve=False)
    run = world.run("modeler/waiting")
    assert (run.state, run.reason) == (State.BLOCKED, "model-pending")
    assert "committee" in run.explanation


def test_a_revoked_model_does_not_run(world: World) -> None:
    world.add_model("gone")
    world.revoke("modeler/gone")
    assert world.states()["modeler/gone"] == "blocked model-revoked"
    world.revoke("hospital/chest", by="hospital")
    assert world.states()[REF] == "blocked dataset-revoked"
    assert world.reconcile().ran == ()


@pytest.mark.parametrize("step", ["infer", "evaluate"])
def test_a_revocation_stops_a_run_before_the_next_step(world: World, step: str) -> None:
    model = world.add_model("soon-gone")

    def revoke_before(line: str) -> None:
        if line == f"{model}: infer" and step == "evaluate":
            world.revoke(model)
        if line == f"committee/toy on hospital/chest: {model}" and step == "infer":
            world.revoke(model)

    summary = world.reconcile(say=revoke_before, wanted=lambda pair: pair.model == model)
    assert [run.outcome for run in summary.ran] == ["stopped"]
    assert "revoked" in summary.ran[0].error
    assert not summary.failed
    run = world.run(model)
    assert run.reason == "model-revoked"
    folder = world.hospital.runs.folder(run.pair)
    assert folder.predictions.exists() == (step == "evaluate")
    assert not folder.results.exists()


def test_a_revocation_during_the_evaluation_stops_before_the_check(world: World) -> None:
    model = world.add_model("soon-gone")

    def revoke(line: str) -> None:
        if line == "committee/eval: evaluate" or line == f"{model}: evaluate":
            world.revoke(model)

    summary = world.reconcile(say=revoke, wanted=lambda pair: pair.model == model)
    assert [run.outcome for run in summary.ran] == ["stopped"]
    folder = world.hospital.runs.folder(world.run(model).pair)
    assert folder.results.exists()
    record = folder.read()
    assert record is None or record.done is None


def test_a_revoked_run_is_not_published(world: World) -> None:
    world.reconcile()
    release(world)
    world.revoke(REF)
    assert world.reconcile().published is None
    assert world.states() == {REF: "blocked model-revoked"}
    assert publish_released(world.hospital) is None
    assert world.tip("sites/hospital/ward") == ""


def test_a_revocation_between_the_look_and_the_push_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reconcile()
    release(world)
    looks: list[int] = []

    def slow_look(place: Workplace) -> tuple[View, Plan]:
        answer = look(place)
        if not looks:
            looks.append(1)
            world.revoke(REF)
        return answer

    monkeypatch.setattr("medperf.reconciler.release.look", slow_look)
    assert publish_released(world.hospital) is None
    assert world.tip("sites/hospital/ward") == ""


def test_data_that_are_not_here_block(world: World) -> None:
    world.dataset().path.rename(world.folder / "elsewhere")
    run = world.run()
    assert (run.state, run.reason) == (State.BLOCKED, "no-data")
    assert world.reconcile().ran == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: (data / "3.txt").write_text("changed"), "data/3.txt"),
        (lambda data: (data / "3.txt").unlink(), "data/3.txt"),
        (lambda data: (data / "new.txt").write_text("new"), "data/new.txt"),
    ],
)
def test_data_that_changed_are_not_run_and_the_difference_is_named(
    world: World, change: object, told: str
) -> None:
    data = world.dataset().data
    data.chmod(0o700)
    change(data)  # type: ignore[operator]
    summary = world.reconcile()
    assert summary.ran[0].outcome == "failed"
    assert told in summary.ran[0].error
    assert world.states() == {REF: "failed data"}


def test_an_engine_that_the_benchmark_does_not_accept_blocks(world: World) -> None:
    benchmark = world.committee.view().benchmark("committee/toy").manifest.spec
    assert "docker" in benchmark.accepted_engines()
    world.set("hospital", "engine=docker")
    assert world.states() == {REF: "blocked no-image"}
    assert "docker" in world.run().explanation


def test_a_cube_of_others_may_be_kept_out_of_the_sandbox(world: World) -> None:
    world.set("hospital", "policy.sandboxForeign=false")
    assert world.states() == {REF: "blocked sandbox-foreign"}


def test_a_site_runs_for_its_own_benchmarks_and_owners_only(world: World) -> None:
    """Whatever is approved: the reference model is the committee's, and so is the evaluator."""
    world.set("hospital", "policy.owners=[modeler]")
    assert world.states() == {REF: "blocked owner"}
    assert "committee/ref is of an owner whose cubes" in world.run().explanation
    world.set("hospital", "policy.owners=[committee]")
    assert world.states() == {REF: "due"}
    world.set("hospital", "policy.benchmarks=[committee/other]")
    assert world.states() == {REF: "blocked benchmark"}
    assert "policy.benchmarks: committee/other" in world.run().explanation
    assert world.reconcile().ran == ()
    world.set("hospital", "policy.benchmarks=[committee/toy]", "policy.releasers=2")
    said = world.medperf("explain", REF).stdout
    for words in ("only for committee/toy", "only cubes of committee", "two members must release"):
        assert words in said
    assert world.states() == {REF: "due"}


def test_a_cube_that_asks_for_more_than_the_site_gives_is_blocked(world: World) -> None:
    world.add_model("huge", resources={"memory": "512Gi"})
    world.add_model("graphic", resources={"gpus": 2})
    states = world.states()
    assert states["modeler/huge"] == "blocked resources"
    assert states["modeler/graphic"] == "blocked resources"
    assert "512Gi" in world.run("modeler/huge").explanation


def test_a_second_pass_waits(world: World) -> None:
    with locked(world.hospital.storage), pytest.raises(WaitError, match="Another pass"):
        world.reconcile()


def test_a_stopped_pass_ends_its_task_and_the_next_goes_on(world: World) -> None:
    world.add_model("slow", {"infer": ["sleep", 1.5]})
    world.change_settings(priorities={"modeler/slow": 1})
    stop = threading.Event()

    def soon(line: str) -> None:
        if line == "modeler/slow: infer":
            threading.Timer(0.5, stop.set).start()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        world.reconcile(say=soon, stop=stop)
    assert time.monotonic() - started < 5
    assert world.states() == {"modeler/slow": "due", REF: "due"}
    assert [run.outcome for run in world.reconcile().ran] == ["done", "done"]


def test_a_download_that_was_stopped_is_no_failed_attempt(world: World, tmp_path: Path) -> None:
    weights = pinned(pack(tmp_path / "weights.tar.gz", {"w": b"w"}))
    model = world.add_model("large", additionalFiles=weights)
    stop = threading.Event()

    def say(text: str) -> None:
        if text.startswith("Fetching the additional files"):
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        world.reconcile(say=say, stop=stop)
    assert world.run(model).state == State.DUE
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran if run.pair.model == model] == ["done"]


def test_a_pass_that_was_stopped_before_it_began_runs_nothing(world: World) -> None:
    stop = threading.Event()
    stop.set()
    assert world.reconcile(stop=stop).ran == ()


def test_an_engine_that_does_not_answer_is_no_fault_of_a_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reconcile()
    release(world)
    world.add_model("new")

    def away(_: Workplace) -> None:
        raise EngineError("The daemon does not answer.")

    monkeypatch.setattr(Workplace, "end_leftovers", away)
    summary = world.reconcile()
    assert summary.failed
    assert summary.ran == ()
    assert summary.problem == "The daemon does not answer."
    assert summary.published is not None
    assert world.states()["modeler/new"] == "due"


def test_what_stands_at_a_runs_path_and_is_no_result_blocks(world: World) -> None:
    pair = world.run().pair
    path = result_path(pair.benchmark, pair.dataset, pair.model, pair.key)
    world.reconcile()
    release(world)
    world.reconcile()
    data = git(world.url, "cat-file", "blob", f"refs/heads/sites/hospital/ward:{path}") + "\n"
    world.push({path: data.encode()}, by="committee")
    git(world.url, "update-ref", "-d", "refs/heads/sites/hospital/ward")
    assert world.states() == {REF: "blocked collision"}
    assert world.reconcile().published is None


def test_another_run_whose_key_begins_alike_is_not_taken_for_this_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path has 16 hex of the key; a valid result there that says another key is not ours."""
    world.reconcile()
    release(world)
    world.reconcile()
    world.accept("sites/hospital/ward")
    assert world.states() == {REF: "published"}
    real = digests.run_key

    def alike(**parts: Any) -> str:
        key = real(**parts)
        return key[:16] + key[16:][::-1]

    monkeypatch.setattr(observe, "run_key", alike)
    run = world.run()
    assert (run.state, run.reason) == (State.BLOCKED, "collision")


def test_what_is_released_waits_while_the_registry_cannot_be_asked(world: World) -> None:
    world.reconcile()
    release(world)
    away = Path(world.url).rename(world.folder / "away.git")
    with pytest.raises(RegistryError, match=r"registry\.git"):
        publish_released(world.hospital)
    away.rename(world.url)
    assert git(world.url, "for-each-ref", "refs/heads/sites") == ""
    published = publish_released(world.hospital)
    assert published is not None
    assert published.results == 1


def test_a_storage_behind_a_symbolic_link_works(world: World) -> None:
    storage = world.hospital.storage
    world.close()
    there = world.folder / "elsewhere"
    storage.rename(there)
    storage.symlink_to(there)
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["done"]
    assert world.states() == {REF: "awaiting-release"}


def test_a_registry_that_goes_back_stops_the_site(world: World) -> None:
    world.states()
    parent = git(world.url, "rev-parse", "refs/heads/main~1")
    git(world.url, "update-ref", "refs/heads/main", parent)
    with pytest.raises(StalledError):
        world.reconcile()


def test_a_registry_that_is_away_is_told_in_a_sentence(world: World) -> None:
    Path(world.url).rename(world.folder / "away.git")
    done = world.medperf("reconcile")
    assert done.returncode == 1
    assert done.stderr.startswith("medperf: Cannot fetch")


def test_a_refused_push_leaves_the_release_for_the_next_pass(world: World) -> None:
    world.reconcile()
    release(world)
    hook = Path(world.url) / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho closed for today >&2\nexit 1\n")
    hook.chmod(0o755)
    summary = world.reconcile()
    assert summary.failed
    assert summary.published is None
    assert "closed for today" in summary.problem
    hook.unlink()
    assert world.reconcile().published is not None


def test_others_see_which_run_is_under_way(world: World) -> None:
    world.add_model("slow", {"infer": ["sleep", 1.5]})
    seen: list[str] = []

    def look_from_outside(line: str) -> None:
        if line == "modeler/slow: infer":
            done = world.medperf("plan", "--json")
            runs = json.loads(done.stdout)["runs"]
            seen.extend(one["state"] for one in runs if one["pair"]["model"] == "modeler/slow")

    world.reconcile(say=look_from_outside, wanted=lambda pair: pair.model == "modeler/slow")
    assert seen == ["running"]


def test_a_pass_is_the_same_from_anywhere(world: World) -> None:
    assert reconcile(world.hospital, say=quiet).ran[0].outcome == "done"
    assert passes.Summary(world.plan()).failed is False
