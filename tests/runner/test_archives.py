"""Archives: what comes out, and everything that a hostile one may try."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.runner.archives import ArchiveLimits, unpack, unpacked
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import AssetError

Member = tuple[tarfile.TarInfo, bytes]


def plain(name: str, data: bytes = b"x", mode: int = 0o644) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def folder(name: str) -> Member:
    return special(name, tarfile.DIRTYPE)


def make(path: Path, *members: Member, mode: str = "w:gz") -> Path:
    with tarfile.open(str(path), mode) as tar:  # type: ignore[call-overload]
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_and_folders_come_out_with_plain_modes(tmp_path: Path, mode: str) -> None:
    archive = make(
        tmp_path / "a.tar",
        folder("./"),
        folder("./empty"),
        plain("./sub/run", b"go", 0o4777),
        plain("./" + "long/" * 20 + "n" * 120, b"", 0o000),
        mode=mode,
    )
    unpack(archive, tmp_path / "out")
    run = tmp_path / "out/sub/run"
    assert run.read_bytes() == b"go"
    assert run.stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/empty").is_dir()
    deep = tmp_path / "out" / ("long/" * 20 + "n" * 120)
    assert deep.stat().st_mode & 0o7777 == 0o644


HOSTILE = {
    "climbing": [plain("../evil")],
    "climbing inside": [plain("a/../../evil")],
    "absolute": [plain("/etc/evil")],
    "drive": [plain("C:evil")],
    "backslash": [plain("..\\evil")],
    "control": [plain("a\x1b[31m")],
    "line break": [plain("a\nb")],
    "symlink": [special("a", tarfile.SYMTYPE, "/etc/passwd")],
    "through a symlink": [special("a", tarfile.SYMTYPE, "/tmp"), plain("a/evil")],  # noqa: S108
    "hard link": [plain("a"), special("b", tarfile.LNKTYPE, "a")],
    "device": [special("a", tarfile.CHRTYPE)],
    "block device": [special("a", tarfile.BLKTYPE)],
    "fifo": [special("a", tarfile.FIFOTYPE)],
    "twice": [plain("a"), plain("a")],
    "twice by dots": [plain("a"), plain("./a")],
    "case": [plain("Readme"), plain("README")],
    "case of folders": [plain("A/x"), plain("a/y")],
    "normal form": [plain("\u00e9"), plain("e\u0301")],
    "file and folder": [plain("a"), plain("a/b")],
    "folder and file": [plain("a/b"), plain("a")],
    "nameless": [plain("./")],
    "long": [plain("a/" * 20 + "b" * 300)],
    "deep": [plain("a/" * 40 + "b")],
    "very long": [plain("ab/" * 400)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries_are_refused_by_name(tmp_path: Path, case: str) -> None:
    archive = make(tmp_path / "a.tar.gz", *HOSTILE[case])
    with pytest.raises(AssetError, match=r"The demo was refused: its entry"):
        unpack(archive, tmp_path / "out", what="The demo")
    assert not (tmp_path / "evil").exists()


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", *(plain(f"f{n}") for n in range(20)))
    with pytest.raises(AssetError, match="more than 10 entries"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(entries=10))


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("a", b"x" * 5000), plain("b", b"x" * 6000))
    with pytest.raises(AssetError, match="more than 10000 bytes"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(size=10_000))


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("a", bytes(8 << 20)))
    limits = ArchiveLimits(entries=10, ratio=100, ratio_free=1 << 20)
    with pytest.raises(AssetError, match="far too many bytes"):
        unpack(archive, tmp_path / "out", limits=limits)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    archive = tmp_path / "a.tar"
    archive.write_bytes(info.tobuf(tarfile.USTAR_FORMAT if info.size < 1 << 32 else 1))
    with pytest.raises(AssetError, match="header of"):
        unpack(archive, tmp_path / "out")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(1 << 20)
    archive = tmp_path / "a.tar"
    os.system(f"tar -C {tmp_path} --sparse -cf {archive} sparse")  # noqa: S605
    with pytest.raises(AssetError, match="sparse"):
        unpack(archive, tmp_path / "out")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 255]) + data[41:]


def other(_: bytes) -> bytes:
    return b"not an archive at all"


def nothing(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flip, other, nothing])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("a", os.urandom(3000)))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(AssetError, match=r"whole \.tar or \.tar\.gz|refused"):
        unpack(archive, tmp_path / "out")


def test_a_file_cut_off_inside_is_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(make(tmp_path / "a.tar.gz", plain("a", b"x" * 3000)).read_bytes())
    short = tmp_path / "short.tar"
    short.write_bytes(whole[:2000])
    with pytest.raises(AssetError):
        unpack(short, tmp_path / "out")


def test_an_archive_is_unpacked_once_and_found_again(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("w/x.npz", b"weights"))
    digest = file_digest(archive)
    first = unpacked(archive, digest, tmp_path / "store")
    before = (first / "w/x.npz").stat().st_ino
    assert unpacked(archive, digest, tmp_path / "store") == first
    assert (first / "w/x.npz").stat().st_ino == before


@pytest.mark.parametrize("tamper", ["write", "add", "remove", "list"])
def test_a_tree_that_was_changed_since_is_unpacked_anew(tmp_path: Path, tamper: str) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("x", b"weights"))
    digest = file_digest(archive)
    files = unpacked(archive, digest, tmp_path / "store")
    if tamper == "write":
        files.joinpath("x").write_bytes(b"poison!")
    elif tamper == "add":
        files.joinpath("y").write_bytes(b"")
    elif tamper == "remove":
        files.joinpath("x").unlink()
    else:
        files.parent.joinpath("content.txt").unlink()
    again = unpacked(archive, digest, tmp_path / "store")
    assert [path.name for path in again.iterdir()] == ["x"]
    assert again.joinpath("x").read_bytes() == b"weights"


def test_a_refused_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", plain("fine"), plain("../evil"))
    with pytest.raises(AssetError):
        unpacked(archive, file_digest(archive), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {small} 2>/dev/null"):  # noqa: S605
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        archive = make(tmp_path / "a.tar.gz", plain("a", os.urandom(1 << 20)))
        with pytest.raises(AssetError, match="disk is full") as caught:
            unpacked(archive, file_digest(archive), small / "store")
        assert caught.value.transient
        assert list((small / "store").iterdir()) == []
    finally:
        os.system(f"umount {small}")  # noqa: S605
