"""The documents at one commit: each read once, by name, with what is wrong."""

import pytest

from medperf.registry.git import Entry
from medperf.registry.paths import classify
from medperf.registry.snapshot import Library, Snapshot, read_item
from medperf.schemas import documents
from medperf.schemas.digests import digest
from medperf.schemas.errors import InvalidDocumentError
from medperf.schemas.manifests import RESULT_LIMIT

from .world import World, key_entry, owner_manifest


def test_a_snapshot_has_every_document_by_name(world: World) -> None:
    files = world.result()
    tip = world.commit(files)
    found = Snapshot.read(world.repository, tip)
    assert found.problems == ()
    assert found.registry is not None
    assert sorted(found.owners) == ["committee", "hospital", "modeler"]
    assert sorted(found.cubes)[-1] == "modeler/resnet"
    assert list(found.datasets) == ["hospital/chest"]
    assert list(found.benchmarks) == ["committee/cxr"]
    assert list(found.settings) == ["benchmarks/committee/cxr.yaml"]
    assert len(found.associations) == 3
    assert list(found.results) == [next(iter(files))]
    item = found.cubes["modeler/resnet"]
    assert item.path == "cubes/modeler/resnet.yaml"
    assert item.digest == digest(world.files[item.path])
    assert item.data == world.files[item.path]


def test_the_view_has_the_same_snapshot(world: World) -> None:
    assert world.tip is not None
    read = Snapshot.read(world.repository, world.tip)
    assert world.view().snapshot.associations == read.associations


def test_what_is_no_document_is_told(world: World) -> None:
    link = Entry("120000", "blob", world.repository.write_blob(b"x"))
    tip = world.commit(
        {
            "cubes/modeler/link.yaml": link,
            "cubes/modeler/bad.yaml": b"x: [\n",
            "cubes/modeler/large.yaml": b"x" * 300_000,
            "cubes/modeler/notes.txt": b"x\n",
        }
    )
    found = Snapshot.read(world.repository, tip)
    assert {problem.file for problem in found.problems} == {
        "cubes/modeler/link.yaml",
        "cubes/modeler/bad.yaml",
        "cubes/modeler/large.yaml",
        "cubes/modeler/notes.txt",
    }


def test_one_blob_at_two_paths_is_told_at_both(world: World) -> None:
    oid = world.repository.write_blob(b"x: [\n")
    library = Library(world.repository)
    files = []
    for path in ("cubes/modeler/a.yaml", "cubes/modeler/b.yaml"):
        with pytest.raises(InvalidDocumentError) as caught:
            library.item(classify(path), oid)
        files.append(caught.value.problems[0].file)
    assert files == ["cubes/modeler/a.yaml", "cubes/modeler/b.yaml"]


def test_a_blob_too_large_for_one_path_is_judged_at_another_as_if_it_stood_there_alone(
    world: World,
) -> None:
    cube = documents.load(world.files["cubes/modeler/resnet.yaml"], file="x").manifest
    value = cube.model_dump(by_alias=True)
    value["spec"]["files"]["mlcube.yaml"] += "# " + "y" * RESULT_LIMIT
    oid = world.repository.write_blob(documents.dump(value))
    result = classify(next(iter(world.result())))
    for first in (True, False):
        library = Library(world.repository)
        if first:
            with pytest.raises(InvalidDocumentError, match="has more than"):
                library.item(result, oid)
        assert library.item(classify("cubes/modeler/resnet.yaml"), oid).manifest
        with pytest.raises(InvalidDocumentError, match="has more than"):
            library.item(result, oid)


def test_a_document_of_another_kind_than_its_path_is_refused(world: World) -> None:
    data = world.files["benchmarks/committee/cxr.settings.yaml"]
    with pytest.raises(InvalidDocumentError, match=r"kind: is BenchmarkSettings, and the path"):
        read_item("cubes/modeler/resnet.settings.yaml", data)
    with pytest.raises(InvalidDocumentError, match=r"kind: is Dataset, and the path says Cube"):
        read_item("cubes/hospital/chest.yaml", world.files["datasets/hospital/chest.yaml"])


def test_a_path_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidDocumentError, match="is no path of an object"):
        read_item("cubes/notes.txt", b"x")


def test_a_key_that_anybody_can_sign_for_is_refused() -> None:
    from medperf.schemas import documents

    entry = key_entry("hospital/bob")
    weak = "AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    entry["publicKey"] = f"ssh-ed25519 {weak}"
    data = documents.dump(owner_manifest("hospital", {"bob": [entry]}))
    with pytest.raises(InvalidDocumentError, match="weak point"):
        read_item("owners/hospital.yaml", data)
