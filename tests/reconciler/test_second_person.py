"""Where the policy asks for two people, one alone lets nothing leave, however he tries."""

from pathlib import Path

import pytest

from medperf.reconciler.profile_fields import change as changed
from medperf.reconciler.records import Signed
from medperf.reconciler.results import LocalResult, awaiting, decide
from medperf.reconciler.rotating import end_key
from medperf.reconciler.submissions import checked
from medperf.reconciler.workplace import Actor
from medperf.registry.keys import generate_key
from medperf.registry.paths import owner_path
from medperf.registry.rules import number
from medperf.registry.statements import make_approval
from medperf.schemas.errors import KeyFileError, UsageError

from .world import World

REF = "committee/ref"


def waiting(world: World) -> LocalResult:
    """The reference run, made and waiting, at a site that asks two people."""
    world.set("hospital", "policy.releasers=2")
    world.reconcile()
    return again(world)


def again(world: World) -> LocalResult:
    (one,) = awaiting(world.hospital, None)[1]
    return one


def join(world: World, name: str = "bea") -> Actor:
    """A further member of the hospital, with a key of her own."""
    key = world.folder / "hospital" / "keys" / name
    public = generate_key(key, None).public_key
    path, place = owner_path("hospital"), world.hospital
    item = place.view().file(path)
    assert item is not None
    known = item.manifest.model_dump(by_alias=True, exclude_none=True, mode="json")
    spec = known["spec"]
    spec["serial"] = number(item.manifest.spec) + 1
    spec["members"] = [
        *spec["members"],
        {"name": name, "keys": [{"publicKey": public, "state": "active"}]},
    ]
    data = checked(path, known)
    files = {path: data, **place.statement(path, data, number=spec["serial"])}
    world.merge(files, f"join-{name}", by="hospital")
    world.hospital.view()
    return place.person(name, str(key))


def test_two_members_release_and_only_then_it_leaves(world: World) -> None:
    bea = join(world)
    one = waiting(world)
    assert decide(world.hospital, one, "released") == ("hospital/bob",)
    assert world.states() == {REF: "awaiting-release"}
    assert "hospital/bob has agreed that it leaves; a second person" in world.run().explanation
    assert world.reconcile().published is None
    assert again(world).agreed == ("hospital/bob",)
    assert decide(world.hospital, again(world), "released", person=bea) == (
        "hospital/bea",
        "hospital/bob",
    )
    published = world.reconcile().published
    assert published is not None
    assert published.results == 1


def test_the_same_person_twice_is_one(world: World) -> None:
    one = waiting(world)
    decide(world.hospital, one, "released")
    assert decide(world.hospital, one, "released") == ("hospital/bob",)
    assert world.reconcile().published is None


def test_somebody_without_a_key_of_the_owner_cannot_be_the_second(
    world: World, tmp_path: Path
) -> None:
    one = waiting(world)
    stranger = generate_key(tmp_path / "key", None)
    with pytest.raises(UsageError, match="does not know hospital/zoe"):
        decide(world.hospital, one, "released", person=Actor("hospital/zoe", stranger))
    with pytest.raises(KeyFileError, match="would not count"):
        decide(world.hospital, one, "released", person=Actor("hospital/bob", stranger))
    with pytest.raises(UsageError, match="as a member"):
        decide(world.hospital, one, "released", person=world.hospital.site())
    foreign = world.modeler.member()
    with pytest.raises(UsageError, match="does not know hospital/max"):
        decide(world.hospital, one, "released", person=Actor("hospital/max", foreign.signer))


def test_a_record_that_was_edited_does_not_count(world: World) -> None:
    """What stands in the record is judged by its signatures, not by its words."""
    bea = join(world)
    one = waiting(world)
    decide(world.hospital, one, "released")
    folder = world.hospital.runs.folder(one.pair)
    record = world.hospital.runs.record(one.pair)
    assert record.decision is not None
    (bob,) = record.decision.signed
    approval = make_approval(
        bea.signer,
        by="hospital/bea",
        registry=world.hospital.profile.registry.id,
        subject_name="release.yaml",
        data=b"",
    )
    foreign = world.modeler.member()
    for forged in (
        Signed(by="hospital/bea", bundle=bob.bundle),
        Signed(by="hospital/bea", bundle="{}"),
        Signed(by="hospital/bea", bundle=approval.decode()),
        Signed(by=foreign.by, bundle=approval.decode()),
    ):
        decision = record.decision.model_copy(update={"signed": (bob, forged)})
        folder.write(record.model_copy(update={"decision": decision}))
        assert again(world).agreed == ("hospital/bob",)
        assert world.reconcile().published is None


def test_numbers_that_changed_after_the_first_answer_need_both_again(world: World) -> None:
    bea = join(world)
    one = waiting(world)
    decide(world.hospital, one, "released")
    results = world.hospital.runs.folder(one.pair).results
    results.write_text(results.read_text().replace("0.913", "0.5"))
    assert again(world).agreed == ()
    assert decide(world.hospital, again(world), "released", person=bea) == ("hospital/bea",)
    assert world.states() == {REF: "awaiting-release"}


def test_who_lost_his_key_meanwhile_has_not_agreed(world: World) -> None:
    bea = join(world)
    one = waiting(world)
    decide(world.hospital, one, "released", person=bea)
    place = world.hospital
    change = end_key(place, place.view(), bea.signer.fingerprint)
    world.merge(change.files, change.slug, by="hospital")
    assert again(world).agreed == ()
    assert decide(world.hospital, again(world), "released") == ("hospital/bob",)


def test_one_person_is_enough_to_decline(world: World) -> None:
    bea = join(world)
    one = waiting(world)
    decide(world.hospital, one, "released", person=bea)
    assert decide(world.hospital, one, "declined") == ()
    assert world.states() == {REF: "declined"}


def test_nobody_and_two_are_not_asked_at_once(world: World) -> None:
    with pytest.raises(UsageError, match="automatic asks nobody"):
        changed(world.hospital.profile, ["policy.releasers=2", "policy.release=automatic"])


def test_two_people_release_by_command(world: World) -> None:
    join(world)
    waiting(world)
    done = world.medperf("result", "release", "--all", "-y")
    assert "hospital/bob has agreed to toy.ref.chest; it stays until a second" in done.stdout
    assert "You decide as hospital/bob, and sign it." in done.stderr
    key = str(world.folder / "hospital" / "keys" / "bea")
    done = world.medperf("result", "release", "--all", "--member", "bea", "--key", key, "-y")
    assert "hospital/bob has agreed already" in done.stderr
    assert "Released toy.ref.chest: hospital/bea and hospital/bob have agreed" in done.stdout
    assert world.medperf("result", "release", "--all", "--member", "bea").returncode == 2
