"""Changes of keys and admins, as bytes and in a judged history."""

from collections.abc import Callable
from typing import Any

import pytest

from medperf.registry.paths import owner_path
from medperf.registry.rotation import living_members, with_admins, with_key, without_key
from medperf.schemas import documents
from medperf.schemas.errors import MedperfError, StalledError, UsageError

from .world import World, key_entry, owner_manifest, signer

BOB = documents.dump(owner_manifest("hospital", ["bob", "bea"], ["ward"]))


def change(world: World, data: bytes, *signed_by: str, number: int = 2, **options: Any) -> str:
    path = owner_path(documents.load(data, file="x").manifest.metadata.name)  # type: ignore[union-attr]
    return world.commit(
        {path: data, **world.approval(path, *signed_by, data=data, number=number, **options)}
    )


def test_a_key_is_added_beside_the_old_one() -> None:
    new = signer("hospital/bob#2").public_key
    data = with_key(BOB, owner="hospital", role="member", name="bob", public_key=new)
    spec = documents.load(data, file="x").parsed.value["spec"]
    assert spec["serial"] == 2
    assert [key["publicKey"] for key in spec["members"][0]["keys"]] == [
        signer("hospital/bob").public_key,
        new,
    ]


def test_comments_survive_a_new_key() -> None:
    commented = BOB.replace(b"spec:\n", b"spec:  # reviewed by carol\n")
    new = signer("hospital/ward#2").public_key
    data = with_key(commented, owner="hospital", role="site", name="ward", public_key=new)
    assert b"# reviewed by carol" in data


@pytest.mark.parametrize(
    ("role", "name", "key", "reason"),
    [
        ("member", "carl", "hospital/x", "has no member 'carl'"),
        ("site", "bob", "hospital/x", "has no site 'bob'"),
        ("member", "bob", "hospital/bea", "has this key already, of the member bea"),
        ("member", "bob", "hospital/ward", "has this key already, of the site ward"),
    ],
)
def test_what_cannot_be_added_is_told(role: Any, name: str, key: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        with_key(BOB, owner="hospital", role=role, name=name, public_key=signer(key).public_key)


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(MedperfError):
        with_key(BOB, owner="hospital", role="member", name="bob", public_key="ssh-rsa AAAA")


def test_a_key_is_retired_or_compromised_and_never_goes_back() -> None:
    key = signer("hospital/bob").fingerprint
    retired = without_key(BOB, owner="hospital", key=key, state="retired")
    assert living_members(retired, "hospital") == ("bea",)
    with pytest.raises(UsageError, match="retired already"):
        without_key(retired, owner="hospital", key=key, state="retired")
    stolen = without_key(retired, owner="hospital", key=key, state="compromised", since="a" * 40)
    with pytest.raises(UsageError, match="cannot become merely retired"):
        without_key(stolen, owner="hospital", key=key, state="retired")
    with pytest.raises(UsageError, match="has no key SHA256:x"):
        without_key(BOB, owner="hospital", key="SHA256:x", state="retired")


def test_a_rotation_step_by_step_is_taken_by_a_site(world: World) -> None:
    """Bob adds a key, signs with it, and retires the old one with the new one."""
    first = world.files[owner_path("hospital")]
    new = signer("hospital/bob#2")
    added = with_key(first, owner="hospital", role="member", name="bob", public_key=new.public_key)
    change(world, added, "hospital/bob", "committee/alice")
    old = signer("hospital/bob").fingerprint
    retired = without_key(added, owner="hospital", key=old, state="retired")
    statements = world.approval(
        owner_path("hospital"), "hospital/bob", data=retired, number=3, key="hospital/bob#2"
    )
    change(world, retired, "committee/alice", number=3)  # fails: only alice
    with pytest.raises(StalledError, match="a member of hospital"):
        world.view()
    world.move(world.repository.parents(world.tip or "")[0])
    world.commit(
        {
            owner_path("hospital"): retired,
            **statements,
            **world.approval(owner_path("hospital"), "committee/alice", data=retired, number=3),
        }
    )
    view = world.view()
    assert view.holder(old).key.state == "retired"  # type: ignore[union-attr]
    assert view.holder(new.fingerprint).key.state == "active"  # type: ignore[union-attr]
    # what the old key signed before still counts
    assert view.associations[0].state == "approved"


def test_a_lost_key_is_replaced_by_a_colleague_and_an_admin(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob", "bea"], ["ward"])
    fresh = signer("hospital/bob#2")
    data = with_key(
        world.files[owner_path("hospital")],
        owner="hospital",
        role="member",
        name="bob",
        public_key=fresh.public_key,
    )
    change(world, data, "hospital/bea", "committee/alice")
    view = world.view()
    assert view.holder(fresh.fingerprint).by == "hospital/bob"  # type: ignore[union-attr]
    assert [note.kind for note in view.notes] == []


def test_the_new_key_does_not_bring_itself_in(new: Callable[..., World]) -> None:
    """A forge that adds a key to an owner's file cannot sign for it with that key."""
    world = new()
    world.join("hospital", ["bob"], ["ward"])
    data = with_key(
        world.files[owner_path("hospital")],
        owner="hospital",
        role="member",
        name="bob",
        public_key=signer("hospital/thief").public_key,
    )
    path = owner_path("hospital")
    world.commit(
        {
            path: data,
            **world.approval(path, "hospital/bob", data=data, number=2, key="hospital/thief"),
            **world.approval(path, "committee/alice", data=data, number=2),
        }
    )
    with pytest.raises(StalledError, match="without the signature of a member of hospital"):
        world.view()


def test_a_reset_by_admins_is_shown_for_ever(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob"], ["ward"])
    since = world.join("uni", ["carol"])
    dead = owner_manifest(
        "hospital", {"bob": [key_entry("hospital/bob", "compromised", since)]}, ["ward"], serial=2
    )
    world.change_owner(dead, "hospital/bob", "committee/alice")
    data = with_key(
        world.files[owner_path("hospital")],
        owner="hospital",
        role="member",
        name="bob",
        public_key=signer("hospital/bob#2").public_key,
    )
    change(world, data, "committee/alice", number=3)
    world.join("other", ["otto"])
    assert "reset" in [note.kind for note in world.view().notes]


def test_the_admins_change_with_both_thresholds(new: Callable[..., World]) -> None:
    world = new(threshold=2, admins=["committee/alice", "committee/al"], members=["alice", "al"])
    world.join("uni", ["carol"], signed_by=["uni/carol", "committee/alice", "committee/al"])
    data = with_admins(
        world.files["registry.yaml"], add=["uni/carol"], remove=["committee/al"], threshold=2
    )

    def signed(*by: str) -> World:
        world.commit(
            {"registry.yaml": data, **world.approval("registry.yaml", *by, data=data, number=2)}
        )
        return world

    before = world.tip or ""
    for too_few, waits in (
        (("committee/alice", "uni/carol"), "the admins: 1 of 2"),
        (("committee/alice", "committee/al"), "the new registry.yaml: 1 of 2"),
    ):
        with pytest.raises(StalledError, match=waits):
            signed(*too_few).view()
        world.move(before)
    view = signed("committee/alice", "committee/al", "uni/carol").view()
    assert view.registry.admins.members == ("committee/alice", "uni/carol")


def test_a_threshold_needs_as_many_admins(new: Callable[..., World]) -> None:
    data = new().files["registry.yaml"]
    with pytest.raises(UsageError, match="would be 1"):
        with_admins(data, threshold=2)
    with pytest.raises(UsageError, match="is no admin"):
        with_admins(data, remove=["uni/carol"])
    days = with_admins(data, checkpoint_days=7)
    assert b"maxAgeDays: 7" in days
    assert b"checkpoints" not in with_admins(days, checkpoint_days=0)
