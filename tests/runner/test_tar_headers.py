"""What a stranger's tar says of itself is read only as far as plain archives say anything."""

import tarfile
from pathlib import Path

import pytest

from medperf.runner.archives import unpack
from medperf.runner.content import read_small
from medperf.runner.demo_dataset import unpack_demo
from medperf.runner.engines.docker_archive import look
from medperf.runner.tarballs import write_tar
from medperf.schemas.errors import AssetError, DataError, EngineError


def member(kind: bytes, body: bytes, *, size: int | None = None) -> bytes:
    """One member as it stands in a tar; `size` is what its header says."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(body) if size is None else size
    return info.tobuf(tarfile.USTAR_FORMAT) + body + b"\0" * (-len(body) % 512)


def record(key: str, value: str) -> bytes:
    """A pax record, its own length before it."""
    rest = f" {key}={value}\n"
    size = len(rest) + 2
    return f"{size if len(str(size)) == 2 else size + 1}{rest}".encode()


SPARSE = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
HOSTILE = {
    "a header of gigabytes": member(tarfile.XHDTYPE, b"x", size=3 << 30),
    "a name of a mebibyte": member(tarfile.GNUTYPE_LONGNAME, b"x" * (1 << 20)),
    "a global header of a mebibyte": member(tarfile.XGLTYPE, b"x" * (1 << 20)),
    "an old sparse file": member(tarfile.GNUTYPE_SPARSE, b"x"),
    "a sparse file whose map does not end": member(tarfile.XHDTYPE, SPARSE)
    + member(tarfile.REGTYPE, b"1" * (1 << 20)),
    "headers of headers": member(tarfile.XHDTYPE, record("a", "b")) * 3000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_would_fill_memory_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "hostile.tar"
    archive.write_bytes(HOSTILE[name] + b"\0" * 10240)
    with pytest.raises(AssetError):
        unpack(archive, tmp_path / "into")
    with pytest.raises(EngineError):
        look(archive)


def test_a_refused_header_is_told_with_what_to_do(tmp_path: Path) -> None:
    archive = tmp_path / "hostile.tar"
    archive.write_bytes(HOSTILE["a header of gigabytes"] + b"\0" * 10240)
    said = "it has a header of 3221225472 bytes: pack it again with plain names"
    with pytest.raises(AssetError, match=said):
        unpack(archive, tmp_path / "into", what="The demo dataset")
    with pytest.raises(EngineError, match=said):
        look(archive)


def test_a_long_name_that_is_plain_is_taken(tmp_path: Path) -> None:
    name = "/".join(["n" * 100] * 5)
    archive = write_tar({name: b"x"}, tmp_path / "plain.tar")
    unpack(archive, tmp_path / "into")
    assert (tmp_path / "into" / name).read_bytes() == b"x"


def test_a_file_that_should_be_small_is_not_read_if_it_is_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    assert read_small(file, 100) == b"x" * 100
    with pytest.raises(OSError, match="it has 100 bytes, and 99 are allowed"):
        read_small(file, 99)


def test_the_index_of_a_demo_dataset_may_be_as_large_as_an_index_is(tmp_path: Path) -> None:
    archive = write_tar({"paths.yaml": b"#" * (1 << 20)}, tmp_path / "demo.tar.gz")
    with pytest.raises(DataError, match=r"no paths.yaml of at most 65536 bytes"):
        unpack_demo(archive, tmp_path / "into")
