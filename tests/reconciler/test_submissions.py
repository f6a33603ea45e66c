"""What people hand in: exactly these files leave, and nothing of the site is in them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medperf.reconciler.submissions import (
    BenchmarkParts,
    CubeRequest,
    association_files,
    benchmark_manifest,
    cube_files,
    cube_of,
    dataset_files,
)
from medperf.schemas.errors import InvalidDocumentError, UsageError, WithheldError
from medperf.schemas.manifests import Asset
from medperf.schemas.yaml_subset import parse

from .world import METRICS, TASKS, World, pack, pinned


def test_a_dataset_s_metadata_are_these_and_no_others(world: World) -> None:
    place = world.hospital
    files = dataset_files(place, place.view(), world.dataset())
    (path,) = files
    assert path == "datasets/hospital/chest.yaml"
    value = parse(files[path], file=path).value
    assert isinstance(value, dict)
    assert value["metadata"] == {"name": "chest", "owner": "hospital", "description": "One ward"}
    spec = value["spec"]
    assert sorted(spec) == ["commitment", "location", "preparator", "statistics"]
    assert spec["statistics"] == {"cases": 20}
    text = files[path].decode()
    assert world.dataset().content_hash.hex() not in text
    assert str(world.folder) not in text
    assert ".txt" not in text


def test_statistics_of_few_cases_do_not_leave(world: World) -> None:
    dataset = world.dataset()
    (dataset.path / "statistics.yaml").write_text("cases: 3\npatients: [Smith]\n")
    place = world.hospital
    try:
        files = dataset_files(place, place.view(), dataset)
    except WithheldError:
        return
    assert b"Smith" not in b"".join(files.values())


def request(world: World, **fields: object) -> CubeRequest:
    cube = world.folder / "mlcube.yaml"
    cube.write_text(f"name: new\ntasks:\n{TASKS['model']}")
    archive = pack(world.folder / "new.tar.gz", {"main.py": b""})
    parameters = world.folder / "parameters.yaml"
    parameters.write_text("{}\n")
    known: dict[str, object] = {
        "name": "new",
        "description": "New.",
        "cube_file": str(cube),
        "parameters_file": str(parameters),
        "images": (str(archive),),
        "sandbox_command": ("python3", "main.py"),
    }
    return CubeRequest(**{**known, **fields})  # type: ignore[arg-type]


def test_a_cube_s_files_are_its_manifest_alone(world: World) -> None:
    cube = cube_of(world.modeler, request(world))
    files = cube_files(cube)
    assert list(files) == ["cubes/modeler/new.yaml"]
    assert cube.spec.role == "model"


def test_small_files_may_have_addresses_and_the_image_is_the_one_that_the_file_names(
    world: World,
) -> None:
    wish = request(world)
    image = "example.org/toy@sha256:" + "a" * 64
    file = Path(wish.cube_file)
    file.write_text(f"docker: {{image: '{image}'}}\n{file.read_text()}")
    parameters = Path(str(wish.parameters_file)).as_uri()
    cube = cube_of(world.modeler, replace(wish, images=(), parameters_file=parameters))
    assert [one.image for one in cube.spec.images] == [image]
    assert cube.spec.files["parameters.yaml"] == "{}\n"
    file.write_text("container_type: DockerArchive\nimage: absent.tar\ntasks: {}\n")
    with pytest.raises(UsageError, match="which is not there"):
        cube_of(world.modeler, replace(wish, images=()))
    file.write_text("tasks: {}\n")
    with pytest.raises(UsageError, match="names no image: say --image-file"):
        cube_of(world.modeler, replace(wish, images=()))
    with pytest.raises(UsageError, match="There is no file"):
        cube_of(world.modeler, replace(wish, cube_file="absent.yaml"))


def test_large_files_are_laid_out_where_they_will_be_hosted(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    weights = pack(tmp_path / "weights.tar.gz", {"w": b"w"})
    wish = request(
        world, host=out, host_url="https://files.example/x", additional_file=str(weights)
    )
    cube = cube_of(world.modeler, wish)
    assert sorted(path.name for path in out.iterdir()) == ["new.tar.gz", "weights.tar.gz"]
    assert cube.spec.additional_files is not None
    assert cube.spec.additional_files.url == "https://files.example/x/weights.tar.gz"
    with pytest.raises(UsageError, match="belong together"):
        cube_of(world.modeler, request(world, host=out))


def test_a_misspelt_small_file_is_told_before_a_large_one_is_touched(
    world: World, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hosted = {"host": out, "host_url": "https://files.example/x"}
    for wrong in (
        {"parameters_file": str(tmp_path / "no.yaml")},
        {"additional_file": str(tmp_path / "no.tar.gz")},
    ):
        with pytest.raises(UsageError, match=r"There is no file .*no\."):
            cube_of(world.modeler, request(world, **hosted, **wrong))
        assert not out.exists() or not list(out.iterdir()), "no image was laid out"


@pytest.mark.parametrize(
    ("text", "told"),
    [("[1]", "must map"), ("cases: {type: number}", "cases"), ("cases: 3", "cases")],
)
def test_a_statistics_file_that_is_wrong_is_told_by_field(
    world: World, text: str, told: str
) -> None:
    file = world.folder / "statistics.yaml"
    file.write_text(text)
    with pytest.raises((UsageError, InvalidDocumentError), match=told):
        cube_of(world.modeler, request(world, statistics=file))


def test_a_preparator_declares_what_of_its_statistics_may_leave(world: World) -> None:
    file = world.folder / "statistics.yaml"
    file.write_text(
        "statistics:\n  cases: {from: [cases], type: integer, min: 0, max: 1000, kind: count}\n"
    )
    cube = cube_of(world.modeler, request(world, statistics=file))
    assert list(cube.spec.statistics or {}) == ["cases"]


@pytest.mark.parametrize("text", [b"engines: [docker]\n", b"metrics: {}\nother: 1\n", b"[1]\n"])
def test_a_metrics_file_of_another_form_is_refused(world: World, text: bytes) -> None:
    asset = Asset.model_validate(pinned(pack(world.folder / "d.tar.gz", {"x": b""})))
    parts = BenchmarkParts(
        name="second",
        description="x",
        preparator="prep",
        reference_model="ref",
        evaluator="eval",
        demo=asset,
        metrics_file="metrics.yaml",
        metrics_data=text,
        committee=("committee/alice",),
    )
    with pytest.raises(UsageError, match="must have the field metrics"):
        benchmark_manifest(world.committee.view(), "committee", parts)


def test_a_second_association_is_refused_and_a_revoked_one_goes_on(world: World) -> None:
    ref = world.add_model("again")

    def ask() -> dict[str, bytes]:
        place = world.modeler
        view = place.view()
        component = {"ref": ref, "digest": view.cube(ref).digest}
        data = view.benchmark("toy").manifest.spec.demo_dataset.digest
        trial = {"medperf": "0.1.0", "engine": "sandbox", "outcome": "passed", "data": data}
        return association_files(
            place,
            view,
            benchmark="committee/toy",
            side="model",
            component=component,
            trial={**trial, "metrics": {"auc-edema": 1}},
        )

    with pytest.raises(UsageError, match="is associated with committee/toy already"):
        ask()
    world.revoke(ref)
    files = ask()
    manifest = next(data for path, data in files.items() if path.endswith(".yaml"))
    assert b"round: 2" in manifest
    assert any(".2.modeler.max.sigstore.json" in path for path in files)
    world.merge(files, "again-2", by="modeler")
    assert world.states()[ref] == "due"


def test_the_metrics_of_the_toys_are_in_the_benchmark(world: World) -> None:
    known = parse(METRICS, file="metrics.yaml").value
    assert isinstance(known, dict)
    spec = world.committee.view().benchmark("toy").manifest.spec
    assert sorted(spec.metrics) == sorted(known["metrics"])
    assert json.dumps(sorted(spec.metrics))
