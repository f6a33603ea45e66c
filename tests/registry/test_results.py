"""Rule 5 on real registries: which results are valid, and what is said of them."""

from typing import Any

import pytest

from medperf.registry.statements import make_approval
from medperf.registry.verify import verify_registry, verify_result

from .world import OTHER_ID, World, key_entry, owner_manifest, signer

RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
CHEST = "associations/committee/cxr/datasets/hospital__chest.yaml"
OTHER = "associations/committee/cxr/models/modeler__other.yaml"
NULL = "sha256:" + "0" * 64


def answers(world: World) -> list[tuple[str, str]]:
    return [(one.answer, "; ".join(one.reasons)) for one in world.view().results.values()]


def answer(world: World, **options: Any) -> tuple[str, str]:
    world.commit(world.result(**options), by="hospital/ward")
    (only,) = answers(world)
    return only


def test_a_result_by_a_site_is_valid(world: World) -> None:
    assert answer(world) == ("valid", "")
    assert answer_of_reference(world) == "valid"


def answer_of_reference(world: World) -> str:
    world.commit(world.result(model="committee/ref"), by="hospital/ward")
    return answers(world)[1][0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "hospital/bob"}, "by the key of hospital/bob, which is no site of hospital"),
        ({"key": "evil/eve"}, "by the key of nobody among the sites of hospital"),
        ({"by": "hospital/other"}, "says by 'hospital/other'"),
        ({"associations": {"model": NULL, "dataset": NULL}}, "its associations.model is not"),
        ({"metrics": {"auc-edema": 0.9131, "n-edema": 60}}, "more than 3 decimals"),
        ({"disclosure": {"k": 10, "bits": 1, "suppressed": []}}, "bits is 1"),
    ],
)
def test_what_makes_a_result_invalid(world: World, options: dict[str, Any], words: str) -> None:
    found, reasons = answer(world, **options)
    assert found == "invalid"
    assert words in reasons


def test_a_result_of_another_registry_is_no_document_of_this_one(world: World) -> None:
    world.commit(world.result(registry={"id": OTHER_ID, "commit": "a" * 40}), by="hospital/ward")
    view = world.view()
    assert view.results == {}
    (note,) = view.notes
    assert "spec.runKey" in note.text
    found = view.result(note.path)
    assert found is not None
    assert found.answer == "invalid"


def test_a_result_is_planned_at_a_commit_of_main(world: World) -> None:
    aside = world.propose({"README.md": b"x\n"}, by="hospital/ward")
    registry = {"id": world.id, "commit": aside}
    assert "is not on main before it" in answer(world, registry=registry)[1]


def test_an_engine_that_the_benchmark_does_not_list_is_refused(world: World) -> None:
    world.add_benchmark("hospital/ct", signed_by=["hospital/bob", "committee/alice"])
    image = {"model": NULL, "evaluator": NULL}
    run = {"medperf": "1", "engine": "sandbox", "images": image, "day": "2026-11-21"}
    found = answer(world, run={**run, "partial": True})
    assert "does not accept partial results" in found[1]


def test_a_result_before_the_approval_is_invalid_for_ever(world: World) -> None:
    world.add_cube("modeler/other")
    world.associate("modeler/other", signed_by=["modeler/max"])
    world.commit(world.result(model="modeler/other"), by="hospital/ward")
    world.sign(OTHER, "committee/alice")
    view = world.view()
    assert view.ledger.association_state(OTHER).state == "approved"
    ((found, reasons),) = answers(world)
    assert found == "invalid"
    assert "was not approved when it was added, but pending" in reasons


def test_a_result_in_the_commit_of_the_approval_is_invalid(world: World) -> None:
    world.add_cube("modeler/other")
    world.associate("modeler/other", signed_by=["modeler/max"])
    world.commit(
        {**world.result(model="modeler/other"), **world.approval(OTHER, "committee/alice")}
    )
    assert answers(world)[0][0] == "invalid"


def test_a_result_of_what_was_never_associated_is_invalid(world: World) -> None:
    world.add_cube("modeler/other")
    path, data = world.association("modeler/other")
    world.files[path] = data
    assert f"there was no {path}" in answer(world, model="modeler/other")[1]


def test_a_result_outlives_a_later_revocation(world: World) -> None:
    world.commit(world.result(), by="hospital/ward")
    world.revoke(RESNET, "modeler/max")
    view = world.view()
    (found,) = view.results.values()
    assert found.answer == "valid"
    assert view.standing(found.path) == "revoked"
    assert "was revoked since" in verify_result(view, found.path).against[0]


def test_a_result_after_a_revocation_is_invalid(world: World) -> None:
    files = world.result()
    world.revoke(CHEST, "hospital/bob")
    world.commit(files, by="hospital/ward")
    assert "but revoked" in answers(world)[0][1]


def test_a_result_of_an_older_round_needs_the_present_one_approved(world: World) -> None:
    files = world.result()
    world.associate("modeler/resnet", number=2)
    pending = world.copy(world.repository.folder.parent / "pending")
    pending.commit(files, by="hospital/ward")
    assert answers(pending)[0][0] == "invalid"
    pending.close()
    world.sign(RESNET, "modeler/max", "committee/alice", number=2)
    world.commit(files, by="hospital/ward")
    assert answers(world) == [("valid", "")]


def test_a_result_whose_signature_comes_later_is_judged_then(world: World) -> None:
    document, bundle = world.result().items()
    world.commit(dict([document]), by="hospital/ward")
    assert "has not signed it" in answers(world)[0][1]
    world.commit(dict([bundle]), by="hospital/ward")
    assert answers(world) == [("valid", "")]


def test_a_retired_sites_key_signs_no_result(world: World) -> None:
    ward = [key_entry("hospital/ward", "retired")]
    manifest = owner_manifest("hospital", ["bob"], {"ward": ward}, serial=2)
    world.change_owner(manifest, "hospital/bob", "committee/alice")
    assert "that was retired then" in answer(world)[1]


def test_a_compromised_sites_key_works_backwards(world: World) -> None:
    assert answer(world) == ("valid", "")
    ward = [key_entry("hospital/ward", "compromised", world.tip), key_entry("hospital/ward#2")]
    manifest = owner_manifest("hospital", ["bob"], {"ward": ward}, serial=2)
    world.change_owner(manifest, "hospital/bob", "committee/alice")
    ((found, reasons),) = answers(world)
    assert found == "invalid"
    assert "that was compromised then" in reasons


def test_the_data_owner_withdraws_a_result(world: World) -> None:
    files = world.result()
    path = next(iter(files))
    world.commit(files, by="hospital/ward")
    world.revoke(path, "committee/alice")
    assert answers(world) == [("valid", "")]
    world.revoke(path, "hospital/bob", reason="wrong labels")
    assert answers(world) == [("withdrawn", "withdrawn by hospital/bob: wrong labels")]
    assert verify_result(world.view(), path).answer == "withdrawn"


def test_a_result_is_explained_by_its_bytes(world: World) -> None:
    (path, data), _ = world.result().items()
    assert verify_result(world.view(), data).against == ("the registry has no such result",)
    assert verify_result(world.view(), path).answer == "unknown"
    world.commit(world.result(), by="hospital/ward")
    view = world.view()
    found = verify_result(view, data)
    assert found.accepted
    assert found.path == path
    text = "\n".join(found.proven)
    assert "hospital/ward, a site of the dataset's owner, has signed them" in text
    assert "round 1: by committee/alice, modeler/max" in text
    other = data.replace(b"0.913", b"0.914")
    assert verify_result(view, other).against == ("the registry has other bytes at its path",)
    assert verify_result(view, b"x: [").answer == "unknown"


def test_an_invalid_result_is_explained(world: World) -> None:
    world.commit(world.result(key="hospital/bob"), by="hospital/ward")
    view = world.view()
    found = verify_result(view, next(iter(view.results)))
    assert (found.answer, found.accepted) == ("invalid", False)
    assert len(found.against) == 1


def test_a_whole_registry_is_verified(world: World) -> None:
    world.commit(world.result(), by="hospital/ward")
    assert world.tip is not None
    report = verify_registry(world.repository, world.tip, world.pinned)
    assert report.accepted
    assert (report.results, report.valid_results) == (1, 1)
    assert report.commits == len(world.repository.first_parents(world.tip))
    assert report.statements > 10
    world.commit(world.result(model="committee/ref", key="evil/eve"))
    report = verify_registry(world.repository, world.tip)
    assert not report.accepted
    assert len(report.problems) == 1
    world.commit({RESNET: None})
    assert "deletes" in verify_registry(world.repository, world.tip).stalled


def test_an_approval_is_no_signature_of_a_result(world: World) -> None:
    (path, data), (signature, _) = world.result().items()
    bundle = make_approval(
        signer("hospital/ward"),
        by="hospital/ward",
        registry=world.id,
        subject_name=path.rpartition("/")[2],
        data=data,
    )
    world.commit({path: data, signature: bundle})
    assert "its signature is a statement of another kind" in answers(world)[0][1]


def test_a_result_pins_what_its_associations_pin(world: World) -> None:
    """Other bytes of the model than those that were approved, with a run key that fits them."""
    world.files["cubes/modeler/resnet.yaml"] += b"# other bytes\n"
    found, reasons = answer(world)
    assert found == "invalid"
    assert "it pins modeler/resnet with other bytes" in reasons
