"""Settings of a benchmark, approvals and revocations, from the people's commands."""

import re

from .world import World

TOY = "committee/toy"


def ok(world: World, *words: str, by: str = "committee", code: int = 0) -> str:
    """A command that ends as it should; both its outputs."""
    done = world.medperf(*words, by=by)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_a_benchmark_is_closed_and_opened_again(world: World) -> None:
    shown = ok(world, "benchmark", "settings", "toy", "--inactive", "-y")
    assert "serial: 2" in shown
    assert str(world.url) in shown, "the prompt says where it goes"
    assert world.states() == {"committee/ref": "blocked benchmark-inactive"}
    assert ok(world, "benchmark", "settings", "toy", "--inactive", "-y", code=2).endswith(
        "say all of this already.\n"
    )
    ok(world, "benchmark", "settings", "toy", "--active", "-y")
    assert world.states() == {"committee/ref": "due"}


def test_priorities_order_the_runs_and_can_be_taken_back(world: World) -> None:
    world.add_model("a")
    words = ("association", "priority", "-b", "toy", "--model_uid", "a", "--priority", "5", "-y")
    ok(world, *words)
    assert list(world.states()) == ["modeler/a", "committee/ref"]
    ok(world, "benchmark", "settings", "toy", "--priority", "modeler/a=", "-y")
    assert list(world.states()) == ["committee/ref", "modeler/a"]
    assert "Did you mean modeler/a" in ok(
        world, "benchmark", "settings", "toy", "--priority", "modeler/aa=1", "-y", code=2
    )


def test_texts_and_mirrors_change_and_nothing_else_does(world: World) -> None:
    digest = "sha256:" + "a" * 64
    ok(
        world,
        *("benchmark", "settings", "toy", "--description", "New words", "--label", "field=chest"),
        *("--mirror", f"{digest}=https://mirror.example.org/x?a=b", "-y"),
    )
    settings = world.committee.view().benchmark_settings(TOY)
    assert settings.description == "New words"
    assert "New words" in world.medperf("benchmark", "ls").stdout
    assert settings.labels == {"field": "chest"}
    assert settings.mirrors == {digest: ("https://mirror.example.org/x?a=b",)}
    assert settings.serial == 2


def test_only_the_committee_changes_settings(world: World) -> None:
    said = ok(world, "benchmark", "settings", "toy", "--inactive", "-y", by="modeler", code=2)
    assert "modeler/max is not of the committee of committee/toy" in said


def test_an_allow_list_stands_in_for_the_committee(world: World) -> None:
    world.revoke("hospital/chest")
    ok(world, "benchmark", "settings", "toy", "--approve-datasets", "hospital", "-y")
    words = ("dataset", "associate", "--benchmark_uid", "toy", "--data_uid", "chest", "-y")
    said = ok(world, *words, by="hospital")
    assert "It waits for nobody, so it is merged" in said
    state = world.committee.view().association(TOY, "datasets", "hospital/chest")
    assert state is not None
    assert state.state == "approved"
    assert state.item.manifest.spec.round == 2
    assert not [by for by in state.signed if by.startswith("committee/")]


def test_a_revoked_association_needs_a_new_round_that_is_approved_again(world: World) -> None:
    ref = world.add_model("a")
    ok(world, "association", "revoke", "-y", "--benchmark", "toy", "--model_uid", ref)
    assert world.states()[ref] == "blocked model-revoked"
    again = ("association", "revoke", "-y", "--benchmark", "toy", "--model_uid", ref)
    assert "is revoked already" in ok(world, *again, code=2)
    approve = ("association", "approve", "-y", "--benchmark", "toy", "--model_uid", ref)
    assert "is revoked" in ok(world, *approve, code=2), "this round is over for good"
    ok(world, "mlcube", "associate", "-y", "--benchmark", "toy", "--model_uid", ref, by="modeler")
    ok(world, *approve)
    assert world.states()[ref] == "due"


def test_approving_twice_fails_clearly(world: World) -> None:
    ref = world.add_model("a", approve=False)
    approve = ("association", "approve", "-y", "--benchmark", "toy", "--model_uid", ref)
    ok(world, *approve)
    assert re.search(r"modeler/a is approved.* already", ok(world, *approve, code=2))


def test_a_threshold_of_two_waits_for_both_and_tells_who_has_signed(world: World) -> None:
    words = ("--add-member", "hospital/bob", "--threshold", "2", "-y")
    ok(world, "benchmark", "settings", "toy", *words)
    ref = world.add_model("a", approve=False)
    approve = ("association", "approve", "-y", "--benchmark", "toy", "--model_uid", ref)
    assert "1 of 2" in ok(world, *approve, code=4)
    assert "have signed" in ok(world, *approve, code=2)
    ok(world, *approve, by="modeler", code=2)
    ok(world, *approve, by="hospital")
    state = world.committee.view().association(TOY, "models", ref)
    assert state is not None
    assert state.state == "approved"
    assert world.states()[ref] == "blocked dataset-pending", "two must sign for what is in, too"
    loosen = ("benchmark", "settings", "toy", "--threshold", "1", "-y")
    assert "1 of 2" in ok(world, *loosen, code=4), "the old committee's threshold decides"
    assert "cannot be had" in ok(
        world, "benchmark", "settings", "toy", "--threshold", "3", "-y", code=2
    )


def test_the_committee_invites_a_model_and_its_owner_accepts(world: World) -> None:
    place = world.modeler
    data = world.cube("invited", "modeler", "model", world.images)
    world.merge({"cubes/modeler/invited.yaml": data}, "invited", by="modeler")
    assert place.owner == "modeler"
    words = ("benchmark", "associate", "-b", "toy", "--model_uid", "invited", "-y")
    assert "modeler accepts it" in ok(world, *words)
    approve = ("association", "approve", "-y", "--benchmark", "toy", "--model_uid", "invited")
    assert "Approved" in ok(world, *approve, by="modeler")
    assert world.states()["modeler/invited"] == "due"
    words = ("benchmark", "associate", "-b", "toy", "--data_uid", "hospital/chest", "-y")
    assert "only hospital can do that" in ok(world, *words, code=2)


def test_a_cube_is_deprecated_by_its_owner_alone(world: World) -> None:
    ref = world.add_model("a")
    assert "has no settings" in ok(world, "mlcube", "settings", "modeler/a")
    words = ("mlcube", "settings", "a", "--deprecated", "--description", "Use b.", "-y")
    assert "a is modeler's: only its owner" in ok(world, *words, code=2)
    shown = ok(world, *words, by="modeler")
    assert str(world.url) in shown, "the prompt says where it goes"
    assert "Merged as" in shown
    settings = world.committee.view().cube_settings(ref)
    assert settings is not None
    assert (settings.serial, settings.deprecated, settings.description) == (1, True, "Use b.")
    assert "model, deprecated" in ok(world, "mlcube", "ls")
    assert "say all of this already" in ok(world, *words, by="modeler", code=2)
    assert world.states()[ref] == "due", "a deprecated model still runs where it is approved"
    digest = "sha256:" + "a" * 64
    mirror = f"{digest}=https://mirror.example.org/x?a=b"
    ok(world, "mlcube", "settings", "a", "--in-use", "--mirror", mirror, "-y", by="modeler")
    settings = world.committee.view().cube_settings(ref)
    assert settings is not None
    assert (settings.serial, settings.deprecated) == (2, False)
    assert settings.mirrors == {digest: ("https://mirror.example.org/x?a=b",)}
    assert "serial: 2" in ok(world, "mlcube", "settings", "a")


def test_a_dataset_s_texts_and_labels_change_by_its_owner(world: World) -> None:
    words = ("dataset", "settings", "hospital/chest", "--label", "scanner=portable", "-y")
    assert "only its owner changes" in ok(world, *words, by="modeler", code=2)
    assert "Merged as" in ok(world, *words, by="hospital")
    gone = ("dataset", "settings", "chest", "--label", "scanner=", "--description", "Two", "-y")
    ok(world, *gone, by="hospital")
    settings = world.committee.view().dataset_settings("hospital/chest")
    assert settings is not None
    assert (settings.serial, settings.labels, settings.description) == (2, None, "Two")
    empty = ("dataset", "settings", "chest", "--label", "scanner=", "-y")
    assert "say all of this already" in ok(world, *empty, by="hospital", code=2)
    assert world.states() == {"committee/ref": "due"}
