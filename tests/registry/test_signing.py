"""Rule 2 on real registries: who must sign which new or changed file."""

from collections.abc import Callable
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.view import View
from medperf.schemas import documents
from medperf.schemas.errors import StalledError

from .world import OTHER_ID, World, key_entry, owner_manifest, settings_manifest, signer

CXR = "committee/cxr"
HOSPITAL = "owners/hospital.yaml"


def stall(world: World) -> str:
    with pytest.raises(StalledError) as caught:
        world.view()
    assert caught.value.reason == "signature"
    return str(caught.value)


def texts(view: View) -> list[str]:
    return [str(note) for note in view.notes]


def hospital(*, serial: int = 2, **keys: Any) -> dict[str, Any]:
    bob = keys.get("bob", [key_entry("hospital/bob")])
    ward = keys.get("ward", [key_entry("hospital/ward")])
    return owner_manifest("hospital", {"bob": bob}, {"ward": ward}, serial=serial)


# Owners


def test_a_new_owner_is_pending_until_all_have_signed(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob"], signed_by=["hospital/bob"])
    view = world.view()
    assert list(view.owners) == ["committee"]
    assert view.pending == {HOSPITAL: ("an admin",)}
    world.sign(HOSPITAL, "committee/alice")
    assert list(world.view().owners) == ["committee", "hospital"]


def test_a_new_owner_needs_its_own_member(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob"], signed_by=["committee/alice"])
    assert world.view().pending == {HOSPITAL: ("the joining member of hospital",)}


def test_a_member_who_signs_later_completes_the_joining(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob"], signed_by=["committee/alice"])
    world.sign(HOSPITAL, "hospital/bob")
    assert list(world.view().owners) == ["committee", "hospital"]


def test_a_sites_key_does_not_join(new: Callable[..., World]) -> None:
    world = new()
    data = documents.dump(hospital(serial=1))
    statements = world.approval(HOSPITAL, "hospital/bob", data=data, key="hospital/ward")
    statements |= world.approval(HOSPITAL, "committee/alice", data=data)
    world.commit({HOSPITAL: data, **statements})
    assert "hospital" not in world.view().owners


def test_keys_of_a_pending_owner_count_for_nothing(world: World) -> None:
    world.join("clinic", ["carol"], signed_by=["clinic/carol"])
    world.add_cube("clinic/net", by="clinic/carol")
    world.associate("clinic/net", signed_by=["clinic/carol", "committee/alice"])
    view = world.view()
    path = "associations/committee/cxr/models/clinic__net.yaml"
    assert view.ledger.association_state(path).state == "invalid"
    assert any("of nobody who is in the registry" in text for text in texts(view))


def test_a_key_belongs_to_one_person(world: World) -> None:
    data = documents.dump(owner_manifest("clinic", {"carol": [key_entry("hospital/bob")]}))
    path = "owners/clinic.yaml"
    statements = world.approval(path, "clinic/carol", data=data, key="hospital/bob")
    statements |= world.approval(path, "committee/alice", data=data)
    world.commit({path: data, **statements})
    (waits,) = world.view().pending[path]
    assert "is that of hospital/bob already" in waits


@pytest.mark.parametrize(
    "signed_by", [(), ("hospital/bob",), ("committee/alice",), ("modeler/max", "committee/alice")]
)
def test_a_changed_owner_needs_a_member_and_an_admin(world: World, signed_by: Any) -> None:
    world.change_owner(hospital(), *signed_by)
    stall(world)


def test_a_changed_owner_is_in_force_at_once(world: World) -> None:
    two = [key_entry("hospital/bob", "retired"), key_entry("hospital/bob#2")]
    world.change_owner(hospital(bob=two), "hospital/bob", "committee/alice")
    view = world.view()
    assert view.owners["hospital"].manifest.spec.serial == 2
    assert view.holder(signer("hospital/bob#2").fingerprint)


def test_a_key_of_the_new_file_does_not_sign_it(world: World) -> None:
    two = [key_entry("hospital/bob"), key_entry("hospital/bob#2")]
    data = documents.dump(hospital(bob=two))
    statements = world.approval(HOSPITAL, "hospital/bob", data=data, number=2, key="hospital/bob#2")
    statements |= world.approval(HOSPITAL, "committee/alice", data=data, number=2)
    world.commit({HOSPITAL: data, **statements})
    stall(world)


def test_signatures_that_come_after_a_change_are_too_late(world: World) -> None:
    world.change_owner(hospital(), "hospital/bob")
    world.sign(HOSPITAL, "committee/alice", number=2)
    stall(world)


def test_a_key_is_never_removed(world: World) -> None:
    manifest = hospital(bob=[key_entry("hospital/bob#2")])
    world.change_owner(manifest, "hospital/bob", "committee/alice")
    assert "loses the key" in stall(world)


def test_a_taken_key_is_not_added_later(world: World) -> None:
    two = [key_entry("hospital/bob"), key_entry("modeler/max")]
    world.change_owner(hospital(bob=two), "hospital/bob", "committee/alice")
    assert "is that of modeler/max already" in stall(world)


def test_admins_reset_an_owner_without_a_living_key(world: World) -> None:
    gone = [key_entry("hospital/bob", "retired")]
    world.change_owner(hospital(bob=gone), "hospital/bob", "committee/alice")
    back = hospital(bob=[*gone, key_entry("hospital/bob#2")], serial=3)
    world.change_owner(back, "committee/alice")
    view = world.view()
    assert [note.kind for note in view.notes] == ["reset"]
    assert view.holder(signer("hospital/bob#2").fingerprint)


def test_admins_alone_do_not_change_an_owner_with_a_living_key(world: World) -> None:
    world.change_owner(hospital(bob=[key_entry("hospital/bob", "retired")]), "committee/alice")
    assert "without the signature of a member of hospital" in stall(world)


def test_an_invalid_change_stalls(world: World) -> None:
    world.commit({HOSPITAL: b"kind: Owner\n"})
    assert "which is invalid now" in stall(world)


def test_a_pending_owner_may_be_corrected_with_all_signatures(new: Callable[..., World]) -> None:
    world = new()
    world.join("hospital", ["bob"], signed_by=["hospital/bob"])
    world.change_owner(hospital(), "hospital/bob", "committee/alice")
    assert world.view().owners["hospital"].manifest.spec.serial == 2


# registry.yaml


def test_a_changed_registry_needs_old_and_new_admins(world: World) -> None:
    both = {"threshold": 2, "members": ["committee/alice", "hospital/bob"]}
    world.change_registry("committee/alice", admins=both)
    assert "the admins of the new registry.yaml: 1 of 2 signatures" in stall(world)


def test_new_admins_sign_by_the_new_registry(world: World) -> None:
    both = {"threshold": 2, "members": ["committee/alice", "hospital/bob"]}
    world.change_registry("committee/alice", "hospital/bob", admins=both)
    assert world.view().registry.admins.threshold == 2
    world.change_registry("committee/alice", checkpoints={"maxAgeDays": 7})
    assert "the admins: 1 of 2 signatures" in stall(world)


def test_the_new_admin_alone_is_not_enough(world: World) -> None:
    world.change_registry("hospital/bob", admins={"threshold": 1, "members": ["hospital/bob"]})
    assert "without the signature of an admin" in stall(world)


def test_a_registry_keeps_its_id(world: World) -> None:
    world.change_registry("committee/alice", id=OTHER_ID)
    assert "keeps its id" in stall(world)


# Benchmarks and their settings


def test_a_benchmark_without_signatures_is_absent(world: World) -> None:
    world.add_benchmark("hospital/ct", signed_by=["hospital/bob"])
    view = world.view()
    path = paths.benchmark_path("hospital/ct")
    assert "hospital/ct" not in view.benchmarks
    assert view.pending[path] == ("an admin", "an admin (over its settings)")
    world.sign(path, "committee/alice")
    world.sign(paths.settings_path(path), "committee/alice")
    assert "hospital/ct" in world.view().benchmarks


def test_a_benchmark_waits_for_its_cubes(world: World) -> None:
    world.add_cube("hospital/eval", "evaluator")
    evaluator = world.files.pop("cubes/hospital/eval.yaml")
    path = paths.benchmark_path("hospital/ct")
    world.files["cubes/hospital/eval.yaml"] = evaluator + b"# other bytes\n"
    world.add_benchmark("hospital/ct", signed_by=["hospital/bob", "committee/alice"])
    (waits,) = world.view().pending[path]
    assert waits.startswith("the cube hospital/eval with the bytes sha256:")


def test_first_settings_come_with_their_benchmark(world: World) -> None:
    for name, role in (("prep", "preparator"), ("ref", "model"), ("eval", "evaluator")):
        world.add_cube(f"hospital/{name}", role)
    path = paths.benchmark_path("hospital/ct")
    world.commit({path: documents.dump(world.benchmark_manifest("hospital/ct"))})
    world.commit({paths.settings_path(path): documents.dump(settings_manifest())})
    view = world.view()
    assert "a benchmark's first settings come in the commit of the benchmark" in texts(view)[0]
    assert "benchmarks/hospital/ct.settings.yaml in its own commit" in view.pending[path]


def test_the_committee_signs_its_reference_by_the_new_tree(world: World) -> None:
    world.add_benchmark(
        "hospital/ct",
        signed_by=["hospital/bob", "committee/alice", "modeler/max"],
        settings={"committee": {"threshold": 1, "members": ["modeler/max"]}},
    )
    path = "associations/hospital/ct/models/hospital__ref.yaml"
    assert world.view().ledger.association_state(path).state == "approved"


def test_settings_need_the_old_committees_threshold(world: World) -> None:
    two = {"threshold": 2, "members": ["committee/alice", "modeler/max"]}
    world.change_settings(CXR, "committee/alice", committee=two)
    world.change_settings(CXR, "modeler/max", serial=3, committee=two, active=False)
    assert world.view().benchmark_settings(CXR).active is False
    always = {"models": "always", "datasets": "never"}
    world.change_settings(CXR, "modeler/max", serial=4, committee=two, approve=always)
    assert "the committee of committee/cxr: 1 of 2 signatures" in stall(world)


def test_settings_are_not_signed_by_others(world: World) -> None:
    world.change_settings(CXR, "modeler/max", priorities={"modeler/resnet": 9})
    stall(world)


# Cubes and datasets


def cube_settings(serial: int) -> bytes:
    spec = {"serial": serial, "deprecated": serial > 1}
    return documents.dump({"apiVersion": "medperf/v1alpha1", "kind": "Settings", "spec": spec})


def test_cube_settings_change_by_a_commit_of_a_member(world: World) -> None:
    path = "cubes/modeler/resnet.settings.yaml"
    world.merge({path: cube_settings(1)}, by="modeler/max")
    world.merge({path: cube_settings(2)}, by="modeler/max")
    world.commit({path: cube_settings(3)}, by="modeler/max")
    view = world.view()
    assert view.notes == ()
    settings = view.cube_settings("modeler/resnet")
    assert settings is not None
    assert settings.serial == 3
    world.merge({path: cube_settings(4)}, by="committee/alice")
    assert "a member of modeler over the commit" in stall(world)


def test_a_cube_that_its_owner_did_not_sign_is_shown(world: World) -> None:
    world.add_cube("modeler/foreign", by="hospital/bob")
    world.add_cube("modeler/unsigned", by=None)
    assert [(note.path, note.kind) for note in world.view().notes] == [
        ("cubes/modeler/foreign.yaml", "unsigned"),
        ("cubes/modeler/unsigned.yaml", "unsigned"),
    ]


def test_settings_of_nothing_are_ignored(world: World) -> None:
    world.commit({"cubes/modeler/none.settings.yaml": cube_settings(1)})
    assert "there is no cubes/modeler/none.yaml" in texts(world.view())[0]


def test_settings_of_a_pending_benchmark_do_not_change(world: World) -> None:
    world.add_benchmark("hospital/ct", signed_by=["hospital/bob"])
    world.change_settings("hospital/ct", "hospital/bob", "committee/alice")
    assert "benchmarks/hospital/ct.yaml is not in force yet" in stall(world)
