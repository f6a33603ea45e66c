"""Publishing on a site's branch, while its proposal is open, merged, closed or full."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from medperf.reconciler import publish as room
from medperf.reconciler.passes import Summary
from medperf.reconciler.proposed import ask_forge, closed_ones, propose_again, proposed_paths
from medperf.reconciler.release import publish_released
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.reviewing import close_proposal
from medperf.reconciler.workplace import Workplace
from medperf.registry.forges.local import LocalForge
from medperf.schemas.errors import UsageError

from .world import World, git

BRANCH = "sites/hospital/ward"


@pytest.fixture
def open_world(world: World) -> World:
    """A site that lets everything out, with its first result proposed."""
    world.set("hospital", "policy.release=automatic")
    world.reconcile()
    return world


def commits(world: World) -> int:
    return int(git(world.url, "rev-list", "--count", f"refs/heads/main..refs/heads/{BRANCH}"))


def test_a_pass_makes_one_signed_commit_by_the_site(open_world: World) -> None:
    world = open_world
    assert commits(world) == 1
    shown = git(world.url, "log", "-1", "--format=%an %ad %cd", "--date=format:%H:%M:%S %z", BRANCH)
    assert shown == "hospital/ward 00:00:00 +0000 00:00:00 +0000"
    assert "gpgsig" in git(world.url, "cat-file", "commit", f"refs/heads/{BRANCH}")
    files = git(world.url, "diff", "--name-only", "refs/heads/main", f"refs/heads/{BRANCH}")
    assert [name.rpartition("/")[2].partition(".")[2] for name in files.splitlines()] == [
        "sigstore.json",
        "yaml",
    ]


def test_an_open_proposal_grows(open_world: World) -> None:
    world = open_world
    world.add_model("next")
    summary = world.reconcile()
    assert summary.published is not None
    assert summary.published.results == 1
    assert commits(world) == 2
    world.accept(BRANCH)
    assert len(world.results()) == 2


def test_after_the_merge_the_next_commit_starts_from_main(open_world: World) -> None:
    world = open_world
    world.accept(BRANCH)
    world.add_model("next")
    tip = world.tip()
    world.reconcile()
    assert git(world.url, "rev-parse", f"refs/heads/{BRANCH}~1") == tip
    world.accept(BRANCH)
    assert set(world.states().values()) == {"published"}


def test_a_closed_proposal_does_not_stop_the_site(open_world: World) -> None:
    world = open_world
    close_proposal(world.committee, BRANCH, "not now")
    assert world.tip(BRANCH) == ""
    assert set(world.states().values()) == {"due"}
    assert world.reconcile().published is not None


def test_a_proposal_that_the_forge_has_closed_is_left_as_it_is(
    open_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, head = open_world, open_world.tip(BRANCH)

    def forge_says(_: LocalForge, branch: str, at_head: str, *, at: str) -> str:
        is_it = (branch, at_head, at) == (BRANCH, head, world.url)
        return "https://forge/pull/1" if is_it else ""

    monkeypatch.setattr(LocalForge, "closed", forge_says)
    assert (world.run().state, world.run().reason) == ("proposed", "")
    world.reconcile()
    run = world.run()
    assert (run.state, run.reason) == ("proposed", "closed")
    assert "https://forge/pull/1 may say why" in run.explanation
    assert world.reconcile().published is None

    # what is new goes to another branch, alone
    world.add_model("next")
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [(f"{BRANCH}.2", 1)]
    assert world.tip(BRANCH) == head
    added = git(world.url, "diff", "--name-only", "main", f"{BRANCH}.2")
    assert "modeler__next" in added
    assert "committee__ref" not in added

    # what was closed comes again when a person says so, beside it
    world.hospital.close()
    _, (closed,) = awaiting(world.hospital, world.run().pair.local_name)
    with pytest.raises(UsageError, match="what has left cannot be changed"):
        awaiting(world.hospital, closed.name, "declined")
    decide(world.hospital, closed, "released")
    published = publish_released(world.hospital)
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [(f"{BRANCH}.2", 1)]
    assert (world.run().state, world.run().reason) == ("proposed", "")
    world.accept(f"{BRANCH}.2")
    assert set(world.states().values()) == {"published"}


def moves_main_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets main move between the look and the first branch that is published on."""
    real, done = room._Desk.propose, [False]

    def propose(desk: room._Desk, branch: str, ready: Sequence[room.Ready]) -> object:
        if not done[0]:
            world.add_model("meanwhile", approve=False)
        done[0] = True
        return real(desk, branch, ready)

    monkeypatch.setattr(room._Desk, "propose", propose)


def test_an_open_proposal_is_told_once_when_main_moves(
    open_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world
    world.add_model("next")
    moves_main_once(world, monkeypatch)
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [(BRANCH, 1)]


def test_a_closed_proposal_is_not_opened_when_main_moves(
    open_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world
    opened: list[str] = []

    def opens(_: LocalForge, branch: str, **__: str) -> str:
        opened.append(branch)
        return ""

    monkeypatch.setattr(LocalForge, "closed", lambda _, branch, *__, **___: f"https://{branch}")
    world.reconcile()
    assert world.run().reason == "closed"
    world.add_model("next")
    moves_main_once(world, monkeypatch)
    monkeypatch.setattr(LocalForge, "open", opens)
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [(f"{BRANCH}.2", 1)]
    assert opened == [f"{BRANCH}.2"]


def test_a_result_is_taken_off_its_own_closed_proposal_also_while_the_forge_is_asked(
    five: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = five
    world.reconcile()
    place, said = world.hospital, list[str]()
    monkeypatch.setattr(LocalForge, "closed", lambda _, branch, *__, **___: f"https://{branch}")
    assert ask_forge(place, say=said.append)
    first = proposed_paths(place.repository, "hospital/ward")
    path = next(path for path, shown in first.items() if shown == f"https://{BRANCH}.2")

    def asked(_: LocalForge, branch: str, *__: str, **___: str) -> str:
        """A person releases a result meanwhile; the last proposal is open again."""
        propose_again(place, path)
        return "" if branch == f"{BRANCH}.3" else f"https://{branch}"

    monkeypatch.setattr(LocalForge, "closed", asked)
    assert ask_forge(place, say=said.append)
    assert said == []
    again = {one.shown: one.again for one in closed_ones(place.repository).values()}
    assert again == {f"https://{BRANCH}": (), f"https://{BRANCH}.2": (path,)}


def test_what_the_forge_said_of_an_older_commit_says_nothing(open_world: World) -> None:
    world = open_world
    closed = world.hospital.repository.folder / "medperf-closed.json"
    other = world.tip("main")
    closed.write_text(
        json.dumps({f"{BRANCH}@{other}": {"shown": "https://forge/pull/1", "again": []}})
    )
    assert world.run().reason == ""
    for damaged in ("", "[]", "{", '{"x": 1}'):
        closed.write_text(damaged)
        assert world.run().reason == ""


@pytest.fixture
def five(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Five results that may leave, where a proposal takes two."""
    monkeypatch.setattr(room, "MOST_RESULTS", 2)
    for name in ("a", "b", "c", "d"):
        world.add_model(name)
    world.reconcile()
    world.set("hospital", "policy.release=automatic")
    return world


def branches(world: World) -> list[str]:
    shown = git(world.url, "for-each-ref", "--format=%(refname:short)", "refs/heads/sites")
    return shown.split()


def test_more_than_a_proposal_holds_goes_to_further_ones(five: World) -> None:
    world = five
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [
        (BRANCH, 2),
        (f"{BRANCH}.2", 2),
        (f"{BRANCH}.3", 1),
    ]
    assert published.results == 5
    assert set(world.states().values()) == {"proposed"}
    assert world.reconcile().published is None
    for branch in (f"{BRANCH}.2", BRANCH, f"{BRANCH}.3"):
        world.accept(branch)
    assert set(world.states().values()) == {"published"}
    assert len(world.results()) == 5
    assert branches(world) == []


def test_the_first_branch_with_room_is_filled_first(five: World) -> None:
    world = five
    world.reconcile()
    world.accept(BRANCH)
    world.add_model("e")
    world.add_model("f")
    world.add_model("g")
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [
        (BRANCH, 2),
        (f"{BRANCH}.3", 1),
    ]
    for branch in branches(world):
        world.accept(branch)
    assert len(world.results()) == 8


def test_a_pass_that_ends_between_two_proposals_is_finished_by_the_next(five: World) -> None:
    world = five
    hook = Path(world.url) / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ntest "$1" != refs/heads/{BRANCH}.2\n')
    hook.chmod(0o755)
    broken = world.reconcile()
    assert "waits for the next pass" in broken.problem
    assert branches(world) == [BRANCH]
    assert sorted(world.states().values()).count("proposed") == 2
    hook.unlink()
    published = world.reconcile().published
    assert published is not None
    assert [(one.branch, one.results) for one in published.proposals] == [
        (f"{BRANCH}.2", 2),
        (f"{BRANCH}.3", 1),
    ]
    for branch in branches(world):
        world.accept(branch)
    assert len(world.results()) == 5


def test_main_may_move_between_two_proposals(five: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = five
    real, done = room._Desk.propose, [0]

    def propose(desk: room._Desk, branch: str, ready: Sequence[room.Ready]) -> object:
        if done[0] == 1:
            world.add_model("meanwhile", approve=False)
        done[0] += 1
        return real(desk, branch, ready)

    monkeypatch.setattr(room._Desk, "propose", propose)
    published = world.reconcile().published
    assert published is not None
    assert [one.results for one in published.proposals] == [2, 2, 1]
    assert set(world.states().values()) >= {"proposed"}


def test_other_sites_branches_are_not_this_ones(open_world: World) -> None:
    world = open_world
    tip = world.tip(BRANCH)
    for name in ("sites/hospital/ward-2", "sites/hospital/war"):
        git(world.url, "update-ref", f"refs/heads/{name}", tip)
    git(world.url, "update-ref", "-d", f"refs/heads/{BRANCH}")
    assert set(world.states().values()) == {"due"}


def test_a_branch_that_is_merged_or_absent_proposes_nothing(open_world: World) -> None:
    world = open_world
    place = world.hospital
    place.fetch()
    assert len(proposed_paths(place.repository, "hospital/ward")) == 2
    assert proposed_paths(place.repository, "nobody/here") == {}
    world.accept(BRANCH)
    place.fetch()
    assert proposed_paths(place.repository, "hospital/ward") == {}


def test_two_at_once_publish_once(world: World) -> None:
    world.reconcile()
    world.set("hospital", "policy.release=automatic")
    first = world.hospital
    answers: list[object] = []

    def work(place: Workplace) -> None:
        answers.append(publish_released(place))

    with Workplace(first.home, first.name, first.profile) as second:
        threads = [threading.Thread(target=work, args=(place,)) for place in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(answers) == 2
    assert sum(answer is not None for answer in answers) >= 1
    assert commits(world) == 1
    world.accept(BRANCH)
    assert len(world.results()) == 1


def test_a_site_without_a_key_is_told_what_to_do(world: World) -> None:
    world.reconcile()
    world.set("hospital", "policy.release=automatic")
    (world.folder / "hospital" / "keys" / "hospital.ward").unlink()
    done = world.medperf("reconcile")
    assert done.returncode == 1
    assert "hospital.ward" in done.stderr + done.stdout


def test_what_is_published_later_is_for_the_same_run(open_world: World) -> None:
    summary: Summary = open_world.reconcile()
    assert summary.published is None
    assert [run.state for run in summary.plan.runs] == ["proposed"]
