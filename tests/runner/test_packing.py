"""From a cube's files to its manifest, for each engine and each way to name an image."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.packing import CubeParts, Hosting, asset_for, cube_manifest, image_for
from medperf.schemas.digests import digest
from medperf.schemas.errors import AssetError, CubeError, UsageError

DIGEST = "sha256:" + "1" * 64
MODEL = """\
tasks:
  infer:
    parameters: {inputs: {data_path: data/}, outputs: {output_path: predictions/}}
"""
EVALUATOR = """\
container_type: DockerImage
image: somebody/toy:1
tasks:
  evaluate:
    input_volumes:
      predictions: {mount_path: /in/predictions, type: directory}
      labels: {mount_path: /in/labels, type: directory}
    output_volumes: {output_path: {mount_path: /out/results.yaml, type: file}}
"""


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    (tmp_path / "hosted").mkdir()
    return Assets(tmp_path / "cache", AssetPolicy(files=(tmp_path / "hosted",)))


def image(assets: Assets, where: str, hosting: Hosting | None = None, **options: Any) -> Any:
    options.setdefault("sandbox_command", ("python3", "main.py"))
    found = image_for(where, assets, hosting, **options)
    return found.model_dump(by_alias=True, exclude_none=True, mode="json")


def test_an_image_by_digest_is_docker_s(assets: Assets) -> None:
    for where in (f"lab/toy@{DIGEST}", f"docker=lab/toy@{DIGEST}"):
        assert image(assets, where) == {
            "engine": "docker",
            "image": f"lab/toy@{DIGEST}",
            "platform": "linux/amd64",
        }
    with pytest.raises(UsageError, match="for the docker engine"):
        image(assets, f"singularity=lab/toy@{DIGEST}")
    for broken in ("lab/toy@sha256:12", f"@{DIGEST}", f"a b@{DIGEST}", f"lab/toy@{DIGEST}0"):
        with pytest.raises(UsageError, match="64 hex digits"):
            image(assets, broken)


@pytest.mark.parametrize(
    ("name", "engine"),
    [("i.tar", "docker"), ("i.sif", "singularity"), ("i.tar.gz", "sandbox"), ("i.tgz", "sandbox")],
)
def test_a_file_s_name_tells_its_engine(
    assets: Assets, tmp_path: Path, name: str, engine: str
) -> None:
    file = tmp_path / "hosted" / name
    file.write_bytes(b"image")
    found = image(assets, str(file))
    assert found["engine"] == engine
    assert found["archive"] == {"url": file.as_uri(), "digest": digest(b"image"), "size": 5}
    assert found.get("command") == (["python3", "main.py"] if engine == "sandbox" else None)
    odd = file.rename(file.with_name("odd"))
    with pytest.raises(UsageError, match="which engine is this for"):
        image(assets, str(odd))
    assert image(assets, f"{engine}={odd}")["engine"] == engine


def test_an_engine_that_there_is_not_is_answered_with_those_that_there_are(assets: Assets) -> None:
    with pytest.raises(UsageError, match=r"dokcer is no engine\. Did you mean docker\?"):
        image_for("dokcer=example/x:1", assets, None)
    with pytest.raises(UsageError, match="docker or singularity or sandbox"):
        image_for("podman=example/x:1", assets, None)


def test_a_sandbox_archive_needs_a_command(assets: Assets, tmp_path: Path) -> None:
    file = tmp_path / "hosted" / "cube.tar.gz"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="--sandbox-command"):
        image(assets, str(file), sandbox_command=())


def test_a_file_that_others_cannot_reach_is_refused(assets: Assets, tmp_path: Path) -> None:
    file = tmp_path / "mine.tar"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="on this machine only"):
        asset_for(str(file), assets, None)
    with pytest.raises(UsageError, match="There is no file"):
        asset_for(str(tmp_path / "none.tar"), assets, None)


def test_a_local_file_is_laid_out_under_its_address(assets: Assets, tmp_path: Path) -> None:
    file = tmp_path / "mine.tar"
    file.write_bytes(b"x")
    hosting = Hosting(tmp_path / "out", "https://files.example/cubes/")
    asset = asset_for(str(file), assets, hosting)
    assert asset.url == "https://files.example/cubes/mine.tar"
    assert (tmp_path / "out" / "mine.tar").read_bytes() == b"x"
    again = asset_for(str(tmp_path / "out" / "mine.tar"), assets, hosting)
    assert again == asset
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.tar"]


def test_files_of_one_name_do_not_replace_one_another(assets: Assets, tmp_path: Path) -> None:
    """Every cube's additional files are called `additional_files.tar.gz`."""
    hosting = Hosting(tmp_path / "out", "https://files.example/cubes")
    found = []
    for cube in ("one", "two", "one"):
        file = tmp_path / cube / "weights.tar.gz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(cube.encode())
        found.append(asset_for(str(file), assets, hosting))
    assert found[0] == found[2]
    names = [asset.url.rpartition("/")[2] for asset in found[:2]]
    assert names == ["weights.tar.gz", f"{digest(b'two')[7:19]}-weights.tar.gz"]
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [b"one", b"two"]
    made = cube_manifest(parts(tmp_path, MODEL, additional_files=found[1]))
    assert [path.name for path in hosting.holds(made)] == names[1:]


def test_a_packed_docker_archive_is_told_from_a_sandboxs(assets: Assets, tmp_path: Path) -> None:
    file = tmp_path / "hosted" / "saved.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"))
    assert image(assets, str(file))["engine"] == "docker"


def test_an_address_is_read_by_the_site_s_policy(assets: Assets, tmp_path: Path) -> None:
    file = tmp_path / "hosted" / "weights.tar.gz"
    file.write_bytes(b"weights")
    assert asset_for(file.as_uri(), assets, None).digest == digest(b"weights")
    with pytest.raises(AssetError):
        asset_for((tmp_path / "secret").as_uri(), assets, None)


def parts(tmp_path: Path, text: str, **fields: Any) -> CubeParts:
    file = tmp_path / "cube.yaml"
    file.write_text(text)
    known = {"name": "toy", "owner": "lab", "description": "A toy.", "cube_file": file}
    known["images"] = (image_for(f"lab/toy@{DIGEST}", Assets(tmp_path, AssetPolicy()), None),)
    return CubeParts(**{**known, **fields})


def test_a_cube_s_tasks_tell_its_role_and_its_file_the_format(tmp_path: Path) -> None:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("a: 1\n")
    model = cube_manifest(parts(tmp_path, MODEL, parameters_file=parameters)).spec
    assert (model.role, model.format) == ("model", "mlcube")
    assert model.files == {"mlcube.yaml": MODEL, "parameters.yaml": "a: 1\n"}
    evaluator = cube_manifest(parts(tmp_path, EVALUATOR)).spec
    assert (evaluator.role, evaluator.format) == ("evaluator", "container-config")
    assert evaluator.files == {"container_config.yaml": EVALUATOR}


def test_a_role_that_the_tasks_cannot_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="evaluate"):
        cube_manifest(parts(tmp_path, MODEL, role="evaluator"))
    both = MODEL + "  evaluate: {parameters: {outputs: {output_path: results.yaml}}}\n"
    with pytest.raises(CubeError, match="do not tell its role"):
        cube_manifest(parts(tmp_path, both))


def test_files_that_cannot_go_into_a_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        cube_manifest(parts(tmp_path, MODEL, parameters_file=tmp_path / "none.yaml"))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(CubeError, match="not UTF-8"):
        cube_manifest(parts(tmp_path, MODEL, parameters_file=binary))


def test_what_no_manifest_can_say_is_told_by_field(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name: "):
        cube_manifest(parts(tmp_path, MODEL, name="Not A Name"))
    with pytest.raises(UsageError, match="images"):
        cube_manifest(parts(tmp_path, MODEL, images=()))
