"""What a verified registry answers, by the names that people write."""

import pytest

from medperf.registry.view import Run
from medperf.schemas.errors import UsageError

from .world import World, signer

CXR = "committee/cxr"


def test_objects_are_found_by_name(world: World) -> None:
    view = world.view()
    assert view.cube("resnet").ref == "modeler/resnet"
    assert view.dataset("hospital/chest").ref == "hospital/chest"
    assert view.benchmark("cxr").path == "benchmarks/committee/cxr.yaml"
    with pytest.raises(UsageError, match="modeler/resnet"):
        view.cube("resnot")
    assert view.dataset_settings("hospital/chest") is None
    assert view.registry.id == world.id
    item = view.file("owners/hospital.yaml")
    assert item is not None
    assert item.ref == "hospital"


def test_runs_are_the_approved_pairs(world: World) -> None:
    view = world.view()
    runs = view.runs(CXR, "hospital/chest")
    assert [run.model for run in runs] == ["committee/ref", "modeler/resnet"]
    assert isinstance(runs[0], Run)
    assert runs[0].dataset_association.component == "hospital/chest"
    assert view.runs(CXR, "hospital/other") == []
    assert [one.component for one in view.associations_of(CXR, "datasets")] == ["hospital/chest"]
    assert view.association(CXR, "models", "modeler/none") is None
    found = view.association(CXR, "models", "modeler/resnet")
    assert found is not None
    assert (found.state, found.part) == ("approved", "models")


def test_a_key_tells_its_holder(world: World) -> None:
    holder = world.view().holder(signer("hospital/ward").fingerprint)
    assert holder is not None
    assert (holder.by, holder.role) == ("hospital/ward", "site")
    assert world.view().holder("SHA256:" + "A" * 43) is None


def test_a_result_of_a_new_round_is_superseded(world: World) -> None:
    files = world.result()
    world.commit(files)
    world.associate("modeler/resnet", number=2)
    view = world.view()
    assert view.standing(next(iter(files))) == "superseded"
    assert view.result("results/nothing.yaml") is None
    assert view.result_item(next(iter(files))).data == next(iter(files.values()))
