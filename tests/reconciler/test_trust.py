"""What holds a site back beside the registry: an old view, rest, numbers of results; and keys."""

import json
import os
import time
from pathlib import Path

import pytest

from medperf.reconciler.explaining import explain
from medperf.reconciler.freshness import freshness, sign_here, span
from medperf.reconciler.holding import told
from medperf.reconciler.passes import look
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.rotating import add_key, change_registry, end_key
from medperf.reconciler.settings import Policy
from medperf.reconciler.suspending import resume, suspend
from medperf.registry.keys import generate_key
from medperf.registry.paths import cube_path
from medperf.schemas.errors import StalledError, UsageError, WaitError

from .world import World, git

REF = "committee/ref"


def ask_for_checkpoints(world: World, days: int = 7) -> None:
    place = world.committee
    change = change_registry(place, place.view(), checkpoint_days=days)
    world.merge(change.files, change.slug, by="committee")


def release(world: World) -> None:
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")


# ----------------------------------------------------------------------------- freshness


def test_without_checkpoints_a_site_that_reaches_its_registry_works(world: World) -> None:
    assert world.states() == {REF: "due"}


def test_a_site_that_has_not_reached_its_registry_for_long_starts_nothing(world: World) -> None:
    world.plan()
    old = time.time() - 25 * 3600
    os.utime(world.hospital.storage / "fetched", (old, old))
    _, plan = look(world.hospital, fetch=False)
    assert [(run.state, run.reason) for run in plan.runs] == [("blocked", "stale")]
    assert "reached the registry 1 day ago" in plan.runs[0].explanation
    world.set("hospital", "policy.maxAge=30d")
    assert look(world.hospital, fetch=False)[1].due


def test_where_the_registry_asks_for_checkpoints_none_means_that_nothing_starts(
    world: World,
) -> None:
    ask_for_checkpoints(world)
    assert world.states() == {REF: "blocked stale"}
    assert "medperf registry checkpoint" in world.run().explanation
    made = sign_here(world.committee)
    assert made.by == "committee/alice"
    assert world.states() == {REF: "due"}
    assert (
        "a checkpoint by committee/alice"
        in freshness(world.hospital, world.hospital.view()).sentence
    )


def test_a_frozen_registry_is_noticed(world: World) -> None:
    """The forge goes on answering, but nothing new ever comes."""
    ask_for_checkpoints(world)
    sign_here(world.committee)
    place = world.hospital
    view = place.view()
    assert not freshness(place, view).problem
    later = freshness(place, view, now=time.time() + 8 * 86400)
    assert "8 days old and may be at most 7 days old" in later.problem
    assert "a revocation too" in later.problem
    expired = freshness(place, view, now=time.time() + 15 * 86400)
    assert expired.problem


def test_the_stricter_age_holds(world: World) -> None:
    ask_for_checkpoints(world)
    sign_here(world.committee)
    place = world.set("hospital", "policy.maxAge=1h")
    assert freshness(place, place.view(), now=time.time() + 7300).problem
    place = world.set("hospital", "policy.maxAge=90d")
    assert freshness(place, place.view(), now=time.time() + 8 * 86400).problem


def test_a_checkpoint_that_expired_holds_no_more(world: World) -> None:
    ask_for_checkpoints(world, days=30)
    sign_here(world.committee, days=1)
    place = world.hospital
    old = freshness(place, place.view(), now=time.time() + 2 * 86400)
    assert "expired" in old.problem


def test_a_registry_that_withholds_what_was_signed_is_noticed(world: World) -> None:
    """The checkpoint is of a commit that the forge shows others, and not this site."""
    ask_for_checkpoints(world)
    before = world.tip()
    world.add_model("later")
    sign_here(world.committee)
    git(world.url, "update-ref", "refs/heads/main", before)
    assert world.states() == {REF: "blocked stale"}
    assert "medperf registry compare" in world.run().explanation


def test_what_is_stale_does_not_publish(world: World) -> None:
    world.reconcile()
    release(world)
    ask_for_checkpoints(world)
    assert world.reconcile().published is None
    assert world.states() == {REF: "blocked stale"}
    sign_here(world.committee)
    assert world.reconcile().published is not None


def test_only_an_admin_signs_a_checkpoint(world: World) -> None:
    with pytest.raises(UsageError, match="hospital/bob is no admin"):
        sign_here(world.hospital)


def test_spans_are_words() -> None:
    assert [span(n) for n in (5, 60, 7200, 90000)] == [
        "less than a minute",
        "1 minute",
        "2 hours",
        "1 day",
    ]


# ------------------------------------------------------------------------- rest, numbers


def test_a_suspended_site_does_nothing_until_it_is_resumed(world: World) -> None:
    suspend(world.hospital, "maintenance")
    assert world.states() == {REF: "blocked suspended"}
    assert world.reconcile().ran == ()
    assert "maintenance" in world.run().explanation
    assert "Resumed" in resume(world.hospital)
    assert "not suspended" in resume(world.hospital)
    assert [ran.outcome for ran in world.reconcile().ran] == ["done"]


def test_results_are_counted_and_limited_per_model_owner(world: World) -> None:
    world.add_model("a")
    world.add_model("b")
    world.set("hospital", "policy.resultsPerModelOwner=1")
    states = world.states()
    assert states["modeler/a"] == "due"
    assert states["modeler/b"] == "blocked budget"
    assert states[REF] == "due"
    assert "policy.resultsPerModelOwner" in world.run("modeler/b").explanation
    world.reconcile()
    assert world.states()["modeler/b"] == "blocked budget"
    release(world)
    world.reconcile()
    counted = {one.reader: one for one in told(world.plan(), world.hospital.profile.policy)}
    assert counted["committee/toy"].results == 2
    assert (counted["modeler/*"].results, counted["modeler/*"].most) == (1, 1)


def test_results_are_limited_per_benchmark_and_a_withdrawn_one_has_left(world: World) -> None:
    world.add_model("a")
    world.set("hospital", "policy.resultsPerBenchmark=1")
    assert sorted(world.states().values()) == ["blocked budget", "due"]
    world.set("hospital", "policy.resultsPerBenchmark=2")
    assert set(world.states().values()) == {"due"}


def test_without_a_limit_results_are_only_counted(world: World) -> None:
    world.reconcile()
    release(world)
    world.reconcile()
    (one, other) = told(world.plan(), Policy())
    assert {one.reader, other.reader} == {"committee/toy", "committee/*"}
    assert one.most is None
    shown = world.medperf("status").stdout
    assert "left      1 result of hospital/chest to committee/toy" in shown
    assert json.loads(world.medperf("status", "--json").stdout)["told"][0]["results"] == 1


# ------------------------------------------------------------------------------ explain


def test_what_is_missing_is_said_with_who_and_how(world: World) -> None:
    world.add_model("new", approve=False)
    view, plan = look(world.hospital)
    (one,) = explain(world.hospital, view, plan.runs, "modeler/new")
    assert one.state == "blocked (model-pending)"
    assert "a member of the committee of committee/toy" in one.missing[0]
    assert "medperf association approve --benchmark committee/toy" in one.missing[1]
    assert any("policy.release: manual" in line for line in one.site)
    shown = world.medperf("explain", "new").stdout
    assert "missing   modeler/new waits for" in shown


def test_a_model_owner_sees_where_his_model_stands_elsewhere(world: World) -> None:
    world.add_model("mine")
    view, plan = look(world.modeler)
    (one,) = explain(world.modeler, view, plan.runs)
    assert (one.model, one.state, one.missing) == ("modeler/mine", "asked of hospital", ())
    world.revoke("modeler/mine")
    view, plan = look(world.modeler)
    (one,) = explain(world.modeler, view, plan.runs)
    assert "revoked by committee/alice" in one.missing[0]


def test_a_committee_sees_where_anothers_model_stands(world: World) -> None:
    world.add_model("mine")
    world.add_model("other")
    view, plan = look(world.committee)
    (own,) = explain(world.committee, view, plan.runs)
    assert own.model == "committee/ref"
    (one,) = explain(world.committee, view, plan.runs, "mine")
    assert (one.model, one.dataset, one.state) == (
        "modeler/mine",
        "hospital/chest",
        "asked of hospital",
    )
    world.set("hospital", "policy.release=automatic")
    world.reconcile()
    world.accept("sites/hospital/ward")
    view, plan = look(world.committee)
    (one,) = explain(world.committee, view, plan.runs, "modeler/mine")
    assert (one.model, one.state, one.missing) == ("modeler/mine", "published (valid)", ())
    assert len(explain(world.modeler, view, (), "chest")) == 2


def test_an_unknown_name_is_answered_with_the_nearest(world: World) -> None:
    view, plan = look(world.hospital)
    with pytest.raises(UsageError, match="committee/ref"):
        explain(world.hospital, view, plan.runs, "committee/reff")


def test_what_takes_part_in_nothing_yet_is_told_from_what_is_not_there(world: World) -> None:
    files, _ = world._model_files("new", None, owner="modeler", images=None)
    cube = cube_path("modeler/new")
    world.merge({cube: files[cube]}, "new", by="modeler")
    for place, uid, words in (
        (world.modeler, "new", r"modeler/new takes part in no benchmark yet.* --model_uid modeler"),
        (world.hospital, "modeler/new", r"modeler/new takes part in no benchmark yet\. All that"),
        (world.committee, "prep", r"committee/prep is no model \(preparator\)"),
        (world.modeler, "chest", r"hospital/chest takes part with no model of yours"),
        (world.modeler, "toy", r"In committee/toy no dataset of this site and no model of yours"),
        (world.modeler, "nwe", r"There is no run, model or dataset 'nwe' here.*modeler/new"),
    ):
        view, plan = look(place)
        with pytest.raises(UsageError, match=words):
            explain(place, view, plan.runs, uid)


# --------------------------------------------------------------------------------- keys


def test_a_key_is_rotated_from_end_to_end(world: World) -> None:
    place = world.hospital
    before = place.member().signer.fingerprint
    change = add_key(place, place.view())
    assert "me.member.key=keys/hospital.bob.2" in change.then
    world.merge(change.files, change.slug, by="hospital")
    place = world.set("hospital", "me.member.key=keys/hospital.bob.2")
    assert place.member().signer.fingerprint != before
    change = end_key(place, place.view(), before)
    world.merge(change.files, change.slug, by="hospital")
    view = world.hospital.view()
    assert view.holder(before).key.state == "retired"  # type: ignore[union-attr]
    # the dataset that the old key signed in still takes part, and results are signed as before
    world.reconcile()
    release(world)
    assert world.reconcile().published is not None


def test_a_sites_key_is_rotated_and_the_old_one_signs_nothing_more(world: World) -> None:
    place = world.hospital
    old = place.site().signer.fingerprint
    change = add_key(place, place.view(), role="site")
    world.merge(change.files, change.slug, by="hospital")
    change = end_key(world.hospital, world.hospital.view(), old)
    world.merge(change.files, change.slug, by="hospital")
    world.reconcile()
    release(world)
    summary = world.reconcile()  # with the old key still: nobody would take that result
    assert "would not count" in summary.problem
    assert "this one is retired there" in summary.problem
    assert summary.published is None


def test_the_last_living_key_is_not_ended(world: World) -> None:
    place = world.hospital
    key = place.member().signer.fingerprint
    with pytest.raises(UsageError, match="Nobody of hospital could sign"):
        end_key(place, place.view(), key)
    with pytest.raises(UsageError, match="Say since when"):
        end_key(place, place.view(), key, state="compromised")
    with pytest.raises(UsageError, match="is no commit of"):
        end_key(place, place.view(), key, state="compromised", since="1234567")
    with pytest.raises(UsageError, match="Only a compromised key"):
        end_key(place, place.view(), key, since="1234567")


def test_a_key_for_somebody_else_comes_as_its_public_half(world: World, tmp_path: Path) -> None:
    place = world.hospital
    with pytest.raises(UsageError, match="give its public half"):
        add_key(place, place.view(), name="bea")
    with pytest.raises(UsageError, match="has no member 'bea'"):
        add_key(
            place,
            place.view(),
            name="bea",
            public_key=generate_key(tmp_path / "key", None).public_key + " bea@home",
        )
    with pytest.raises(UsageError, match="There is no owner 'nobody'"):
        add_key(place, place.view(), owner="nobody", name="x", public_key="ssh-ed25519 AAAA")


def test_the_admins_change_with_the_old_and_the_new_threshold(world: World) -> None:
    place = world.committee
    with pytest.raises(UsageError, match="There is no member 'uni/carol'"):
        change_registry(place, place.view(), add=["uni/carol"])
    change = change_registry(place, place.view(), add=["modeler/max"], threshold=2)
    proposal = place.propose(change.slug, change.files, change.title)
    with pytest.raises(WaitError, match=r"admins of the new registry\.yaml: 1 of 2"):
        world.accept(proposal.id)
    world.accept(proposal.id, by="modeler")
    assert world.hospital.view().registry.admins.threshold == 2


def test_keys_and_registry_change_by_command(world: World) -> None:
    done = world.medperf("owner", "add-key", "-y")
    assert done.returncode == 0, done.stderr
    assert "An admin merges it" in done.stdout
    fingerprint = world.hospital.site().signer.fingerprint
    done = world.medperf("owner", "retire-key", fingerprint, "-y")
    assert done.returncode == 0, done.stderr
    done = world.medperf("owner", "add-key", "--member", "a", "--site", "b", "-y")
    assert done.returncode == 2
    done = world.medperf("registry", "change", "--checkpoint-days", "7", "-y", by="committee")
    assert done.returncode == 0, done.stderr
    assert world.medperf("registry", "checkpoint", by="committee").returncode == 0
    assert world.medperf("registry", "checkpoint").returncode == 1 + 1


def test_two_engineers_compare_by_command(world: World) -> None:
    mine = json.loads(world.medperf("registry", "compare", "--json").stdout)
    done = world.medperf("registry", "compare", *mine["words"].split("-"), by="committee")
    assert (done.returncode, "same (commit" in done.stdout) == (0, True)
    assert mine["words"] in done.stdout
    done = world.medperf("registry", "compare", "f" * 40)
    assert (done.returncode, "unknown" in done.stdout) == (1, True)


def test_two_sites_that_are_shown_two_histories_find_out(world: World) -> None:
    """Each history is in order by itself; only by comparing do the two see it."""
    mine = json.loads(world.medperf("registry", "compare", "--json").stdout)
    world.add_model("shown-to-some")
    theirs = json.loads(world.medperf("registry", "compare", "--json", by="committee").stdout)
    git(world.url, "update-ref", "refs/heads/main", mine["head"])
    assert theirs["head"] != mine["head"]
    done = world.medperf("registry", "compare", theirs["words"])
    assert done.returncode == 1
    assert "stop both sites" in done.stdout
    # and a site that had seen the longer one stalls at once
    with pytest.raises(StalledError, match="is not on the first-parent chain"):
        world.committee.view()


def test_a_site_rests_by_command(world: World) -> None:
    assert world.medperf("suspend", "--reason", "moving house").returncode == 0
    assert "suspended: moving house" in world.medperf("explain").stdout
    assert world.medperf("resume").returncode == 0


def test_before_after_and_reason_stand_side_by_side(world: World) -> None:
    written = {"AUC": {"Edema": 0.91349999}, "n": {"Edema": 4}}
    world.add_model("few", {"write": json.dumps(written)})
    world.reconcile()
    _, waiting = awaiting(world.hospital, world.run("modeler/few").pair.local_name)
    assert waiting[0].before == {"auc-edema": 0.91349999, "n-edema": 4}
    shown = world.medperf("result", "view", waiting[0].name).stdout
    assert "0.91349999" in shown
    assert "suppressed: small-cells" in shown
    _, (reference,) = awaiting(world.hospital, world.run(REF).pair.local_name)
    shown = world.medperf("result", "release", reference.name, "-y").stderr
    assert "BEFORE" in shown
    assert "LEAVES AS" in shown
