"""The content hash: golden values, what it sees, and what it refuses."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from medperf.runner.content import (
    Content,
    changed,
    content_hash,
    differences,
    parse_lines,
    tree_content,
)
from medperf.schemas.digests import commitment
from medperf.schemas.errors import DataError


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A small prepared dataset."""
    return write(
        tmp_path / "set",
        {"data/a.png": "A", "data/b.png": "B", "labels/a.txt": "1", "labels/b.txt": "0"},
    )


def test_the_golden_dataset_has_its_golden_hash_lines_and_commitment(
    tmp_path: Path, vectors: Path
) -> None:
    values = json.loads(vectors.joinpath("values.json").read_text())
    content = content_hash(write(tmp_path, values["contentFiles"]))
    assert content.hash.hex() == values["contentHash"]
    assert content.lines == vectors.joinpath("content.txt").read_bytes()
    secret = bytes.fromhex(values["datasetSecret"])
    assert commitment(secret, content.hash) == values["commitment"]


def test_sha256sum_agrees_with_every_line(prepared: Path) -> None:
    lines = content_hash(prepared).lines.decode().splitlines()
    check = "".join(f"{line.split(' ')[0]}  {line.split(' ', 2)[2]}\n" for line in lines)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict"], input=check.encode(), cwd=prepared, check=False
    )
    assert done.returncode == 0


def test_only_data_and_labels_are_hashed(prepared: Path) -> None:
    before = content_hash(prepared)
    write(prepared, {"statistics.yaml": "x", "metadata/m": "y"})
    assert content_hash(prepared) == before
    assert (before.files, before.size) == (4, 4)


def test_recorded_lines_give_the_same_content_back(prepared: Path) -> None:
    content = content_hash(prepared)
    assert Content.from_lines(content.lines) == content


def test_a_dataset_without_labels_is_hashed(tmp_path: Path) -> None:
    assert content_hash(write(tmp_path, {"data/x": "x"})).files == 1


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder `data`"):
        content_hash(tmp_path)


def test_a_rename_is_seen_and_named(prepared: Path) -> None:
    recorded = content_hash(prepared).lines
    prepared.joinpath("data/a.png").rename(prepared / "data/c.png")
    assert changed(prepared, recorded) == ["data/a.png was renamed to data/c.png"]


def test_swapped_labels_are_seen_and_named(prepared: Path) -> None:
    recorded = content_hash(prepared).lines
    one, other = prepared / "labels/a.txt", prepared / "labels/b.txt"
    one.write_text("0")
    other.write_text("1")
    assert changed(prepared, recorded) == [
        "labels/a.txt has other bytes",
        "labels/b.txt has other bytes",
    ]


def test_new_and_missing_files_are_named(prepared: Path) -> None:
    recorded = content_hash(prepared).lines
    prepared.joinpath("data/a.png").unlink()
    write(prepared, {"data/new.png": "N"})
    assert changed(prepared, recorded) == ["data/a.png is missing", "data/new.png is new"]


def test_nothing_changed_says_nothing(prepared: Path) -> None:
    assert changed(prepared, content_hash(prepared).lines) == []


@pytest.mark.parametrize("kind", ["link", "folder link", "fifo"])
def test_what_is_no_plain_file_is_refused(prepared: Path, kind: str) -> None:
    path = prepared / "data" / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/passwd" if kind == "link" else "/etc")
    with pytest.raises(DataError, match="link or a device"):
        content_hash(prepared)


def test_labels_that_are_a_link_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"data/x": "x"})
    tmp_path.joinpath("labels").symlink_to("/etc")
    with pytest.raises(DataError):
        content_hash(tmp_path)


def test_a_line_break_in_a_name_is_refused(prepared: Path) -> None:
    write(prepared, {"data/a\nb": "x"})
    with pytest.raises(DataError, match="line break"):
        content_hash(prepared)


def test_a_name_that_is_not_utf8_is_refused(prepared: Path) -> None:
    Path(os.fsdecode(os.fsencode(prepared / "data") + b"/\xff")).write_text("x")
    with pytest.raises(DataError, match="not UTF-8"):
        content_hash(prepared)


def test_endless_folders_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "data" / "/".join(["d"] * 80)
    deep.mkdir(parents=True)
    with pytest.raises(DataError, match="nested deeper"):
        content_hash(tmp_path)


def test_many_files_are_sorted_bytewise(tmp_path: Path) -> None:
    names = [f"data/{n % 7}/{n}é" for n in range(1500)] + ["data/Z", "data/a", "data/ä"]
    content = content_hash(write(tmp_path, dict.fromkeys(names, "x")))
    paths = [line.split(b" ", 2)[2] for line in content.lines.splitlines()]
    assert paths == sorted(paths)
    assert content.files == len(names)
    assert content.hash == hashlib.sha256(content.lines).digest()


def test_a_whole_tree_has_content_too(prepared: Path) -> None:
    write(prepared, {"top": "x"})
    assert b" top\n" in tree_content(prepared).lines


@pytest.mark.parametrize("lines", [b"x\n", b"aa 1 b", b"\xff", b"aa 1 b\naa 1 a\n", b"aa 01 b\n"])
def test_damaged_records_are_refused(lines: bytes) -> None:
    with pytest.raises(DataError, match="damaged"):
        parse_lines(lines)


def test_equal_files_are_paired_off_one_by_one() -> None:
    before = b"aa 1 data/1\naa 1 data/2\n"
    after = b"aa 1 data/3\n"
    assert differences(before, after) == [
        "data/1 was renamed to data/3",
        "data/2 is missing",
    ]
