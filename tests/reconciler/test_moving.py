"""A storage moves as a whole: to wherever there is room, and whatever is killed meanwhile."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.reconciler import moving
from medperf.reconciler.lock import locked
from medperf.reconciler.moving import finish_move, move_storage
from medperf.schemas.errors import DataError, UsageError, WaitError

from .world import World


def test_the_storage_moves_and_everything_goes_on_there(world: World, tmp_path: Path) -> None:
    world.reconcile()
    old = world.hospital.storage
    world.close()
    target = tmp_path / "ein anderer Ort"
    done = world.medperf("storage", "move", str(target), "-y")
    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert (target / "registry.git").is_dir()
    listed = world.medperf("storage", "ls", "--json")
    assert {one["kind"] for one in json.loads(listed.stdout)} >= {"datasets", "runs", "images"}
    assert "awaiting-release" in world.medperf("status").stdout
    again = world.medperf("storage", "move", str(tmp_path), "-y")
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    inside = world.medperf("storage", "move", str(target / "in it"), "-y")
    assert "lies in the storage itself" in inside.stderr


def killed(work: Callable[[], object]) -> None:
    """Does `work` in a child, which must be killed in it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child was not killed: the moment was never reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: object, **__: object) -> None:
    """What is put in the place of a step: kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def another_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the storage's rename fail as it does between file systems."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".medperf-moving"):
            return real(self, target)
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", rename)


MOMENTS = {
    "before the rename": (False, "_carry", False),
    "between the rename and the profile": (False, "_finish", True),
    "in the middle of the copy": (True, "os.sync", False),
    "between the copy and the profile": (True, "_finish", True),
    "while the old place is removed": (True, "_remove", True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_is_killed_is_undone_or_finished_by_the_next_command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    copied, step, moved = MOMENTS[moment]
    old, target = world.hospital.storage, tmp_path / "there"
    place, name = world.hospital, world.hospital.name
    with monkeypatch.context() as patch:
        if copied:
            another_disk(patch)
        if step == "_remove":
            real = moving._remove
            patch.setattr(moving, "_remove", lambda one: die() if one == old else real(one))
        elif step == "os.sync":
            patch.setattr(os, "sync", die)
        else:
            patch.setattr(moving, step, die)
        killed(lambda: move_storage(place, target))
    said: list[str] = []
    finish_move(place.home, name, said.append)
    there, gone = (target, old) if moved else (old, target)
    assert said == [
        f"Finishing an interrupted move: the storage is {there}."
        if moved
        else f"An interrupted move to {target} was undone: the storage is {there}."
    ]
    assert place.home.resolve(place.home.profile(name)[1].storage) == there
    assert list((there / "datasets").glob("*/secret"))
    assert not gone.exists()
    assert not list(tmp_path.glob(".*medperf-moving"))
    finish_move(place.home, name, said.append)
    assert len(said) == 1


def test_the_next_command_finishes_a_killed_move_and_works(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.hospital
    with monkeypatch.context() as patch:
        patch.setattr(moving, "_finish", die)
        killed(lambda: move_storage(place, tmp_path / "there"))
    world.close()
    listed = world.medperf("dataset", "ls", "--local")
    assert (listed.returncode, "chest" in listed.stdout) == (0, True)
    assert "interrupted move" in listed.stderr


def test_a_move_to_another_disk_is_a_copy_that_is_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_disk(monkeypatch)
    place, old = world.hospital, world.hospital.storage
    before = {path.relative_to(old) for path in old.rglob("*")}
    move_storage(place, tmp_path / "there")
    there = tmp_path / "there"
    assert {path.relative_to(there) for path in there.rglob("*")} >= before
    assert not old.exists()
    assert place.home.profile(place.name)[1].storage == str(there)


@pytest.mark.parametrize("why", ["full", "filling", "unreadable"])
def test_a_disk_without_room_moves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    another_disk(monkeypatch)
    old = world.hospital.storage

    def fails(_: str, other: str, **__: object) -> str:
        raise OSError(errno.ENOSPC if why == "filling" else errno.EACCES, "cannot be", other)

    if why == "full":
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    else:
        monkeypatch.setattr(shutil, "copy2", fails)
    with pytest.raises(DataError, match="Nothing was moved"):
        move_storage(world.hospital, tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir() if "there" in path.name) == []
    assert not list(world.hospital.home.path.glob("moving.*"))
    assert (old / "registry.git").is_dir()


def test_a_storage_does_not_move_under_a_pass_at_work(world: World, tmp_path: Path) -> None:
    with locked(world.hospital.storage), pytest.raises(WaitError, match="Another pass"):
        move_storage(world.hospital, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_where_a_storage_cannot_go_is_said_before_anything_is_asked(
    world: World, tmp_path: Path
) -> None:
    storage = world.hospital.storage
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(storage)
    for target, sentence in (
        (tmp_path / "file", "is not empty"),
        (storage, "is at"),
        (tmp_path / "link", "is at"),
        (storage / "in it", "lies in the storage itself"),
        (tmp_path / "link/in it", "lies in the storage itself"),
        (storage.parent, "is not empty"),
    ):
        with pytest.raises(UsageError, match=sentence):
            move_storage(world.hospital, target)
    told = world.medperf("storage", "move", str(storage))
    assert (told.returncode, "Move it?" in told.stderr) == (2, False)


def test_a_storage_that_is_a_link_is_moved_and_not_the_link(world: World, tmp_path: Path) -> None:
    place = world.hospital
    place.close()
    place.storage.rename(tmp_path / "large disk")
    place.storage.symlink_to(tmp_path / "large disk")
    done = world.medperf("storage", "move", str(tmp_path / "there"), "-y")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there/registry.git").is_dir()
    assert not (tmp_path / "there").is_symlink()
    assert not (tmp_path / "large disk").exists()


def test_a_note_that_was_not_written_whole_means_that_nothing_was_moved(world: World) -> None:
    note = world.hospital.home.path / f"moving.{world.hospital.name}.json"
    said: list[str] = []
    for text in ("", "{", "[]", json.dumps({"from": 1})):
        note.write_text(text)
        finish_move(world.hospital.home, world.hospital.name, said.append)
        assert not note.exists()
    assert said == []
