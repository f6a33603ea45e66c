"""What lies on a machine: listed, moved, and only what can be made again removed."""

from pathlib import Path

import pytest

from medperf.reconciler.storing import CLEANABLE, Item, cleanup, list_storage, remove
from medperf.schemas.errors import DataError

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


def test_tables_of_storage_say_what_and_how_large(world: World) -> None:
    done = world.medperf("storage", "ls")
    assert done.returncode == 0, done.stderr
    assert "chest" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 80
    assert (
        "Nothing can be removed."
        in world.medperf("storage", "cleanup", "--kind", "trials", "--dry-run").stderr
    )


def test_a_sites_own_notes_are_one_line_and_the_index_is_made_again(world: World) -> None:
    world.reconcile()
    assert world.medperf("status").returncode == 0
    found = {item.name: item for item in list_storage(world.hospital)}
    assert [item.name for item in found.values() if item.kind == "notes"] == ["notes"]
    assert not [item for item in found.values() if item.kind == "other"]
    assert found["index.sqlite"].again
    assert not found["registry.git"].again


def test_a_preparation_that_has_not_ended_goes_only_where_that_is_asked_for(world: World) -> None:
    record = world.dataset().record.model_copy(update={"name": "begun"})
    begun = world.hospital.datasets.create(record)
    assert cleanup(world.hospital, CLEANABLE) == [
        item for item in cleanup(world.hospital, CLEANABLE, unfinished=True) if item.again
    ]
    world.close()
    assert world.medperf("storage", "cleanup", "-y").returncode == 0
    assert begun.path.is_dir()
    asked = world.medperf("storage", "cleanup", "--kind", "unfinished")
    assert (asked.returncode, "a person's work" in asked.stderr) == (2, True)
    assert begun.path.is_dir()
    done = world.medperf("storage", "cleanup", "--kind", "unfinished", "-y")
    assert done.returncode == 0, done.stderr
    assert not begun.path.exists()
    assert [one.record.name for one in world.hospital.datasets.all()] == ["chest"]
