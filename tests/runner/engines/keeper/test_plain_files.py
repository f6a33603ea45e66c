"""What a task wrote is looked at without being followed or read, and written anew."""

import os
from pathlib import Path

import pytest

from medperf.runner.engines.keeper.plain_files import Refused, copy_file, copy_tree, plain_tree


def test_trees_are_bounded_without_reading_them(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(b"x" * 100)
    bounds = {"most_bytes": 1000, "most_files": 10}
    found = plain_tree(tree, **bounds)
    assert {(str(path), folder) for path, folder in found} == {
        ("a", True),
        ("a/b", True),
        ("a/file", False),
    }
    with pytest.raises(Refused, match="more than 2 files"):
        plain_tree(tree, most_bytes=1000, most_files=2)
    with pytest.raises(Refused, match="larger than 100"):
        plain_tree(tree, most_bytes=100, most_files=10)
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Refused, match="larger"):
        plain_tree(tree, **bounds)
    (tree / "sparse").unlink()
    copy_tree(tree, tmp_path / "copy", **bounds)
    assert (tmp_path / "copy" / "a" / "file").read_bytes() == b"x" * 100
    (tree / "link").symlink_to("a")
    with pytest.raises(Refused, match="a link"):
        copy_tree(tree, tmp_path / "copy2", **bounds)
    with pytest.raises(OSError, match=r".*"):
        copy_file(tree / "link", tmp_path / "stolen")
    os.mkfifo(tree / "fifo")
    with pytest.raises(Refused, match="changed"):
        copy_file(tree / "fifo", tmp_path / "stolen")
