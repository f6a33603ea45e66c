"""Cubes on this machine, in every form in which their files lie around."""

import re
from pathlib import Path

import pytest

from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.local_cubes import find_cube, local_cube
from medperf.schemas.errors import CubeError, UsageError

MLCUBE = """\
name: model
docker: {image: 'example/x@sha256:%s'}
singularity: {image: model.sif, image_dir: '{workspace}/.image'}
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, weights: additional_files/w.npz}
      outputs: {output_path: predictions/}
""" % ("a" * 64)
CONFIG = """\
container_type: %s
image: %s
tasks:
  evaluate:
    run_args: {command: python3 main.py}
    input_volumes:
      predictions: {mount_path: /io/p, type: directory}
      labels: {mount_path: /io/l, type: directory}
    output_volumes:
      output_path: {mount_path: /io/r.yaml, type: file}
"""


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    return Assets(tmp_path / "assets", AssetPolicy())


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    folder = tmp_path / "My Cube"
    (folder / "workspace/additional_files").mkdir(parents=True)
    (folder / "workspace/additional_files/w.npz").write_bytes(b"weights")
    (folder / "workspace/.image").mkdir()
    (folder / "workspace/.image/model.sif").write_bytes(b"an image")
    (folder / "mlcube.yaml").write_text(MLCUBE)
    return folder


def test_each_engine_takes_what_the_mlcube_file_names_for_it(cube: Path, assets: Assets) -> None:
    on_docker = local_cube(cube, "docker", assets, owner="local")
    assert on_docker.metadata.name == "my-cube"
    assert on_docker.spec.images[0].image == "example/x@sha256:" + "a" * 64
    sif = local_cube(cube / "mlcube.yaml", "singularity", assets, owner="local").spec.images[0]
    assert sif.engine == "singularity"
    assert sif.archive is not None
    assert assets.path(sif.archive.digest).read_bytes() == b"an image"
    (cube / "workspace/.image/model.sif").unlink()
    converted = local_cube(cube, "singularity", assets, owner="local").spec.images[0]
    assert converted.engine == "docker", "Singularity converts what Docker has"


def test_additional_files_are_packed_the_same_each_time(cube: Path, assets: Assets) -> None:
    first = local_cube(cube, "docker", assets, owner="local").spec.additional_files
    (cube / "workspace/additional_files/w.npz").touch()
    assert local_cube(cube, "docker", assets, owner="local").spec.additional_files == first
    (cube / "workspace/additional_files/w.npz").write_bytes(b"other weights")
    assert local_cube(cube, "docker", assets, owner="local").spec.additional_files != first
    assert not list((assets.root / "packing").iterdir())


def test_a_container_config_names_archives_and_images(tmp_path: Path, assets: Assets) -> None:
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "image.tar").write_bytes(b"saved")
    (folder / "image.sif").write_bytes(b"sif")
    file = folder / "container_config.yaml"
    file.write_text(CONFIG % ("DockerArchive", "image.tar"))
    saved = local_cube(folder, "docker", assets, owner="local")
    assert saved.spec.format == "container-config"
    assert saved.spec.images[0].archive is not None
    file.write_text(CONFIG % ("SingularityFile", "image.sif"))
    assert local_cube(folder, "singularity", assets, owner="local").spec.images[0].archive


def test_an_archive_may_have_any_name_or_an_address(tmp_path: Path) -> None:
    assets = Assets(tmp_path / "assets", AssetPolicy(files=(tmp_path,)))
    folder = tmp_path / "eval"
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace/saved.image").write_bytes(b"saved")
    file = folder / "container_config.yaml"
    file.write_text(CONFIG % ("DockerArchive", "saved.image"))
    named = local_cube(folder, "docker", assets, owner="local").spec.images[0].archive
    file.write_text(CONFIG % ("DockerArchive", (folder / "workspace/saved.image").as_uri()))
    fetched = local_cube(folder, "docker", assets, owner="local").spec.images[0].archive
    assert named is not None
    assert fetched is not None
    assert named.digest == fetched.digest
    file.write_text(CONFIG % ("DockerArchive", "absent.tar"))
    with pytest.raises(CubeError, match=r"names the image absent\.tar, which is not there"):
        local_cube(folder, "docker", assets, owner="local")


def test_the_parameters_may_have_another_name(cube: Path, assets: Assets) -> None:
    text = MLCUBE.replace("data_path: data/", "data_path: data/, parameters_file: config.yml")
    (cube / "mlcube.yaml").write_text(text)
    (cube / "workspace/config.yml").write_text("rate: 1\n")
    made = local_cube(cube, "docker", assets, owner="local", scratch_root=True)
    assert made.spec.files["parameters.yaml"] == "rate: 1\n"
    assert made.spec.resources is not None
    assert made.spec.resources.scratch_root


def test_what_cannot_be_a_cube_is_told(cube: Path, assets: Assets, tmp_path: Path) -> None:
    with pytest.raises(CubeError, match=r"has no main.py"):
        local_cube(cube, "sandbox", assets, owner="local")
    with pytest.raises(UsageError, match="neither mlcube"):
        find_cube(tmp_path)
    (cube / "container_config.yaml").write_text("")
    with pytest.raises(UsageError, match="name the file that you mean"):
        find_cube(cube)
    with pytest.raises(UsageError, match="There is no cube at"):
        find_cube(cube / "nothing.yaml")
    (cube / "mlcube.yaml").write_text(MLCUBE.replace("docker:", "dock:"))
    with pytest.raises(CubeError, match=r"names no image for docker"):
        local_cube(cube / "mlcube.yaml", "docker", assets, owner="local")


@pytest.mark.docker
def test_an_image_that_is_not_here_is_told_with_how_it_is_built(
    cube: Path, assets: Assets, tmp_path: Path
) -> None:
    section = "{image: nobody/nothing:1, build_context: ../the project, build_file: model.df}"
    lines = [f"docker: {section}" if "docker:" in line else line for line in MLCUBE.splitlines()]
    (cube / "mlcube.yaml").write_text("\n".join(lines))
    where = f"{tmp_path}/the project"
    how = f"docker build -t nobody/nothing:1 -f '{where}/model.df' '{where}'"
    with pytest.raises(CubeError, match=re.escape(how)):
        local_cube(cube / "mlcube.yaml", "docker", assets, owner="local")


def test_what_runs_in_the_sandbox_is_the_code_alone(cube: Path, assets: Assets) -> None:
    from medperf.runner.local_cubes import sandbox_files

    (cube / "main.py").write_text("pass")
    (cube / "lib/__pycache__").mkdir(parents=True)
    (cube / "lib/net.py").write_text("pass")
    (cube / "lib/__pycache__/net.pyc").write_bytes(b"")
    (cube / ".git").mkdir()
    (cube / "image.tar").write_bytes(b"")
    assert sorted(sandbox_files(find_cube(cube))) == ["lib/net.py", "main.py"]
    image = local_cube(cube, "sandbox", assets, owner="local").spec.images[0]
    assert image.command == ("python3", "main.py")
