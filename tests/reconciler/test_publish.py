"""Publishing on a site's branch, while its proposal is open, merged, closed or full."""

import threading

import pytest

from medperf.reconciler import publish as room
from medperf.reconciler.passes import Summary
from medperf.reconciler.publish import proposed_paths
from medperf.reconciler.release import publish_released
from medperf.reconciler.reviewing import close_proposal
from medperf.reconciler.workplace import Workplace

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


def test_a_proposal_holds_at_most_so_many_results(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_RESULTS", 2)
    world.set("hospital", "policy.release=automatic")
    for name in ("a", "b"):
        world.add_model(name)
    first = world.reconcile()
    assert first.published is not None
    assert first.published.results == 2
    assert sorted(world.states().values()) == ["due", "proposed", "proposed"]
    assert world.reconcile().published is None
    world.accept(BRANCH)
    last = world.reconcile()
    assert last.published is not None
    assert last.published.results == 1


def test_a_branch_that_is_merged_or_absent_proposes_nothing(open_world: World) -> None:
    world = open_world
    place = world.hospital
    place.fetch()
    assert len(proposed_paths(place.repository, BRANCH)) == 2
    assert proposed_paths(place.repository, "sites/nobody/here") == frozenset()
    world.accept(BRANCH)
    place.fetch()
    assert proposed_paths(place.repository, BRANCH) == frozenset()


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
