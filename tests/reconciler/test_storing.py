"""What lies on a machine: listed, moved, and only what can be made again removed."""

import json
from pathlib import Path

import pytest

from medperf.reconciler.storing import Item, cleanup, list_storage, remove
from medperf.schemas.errors import DataError, UsageError

from .world import World


def kinds(world: World) -> dict[str, bool]:
    """Each kind in the hospital's storage, and whether all of it can be made again."""
    found: dict[str, bool] = {}
    for item in list_storage(world.hospital):
        found[item.kind] = found.get(item.kind, True) and item.again
    return found


def test_datasets_and_runs_that_have_not_left_are_kept(world: World) -> None:
    world.reconcile()
    found = kinds(world)
    assert found["datasets"] is False
    assert found["runs"] is False
    assert found["images"] is True
    assert found["registry"] is False
    wanted = cleanup(world.hospital, ("trials", "images", "assets", "runs"))
    assert {item.kind for item in wanted} == {"images", "assets"} & set(found)
    assert remove(world.hospital, wanted) > 0
    assert world.states() == {"committee/ref": "awaiting-release"}
    assert world.dataset().uid


def test_a_published_runs_files_can_go_and_it_does_not_run_again(world: World) -> None:
    world.reconcile()
    assert world.medperf("result", "submit", "--all", "-y").returncode == 0
    world.accept("sites/hospital/ward")
    done = world.medperf("storage", "cleanup", "-y")
    assert done.returncode == 0, done.stderr
    assert "toy.ref.chest" in done.stdout
    assert not list(world.hospital.runs.root.iterdir())
    assert world.states() == {"committee/ref": "published"}
    world.add_model("next")
    assert [run.outcome for run in world.reconcile().ran] == ["done"], "images are made again"


def test_nothing_else_can_be_removed(world: World) -> None:
    dataset = world.dataset()
    item = Item("datasets", "chest", dataset.path, 1, again=False)
    with pytest.raises(DataError, match="not to be removed"):
        remove(world.hospital, [item])
    outside = Item("images", "x", Path("/etc/hostname"), 1, again=True)
    with pytest.raises(DataError, match="not to be removed"):
        remove(world.hospital, [outside])


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


def test_a_move_to_another_file_system_is_a_copy_that_is_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medperf.reconciler import storing

    def never(self: Path, target: Path) -> Path:
        if str(self).endswith(".moving"):
            return real(self, target)
        raise OSError(18, "Invalid cross-device link")

    real = Path.rename
    monkeypatch.setattr(Path, "rename", never)
    old = world.hospital.storage
    storing.move(world.hospital, tmp_path / "there")
    assert old.exists(), "removed only once the profile knows the new place"
    assert storing.size_of(tmp_path / "there") >= storing.size_of(old)


def test_tables_of_storage_say_what_and_how_large(world: World) -> None:
    done = world.medperf("storage", "ls")
    assert done.returncode == 0, done.stderr
    assert "chest" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 80
    assert (
        "Nothing can be removed."
        in world.medperf("storage", "cleanup", "--kind", "trials", "--dry-run").stderr
    )


def test_moving_into_a_file_is_refused(world: World, tmp_path: Path) -> None:
    from medperf.reconciler.storing import move

    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        move(world.hospital, tmp_path / "file")
