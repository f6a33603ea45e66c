"""A site without a network: the registry comes and goes on a folder, assets beside it."""

import shutil
from pathlib import Path

import pytest

from medperf.reconciler import handing_over
from medperf.reconciler.carrying import Cargo, Trip, cargo_of
from medperf.reconciler.following import follow, offer
from medperf.reconciler.reviewing import review
from medperf.reconciler.workplace import Workplace
from medperf.registry.forges.local import LocalForge
from medperf.registry.git import Author, Repository
from medperf.registry.proposals import close, find
from medperf.runner.assets import stored
from medperf.schemas.errors import StalledError, UsageError

from .world import World, git, quiet


@pytest.fixture
def stick(world: World, tmp_path: Path) -> Path:
    """A folder with the registry and all assets; the hospital has nothing but it from now on."""
    folder = tmp_path / "stick"
    carry(world, folder)
    world.close("hospital")
    config = world.folder / "hospital" / "config.yaml"
    text = config.read_text().replace(world.url, str(folder / "registry.git"))
    config.write_text(text)
    shutil.rmtree(world.folder / "hospital" / "default" / "assets", ignore_errors=True)
    world.set("hospital", "policy.files=[]")
    return folder


def carry(world: World, folder: Path, *, by: str = "committee") -> Trip:
    """What `medperf registry carry` does; how it was found."""
    trip = Trip(world.place(by), folder)
    trip.send()
    trip.refresh()
    trip.load(cargo_of(trip.view, [], ["sandbox"]), say=quiet)
    return trip


def test_results_of_a_site_without_a_network_reach_the_registry(world: World, stick: Path) -> None:
    world.add_model("second")
    carry(world, stick)
    summary = world.reconcile()  # its assets come from the folder: no other address is allowed
    assert [run.outcome for run in summary.ran] == ["done", "done"]
    world.medperf("result", "release", "--all", "-y")
    world.reconcile()
    assert world.tip("sites/hospital/ward") == ""  # only on the folder yet
    head = git(str(stick / "registry.git"), "rev-parse", "refs/heads/sites/hospital/ward")
    trip = carry(world, stick)
    assert [(one.branch, one.head) for one in trip.carried.waiting] == [
        ("sites/hospital/ward", head)
    ]
    assert world.tip("sites/hospital/ward") == head
    world.accept("sites/hospital/ward")
    assert len(world.results()) == 2
    ended = carry(world, stick)
    assert dict(ended.carried.ended) == {"sites/hospital/ward": head}
    assert world.states() == {"committee/ref": "published", "modeler/second": "published"}
    assert world.reconcile().ran == ()


def test_what_was_sent_is_not_sent_again_though_it_was_closed(world: World, stick: Path) -> None:
    world.reconcile()
    world.medperf("result", "release", "--all", "-y")
    world.reconcile()
    carry(world, stick)
    assert carry(world, stick).carried.waiting == ()
    place = world.committee
    close(
        place.repository,
        place.url,
        proposal=find(place.repository, place.url, "sites/hospital/ward"),
        reason="another day",
        author=Author.of(place.member().by),
        signer=place.member().signer,
    )
    trip = carry(world, stick)
    assert [one.branch for one in trip.carried.closed] == ["sites/hospital/ward"]
    assert trip.carried.waiting == ()
    assert not git(str(stick / "registry.git"), "for-each-ref", "refs/heads/sites")


class Forked(LocalForge):
    """A forge where the caller may push to his fork only."""

    def __init__(self, place: Workplace, fork: Path) -> None:
        super().__init__(place.repository, place.url)
        self._fork = str(fork)

    def target(self, branch: str) -> str:  # noqa: ARG002
        return self._fork


def test_who_carries_sends_from_his_fork_also_after_a_kill(
    world: World, stick: Path, tmp_path: Path
) -> None:
    world.reconcile()
    world.medperf("result", "release", "--all", "-y")
    world.reconcile()
    Repository.create(tmp_path / "fork.git").close()
    for _ in range(2):
        trip = Trip(world.committee, stick)
        trip._forge = Forked(world.committee, tmp_path / "fork.git")
        ((sent, _),) = trip.send()
        branch = f"refs/heads/{sent.branch}"
        assert git(str(tmp_path / "fork.git"), "rev-parse", branch) == sent.head
        assert world.tip(sent.branch) == ""
        # as if killed before it was noted in the folder
        note = f"refs/medperf/carried/{sent.branch}"
        git(str(stick / "registry.git"), "update-ref", "-d", note)


def test_a_folder_on_which_something_was_merged_is_refused(world: World, stick: Path) -> None:
    folder = str(stick / "registry.git")
    world.add_model("second", approve=False)
    tip = world.tip()
    git(folder, "fetch", world.url, "main")
    commit = git(
        folder, "-c", "user.name=x", "-c", "user.email=x@x.invalid",
        "commit-tree", f"{tip}^{{tree}}", "-p", f"{tip}~1", "-m", "x",
    )  # fmt: skip
    git(folder, "update-ref", "refs/heads/main", commit)
    with pytest.raises(UsageError, match="merge only in the registry itself"):
        Trip(world.committee, stick)


def test_a_site_finds_a_folder_with_a_rewritten_main(world: World, stick: Path) -> None:
    world.plan()
    folder = str(stick / "registry.git")
    git(folder, "update-ref", "refs/heads/main", f"{world.tip()}~1")
    with pytest.raises(StalledError):
        world.plan()


def test_a_site_without_a_network_follows_a_registry_that_was_handed_over(
    world: World, stick: Path
) -> None:
    world.add_model("gone")
    carry(world, stick)
    world.plan()
    place = world.committee
    found = handing_over.prepare(place, ["cubes/modeler/gone.yaml"], reason="R")
    handing_over.send(place, found)
    handing_over.publish(place, found)
    seen = offer(place)
    assert seen is not None
    follow(place, seen)
    world.close("committee")
    with pytest.raises(UsageError, match="it holds what had to go"):
        Trip(world.committee, stick)
    shutil.rmtree(stick / "registry.git")
    carry(world, stick)
    with pytest.raises(StalledError, match="medperf registry follow"):
        world.plan()
    done = world.medperf("registry", "follow", "-y")
    assert "left out: cubes/modeler/gone.yaml" in done.stderr
    world.close("hospital")
    assert "committee/ref" in world.states()


def test_a_carried_file_with_other_bytes_is_not_used(world: World, stick: Path) -> None:
    asset = cargo_of(world.committee.view(), [], ["sandbox"]).pieces[-1].asset
    file = stored(stick / "assets", asset.digest)
    file.write_bytes(b"x" * asset.size)
    summary = world.reconcile()
    assert [run.outcome for run in summary.ran] == ["failed"]
    assert "is not the file that was pinned" in summary.ran[0].error


def test_a_manifest_cannot_name_files_of_the_folder(world: World, stick: Path) -> None:
    place: Workplace = world.hospital
    inside = place.assets.policy.allows_file(stick / "assets" / "x")
    assert place.assets.carried == stick / "assets"
    assert not inside


def test_an_image_of_an_image_registry_is_named_as_left(world: World) -> None:
    image = {"engine": "docker", "image": f"example.org/m@sha256:{'0' * 64}"}
    image |= {"platform": "linux/amd64"}
    entries = type(world.images)("docker", (image, *world.images.entries))
    world.add_model("pulled", images=entries)
    cargo = cargo_of(world.committee.view(), ["toy"], ["docker", "sandbox"])
    assert any("modeler/pulled is the image example.org/m@" in reason for reason in cargo.left)
    assert any("has no image for docker" in reason for reason in cargo.left)
    assert isinstance(cargo, Cargo)
    assert cargo.pieces


def test_the_command_shows_what_it_sends_and_asks(world: World, stick: Path) -> None:
    world.reconcile()
    world.medperf("result", "release", "--all", "-y")
    world.reconcile()
    asked = world.medperf("registry", "carry", str(stick), by="committee")
    assert asked.returncode == 2
    assert "auc-edema: 0.913" in asked.stderr
    assert world.tip("sites/hospital/ward") == ""
    done = world.medperf("registry", "carry", str(stick), "-y", by="committee")
    assert done.returncode == 0, done.stderr
    assert "Proposed sites/hospital/ward" in done.stdout
    assert world.tip("sites/hospital/ward")
    assert review(world.committee, world.committee.view(), "sites/hospital/ward")
