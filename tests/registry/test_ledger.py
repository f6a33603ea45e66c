"""Rules 3 and 4 on real registries: what an association is, and why."""

from typing import Any

import pytest

from medperf.registry.ledger import AssociationState

from .world import World

CXR = "committee/cxr"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
OTHER = "associations/committee/cxr/models/modeler__other.yaml"
NULL = "sha256:" + "0" * 64
BOTH = ("modeler/max", "committee/alice")


def standing(world: World, path: str = RESNET) -> AssociationState:
    return world.view().ledger.association_state(path)


def propose(world: World, *signed_by: str, **changes: Any) -> None:
    world.add_cube("modeler/other")
    world.associate("modeler/other", signed_by=signed_by, **changes)


def test_pending_says_whose_signature_is_missing(world: World) -> None:
    propose(world)
    assert standing(world, OTHER).missing == (
        "a member of modeler",
        "a member of the committee of committee/cxr",
    )
    assert standing(world, OTHER).sentence == (
        "pending: waits for a member of modeler, and for a member of the committee of committee/cxr"
    )


def test_who_opened_it_and_in_which_order_they_sign_does_not_matter(world: World) -> None:
    propose(world)
    world.sign(OTHER, "committee/alice")
    assert standing(world, OTHER).state == "pending"
    world.sign(OTHER, "modeler/max")
    assert standing(world, OTHER).state == "approved"
    assert standing(world, OTHER).approval == "round 1: by committee/alice, modeler/max"


def test_a_signature_may_come_before_its_subject(world: World) -> None:
    world.add_cube("modeler/other")
    path, data = world.association("modeler/other")
    world.commit(world.approval(path, *BOTH, data=data))
    world.commit({path: data})
    assert standing(world, path).state == "approved"


def test_one_person_on_both_sides_signs_once(world: World) -> None:
    world.add_cube("committee/other")
    world.associate("committee/other", signed_by=["committee/alice"])
    path = "associations/committee/cxr/models/committee__other.yaml"
    assert standing(world, path).state == "approved"


@pytest.mark.parametrize(
    ("models", "answer"),
    [
        ("never", "pending"),
        ("always", "approved"),
        (["hospital"], "pending"),
        (["modeler"], "approved"),
    ],
)
def test_settings_approve_in_the_committees_stead(world: World, models: Any, answer: str) -> None:
    approve = {"models": models, "datasets": "never"}
    world.change_settings(CXR, "committee/alice", approve=approve)
    propose(world, "modeler/max")
    assert standing(world, OTHER).state == answer


def test_settings_never_approve_in_the_owners_stead(world: World) -> None:
    approve = {"models": "always", "datasets": "always"}
    world.change_settings(CXR, "committee/alice", approve=approve)
    propose(world, "committee/alice")
    assert standing(world, OTHER).missing == ("a member of modeler",)


@pytest.mark.parametrize("by", BOTH)
def test_either_side_revokes_for_the_round(world: World, by: str) -> None:
    world.revoke(RESNET, by, reason="weights withdrawn")
    assert standing(world).sentence == f"revoked: revoked by {by}: weights withdrawn"


def test_a_stranger_does_not_revoke(world: World) -> None:
    world.revoke(RESNET, "hospital/bob")
    assert standing(world).state == "approved"


def test_a_revoked_one_is_approved_again_by_the_next_round(world: World) -> None:
    world.revoke(RESNET, "modeler/max")
    world.associate("modeler/resnet", number=2)
    assert standing(world).state == "pending"
    world.sign(RESNET, *BOTH, number=2)
    assert standing(world).state == "approved"


def test_a_new_round_needs_new_signatures(world: World) -> None:
    world.associate("modeler/resnet", number=2, trial={"medperf": "0.2.0"})
    assert standing(world).state == "pending"


def test_an_inactive_benchmark_approves_nothing(world: World) -> None:
    world.change_settings(CXR, "committee/alice", active=False)
    assert standing(world).sentence == "invalid: the benchmark committee/cxr is not active"
    assert world.view().runs(CXR) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trial": {"outcome": "failed"}}, "its trial did not pass"),
        ({"trial": {"data": NULL}}, "not on the benchmark's demo dataset"),
        ({"model": {"ref": "modeler/other", "digest": NULL}}, "is pinned as"),
        ({"benchmark": {"ref": CXR, "digest": NULL}}, "is pinned as"),
    ],
)
def test_an_association_whose_pins_do_not_hold_is_never_approved(
    world: World, changes: dict[str, Any], words: str
) -> None:
    propose(world, *BOTH, **changes)
    assert standing(world, OTHER).state == "invalid"
    assert words in standing(world, OTHER).sentence


def test_only_models_are_associated_as_models(world: World) -> None:
    world.add_cube("modeler/other", "evaluator")
    world.associate("modeler/other", signed_by=BOTH)
    assert "is a evaluator, not a model" in standing(world, OTHER).sentence


def test_a_dataset_is_prepared_with_the_benchmarks_preparator(world: World) -> None:
    world.add_cube("hospital/prep", "preparator")
    world.add_dataset("hospital/other", preparator="hospital/prep")
    world.associate("hospital/other", signed_by=["hospital/bob", "committee/alice"])
    path = "associations/committee/cxr/datasets/hospital__other.yaml"
    assert "was prepared with hospital/prep" in standing(world, path).sentence


def test_a_datasets_trial_is_the_reference_models_run(world: World) -> None:
    world.add_dataset("hospital/other")
    world.associate(
        "hospital/other", signed_by=["hospital/bob", "committee/alice"], trial={"runKey": "0" * 64}
    )
    path = "associations/committee/cxr/datasets/hospital__other.yaml"
    assert "is not the reference model's run on it" in standing(world, path).sentence
