"""What a hostile forge, member or stranger tries with statements, keys and commits."""

from collections.abc import Callable
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.view import View
from medperf.schemas import documents
from medperf.schemas.errors import StalledError

from ..registry.world import (
    OTHER_ID,
    World,
    everything,
    key_entry,
    owner_manifest,
    signer,
)

OTHER = "associations/committee/cxr/models/modeler__other.yaml"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"


def notes(view: View) -> str:
    return "\n".join(str(note) for note in view.notes)


def pending(world: World, *signed_by: str) -> None:
    """A further model, associated, that lacks signatures."""
    world.add_cube("modeler/other")
    world.associate("modeler/other", signed_by=signed_by)


def state(world: World, path: str = OTHER) -> str:
    return world.view().ledger.association_state(path).state


def only_result(world: World) -> tuple[str, str]:
    (found,) = world.view().results.values()
    return found.answer, "; ".join(found.reasons)


# ------------------------------------------------------- statements taken from elsewhere


def test_an_approval_of_another_registry_with_the_same_people_does_not_count(
    world: World, new: Callable[..., World]
) -> None:
    """The same owners, keys and cube; only the registry's id differs, and it is signed."""
    pending(world, "modeler/max")
    twin = everything(new(registry_id=OTHER_ID))
    pending(twin, "modeler/max", "committee/alice")
    name = paths.statement_path(OTHER, 1, "committee", "alice")
    world.commit({name: twin.files[name]})
    assert state(world) == "pending"
    assert f"another registry, {OTHER_ID}" in notes(world.view())


def test_a_result_of_another_registry_with_the_same_people_is_no_result(
    world: World, new: Callable[..., World]
) -> None:
    twin = everything(new(registry_id=OTHER_ID))
    world.commit(twin.result(), by="hospital/ward")
    answer, reasons = only_result(world)
    assert answer == "invalid"
    assert f"it is of another registry, {OTHER_ID}" in reasons
    assert "its runKey is not that of its pins" in reasons
    assert f"its signature says registry '{OTHER_ID}'" in reasons


def test_a_truncated_statement_does_not_count(world: World) -> None:
    pending(world, "modeler/max")
    ((name, data),) = world.approval(OTHER, "committee/alice").items()
    world.commit({name: data[:-20]})
    assert state(world) == "pending"
    assert f"{name}: A bundle is not JSON in UTF-8" in notes(world.view())


def test_a_statement_over_one_file_does_not_count_beside_another(world: World) -> None:
    """Alice's approval of one model, put beside another model's association."""
    pending(world, "modeler/max")
    (data,) = world.approval(RESNET, "committee/alice").values()
    world.commit({paths.statement_path(OTHER, 1, "committee", "alice"): data})
    assert state(world) == "pending"
    assert "it is over 'modeler__resnet.yaml'" in notes(world.view())


def test_a_statement_over_another_benchmarks_file_of_the_same_name_does_not_count(
    world: World,
) -> None:
    """Both files are called modeler__resnet.yaml: only the bytes tell them apart."""
    world.add_benchmark("committee/other")
    world.associate("modeler/resnet", "committee/other", signed_by=["modeler/max"])
    target = "associations/committee/other/models/modeler__resnet.yaml"
    (data,) = world.approval(RESNET, "committee/alice").values()
    world.commit({paths.statement_path(target, 1, "committee", "alice"): data})
    found = world.view().ledger.association_state(target)
    assert (found.state, found.signed) == ("pending", ("modeler/max",))
    assert "committee" in " ".join(found.missing)
    assert "it is over other bytes, sha256:" in notes(world.view())


def test_a_result_of_one_dataset_does_not_count_at_the_path_of_another(world: World) -> None:
    world.add_dataset("hospital/other")
    world.associate("hospital/other", signed_by=["hospital/bob", "committee/alice"])
    files = world.result()
    moved = {path.replace("hospital__chest", "hospital__other"): files[path] for path in files}
    world.commit(moved, by="hospital/ward")
    assert world.view().results == {}
    assert "hospital__other" in notes(world.view())
    assert "hospital/chest" in notes(world.view())


def test_the_signature_of_one_result_does_not_hold_for_another(world: World) -> None:
    ours, theirs = world.result(), world.result(model="committee/ref")
    (path, _), (signature, _) = ours.items()
    (_, _), (_, other) = theirs.items()
    world.commit({path: ours[path], signature: other}, by="hospital/ward")
    answer, reasons = only_result(world)
    assert answer == "invalid"
    assert "its signature says" in reasons


@pytest.mark.parametrize("cut", [1, 200])
def test_a_truncated_result_or_signature_is_invalid(world: World, cut: int) -> None:
    files = world.result()
    (path, data), (signature, bundle) = files.items()
    world.commit({path: data, signature: bundle[:-cut]}, by="hospital/ward")
    answer, reasons = only_result(world)
    assert answer == ("valid" if cut == 1 else "invalid")  # the last byte is the line's end
    assert ("A bundle is not JSON in UTF-8" in reasons) == (cut != 1)


def test_a_result_that_lost_its_last_lines_is_no_result(world: World) -> None:
    files = world.result()
    (path, data), (signature, bundle) = files.items()
    world.commit({path: data[:-30], signature: bundle}, by="hospital/ward")
    assert world.view().results == {}
    assert f"{path}: " in notes(world.view())
    found = world.view().result(path)
    assert found is not None
    assert (found.answer, found.reasons) == ("invalid", ("it is no valid document",))


# ------------------------------------------------------------------------ keys and roles


def test_a_sites_key_does_not_approve(world: World) -> None:
    """Even under the site's own name, which is no member."""
    world.add_dataset("hospital/other")
    world.associate("hospital/other", signed_by=["committee/alice"])
    path = "associations/committee/cxr/datasets/hospital__other.yaml"
    world.sign(path, "hospital/ward")
    assert state(world, path) == "pending"
    assert "not of the member hospital/ward" in notes(world.view())


def test_a_members_key_signs_no_result(world: World) -> None:
    world.commit(world.result(key="hospital/bob", by="hospital/bob"), by="hospital/bob")
    assert "which is no site of hospital" in only_result(world)[1]


def test_one_member_with_two_keys_is_one_of_a_committee(world: World) -> None:
    world.change_settings(
        "committee/cxr",
        "committee/alice",
        committee={"threshold": 2, "members": ["committee/alice", "modeler/max"]},
    )
    two = owner_manifest(
        "committee",
        {"alice": [key_entry("committee/alice"), key_entry("committee/alice#2")]},
        serial=2,
    )
    world.change_owner(two, "committee/alice")
    world.add_cube("hospital/extra", by="hospital/bob")
    world.associate("hospital/extra", signed_by=["hospital/bob"])
    path = "associations/committee/cxr/models/hospital__extra.yaml"
    world.sign(path, "committee/alice")
    # her second key under the same name and number would be the same file: another spelling
    second = world.approval(path, "committee/alice", key="committee/alice#2")
    world.commit({name.replace(".1.", ".01."): data for name, data in second.items()})
    found = world.view().ledger.association_state(path)
    assert found.state == "pending"
    assert "1 of 2 signatures" in " ".join(found.missing)


def test_a_forge_that_adds_a_key_cannot_approve_with_it(world: World) -> None:
    """The owner's file with the forge's key is signed by nobody: the site stops there."""
    pending(world, "modeler/max")
    data = documents.dump(
        owner_manifest(
            "committee",
            {"alice": [key_entry("committee/alice"), key_entry("forge")]},
            serial=2,
        )
    )
    before = world.tip
    world.commit(
        {
            "owners/committee.yaml": data,
            **world.approval(
                "owners/committee.yaml", "committee/alice", data=data, number=2, key="forge"
            ),
            **world.approval(OTHER, "committee/alice", key="forge"),
        },
        by=None,
    )
    with pytest.raises(StalledError, match="without the signature of a member of committee"):
        world.view(pinned=world.pinned, verified=before)


def test_a_forge_that_joins_as_a_new_owner_stays_outside(world: World) -> None:
    """Its file is there, but no admin has signed it, so none of its keys counts for anything."""
    data = documents.dump(owner_manifest("evil", ["eve"], ["eves-site"]))
    path = paths.owner_path("evil")
    world.commit({path: data, **world.approval(path, "evil/eve", data=data)}, by=None)
    pending(world, "modeler/max")
    world.sign(OTHER, "evil/eve")
    assert state(world) == "pending"
    assert world.view().pending[path] == ("an admin",)


def test_downgrading_to_merge_needs_the_admins_and_then_stops_who_pinned_signed(
    world: World,
) -> None:
    before, pinned = world.tip or "", world.pinned
    world.change_registry(approval="merge")
    with pytest.raises(StalledError, match="without the signature of an admin"):
        world.view()
    world.move(before)
    world.registry = {**world.registry, "spec": {**world.registry["spec"], "serial": 1}}  # type: ignore[dict-item]
    world.change_registry("committee/alice", approval="merge", serial=2)
    with pytest.raises(StalledError, match="enrolled with `signed`"):
        world.view(pinned=pinned, verified=before)


# ------------------------------------------------------------------------------- history


def test_an_old_approval_does_not_come_back_over_a_revocation(world: World) -> None:
    """All of round 1's statements again, in a later commit, and again under round 2's names."""
    world.revoke(RESNET, "committee/alice", reason="it was trained on the test data")
    old = world.approval(RESNET, "modeler/max", "committee/alice")
    world.commit({name.replace(".1.", ".2."): data for name, data in old.items()})
    assert state(world, RESNET) == "revoked"
    path, data = world.association("modeler/resnet", number=2)
    world.commit({path: data})
    assert state(world, RESNET) == "pending"
    assert "modeler" in " ".join(world.view().ledger.association_state(RESNET).missing)


def test_a_revocation_cannot_be_deleted_or_changed(world: World) -> None:
    world.revoke(RESNET, "committee/alice")
    name = paths.statement_path(RESNET, 1, "committee", "alice", revoke=True)
    before = world.tip or ""
    for change in ({name: None}, {name: b"{}"}):
        world.commit(change)
        with pytest.raises(StalledError, match="nothing is deleted"):
            world.view(pinned=world.pinned, verified=before)
        world.move(before)


def test_a_branch_from_before_a_revocation_does_not_become_main(world: World) -> None:
    """The foxtrot: main is merged *into* an older branch, which then is the first parent."""
    old = world.tip or ""
    world.revoke(RESNET, "committee/alice")
    verified = world.tip or ""
    side = world.commit({"README.md": b"Nothing to see.\n"}, parents=[old], move=False)
    fox = world.commit({}, parents=[side, verified], base=verified, move=False)
    world.move(fox)
    with pytest.raises(StalledError, match="first-parent chain"):
        world.view(pinned=world.pinned, verified=verified)


def test_a_rollback_by_an_ordinary_commit_stalls(world: World) -> None:
    """A new commit on top whose tree is that of before the revocation."""
    old = world.tip or ""
    world.revoke(RESNET, "committee/alice")
    world.commit({}, parents=[world.tip or ""], base=old)
    with pytest.raises(StalledError, match="nothing is deleted"):
        world.view(pinned=world.pinned)


@pytest.mark.parametrize("name", ["refs/tags/main", "refs/heads/refs/heads/main"])
def test_a_tag_or_branch_of_a_misleading_name_is_never_main(world: World, name: str) -> None:
    evil = world.commit({"registry.yaml": None}, move=False)
    world.repository.set_ref(name, evil)
    assert world.repository.resolve("refs/heads/main") == world.tip
    assert world.view(pinned=world.pinned).tip == world.tip


def test_two_registries_with_one_id_are_told_apart_by_their_root(
    world: World, new: Callable[..., World]
) -> None:
    twin = new(registry_id=world.id, members=["alice", "al"])
    twin.commit({"README.md": b"Another one.\n"})
    with pytest.raises(StalledError, match="history was replaced"):
        twin.view(pinned=world.pinned)


def test_a_key_that_is_somebodys_already_joins_nobody_else(world: World) -> None:
    """The same key under two names would let one person be two."""
    data = documents.dump(owner_manifest("evil", {"eve": [key_entry("committee/alice")]}))
    path = paths.owner_path("evil")
    world.commit(
        {
            path: data,
            **world.approval(path, "evil/eve", data=data, key="committee/alice"),
            **world.approval(path, "committee/alice", data=data),
        }
    )
    view = world.view()
    assert "evil" not in view.owners
    assert "is that of committee/alice already" in " ".join(view.pending[path])
    assert view.holder(signer("committee/alice").fingerprint).by == "committee/alice"  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["member", "site"])
def test_a_result_after_revocation_or_by_another_site_is_invalid(world: World, field: str) -> None:
    if field == "site":
        world.join("uni", ["carol"], ["lab"])
        world.commit(world.result(key="uni/lab"), by="uni/lab")
        assert "which is no site of hospital" in only_result(world)[1]
        return
    world.revoke(RESNET, "modeler/max")
    files: dict[str, Any] = dict(world.result())
    world.commit(files, by="hospital/ward")
    assert "was not approved when it was added" in only_result(world)[1]
