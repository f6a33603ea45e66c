"""Cubes made ready: the right image for the engine, and every piece verified."""

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.engines import open_engine
from medperf.runner.workshop import Workshop, choose_image, host_platform
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import AssetError, CubeError
from medperf.schemas.manifests import Asset, Cube, CubeSpec, Image, LabelledMetadata

DIGEST = "sha256:" + "a" * 64
SOME = Asset(url="https://example.org/x", digest=DIGEST, size=1)
TEXT = """\
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: parameters.yaml, weights: additional_files/w}
      outputs: {output_path: predictions/}
"""
HERE = host_platform()
ELSEWHERE = "linux/s390x" if HERE != "linux/s390x" else "linux/amd64"

D_IMAGE = Image(engine="docker", image=f"x@{DIGEST}", platform=HERE)
D_ARCHIVE = Image(engine="docker", archive=SOME, platform=HERE)
D_OTHER = Image(engine="docker", image=f"y@{DIGEST}", platform=ELSEWHERE)
S_ARCHIVE = Image(engine="singularity", archive=SOME)
B_ARCHIVE = Image(engine="sandbox", archive=SOME, command=("python3", "main.py"))


def cube(*images: Image, **more: Any) -> Cube:
    spec = {
        "role": "model",
        "format": "mlcube",
        "files": {"mlcube.yaml": TEXT, "parameters.yaml": "a: é\n"},
        "images": images,
        **more,
    }
    return Cube(
        api_version="medperf/v1alpha1",
        kind="Cube",
        metadata=LabelledMetadata(name="resnet", owner="modeler", description=""),
        spec=CubeSpec(**spec),
    )


@pytest.mark.parametrize(
    ("engine", "images", "chosen"),
    [
        ("docker", (D_OTHER, D_ARCHIVE, D_IMAGE), D_IMAGE),
        ("docker", (S_ARCHIVE, D_ARCHIVE), D_ARCHIVE),
        ("singularity", (D_IMAGE, D_ARCHIVE, S_ARCHIVE), S_ARCHIVE),
        ("singularity", (D_IMAGE, D_ARCHIVE), D_ARCHIVE),
        ("singularity", (D_IMAGE,), D_IMAGE),
        ("sandbox", (D_IMAGE, B_ARCHIVE), B_ARCHIVE),
    ],
)
def test_the_best_image_for_the_engine_is_chosen(
    engine: str, images: tuple[Image, ...], chosen: Image
) -> None:
    assert choose_image(cube(*images), engine) == chosen


def test_a_cube_without_an_image_for_the_engine_lists_what_it_has() -> None:
    with pytest.raises(CubeError) as caught:
        choose_image(cube(D_OTHER, B_ARCHIVE), "docker")
    assert str(caught.value) == (
        f"modeler/resnet has no image for docker on {HERE}; it has docker image for {ELSEWHERE}, "
        "sandbox archive. Use another engine, or ask its owner for one."
    )


def pinned(path: Path) -> Asset:
    return Asset(url=path.as_uri(), digest=file_digest(path), size=path.stat().st_size)


def tar(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A workshop for the sandbox whose policy lets files of this test be read."""
    assets = Assets(tmp_path / "assets", AssetPolicy(files=(tmp_path,)))
    return Workshop(assets, open_engine("sandbox", state=tmp_path / "state"), tmp_path / "store")


@pytest.fixture
def whole(tmp_path: Path) -> Cube:
    """A cube with an image and additional files in this folder."""
    image = pinned(tar(tmp_path / "image.tar.gz", **{"main.py": "print()"}))
    entry = Image(engine="sandbox", archive=image, command=("python3", "main.py"))
    return cube(entry, additional_files=pinned(tar(tmp_path / "more.tar.gz", w="weights")))


def test_a_cube_is_made_ready(workshop: Workshop, whole: Cube, tmp_path: Path) -> None:
    told: list[str] = []
    ready = workshop.ready(whole, DIGEST, progress=told.append)
    assert ready.name == "modeler/resnet"
    assert ready.additional is not None
    assert ready.additional.joinpath("w").read_text() == "weights"
    assert ready.parameters is not None
    assert ready.parameters.name == "parameters.yaml"
    assert ready.parameters.read_bytes() == "a: é\n".encode()
    assert ready.image.command == ("python3", "main.py")
    fetching = [re.sub(r"0\.[1-9] kB", "N kB", line) for line in told if "Fetching" in line]
    assert fetching == [
        "Fetching the image of modeler/resnet (N kB)",
        "Fetching the additional files of modeler/resnet (N kB)",
    ]
    tmp_path.joinpath("image.tar.gz").unlink()
    tmp_path.joinpath("more.tar.gz").unlink()
    assert workshop.ready(whole, DIGEST) == ready


def test_pieces_that_were_changed_are_made_anew(workshop: Workshop, whole: Cube) -> None:
    ready = workshop.ready(whole, DIGEST)
    assert ready.parameters is not None
    assert ready.additional is not None
    ready.parameters.chmod(0o644)
    ready.parameters.write_text("poison")
    ready.additional.joinpath("w").write_text("poison")
    workshop.ready(whole, DIGEST)
    assert ready.parameters.read_bytes() == "a: é\n".encode()
    assert ready.additional.joinpath("w").read_text() == "weights"


def test_a_mirror_stands_in_for_a_lost_address(
    workshop: Workshop, whole: Cube, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar.gz"
    digest, elsewhere = file_digest(archive), tmp_path / "mirror.tar.gz"
    archive.rename(elsewhere)
    with pytest.raises(AssetError, match="cannot be read"):
        workshop.ready(whole, DIGEST)
    workshop.ready(whole, DIGEST, mirrors={digest: [elsewhere.as_uri()]})


def test_faults_of_the_files_are_found_before_anything_is_fetched(workshop: Workshop) -> None:
    wrong = cube(B_ARCHIVE, files={"mlcube.yaml": TEXT})
    with pytest.raises(CubeError, match="takes weights from the additional files"):
        workshop.ready(wrong, DIGEST)
    with pytest.raises(CubeError, match="no image for sandbox"):
        workshop.ready(cube(D_IMAGE, additional_files=SOME), DIGEST)
    assert not workshop.assets.root.exists()
