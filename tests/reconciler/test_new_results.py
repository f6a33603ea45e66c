"""Results that came since somebody last looked, told to model owners and committees."""

import json
import sys
from pathlib import Path

import pytest

from medperf.reconciler.new_results import Counted, new_results
from medperf.reconciler.news import tell_hook
from medperf.reconciler.observe import look

from .world import World

BRANCH = "sites/hospital/ward"


def told(world: World, by: str) -> list[tuple[str, int]]:
    """What `status` tells somebody of results, with how many it counts."""
    said = json.loads(world.medperf("status", "--json", by=by).stdout)["new"]
    return [(one["text"], one["count"]) for one in said if one["about"] == "results"]


def publish(world: World) -> None:
    """A pass of the hospital whose results are merged."""
    world.reconcile()
    world.accept(BRANCH)


@pytest.fixture
def publishing(world: World) -> World:
    """A hospital that releases all by itself, and two models beside the reference."""
    world.add_model("a")
    world.add_model("b")
    world.set("hospital", "policy.release=automatic")
    return world


def test_a_model_owner_and_a_committee_are_told_how_many_results_came(publishing: World) -> None:
    world = publishing
    assert told(world, "modeler") == told(world, "committee") == []
    publish(world)
    assert told(world, "modeler") == [
        (
            f"1 new result of your model modeler/{name} in benchmark committee/toy: medperf result "
            f"ls --benchmark committee/toy --model modeler/{name}",
            1,
        )
        for name in ("a", "b")
    ]
    assert told(world, "committee") == [
        (
            "2 new results of others' models in your benchmark committee/toy: "
            "medperf result ls --benchmark committee/toy",
            2,
        ),
        (
            "1 new result of your model committee/ref in benchmark committee/toy: medperf result "
            "ls --benchmark committee/toy --model committee/ref",
            1,
        ),
    ]
    withdrawn = world.medperf("result", "withdraw", "toy.a.chest", "--reason", "odd", "-y")
    assert withdrawn.returncode == 0, withdrawn.stderr
    assert told(world, "modeler") == [  # and no more of the new ones
        (
            "1 result of your model modeler/a in benchmark committee/toy was withdrawn: medperf "
            "result ls --benchmark committee/toy --model modeler/a",
            1,
        )
    ]


def test_a_first_look_and_another_history_tell_of_no_results(publishing: World) -> None:
    world = publishing
    before = world.tip()
    publish(world)
    place = world.modeler
    view = place.view()
    for since, expected in ((before, 2), ("", 0), ("0" * 40, 0), (view.tip, 0)):
        found = new_results(place.repository, view, "modeler", since=since, until=view.tip)
        assert sum(one.count for one in found) == expected
    for until in ("0" * 40, before):
        assert new_results(place.repository, view, "modeler", since=before, until=until) == ()
    own = new_results(place.repository, view, "hospital", since=before, until=view.tip)
    assert own == (), "its own results are the site's runs"


def test_a_result_counts_from_the_commit_that_makes_it_valid(publishing: World) -> None:
    """One without its signature is no result yet; the signature's commit brings it."""
    world = publishing
    world.reconcile()
    repository = world.committee.repository
    tip, start = world.tip(BRANCH), world.tip()
    repository.fetch_ref(world.url, f"refs/heads/{BRANCH}")
    added = {change.path: change.oid for change in repository.diff(start, tip)}
    (bare,) = (path for path in added if "/modeler__a/" in path and path.endswith(".yaml"))
    signature = bare.replace(".yaml", ".sigstore.json")
    first = world.push({bare: repository.blob(added[bare])}, by="hospital")
    place = world.modeler
    view = place.view()
    assert new_results(place.repository, view, "modeler", since=start, until=first) == ()
    then = world.push({signature: repository.blob(added[signature])}, by="hospital")
    view = place.view()
    for since, until, expected in ((first, then, 1), (start, then, 1), (start, first, 0)):
        found = new_results(place.repository, view, "modeler", since=since, until=until)
        assert sum(one.count for one in found) == expected


def test_a_withdrawal_is_told_once_whatever_is_said_of_it_later(publishing: World) -> None:
    world = publishing
    publish(world)
    start = world.tip()
    done = world.medperf("result", "withdraw", "toy.a.chest", "--reason", "odd", "-y")
    assert done.returncode == 0, done.stderr
    seen = world.tip()
    view = world.modeler.view()
    (path,) = [one for one in view.results if "modeler__a" in one]
    data = view.result_item(path).data
    later = world.push(
        world.committee.statement(path, data, decision="revoke", reason="odd"), by="committee"
    )
    place, view = world.modeler, world.modeler.view()
    assert view.results[path].answer == "withdrawn"
    for since, until, expected in ((start, seen, 1), (seen, later, 0), (start, later, 1)):
        found = new_results(place.repository, view, "modeler", since=since, until=until)
        assert [(one.withdrawn, one.count) for one in found] == [(True, 1)] * expected


def test_a_member_of_the_committee_from_elsewhere_is_told(publishing: World) -> None:
    world = publishing
    world.change_settings(committee={"threshold": 1, "members": ["committee/alice", "modeler/max"]})
    before = world.tip()
    publish(world)
    place = world.modeler
    view = place.view()
    found = new_results(place.repository, view, "modeler", since=before, until=view.tip)
    assert [(one.model, one.count) for one in found] == [
        ("", 1),
        ("modeler/a", 1),
        ("modeler/b", 1),
    ]


def test_a_command_of_a_model_owner_is_told(publishing: World, tmp_path: Path) -> None:
    world, mail = publishing, tmp_path / "mail.json"
    program = f"import sys; open({str(mail)!r}, 'w').write(sys.stdin.read())"
    place = world.set("modeler", f"notify.command={json.dumps([sys.executable, '-c', program])}")
    assert tell_hook(place, look(place)[1]) == ""
    assert not mail.exists()
    publish(world)
    assert tell_hook(place, look(place)[1]) == ""
    news = json.loads(mail.read_text())["news"]
    assert [(one["about"], one["model"], one["count"], one["state"]) for one in news] == [
        ("results", "modeler/a", 1, "1 new result"),
        ("results", "modeler/b", 1, "1 new result"),
    ]


def test_what_is_counted_is_said_in_one_sentence() -> None:
    two = Counted("a/b", "c/d", 2, withdrawn=True)
    assert two.sentence == (
        "2 results of your model c/d in benchmark a/b were withdrawn: "
        "medperf result ls --benchmark a/b --model c/d"
    )
    assert (two.state, Counted("a/b", "", 1).state) == ("2 results withdrawn", "1 new result")
