"""What a machine merges, and whom it asks otherwise."""

from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.automerge import merge_if_complete, refusal, reviewers
from medperf.registry.validate import Verdict, validate
from medperf.schemas import documents
from medperf.schemas.errors import UsageError

from .world import World, cube_manifest, key_entry, owner_manifest

RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"


def judged(world: World, changes: dict[str, Any], by: str) -> Verdict:
    assert world.tip is not None
    return validate(world.repository, world.tip, world.propose(changes, by=by))


def cube() -> dict[str, bytes]:
    manifest = cube_manifest("modeler/next", "model")
    return {paths.cube_path("modeler/next"): documents.dump(manifest)}


def test_results_statements_and_associations_are_merged_by_a_machine(world: World) -> None:
    assert refusal(judged(world, world.result(), "hospital/ward")) == ""
    revoke = world.approval(RESNET, "modeler/max", decision="revoke")
    assert refusal(judged(world, revoke, "modeler/max")) == ""
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    both = world.approval(path, "modeler/max", "committee/alice", data=data)
    assert refusal(judged(world, {path: data, **both}, "modeler/max")) == ""
    one = world.approval(path, "modeler/max", data=data)
    assert "not valid yet" in refusal(judged(world, {path: data, **one}, "modeler/max"))


def test_objects_are_merged_by_a_person(world: World) -> None:
    assert "by a person" in refusal(judged(world, cube(), "modeler/max"))


def test_a_change_of_a_workflow_is_never_merged_by_a_machine(world: World) -> None:
    flow = {".github/workflows/x.yml": b"on: push\n"}
    assert "an admin merges it" in refusal(judged(world, flow, "committee/alice"))
    assert "not valid yet" in refusal(judged(world, {**world.result(), **flow}, "hospital/ward"))


def test_the_committee_is_asked_by_its_logins(world: World) -> None:
    manifest = owner_manifest("committee", {"alice": [key_entry("committee/alice")]}, serial=2)
    manifest["spec"]["members"][0]["forge"] = "alice-gh"
    world.change_owner(manifest, "committee/alice")
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    verdict = judged(world, {path: data}, "modeler/max")
    assert reviewers(world.repository, verdict) == ("alice-gh",)
    clinic = documents.dump(owner_manifest("clinic", ["first"]))
    verdict = judged(world, {"owners/clinic.yaml": clinic}, "clinic/first")
    assert reviewers(world.repository, verdict) == ("alice-gh",)
    assert reviewers(world.repository, judged(world, cube(), "modeler/max")) == ()


def test_it_runs_in_a_workflow_only(world: World) -> None:
    assert world.tip is not None
    folder = world.repository.folder
    with pytest.raises(UsageError, match="GITHUB_SERVER_URL is not set"):
        merge_if_complete(folder, world.tip, world.tip, 1, {})
