"""A legal erasure from the admins' command to a site that follows, on real Git repositories."""

import shutil
from pathlib import Path

import pytest

from medperf.reconciler import handing_over
from medperf.reconciler.following import follow, offer
from medperf.reconciler.results import awaiting, decide
from medperf.reconciler.rotating import change_registry
from medperf.registry.git import Author, Repository
from medperf.registry.handover import Handover, handover_path, signature_path
from medperf.registry.keys import Signer
from medperf.registry.statements import make_approval, make_handover
from medperf.registry.verify import verify_registry
from medperf.registry.view import open_view
from medperf.schemas.errors import (
    RegistryError,
    SignatureError,
    StalledError,
    UsageError,
    WaitError,
)

from .world import World, git

REF = "committee/ref"
GONE = "cubes/modeler/gone.yaml"
WORD = "Jane-Roe-of-Ward-7"


PATHS = (GONE, "associations/committee/toy/models/modeler__gone.yaml")


def erased(world: World) -> handing_over.Erasure:
    """A model that names a patient goes from a registry that the hospital has verified."""
    world.add_model("gone", {"secret": WORD})
    world.plan()
    return handing_over.prepare(world.committee, PATHS, reason="Request of 12 May")


def published(world: World) -> handing_over.Erasure:
    """The same, of a registry with a published result, and in main's place."""
    world.add_model("gone", {"secret": WORD})
    world.reconcile(wanted=lambda pair: pair.model == REF)
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")
    world.reconcile(wanted=lambda pair: pair.model == REF)
    world.accept("sites/hospital/ward")
    assert world.states() == {REF: "published", "modeler/gone": "due"}
    found = handing_over.prepare(world.committee, PATHS, reason="Request of 12 May")
    handing_over.send(world.committee, found)
    seen = handing_over.proposed(world.committee)
    handing_over.publish(world.committee, seen)
    return seen


def everything(repository: str) -> str:
    """All bytes of all objects that a repository's references reach."""
    objects = git(repository, "rev-list", "--objects", "--all").splitlines()
    return "".join(git(repository, "cat-file", "-p", line.split()[0]) for line in objects)


def test_what_is_erased_is_gone_and_a_site_follows_when_it_is_asked(world: World) -> None:
    before = everything(world.url)
    seen = published(world)
    assert WORD not in before
    assert seen.files == tuple(
        sorted(
            [
                GONE,
                "associations/committee/toy/models/modeler__gone.yaml",
                "associations/committee/toy/models/modeler__gone.1.modeler.max.sigstore.json",
                "associations/committee/toy/models/modeler__gone.1.committee.alice.sigstore.json",
            ]
        )
    )
    assert seen.changes == ()
    for branch in git(world.url, "for-each-ref", "--format=%(refname)").splitlines():
        if branch != "refs/heads/main":
            git(world.url, "update-ref", "-d", branch)
    assert WORD not in everything(world.url)

    with pytest.raises(StalledError, match="medperf registry follow"):
        world.plan()
    found = offer(world.hospital)
    assert found is not None
    assert (found.signed, found.threshold) == (("committee/alice",), 1)
    assert (found.files, found.changes) == (seen.files, ())
    assert found.handover.root != found.handover.commits[0]
    with pytest.raises(StalledError):  # it was shown, and nobody has agreed
        world.plan()

    follow(world.hospital, found)
    world.close("hospital")
    assert world.states() == {REF: "published"}
    assert offer(world.hospital) is None
    clone = str(world.hospital.storage / "registry.git")
    assert WORD not in everything(clone)
    assert git(clone, "fsck", "--strict", "--unreachable") == ""
    assert WORD.encode() not in (world.hospital.storage / "index.sqlite").read_bytes()


def test_results_and_new_work_go_on_after_a_hand_over(world: World) -> None:
    published(world)
    place = world.hospital
    found = offer(place)
    assert found is not None
    old = open_view(place.repository, found.verified)
    (path,) = old.results
    item, known = old.result_item(path), old.results[path]
    commit = item.manifest.spec.registry.commit
    follow(place, found)
    world.close()
    view = world.hospital.view()
    assert commit in found.handover.commits
    assert commit not in view.ledger.commits
    assert view.result_item(path).data == item.data
    assert view.results[path] == known
    # the admins' own profile follows too, and the registry lives on
    done = world.medperf("registry", "follow", "-y", by="committee")
    assert done.returncode == 0, done.stderr
    done = world.medperf("registry", "follow", "-y", by="modeler")
    assert done.returncode == 0, done.stderr
    world.close()
    git(world.url, "update-ref", "-d", "refs/heads/sites/hospital/ward")
    world.add_model("next")
    world.reconcile()
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")
    assert world.reconcile().published is not None
    world.accept("sites/hospital/ward")
    assert world.states() == {"modeler/next": "published", REF: "published"}
    with Repository.open(Path(world.url)) as repository:
        report = verify_registry(repository, world.tip())
    assert (report.accepted, report.valid_results) == (True, 2)


def test_a_second_erasure_builds_on_the_first(world: World) -> None:
    published(world)
    for name in ("committee", "hospital", "modeler"):
        assert world.medperf("registry", "follow", "-y", by=name).returncode == 0
    world.close()
    world.add_model("also")
    git(world.url, "update-ref", "-d", "refs/heads/sites/hospital/ward")
    paths = ("cubes/modeler/also.yaml", "associations/committee/toy/models/modeler__also.yaml")
    done = world.medperf("registry", "erase", *paths, "--reason", "Too", "-y", by="committee")
    assert done.returncode == 0, done.stderr
    done = world.medperf("registry", "handover", "--publish", "-y", by="committee")
    assert done.returncode == 0, done.stderr
    assert world.medperf("registry", "follow", "-y").returncode == 0
    world.close()
    assert world.states() == {REF: "published"}


def test_by_command_it_is_shown_and_asked(world: World) -> None:
    world.add_model("gone")
    world.plan()
    paths = ("cubes/modeler/gone.yaml",)
    done = world.medperf("registry", "erase", *paths, "--reason", "R", "--dry-run", by="committee")
    assert (done.returncode, "Nothing was sent" in done.stderr) == (0, True)
    assert "left out: cubes/modeler/gone.yaml" in done.stderr
    done = world.medperf("registry", "erase", "cubes/x.yaml", "--reason", "R", by="committee")
    assert "never had a file 'cubes/x.yaml'" in done.stderr
    done = world.medperf("registry", "erase", *paths, "--reason", "R", "-y", by="hospital")
    assert "hospital/bob is no admin" in done.stderr
    done = world.medperf("registry", "erase", *paths, "--reason", "R", "-y", by="committee")
    assert "Signed by enough admins" in done.stdout
    done = world.medperf("registry", "handover", by="committee")
    assert "signed by    committee/alice (of 1)" in done.stdout
    done = world.medperf("registry", "handover", "--publish", "-y", by="committee")
    assert "Every site, yours too" in done.stdout
    done = world.medperf("plan")
    assert done.returncode == 1
    assert "medperf registry follow" in done.stderr
    done = world.medperf("registry", "follow")  # nobody there to answer
    assert done.returncode != 0
    for shown in ("this site knows", "over to", "signed by        committee/alice", "left out: "):
        assert shown in done.stderr
    assert world.medperf("plan").returncode == 1
    assert world.medperf("registry", "follow", "-y").returncode == 0
    assert world.medperf("plan").returncode == 0
    assert "nothing to follow" in world.medperf("registry", "follow").stdout


def test_each_of_two_admins_looks_and_signs(world: World) -> None:
    place = world.committee
    change = change_registry(place, place.view(), add=["modeler/max"], threshold=2)
    proposal = place.propose(change.slug, change.files, change.title)
    with pytest.raises(WaitError, match="admins of the new"):
        world.accept(proposal.id)
    world.accept(proposal.id, by="modeler")
    world.plan()
    world.medperf("registry", "accept", "-y")
    world.add_model("gone")
    world.plan()
    args = ("registry", "erase", "cubes/modeler/gone.yaml", "--reason", "R", "-y")
    assert "1 signature of admins missing" in world.medperf(*args, by="committee").stdout
    done = world.medperf("registry", "handover", "--publish", "-y", by="committee")
    assert done.returncode == 4
    assert "waits for 1 more" in done.stderr
    done = world.medperf("registry", "handover", "--sign", "--publish", "-y", by="modeler")
    assert done.returncode == 0, done.stderr
    found = offer(world.hospital)
    assert found is not None
    assert found.signed == ("committee/alice", "modeler/max")


# ---------------------------------------------------------------------- what is not followed


def replaced(world: World, tip: str) -> None:
    """Whoever runs the forge puts main on any commit."""
    git(world.url, "update-ref", "refs/heads/main", tip)


def forged(world: World, handover: Handover, **signed: Signer) -> None:
    """Main on the new history, with another hand-over and these statements."""
    place = world.committee
    data = handover.data()
    files = {handover_path(1): data}
    for by, signer in signed.items():
        by = by.replace("__", "/")
        files[signature_path(1, by)] = make_handover(
            signer, by=by, registry=handover.registry, subject_name="1.json", data=data
        )
    commit = place.repository.commit(
        [handover.head], handover.head, files, message="x", author=Author.of("a/b"), signer=None
    )
    place.repository.replace(world.url, "refs/heads/main", commit, world.tip())


def test_a_new_root_without_a_hand_over_is_not_followed(world: World) -> None:
    seen = erased(world)
    world.committee.repository.replace(
        world.url, "refs/heads/main", seen.handover.head, world.tip()
    )
    with pytest.raises(RegistryError, match="no hand-over is in it: nobody has signed"):
        offer(world.hospital)


def test_a_hand_over_without_the_admins_signatures_is_not_followed(world: World) -> None:
    seen = erased(world)
    alice, max_, ward = (
        world.committee.member().signer,
        world.modeler.member().signer,
        world.hospital.site().signer,
    )
    one = seen.handover
    other = Handover(
        "3f6c1f0e-0000-4000-8000-000000000000", one.reason, one.commits, one.root, one.head
    )
    for handover, signed, why in (
        (one, {}, "none of them has signed"),
        (one, {"modeler__max": max_}, "none of them has signed"),
        (one, {"committee__alice": max_}, "none of them has signed"),
        (one, {"committee__alice": ward}, "none of them has signed"),
        (other, {"committee__alice": alice}, "is of another registry"),
    ):
        forged(world, handover, **signed)
        with pytest.raises(SignatureError, match=why):
            offer(world.hospital)
        with pytest.raises(StalledError, match="history"):
            world.plan()


def test_an_admins_approval_of_the_same_bytes_is_no_hand_over(world: World) -> None:
    seen = erased(world)
    place = world.committee
    data = seen.handover.data()
    approval = make_approval(
        place.member().signer,
        by="committee/alice",
        registry=seen.handover.registry,
        subject_name="1.json",
        data=data,
    )
    files = {handover_path(1): data, signature_path(1, "committee/alice"): approval}
    commit = place.repository.commit(
        [seen.handover.head],
        seen.handover.head,
        files,
        message="x",
        author=Author.of("a/b"),
        signer=None,
    )
    place.repository.replace(world.url, "refs/heads/main", commit, world.tip())
    with pytest.raises(SignatureError, match="none of them has signed"):
        offer(world.hospital)


def test_a_hand_over_is_for_one_pair_of_histories_only(world: World) -> None:
    seen = erased(world)
    alice = world.committee.member().signer
    one = seen.handover
    short = Handover(one.registry, one.reason, one.commits[:-1], one.root, one.head)
    elsewhere = Handover(one.registry, one.reason, ("f" * 40, *one.commits[1:]), one.root, one.head)
    root = Handover(one.registry, one.reason, one.commits, "f" * 40, one.head)
    for handover, why in (
        (short, "main is another one"),
        (elsewhere, "this site knows one from"),
        (root, "main is another one"),
    ):
        forged(world, handover, committee__alice=alice)
        with pytest.raises(SignatureError, match=why):
            offer(world.hospital)


def test_what_a_site_has_verified_beyond_the_hand_over_is_not_lost_unseen(world: World) -> None:
    seen = erased(world)
    handing_over.send(world.committee, seen)
    world.revoke(REF)  # main has gone on, and the hospital has seen it
    world.plan()
    with pytest.raises(RegistryError, match="prepare it again"):
        handing_over.proposed(world.committee)
    replaced(world, git(world.url, "rev-parse", "refs/heads/handover").strip())
    with pytest.raises(SignatureError, match="would be lost unseen"):
        offer(world.hospital)


def test_admins_cannot_slip_another_change_into_an_erasure(world: World) -> None:
    """Signed by all, and still not followed: a hand-over may only leave files out."""
    erased(world)
    place = world.committee
    view, actor = place.view(), place.member()
    steps = place.repository.first_parents(view.tip)
    made: list[str] = []
    for step in steps:
        files: dict[str, bytes | None] = {}
        if any(change.path == GONE for change in step.changes):
            data = place.repository.file(step.commit, GONE)
            assert data is not None
            files[GONE] = data.replace(WORD.encode(), b"another model")
        made.append(
            place.repository.commit(
                made[-1:],
                step.commit,
                files,
                message="x",
                author=Author.of("a/b"),
                signer=actor.signer,
            )
        )
    chain = tuple(view.ledger.commits)
    handover = Handover(view.registry.id, "R", chain, made[0], made[-1])
    forged(world, handover, committee__alice=actor.signer)
    with pytest.raises(RegistryError, match=f"another {GONE} than the old one"):
        offer(world.hospital)


def test_what_no_registry_can_be_without_is_not_left_out(world: World) -> None:
    place = world.committee
    with pytest.raises(UsageError, match=r"registry\.yaml cannot be left out"):
        handing_over.prepare(place, ["registry.yaml"], reason="R")
    with pytest.raises(UsageError, match="no site would go on"):
        handing_over.prepare(place, ["owners/committee.yaml"], reason="R")


def test_what_ceases_to_hold_is_shown(world: World) -> None:
    world.plan()
    found = handing_over.prepare(world.committee, ["owners/hospital.yaml"], reason="R")
    dataset = "associations/committee/toy/datasets/hospital__chest.yaml"
    assert any(line.startswith(f"{dataset}: approved before") for line in found.changes)


def test_a_site_that_was_stopped_while_it_followed_goes_on(world: World) -> None:
    published(world)
    place = world.hospital
    marker = place.storage / "verified"
    before = marker.read_text()
    found = offer(place)
    assert found is not None
    follow(place, found)
    world.close()
    marker.write_text(before)  # as if it had ended before the last step
    shutil.rmtree(world.hospital.storage / "registry.git")
    again = offer(world.hospital)
    assert again is not None
    follow(world.hospital, again)
    world.close()
    assert world.states() == {REF: "published"}


def test_an_open_branch_of_the_old_history_is_not_built_upon(world: World) -> None:
    world.add_model("gone")
    world.reconcile(wanted=lambda pair: pair.model == REF)
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")
    world.reconcile(wanted=lambda pair: pair.model == REF)  # proposed, and not merged
    found = handing_over.prepare(world.committee, [GONE], reason="R")
    handing_over.send(world.committee, found)
    handing_over.publish(world.committee, found)
    assert "refs/heads/sites/hospital/ward" in handing_over.left_behind(world.committee)
    assert world.medperf("registry", "follow", "-y").returncode == 0
    world.close()
    summary = world.reconcile(wanted=lambda pair: pair.model == REF)
    assert "is a branch of another history than main's" in summary.problem
    git(world.url, "update-ref", "-d", "refs/heads/sites/hospital/ward")
    assert world.reconcile(wanted=lambda pair: pair.model == REF).published is not None
