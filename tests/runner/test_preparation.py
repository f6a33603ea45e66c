"""Preparing a dataset on the real sandbox, with a preparator of a few lines."""

import threading
from pathlib import Path

import pytest

from medperf.runner import preparation
from medperf.runner.prepared import RawData, open_prepared
from medperf.schemas.errors import TaskError
from tests.runner.toy_site import (
    OLD_PREPARATOR,
    SILENT_PREPARATOR,
    TAKES_METADATA,
    Site,
    prepare,
    raw,
    site,
)

__all__ = ["raw", "site"]


def test_a_preparation_is_found_again(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "d"
    first = prepare(site, raw, into)
    again = prepare(site, raw, into, "fail-prepare")
    assert again.content == first.content
    found = open_prepared(into)
    assert found is not None
    assert found.content == first.content
    assert open_prepared(tmp_path / "none") is None


def test_a_preparator_of_2023_keeps_labels_in_the_data(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    prepared = prepare(site, raw, tmp_path / "d", text=OLD_PREPARATOR)
    assert prepared.labels is None
    assert prepared.labels_for_evaluation == prepared.data
    assert (prepared.metadata, prepared.report) == (None, None)


def test_a_preparator_that_takes_metadata_is_shown_them(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    metadata = tmp_path / "Mary's scanners"
    metadata.mkdir()
    (metadata / "scanners.csv").write_text("a,9000\n")
    prepared = preparation.prepare(
        site.cube(TAKES_METADATA, "preparator"),
        data=raw.data,
        labels=raw.labels,
        metadata=metadata,
        into=tmp_path / "d",
        execution=site.how(),
    )
    assert prepared.data.joinpath("scanner").read_text() == "a,9000\n"
    assert prepared.metadata is None


def test_raw_data_are_not_changed_and_not_kept(site: Site, raw: RawData, tmp_path: Path) -> None:
    prepare(site, raw, tmp_path / "d")
    assert {path.name: path.read_text() for path in raw.data.iterdir()} == {
        "a.txt": "one",
        "b.txt": "two",
    }


@pytest.mark.parametrize("task", ["prepare", "sanity_check", "statistics"])
def test_a_failed_step_leaves_nothing_that_looks_prepared(
    site: Site, raw: RawData, tmp_path: Path, task: str
) -> None:
    into = tmp_path / "d"
    with pytest.raises(TaskError, match=f"task {task} of uni/preparator failed.") as caught:
        prepare(site, raw, into, f"fail-{task}", text=SILENT_PREPARATOR)
    assert caught.value.reason == "exit"
    assert "status 3" in str(caught.value)
    assert "4711" not in str(caught.value)
    assert "patient 4711 is odd" in caught.value.log_tail
    assert open_prepared(into) is None
    assert prepare(site, raw, into, text=SILENT_PREPARATOR).content.files == 3


def test_statistics_that_refuse_the_data_alone_have_them_prepared_anew(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    into = tmp_path / "d"
    unchecked = "\n".join(
        line for line in SILENT_PREPARATOR.splitlines()
        if "sanity_check" not in line and "parameters: {inputs" not in line
    )  # fmt: skip
    with pytest.raises(TaskError, match="task statistics of uni/preparator failed"):
        prepare(site, raw, into, "fail-statistics", text=unchecked)
    assert not into.joinpath(".steps.json").exists()
    assert set(prepare(site, raw, into, text=unchecked).outcomes) == {"prepare", "statistics"}


def test_what_a_failed_preparator_wrote_can_be_looked_at(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    with pytest.raises(TaskError):
        prepare(site, raw, tmp_path / "d", "fail-prepare", text=SILENT_PREPARATOR)
    assert list(tmp_path.joinpath("d/work").rglob("half"))


def test_a_killed_preparation_goes_on_at_its_step(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "d"
    mode = "sleep-statistics"
    stop = threading.Event()
    timer = threading.Timer(1.5, stop.set)
    timer.start()
    with pytest.raises(TaskError) as caught:
        prepare(site, raw, into, mode, stop=stop)
    timer.join()
    assert caught.value.reason == "interrupted"
    before = into.joinpath("data/a.txt").stat().st_mtime_ns
    with pytest.raises(TaskError) as caught:
        prepare(site, raw, into, mode, statistics=0.5)
    assert caught.value.reason == "timeout"
    assert into.joinpath("data/a.txt").stat().st_mtime_ns == before
    prepared = prepare(site, raw, into)  # another cube: it begins anew
    assert set(prepared.outcomes) == {"prepare", "sanity_check", "statistics"}


@pytest.mark.parametrize(
    ("task", "message"),
    [("prepare", "wrote no data"), ("statistics", "wrote no statistics.yaml")],
)
def test_a_preparator_that_writes_nothing_is_refused(
    site: Site, raw: RawData, tmp_path: Path, task: str, message: str
) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        prepare(site, raw, tmp_path / "d", f"nothing-{task}")
    assert caught.value.reason == "output"
