"""Preparing datasets: going on after an interrupt in each step, refusals, the reference run."""

import threading
from pathlib import Path
from typing import Any

import pytest

from medperf.reconciler.preparing import RawParts, create_dataset, reference_run
from medperf.reconciler.running import registered_dataset
from medperf.schemas.documents import dump
from medperf.schemas.errors import DataError, TaskError, UsageError

from .world import World, quiet, raw_data


def parts(raw: Path, name: str = "second", **fields: Any) -> RawParts:
    known: dict[str, Any] = {"description": "More", "location": "Ulm", "benchmark": "toy", **fields}
    return RawParts(name, data=raw / "data", labels=raw / "labels.csv", **known)


@pytest.mark.parametrize("step", ["prepare", "sanity_check", "statistics"])
def test_a_preparation_goes_on_where_it_was_stopped(world: World, step: str) -> None:
    raw = raw_data(world.folder / "more", {step: ["sleep", 1.5]})
    place = world.hospital
    known = set(place.datasets.root.iterdir())
    stop, ended = threading.Event(), threading.Event()

    def stop_in_step() -> None:
        while not ended.wait(0.02):
            for folder in set(place.datasets.root.iterdir()) - known:
                log = folder / "logs" / f"{step}.log"
                if log.is_file() and "sleep" in log.read_text():
                    stop.set()

    watcher = threading.Thread(target=stop_in_step)
    watcher.start()
    with pytest.raises(TaskError) as caught:
        create_dataset(place, place.view(), parts(raw), say=quiet, stop=stop)
    ended.set()
    watcher.join()
    assert caught.value.reason == "interrupted"
    (unfinished,) = set(place.datasets.root.iterdir()) - known
    dataset = next(one for one in place.datasets.all() if one.path == unfinished)
    with pytest.raises(DataError, match="not fully prepared"):
        _ = dataset.lines
    made = create_dataset(place, place.view(), parts(raw), say=quiet)
    assert made.path == unfinished
    assert place.datasets.find("second").uid == made.uid


def test_a_name_is_used_once(world: World) -> None:
    raw = raw_data(world.folder / "more")
    with pytest.raises(UsageError, match="prepared already"):
        create_dataset(world.hospital, world.hospital.view(), parts(raw, "chest"), say=quiet)


def test_raw_data_must_be_there(world: World) -> None:
    with pytest.raises(UsageError, match="There is nothing at"):
        create_dataset(world.hospital, world.hospital.view(), parts(world.folder / "no"), say=quiet)


def test_metadata_that_the_preparator_has_no_use_for_are_refused(world: World) -> None:
    raw = raw_data(world.folder / "more")
    place = world.hospital
    with pytest.raises(UsageError, match="committee/prep takes no metadata: leave --metadata_path"):
        create_dataset(place, place.view(), parts(raw, metadata=raw / "data"), say=quiet)


def test_a_preparation_that_fails_says_which_step(world: World) -> None:
    raw = raw_data(world.folder / "more", {"sanity_check": ["fail"]})
    with pytest.raises(TaskError, match="sanity_check"):
        create_dataset(world.hospital, world.hospital.view(), parts(raw), say=quiet)
    assert [one.record.name for one in world.hospital.datasets.prepared()] == ["chest"]


def test_an_unfinished_dataset_of_another_preparator_begins_anew(world: World) -> None:
    from medperf.reconciler.datasets import DatasetRecord
    from medperf.schemas.manifests import Pin

    place = world.hospital
    known = world.dataset().record
    other = Pin(ref="committee/prep", digest="sha256:" + "2" * 64)
    record = DatasetRecord(
        name="second", description="x", location="x", benchmark=known.benchmark, preparator=other
    )
    left = place.datasets.create(record)
    made = create_dataset(place, place.view(), parts(raw_data(world.folder / "more")), say=quiet)
    assert made.path != left.path
    assert not left.path.exists()


def test_the_reference_run_counts_as_the_run_of_its_key(world: World) -> None:
    place = world.hospital
    run = reference_run(place, place.view(), benchmark="toy", data_uid="chest", say=quiet)
    assert run.manifest("sandbox")["runKey"] == run.pair.key
    assert world.states() == {"committee/ref": "awaiting-release"}
    assert world.reconcile().ran == ()
    again = reference_run(place, place.view(), benchmark="toy", data_uid="chest", say=quiet)
    assert again.made.cached


def test_a_reference_run_needs_a_submitted_dataset(world: World) -> None:
    place = world.hospital
    raw = raw_data(world.folder / "more", cases=12)
    create_dataset(place, place.view(), parts(raw), say=quiet)
    with pytest.raises(UsageError, match="is not in the registry yet"):
        reference_run(place, place.view(), benchmark="toy", data_uid="second", say=quiet)


def test_a_name_means_this_sites_own_dataset_first(world: World) -> None:
    place = world.hospital
    text = dump(place.view().dataset("hospital/chest").manifest).decode()
    others = text.replace("owner: hospital", "owner: modeler").encode()
    world.push({"datasets/modeler/chest.yaml": others}, by="modeler")
    place.fetch()
    view = place.view()
    with pytest.raises(UsageError, match="More than one dataset"):
        view.dataset("chest")
    assert registered_dataset(place, view, "chest") == "hospital/chest"
    assert registered_dataset(place, view, world.dataset().uid) == "hospital/chest"
    assert registered_dataset(place, view, "modeler/chest") == "modeler/chest"


def test_the_same_data_prepared_twice_are_told_apart_by_name(world: World) -> None:
    place = world.hospital
    raw = raw_data(world.folder / "more")
    made = [create_dataset(place, place.view(), parts(raw, n), say=quiet) for n in ("one", "two")]
    assert made[0].uid == made[1].uid
    with pytest.raises(UsageError, match="write chest or one or two"):
        place.datasets.find(made[0].uid)
    assert place.datasets.find("two").path == made[1].path


def test_datasets_are_found_by_uid_and_name(world: World) -> None:
    datasets = world.hospital.datasets
    dataset = world.dataset()
    assert datasets.find(dataset.uid).path == dataset.path
    assert datasets.find("hospital/chest").path == dataset.path
    with pytest.raises(UsageError, match="Did you mean chest"):
        datasets.find("chst")
    (dataset.path / "record.yaml").write_text("name: [\n")
    with pytest.raises(DataError, match="cannot be read"):
        datasets.find("chest")
