"""Datasets as files: exported, imported, checked, taken over prepared, stopped for a person."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from medperf.reconciler.describing import describe
from medperf.reconciler.execute import check_unchanged
from medperf.reconciler.preparing import RawParts, create_dataset
from medperf.reconciler.transfer import export_dataset, import_dataset
from medperf.runner.preparation import ManualWorkError
from medperf.schemas.errors import AssetError, DataError, MedperfError, TaskError, UsageError

from .world import World, quiet


def raw(folder: Path) -> Path:
    """Raw data in a folder with a space and letters of another alphabet in its name."""
    data = folder / "rohe Daten, Größe 2, 東"
    (data / "images").mkdir(parents=True)
    for number in range(20):
        (data / "images" / f"Fall {number} ü.txt").write_text(str(number))
    (data / "labels, alle.csv").write_text("1,0\n")
    return data


def parts(folder: Path, name: str = "zweite") -> RawParts:
    """Raw data in such a folder, as `dataset create` is told of them."""
    return RawParts(name, name, "Ulm", folder / "images", folder / "labels, alle.csv", "toy")


def test_a_dataset_moves_to_another_machine_and_runs_there(world: World, tmp_path: Path) -> None:
    dataset = world.dataset()
    archive = export_dataset(dataset, tmp_path / "chest 1.tar")
    assert archive.stat().st_mode & 0o077 == 0, "the archive is the caller's alone"
    world.set("hospital", f"storage={tmp_path / 'other machine'}")
    assert world.states() == {"committee/ref": "blocked no-data"}
    moved = import_dataset(world.hospital, archive)
    assert moved.commitment() == dataset.commitment()
    assert moved.path.name != dataset.path.name
    assert (moved.path / "secret").stat().st_mode & 0o077 == 0
    check_unchanged(moved)
    assert describe(world.hospital.view(), moved).registered == "hospital/chest"
    assert [run.outcome for run in world.reconcile().ran] == ["done"]
    with pytest.raises(UsageError, match="is on this machine already"):
        import_dataset(world.hospital, archive)


def test_a_changed_archive_is_refused_and_leaves_nothing(world: World, tmp_path: Path) -> None:
    archive = export_dataset(world.dataset(), tmp_path / "chest.tar")
    world.set("hospital", f"storage={tmp_path / 'other'}")
    changed = tmp_path / "changed.tar"
    with tarfile.open(archive) as source, tarfile.open(changed, "w") as target:
        for member in source:
            file = source.extractfile(member)
            assert file is not None
            data = file.read()
            if member.name.startswith("labels/"):
                data = data[::-1]
            target.addfile(member, io.BytesIO(data))
    with pytest.raises(DataError, match=r"damaged: .*labels/labels.csv"):
        import_dataset(world.hospital, changed)
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(AssetError, match="not a whole"):
        import_dataset(world.hospital, tmp_path / "text.tar")
    assert list(world.hospital.datasets.root.iterdir()) == []


def test_a_changed_dataset_is_told_file_by_file_and_not_exported(
    world: World, tmp_path: Path
) -> None:
    dataset = world.dataset()
    assert "is unchanged" in world.medperf("dataset", "check", "--data_uid", "chest").stdout
    labels = dataset.path / "labels/labels.csv"
    labels.chmod(0o600)
    labels.write_text("swapped\n")
    done = world.medperf("dataset", "check", "--data_uid", "chest")
    assert done.returncode == 1
    assert "labels/labels.csv" in done.stderr
    with pytest.raises(DataError, match=r"has changed since it was prepared"):
        export_dataset(dataset, tmp_path / "x.tar")


def test_paths_with_spaces_and_other_alphabets_are_prepared(world: World, tmp_path: Path) -> None:
    dataset = create_dataset(world.hospital, world.hospital.view(), parts(raw(tmp_path)), say=quiet)
    assert (dataset.data / "Fall 7 ü.txt").read_text() == "7"
    check_unchanged(dataset)


def test_data_that_are_prepared_already_are_only_checked_and_counted(world: World) -> None:
    first = world.dataset()
    data, labels = first.path / "data", first.path / "labels"
    taken = RawParts("again", "again", "Ulm", data, labels, "toy", prepared=True)
    dataset = create_dataset(world.hospital, world.hospital.view(), taken, say=quiet)
    assert dataset.lines == first.lines
    assert dataset.commitment() != first.commitment(), "a secret of its own"
    assert not (dataset.path / "logs/prepare.log").exists()
    assert (dataset.path / "logs/sanity_check.log").exists()
    wrong = RawParts("x", "x", "Ulm", data / "how.json", labels, "toy", prepared=True)
    with pytest.raises(UsageError):
        create_dataset(world.hospital, world.hospital.view(), wrong, say=quiet)


MANUAL = """\
import os, sys, shutil
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
output = Path(given.get("output_path", "/"))
if task == "prepare":
    Path(given["report_file"]).write_text("case 1: draw the outline\\n")
    Path(given["metadata_path"], "scanner.txt").write_text("made by nobody\\n")
    left = Path(given["manual_path"], "outline.txt")
    if not left.exists():
        (output / "outline.txt").write_text("to do")
        sys.exit(75)
    if left.read_text() != "drawn":
        sys.exit(1)
    shutil.copy(left, output / "outline.txt")
    Path(given["output_labels_path"], "labels.csv").write_text("1")
if task == "statistics":
    assert Path(given["metadata_path"], "scanner.txt").is_file()
    output.write_text("cases: 20")
"""
TASKS = """\
name: manual
tasks:
  prepare:
    parameters:
      inputs: {data_path: raw/, labels_path: raw.csv, manual_path: manual/}
      outputs: {output_path: data/, output_labels_path: labels/, metadata_path: meta/,
                report_file: report.yaml}
  sanity_check: {parameters: {inputs: {data_path: data/, labels_path: labels/}}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, metadata_path: meta/}
      outputs: {output_path: statistics.yaml}
"""


def test_a_preparator_stops_for_manual_work_and_goes_on(tmp_path: Path, home: Path) -> None:
    from medperf.reconciler.execute import execution
    from medperf.reconciler.mixing import Shelf
    from medperf.reconciler.offline import offline_workplace
    from medperf.reconciler.settings import Home
    from medperf.runner import preparation
    from medperf.runner.prepared import Prepared

    cube = tmp_path / "cube"
    cube.mkdir()
    (cube / "main.py").write_text(MANUAL)
    (cube / "mlcube.yaml").write_text(TASKS)
    data = raw(tmp_path)
    into = tmp_path / "dataset"
    with offline_workplace(Home(home), engine="sandbox") as place:
        part = Shelf(place, place.view).part(str(cube), "preparator")
        ready = place.ready(part.cube, part.digest)
        how = execution(place, "manual", into / "logs", None)

        def prepare() -> Prepared:
            return preparation.prepare(
                ready,
                data=data / "images",
                labels=data / "labels, alle.csv",
                into=into,
                execution=how,
            )

        with pytest.raises(ManualWorkError, match="says what is to be done") as stop:
            prepare()
        assert stop.value.exit_code == 4
        outline = into / "manual/outline.txt"
        assert outline.read_text() == "to do"
        outline.write_text("half")
        with pytest.raises(TaskError, match="status 1"):
            prepare()
        assert outline.read_text() == "half", "a person's work is never thrown away by a failure"
        outline.write_text("drawn")
        done = prepare()
    assert (done.data / "outline.txt").read_text() == "drawn"
    assert done.report is not None
    assert done.metadata is not None
    assert not (into / "manual").exists()


def test_a_local_dataset_is_shown_without_the_registry_knowing_it(
    world: World, tmp_path: Path
) -> None:
    create_dataset(world.hospital, world.hospital.view(), parts(raw(tmp_path)), say=quiet)
    done = world.medperf("dataset", "view", "zweite", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["state"], shown["files"], shown["registered"]) == ("prepared", 21, "")
    assert shown["statistics"] == {"cases": 20}


def test_a_result_is_withdrawn_by_its_datasets_owner_alone(world: World) -> None:
    world.reconcile()
    assert world.medperf("result", "submit", "--all", "-y").returncode == 0
    world.accept("sites/hospital/ward")
    words = ("result", "withdraw", "toy.ref.chest", "--reason", "wrong labels", "-y")
    refused = world.medperf(*words, by="modeler")
    assert refused.returncode == 2
    assert "only hospital can withdraw it" in refused.stderr
    done = world.medperf(*words)
    assert done.returncode == 0, done.stderr
    (path,) = world.committee.view().results
    assert world.committee.view().results[path].answer == "withdrawn"
    assert world.states() == {"committee/ref": "published"}, "it never runs again under this key"
    assert "withdrawn already" in world.medperf(*words).stderr


def test_errors_of_transfer_are_words(world: World, tmp_path: Path) -> None:
    with pytest.raises(MedperfError, match="There is no file"):
        import_dataset(world.hospital, tmp_path / "nothing.tar")
    (tmp_path / "there.tar").touch()
    with pytest.raises(UsageError, match="exists: name a new file"):
        export_dataset(world.dataset(), tmp_path / "there.tar")
