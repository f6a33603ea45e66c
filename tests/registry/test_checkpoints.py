"""Checkpoints on a real branch of a real repository."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medperf.registry.checkpoints import (
    BRANCH,
    Checkpoint,
    read_checkpoint,
    sign_checkpoint,
    statement_name,
)
from medperf.registry.public_keys import to_pem
from medperf.registry.statements import CHECKPOINT_FILE, make_approval, make_checkpoint
from medperf.schemas.errors import MedperfError, RegistryError, SignatureError

from .world import OTHER_ID, World, owner_manifest, signer

NOW = 1_795_000_000.0


def sign(world: World, *, by: str = "committee/alice", days: int = 7, now: float = NOW) -> str:
    sign_checkpoint(
        world.repository,
        str(world.repository.folder),
        world.view(),
        by=by,
        signer=signer(by),
        days=days,
        now=now,
    )
    head = world.repository.resolve(BRANCH)
    assert head is not None
    return head


def read(world: World, head: str, *, now: float = NOW) -> Checkpoint:
    return read_checkpoint(world.repository, head, world.view(), now=now)


def put(world: World, data: bytes, bundle: bytes, by: str = "committee/alice") -> str:
    """Any bytes as the checkpoint, as a forge could put them there."""
    files = {CHECKPOINT_FILE: data, statement_name(by): bundle}
    assert world.tip is not None
    return world.commit(files, parents=[], base=None, move=False)


def content(world: World, **changes: Any) -> bytes:
    assert world.tip is not None
    fields = {
        "registry": world.id,
        "commit": world.tip,
        "tree": world.repository.tree_of(world.tip),
        "date": "2026-11-18T07:06:00Z",
        "expires": "2026-11-25T07:06:00Z",
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value}).encode()


def test_an_admin_signs_where_main_is(world: World) -> None:
    found = read(world, sign(world))
    assert (found.commit, found.by) == (world.tip, "committee/alice")
    assert found.expires - found.date == 7 * 86400


def test_only_the_newest_is_kept_and_each_builds_on_the_one_before(world: World) -> None:
    first = sign(world)
    world.join("uni", ["carol"])
    second = sign(world, now=NOW + 86400)
    assert world.repository.parents(second) == (first,)
    assert set(world.repository.tree(second)) == {
        CHECKPOINT_FILE,
        statement_name("committee/alice"),
    }
    assert read(world, second, now=NOW + 86400).commit == world.tip


def test_an_older_checkpoint_of_the_same_history_still_holds(world: World) -> None:
    head, tip = sign(world), world.tip
    world.join("uni", ["carol"])
    assert read(world, head).commit == tip


def test_a_member_who_is_no_admin_signs_no_checkpoint(world: World) -> None:
    head = sign(world, by="hospital/bob")
    with pytest.raises(SignatureError, match="is of no admin"):
        read(world, head)


def test_a_sites_key_signs_no_checkpoint(world: World) -> None:
    with pytest.raises(SignatureError, match="is of no admin"):
        read(world, sign(world, by="hospital/ward"))


def test_a_retired_admins_key_signs_no_checkpoint(world: World) -> None:
    from .world import key_entry

    head = sign(world)
    keys = [key_entry("committee/alice", "retired"), key_entry("committee/alice#2")]
    world.change_owner(owner_manifest("committee", {"alice": keys}, serial=2), "committee/alice")
    with pytest.raises(SignatureError, match="the key of committee/alice is retired"):
        read(world, head)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"registry": OTHER_ID}, "of another registry"),
        ({"commit": "0" * 40}, "another history"),
        ({"commit": "main"}, "40 hex digits"),
        ({"tree": "0" * 40}, "another tree"),
        ({"date": "2099-01-01T00:00:00Z", "expires": "2099-01-02T00:00:00Z"}, "still to come"),
        ({"date": "2026-11-18"}, "no moment"),
        ({"expires": "2036-11-25T07:06:00Z"}, "at most 366 days"),
        ({"expires": None}, "expires"),
        ({"note": "hello"}, "note"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    data = content(world, **changes)
    bundle = make_checkpoint(
        signer("committee/alice"), by="committee/alice", registry=world.id, data=data
    )
    with pytest.raises(RegistryError, match=reason):
        read(world, put(world, data, bundle))


def test_a_checkpoint_of_other_bytes_or_of_another_kind_is_refused(world: World) -> None:
    alice = signer("committee/alice")
    good = content(world)
    bundle = make_checkpoint(alice, by="committee/alice", registry=world.id, data=good)
    with pytest.raises(SignatureError, match="other bytes"):
        read(world, put(world, good + b"\n", bundle))
    approval = make_approval(
        alice, by="committee/alice", registry=world.id, subject_name=CHECKPOINT_FILE, data=good
    )
    with pytest.raises(SignatureError, match="another kind"):
        read(world, put(world, good, approval))
    foreign = make_checkpoint(alice, by="committee/alice", registry=OTHER_ID, data=good)
    with pytest.raises(SignatureError, match="of another registry"):
        read(world, put(world, good, foreign))
    named = make_checkpoint(alice, by="hospital/bob", registry=world.id, data=good)
    with pytest.raises(SignatureError, match="says to be by hospital/bob"):
        read(world, put(world, good, named))


def test_a_branch_without_a_checkpoint_is_told(world: World) -> None:
    head = world.commit({"x": b"y"}, parents=[], base=None, move=False)
    with pytest.raises(RegistryError, match=r"has no checkpoint\.json"):
        read(world, head)
    head = world.commit({CHECKPOINT_FILE: content(world)}, parents=[], base=None, move=False)
    with pytest.raises(SignatureError, match="no statement of an admin"):
        read(world, head)


def test_a_checkpoint_of_a_longer_history_shows_that_something_is_withheld(
    world: World,
) -> None:
    old = world.tip
    world.join("uni", ["carol"])
    head = sign(world)
    assert old is not None
    world.move(old)
    with pytest.raises(RegistryError, match="medperf registry compare"):
        read(world, head)


@pytest.mark.cosign
def test_cosign_takes_a_checkpoint(world: World, tmp_path: Path) -> None:
    head = sign(world)
    for name in (CHECKPOINT_FILE, statement_name("committee/alice")):
        data = world.repository.file(head, name)
        assert data is not None
        (tmp_path / name).write_bytes(data)
    (tmp_path / "key.pem").write_bytes(to_pem(signer("committee/alice").public_key))
    cosign = shutil.which("cosign")
    assert cosign is not None
    words = [cosign, "verify-blob-attestation", "--insecure-ignore-tlog=true"]
    words += ["--bundle", str(tmp_path / statement_name("committee/alice"))]
    words += ["--key", str(tmp_path / "key.pem")]
    words += ["--type", "https://medperf.org/attestation/checkpoint/v1"]
    done = subprocess.run([*words, str(tmp_path / CHECKPOINT_FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_of_this_raises_what_is_no_error_of_ours(world: World) -> None:
    for junk in (b"", b"{}", b"[]", b"\xff", b"{" * 9000):
        with pytest.raises(MedperfError):
            read(world, put(world, junk, junk))
