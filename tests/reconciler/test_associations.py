"""One association and the lists of them, as people and programs see them."""

import json
from typing import Any

import pytest

from medperf.reconciler.associations import Shown, view_association
from medperf.reconciler.reviewing import close_proposal, find_association
from medperf.registry import git_reading
from medperf.schemas.errors import UsageError

from .world import World


def shown(world: World, component: str, *, by: str = "committee") -> Shown:
    side: Any = "datasets" if component.startswith("hospital") else "models"
    place = world.place(by)
    return view_association(
        place, place.view(), benchmark="toy", side=side, component=component, say=print
    )


def test_an_association_is_shown_from_its_proposal_to_its_end(world: World) -> None:
    files, path = world._model_files("new", None, owner="modeler", images=None)
    proposal = world.modeler.propose("new", files, "Add new")
    found = shown(world, "new")
    assert (found.component, found.state, found.proposal) == ("modeler/new", "pending", proposal.id)
    assert any("committee/toy" in one for one in found.missing)
    assert (found.path, found.text.encode()) == (path, files[path])
    assert isinstance(found.manifest, dict)
    assert found.manifest["spec"]["trial"]["outcome"] == "passed"

    world.accept(proposal.id)
    found = shown(world, "modeler/new")
    assert (found.state, found.missing, found.proposal) == ("approved", (), "")
    assert set(found.signed) == {"committee/alice", "modeler/max"}

    world.revoke("modeler/new")
    found = shown(world, "new")
    assert found.state == "revoked"
    assert "committee/alice" in found.why
    with pytest.raises(UsageError, match="Did you mean modeler/new"):
        shown(world, "nev")


def test_what_is_merged_unsigned_says_whose_signature_is_missing(world: World) -> None:
    world.add_model("waiting", approve=False)
    found = shown(world, "waiting")
    assert (found.state, found.proposal, found.signed) == ("pending", "", ("modeler/max",))
    assert len(found.missing) == 1
    done = world.medperf("association", "view", "--benchmark", "toy", "--model_uid", "waiting")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "modeler/waiting in committee/toy: pending"
    assert f"  missing   {found.missing[0]}" in lines
    assert "  signed    modeler/max" in lines
    assert any("medperf association approve --benchmark committee/toy" in one for one in lines)
    assert found.text.strip() in done.stdout


def test_a_rejected_one_is_shown_with_its_reason(world: World) -> None:
    files, _ = world._model_files("new", None, owner="modeler", images=None)
    proposal = world.modeler.propose("new", files, "Add new")
    close_proposal(world.committee, proposal.id, "The licence forbids it.")
    found = shown(world, "new")
    assert (found.state, found.why) == ("rejected", "The licence forbids it.")
    assert (found.text, found.manifest, found.digest) == ("", None, "")


def test_lists_take_what_is_asked_for_and_never_say_that_there_is_nothing(world: World) -> None:
    world.add_model("a")

    def listed(*words: str, by: str = "hospital") -> list[str]:
        done = world.medperf("association", "ls", "--json", *words, by=by)
        assert done.returncode == 0, done.stderr
        return sorted(one["component"] for one in json.loads(done.stdout))

    assert listed() == ["committee/ref", "hospital/chest", "modeler/a"]
    assert listed("--mine") == ["hospital/chest"]
    assert listed("--mine", by="modeler") == ["modeler/a"]
    assert listed("--mine", by="committee") == listed()
    assert listed("--model_uid", "a") == listed("--model", "modeler/a") == ["modeler/a"]
    assert listed("--data_uid", "chest") == ["hospital/chest"]
    wrong = world.medperf("association", "ls", "--model_uid", "chest", by="hospital")
    assert wrong.returncode == 2
    assert "There is no cube 'chest'." in wrong.stderr
    for words, said in (
        (
            ("association", "ls", "--revoked"),
            "Of 3 associations none is among those you asked for.",
        ),
        (("dataset", "ls", "--mine"), "Of 1 dataset none is among those you asked for."),
        (("mlcube", "ls", "--mine"), ""),
        (("benchmark", "ls", "--mine"), "Of 1 benchmark none is among"),
        (("result", "ls", "--mine"), "No result is published yet."),
        (("result", "ls", "--local"), "see 'medperf plan'"),
        (("dataset", "ls", "--local"), "No dataset is prepared here yet"),
    ):
        done = world.medperf(*words, by="modeler")
        assert done.returncode == 0, done.stderr
        assert said in done.stderr, words
        assert bool(said) != bool(done.stdout), words


def test_a_published_result_says_what_it_is_worth_beside_its_exact_file(world: World) -> None:
    world.set("hospital", "policy.release=automatic")
    world.reconcile()
    local = world.medperf("result", "view", "toy.ref.chest")
    assert "waits to be merged" in local.stdout
    world.accept("sites/hospital/ward")
    done = world.medperf("result", "view", "toy.ref.chest")
    (path,) = world.results()
    assert done.stdout.encode() == world.committee.view().result_item(path).data
    assert f"{path} is valid, signed by hospital/ward" in done.stderr
    words = ("result", "withdraw", "toy.ref.chest", "--reason", "wrong scanner", "-y")
    assert world.medperf(*words).returncode == 0
    done = world.medperf("result", "view", "toy.ref.chest")
    assert "is withdrawn, signed by hospital/ward: " in done.stderr
    assert "wrong scanner" in done.stderr
    found = json.loads(world.medperf("result", "view", "toy.ref.chest", "--json").stdout)
    assert (found["name"], found["answer"]) == ("toy.ref.chest", "withdrawn")
    assert "wrong scanner" in found["reasons"][0]
    none = world.medperf("result", "ls", "--mine", by="modeler")
    assert "Of 1 published result none is among those" in none.stderr


def test_a_proposal_of_too_many_files_hides_no_association(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.modeler
    place.propose("many", {f"cubes/modeler/n{n}.yaml": b"x" for n in range(3)}, "Add many")
    files, path = world._model_files("new", None, owner="modeler", images=None)
    del files[next(one for one in files if one.startswith("cubes/"))]
    proposal = place.propose("new", files, "Add new")
    place = world.committee
    view = place.view()
    monkeypatch.setattr(git_reading, "MOST_CHANGES", 2)
    found = find_association(place, view, benchmark="toy", side="models", component="modeler/new")
    assert found == (path, proposal)
