"""What a killed task had written is taken out; what we were still laying out for it is not."""

import shutil
from pathlib import Path

import pytest

from medperf.runner.engines import LocalImage, Mount, Task, outputs
from medperf.runner.engines.protocol import Limits
from medperf.runner.engines.rescue import rescue
from medperf.runner.engines.supervise import BEGUN


@pytest.fixture
def task(tmp_path: Path) -> Task:
    seed = tmp_path / "seed"
    seed.mkdir()
    for name in "abc":
        (seed / name).write_text("work of a person")
    mounts = (
        Mount(tmp_path / "data", "/data", writable=True, seed=seed),
        Mount(tmp_path / "labels", "/labels", writable=True),
    )
    image = LocalImage("sandbox", tmp_path, "sha256:" + "0" * 64)
    (tmp_path / "task").mkdir(mode=0o700)
    return Task("own", "x", image, tmp_path / "task", tmp_path / "log", mounts=mounts)


def test_before_the_task_was_started_there_is_nothing_to_rescue(task: Task) -> None:
    outputs.stage(task, owner=None, disk=False)  # and killed here
    assert rescue(task.folder, Limits()) == {}
    (task.folder / BEGUN).touch()
    assert sorted(rescue(task.folder, Limits())) == [0, 1]
    outputs.stage(task, owner=None, disk=False)
    assert rescue(task.folder, Limits()) == {}, "the mark was of the start before"


def test_half_a_copy_is_taken_away(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        (target / "b").write_bytes((source / "b").read_bytes())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space"):
        outputs.stage(task, owner=None, disk=False)
    assert [path.name for path in task.folder.iterdir()] == []


def test_outputs_are_known_by_their_number(task: Task) -> None:
    staging = outputs.stage(task, owner=None, disk=False)
    (task.folder / BEGUN).touch()
    (staging.outputs[1].bound / "label").write_text("hidden")
    outputs.remove_tree(staging.outputs[0].kept)  # delivered already, when it was killed
    found = rescue(task.folder, Limits())
    assert {number: [path.name for path in one.iterdir()] for number, one in found.items()} == {
        1: ["label"]
    }
