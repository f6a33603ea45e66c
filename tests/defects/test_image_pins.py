"""A tag never reaches a manifest or an engine: it is resolved to content once, or refused."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.runner import docker_pins
from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.engines.docker_archive import is_docker_archive
from medperf.runner.packing import Hosting, image_for
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import UsageError

pytestmark = pytest.mark.docker


@pytest.fixture
def local_tag(tmp_path: Path) -> Iterator[str]:
    """An image that only this machine has."""
    import io
    import tarfile

    name = f"medperf-test/{uuid.uuid4().hex[:12]}:1.0"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    with docker_pins.connected() as client:
        identity = client.api.import_image_from_data(
            layer.getvalue(), repository=name.partition(":")[0], tag="1.0"
        )
        assert identity
        yield name
        client.images.remove(name, force=True)
    assert tmp_path.exists()


def assets(tmp_path: Path) -> Assets:
    return Assets(tmp_path / "assets", AssetPolicy())


def test_a_tag_without_a_digest_is_refused_with_what_was_found(
    local_tag: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"on this machine only \(image id sha256:"):
        image_for(f"docker={local_tag}", assets(tmp_path), None)


def test_a_tag_of_this_engine_alone_is_saved_where_files_are_laid_out(
    local_tag: str, tmp_path: Path
) -> None:
    hosting = Hosting(tmp_path / "out", "https://files.example/cubes")
    image = image_for(f"docker={local_tag}", assets(tmp_path), hosting)
    (file,) = (tmp_path / "out").iterdir()
    assert image.archive is not None
    assert image.archive.url == f"https://files.example/cubes/{file.name}"
    assert image.archive.digest == file_digest(file)
    assert is_docker_archive(file)
    assert image_for(f"docker={local_tag}", assets(tmp_path), hosting) == image


def test_a_name_that_nobody_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither in the Docker engine"):
        image_for("docker=127.0.0.1:9/nobody/nothing:1", assets(tmp_path), None)


def test_a_tag_becomes_a_digest_and_nothing_else(
    local_tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = f"{local_tag.partition(':')[0]}@sha256:{'a' * 64}"
    found = docker_pins.Found("sha256:" + "b" * 64, (digest,))
    monkeypatch.setattr(docker_pins, "look", lambda _: found)
    assert image_for(f"docker={local_tag}", assets(tmp_path), None).image == digest


def test_an_image_is_saved_and_tested_by_its_content(local_tag: str, tmp_path: Path) -> None:
    from medperf.runner.local_cubes import local_cube

    folder = tmp_path / "cube"
    folder.mkdir()
    (folder / "mlcube.yaml").write_text(
        f"name: x\ndocker: {{image: '{local_tag}'}}\ntasks:\n  infer:\n    parameters:\n"
        "      inputs: {data_path: data/}\n      outputs: {output_path: predictions/}\n"
    )
    store = assets(tmp_path)
    first = local_cube(folder, "docker", store, owner="local").spec.images[0]
    assert first.archive is not None
    assert store.path(first.archive.digest).is_file()
    again = local_cube(folder, "docker", store, owner="local").spec.images[0]
    assert again == first, "saved once"
