"""What takes long with large files says how far it is, and comes to its end."""

import os
from pathlib import Path

import pytest

from medperf.runner.archives import unpacked
from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.content import content_hash
from medperf.runner.engines.docker_archive import without_names
from medperf.runner.tarballs import write_tar
from medperf.schemas.digests import file_digest
from medperf.schemas.manifests import Asset
from medperf.schemas.progress import listening
from tests.recorder import Recorder

SIZE = 3 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some bytes that do not pack."""
    (tmp_path / "file").write_bytes(os.urandom(SIZE))
    return tmp_path / "file"


def test_packing_checking_and_unpacking_tell_all_their_bytes(tmp_path: Path, file: Path) -> None:
    recorder = Recorder()
    with listening(recorder):
        archive = write_tar({"a": file, "b": b"x" * 100}, tmp_path / "a.tar.gz")
        digest = file_digest(archive)
        unpacked(archive, digest, tmp_path / "store", what="The demo dataset")
    packed = archive.stat().st_size
    assert recorder.told("Packing") == [(SIZE + 100, SIZE + 100, "bytes")]
    assert recorder.told("Checking a file") == [(packed, packed, "bytes")]
    assert recorder.told("Unpacking the demo dataset") == [(packed, packed, "bytes")]
    assert recorder.told("Hashing every file") == [(SIZE + 100, SIZE + 100, "bytes")]


def test_a_dataset_is_hashed_with_how_much_is_left(tmp_path: Path, file: Path) -> None:
    for name in ("data", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
    file.rename(tmp_path / "set" / "data" / "large")
    (tmp_path / "set" / "labels" / "small").write_bytes(b"12345")
    recorder = Recorder()
    with listening(recorder):
        told = content_hash(tmp_path / "set")
    assert recorder.told("Hashing every file") == [(SIZE + 5, SIZE + 5, "bytes")]
    assert told == content_hash(tmp_path / "set")


def test_a_download_tells_its_bytes_and_what_was_there_before(tmp_path: Path, file: Path) -> None:
    assets = Assets(tmp_path / "assets", AssetPolicy(files=(tmp_path,)))
    asset = Asset(url=file.as_uri(), digest=file_digest(file), size=SIZE)
    recorder = Recorder()
    with listening(recorder):
        assets.fetch(asset)
        assets.pin(file.as_uri())
    assert recorder.told("Fetching file") == [(SIZE, SIZE, "bytes"), (SIZE, None, "bytes")]


def test_an_image_that_is_loaded_tells_its_bytes(tmp_path: Path, file: Path) -> None:
    archive = write_tar({"layer": file}, tmp_path / "image.tar", compress=False)
    recorder = Recorder()
    with listening(recorder):
        sent = sum(map(len, without_names(archive)))
    [(done, total, unit)] = recorder.told("Loading the image")
    assert total == archive.stat().st_size
    assert SIZE <= done <= sent
    assert unit == "bytes"
