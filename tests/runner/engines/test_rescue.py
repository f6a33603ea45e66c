"""What a killed task had written is taken out; what we were still laying out for it is not."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from medperf.runner.engines import LocalImage, Mount, Task, outputs
from medperf.runner.engines import rescue as rescuing
from medperf.runner.engines.keeper.plain_files import Refused
from medperf.runner.engines.protocol import Limits
from medperf.runner.engines.rescue import RescueError, forget, rescue
from medperf.runner.engines.supervise import BEGUN
from medperf.schemas.errors import EngineError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has sized file systems")


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
    with pytest.raises(EngineError, match="No space"):
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


def test_what_was_delivered_already_is_taken_from_there(task: Task) -> None:
    staging = outputs.stage(task, owner=None, disk=False)
    (task.folder / BEGUN).touch()
    (staging.outputs[0].bound / "image").write_text("took hours")
    delivered = [output.mount.source for output in staging.outputs]
    staging.deliver()
    staging.remove()
    assert rescue(task.folder, Limits(), delivered=delivered) == dict(enumerate(delivered))
    assert (delivered[0] / "image").read_text() == "took hours"
    forget(task.folder)
    assert rescue(task.folder, Limits(), delivered=delivered) == {}


def test_what_was_being_thrown_away_is_not_gone_on_from(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = outputs.stage(task, owner=None, disk=False)
    (task.folder / BEGUN).touch()
    (staging.outputs[1].bound / "label").symlink_to("/etc/passwd")
    with pytest.raises(Refused):
        staging.deliver()
    monkeypatch.setattr(outputs, "remove_tree", lambda path: path.unlink())
    with pytest.raises(OSError, match="out"):
        staging.remove()  # and killed here
    assert rescue(task.folder, Limits(), delivered=[Path("/absent")]) == {}


def test_what_cannot_be_taken_stays_and_is_told(task: Task) -> None:
    staging = outputs.stage(task, owner=None, disk=False)
    (task.folder / BEGUN).touch()
    (staging.outputs[1].bound / "label").write_text("hidden")
    (staging.outputs[1].bound / "link").symlink_to("/etc/passwd")
    for _ in range(2):
        with pytest.raises(RescueError, match="a link") as caught:
            rescue(task.folder, Limits())
        assert f"still in {task.folder / 'out'}," in str(caught.value)
        assert f"move {task.folder} elsewhere" in str(caught.value)
        assert (staging.outputs[1].bound / "label").read_text() == "hidden"
    with pytest.raises(RescueError, match="larger than 3 bytes"):
        rescue(task.folder, Limits(output_bytes=3))
    (staging.outputs[1].bound / "link").unlink()
    assert sorted(rescue(task.folder, Limits())) == [0, 1]
    task.folder.rename(task.folder.with_name("elsewhere"))
    assert rescue(task.folder, Limits()) == {}


@pytest.fixture
def image(task: Task, tmp_path: Path) -> Path:
    """The image file of a killed task's sized file system, with what it wrote in it."""
    outputs.stage(task, owner=None, disk=False)
    (task.folder / BEGUN).touch()
    for name in "01":
        (tmp_path / "tree" / name).mkdir(parents=True)
    (tmp_path / "tree/1/label").write_text("hidden")
    path = task.folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tmp_path / "tree"), str(path)], check=True)
    return path


@as_root
def test_a_sized_file_system_is_copied_out_whole_and_once(task: Task, image: Path) -> None:
    found = rescue(task.folder, Limits())
    assert (found[1] / "label").read_text() == "hidden"
    assert not image.exists(), "taken twice, it would lie over what came after"
    assert sorted(rescue(task.folder, Limits())) == [0, 1]


@as_root
def test_killed_while_its_copies_were_removed_it_is_not_taken_again(
    task: Task, image: Path
) -> None:
    shutil.rmtree(task.folder / "out")
    (task.folder / BEGUN).unlink()
    assert rescue(task.folder, Limits()) == {}
    assert image.exists()


@as_root
@pytest.mark.parametrize("why", ["broken", "slow", "stopped", "mounted", "too much"])
def test_a_sized_file_system_that_cannot_be_copied_stays(
    why: str, task: Task, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, limits, loop = threading.Event(), Limits(), ""
    if why == "broken":
        data = image.read_bytes()
        image.write_bytes(b"x" * len(data))
    if why == "slow":
        monkeypatch.setattr(rescuing, "_PATIENCE", 0)
    if why == "stopped":
        stop.set()
    if why == "mounted":
        monkeypatch.setattr(rescuing, "_RELEASE", 0.1)
        words = ["losetup", "--find", "--show", str(image)]
        loop = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    if why == "too much":
        limits = Limits(output_bytes=3)
    says = {
        "broken": "mount: ",
        "slow": "longer than 0 seconds",
        "stopped": "stopped from outside",
        "mounted": "still mounted",
        "too much": "larger than 3 bytes",
    }
    with pytest.raises(RescueError, match=says[why]) as caught:
        rescue(task.folder, limits, stop=stop)
    assert f"still in {image} (`mount" in str(caught.value)
    if why == "broken":
        image.write_bytes(data)
    if why == "mounted":
        subprocess.run(["losetup", "--detach", loop], check=True)
    monkeypatch.undo()
    assert (rescue(task.folder, Limits())[1] / "label").read_text() == "hidden"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b'{"ended": {"full": false, "seconds": 1.0}}\n', None),
        (b'{"ended": {"error": "no space"}}\n', "no space"),
        (b'{"ended": {"refused": "it holds a link"}}\n', "it holds a link"),
        (b"", "was killed"),
        (b'{"ended": {"full": fal', "was killed"),
        (b'{"child": 7}\n', "was killed"),
        (b'{"ended": null}\n', "was killed"),
        (b"[]\n", "was killed"),
    ],
)
def test_a_torn_answer_is_no_whole_copy(answer: bytes, problem: str | None) -> None:
    found = rescuing.problem_in(answer)
    assert (found is None) is (problem is None)
    assert (problem or "") in (found or "")
