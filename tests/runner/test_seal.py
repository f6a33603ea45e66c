"""A seal spares the reading of data that nobody has touched, and nothing else."""

import os
import time
from pathlib import Path

import pytest

from medperf.runner import seal
from medperf.runner.content import content_hash
from medperf.schemas.errors import DataError

LATER = time.time() + 6 * 3600  # read when the tests are collected: longer than they take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("data/a.png", "data/sub/b.png", "labels/labels.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def sealed(folder: Path) -> bytes:
    lines = content_hash(folder).lines
    assert seal.changed(folder, lines, now=LATER) == []
    assert (folder / "seal").is_file()
    return lines


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the bytes were read again")

    monkeypatch.setattr(seal, "tree_content", read)


def test_what_nobody_has_touched_is_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = sealed(folder)
    unread(monkeypatch)
    assert seal.changed(folder, lines, now=LATER) == []
    with pytest.raises(AssertionError):
        seal.changed(folder, lines, full=True, now=LATER)
    with pytest.raises(AssertionError):
        seal.changed(folder, lines, now=LATER + seal.WEEK)
    with pytest.raises(AssertionError):  # a clock that was set back
        seal.changed(folder, lines, now=LATER - 120)


def test_a_change_of_the_same_size_and_time_is_seen(folder: Path) -> None:
    lines = sealed(folder)
    path = folder / "data" / "a.png"
    before = path.stat()
    path.write_text("DATA/A.PNG")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert seal.changed(folder, lines, now=LATER) == ["data/a.png has other bytes"]


@pytest.mark.parametrize("change", ["rename", "remove", "add", "swap", "replace"])
def test_any_change_breaks_the_seal(folder: Path, change: str) -> None:
    lines = sealed(folder)
    one, two = folder / "data" / "a.png", folder / "data" / "sub" / "b.png"
    if change == "rename":
        one.rename(one.with_name("c.png"))
    elif change == "remove":
        one.unlink()
    elif change == "add":
        (folder / "labels" / "more.csv").touch()
    elif change == "swap":
        one.rename(folder / "x")
        two.rename(one)
        (folder / "x").rename(two)
    else:
        (folder / "new").write_text("other bytes")
        (folder / "new").rename(one)
    assert seal.changed(folder, lines, now=LATER)


def test_a_seal_is_of_one_list_of_files(folder: Path) -> None:
    lines = sealed(folder)
    other = lines.replace(b"data/a.png", b"data/aa.png")
    assert seal.changed(folder, other, now=LATER)


def test_what_was_touched_just_now_is_not_sealed(folder: Path) -> None:
    lines = content_hash(folder).lines
    assert seal.changed(folder, lines, now=time.time()) == []
    assert not (folder / "seal").exists()


@pytest.mark.parametrize("text", ["", "a b", "a b c", "é"])
def test_a_damaged_seal_is_none(folder: Path, text: str) -> None:
    lines = sealed(folder)
    (folder / "seal").write_text(text, encoding="utf-8")
    assert seal.changed(folder, lines, now=LATER) == []


def test_a_link_is_refused_as_by_the_hash(folder: Path) -> None:
    lines = sealed(folder)
    (folder / "data" / "link").symlink_to("a.png")
    with pytest.raises(DataError, match="link"):
        seal.changed(folder, lines, now=LATER)
    with pytest.raises(DataError, match="no folder"):
        seal.changed(folder / "labels", lines, now=LATER)
