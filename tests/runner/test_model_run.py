"""Infer and evaluate, after a preparation, on the real engines with a cube of a few lines."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.runner.content import changed
from medperf.runner.engines import rootfs
from medperf.runner.model_run import evaluate, infer
from medperf.runner.prepared import RawData
from medperf.schemas.errors import TaskError
from tests.runner.toy_site import (
    CONFIG,
    CONFIG_MAIN,
    DOCKERFILE,
    EVALUATOR,
    MAIN,
    MODEL,
    Site,
    prepare,
    raw,
    site,
)

__all__ = ["raw", "site"]


def test_the_three_flows_follow_one_another(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "datasets/x7"
    prepared = prepare(site, raw, into)
    assert sorted(path.name for path in into.iterdir()) == [
        "content.txt", "data", "labels", "metadata", "report.yaml", "statistics.yaml",
    ]  # fmt: skip
    assert prepared.data.joinpath("a.txt").read_text() == "ONE"
    assert prepared.labels == into / "labels"
    assert prepared.labels_for_evaluation == into / "labels"
    assert (prepared.metadata, prepared.report) == (into / "metadata", into / "report.yaml")
    statistics = json.loads(prepared.statistics.read_text())
    assert statistics["cases"] == 2
    assert "metadata_path" in statistics["seen"]
    assert prepared.content.files == 3
    assert changed(into, into.joinpath("content.txt").read_bytes()) == []
    assert set(prepared.outcomes) == {"prepare", "sanity_check", "statistics"}

    run = tmp_path / "runs/0123"
    predictions, outcome = infer(site.cube(MODEL, "model"), prepared.data, run, site.how())
    assert (predictions, outcome.reason) == (run / "predictions", "done")
    results, _ = evaluate(
        site.cube(EVALUATOR, "evaluator"),
        predictions,
        prepared.labels_for_evaluation,
        run,
        site.how(),
    )
    assert json.loads(results.read_text()) == {"n": 1, "labels": ["labels.csv"]}
    assert run.joinpath("local_outputs/cases.csv").exists()
    assert not list(run.glob("work/*"))
    assert (tmp_path / "logs/infer.log").read_text().strip() == "working on infer"


def test_the_model_sees_no_labels_names_or_other_folders(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    prepared = prepare(site, raw, tmp_path / "datasets/x7")
    predictions, _ = infer(
        site.cube(MODEL, "model"), prepared.data, tmp_path / "runs/0123", site.how()
    )
    text = predictions.joinpath("predictions.json").read_text()
    seen = json.loads(text)
    assert seen["files"] == [
        "/mlcube_io0/a.txt",
        "/mlcube_io0/b.txt",
        "/mlcube_io1/parameters.yaml",
    ]
    assert "x7/data" in seen["mounts"]
    assert "x7/labels" not in seen["mounts"]
    assert "Mary" not in text


def test_a_failed_model_says_so_and_leaves_no_predictions(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for mode, reason in [
        ("fail-infer", "exit"),
        ("nothing-infer", "output"),
        ("link-infer", "output"),
    ]:
        with pytest.raises(TaskError) as caught:
            infer(site.cube(MODEL, "model", mode), raw.data, run, site.how())
        assert caught.value.reason == reason
        assert not run.joinpath("predictions").exists()
    with pytest.raises(TaskError) as caught:
        infer(site.cube(MODEL, "model", "sleep-infer"), raw.data, run, site.how(infer=0.5))
    assert caught.value.reason == "timeout"
    assert "took longer than 0.5 seconds" in str(caught.value)


def test_a_partial_result_is_taken_only_where_it_is_allowed(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    model = site.cube(MODEL, "model", "partial")
    with pytest.raises(TaskError):
        infer(model, raw.data, tmp_path / "run", site.how())
    predictions, outcome = infer(model, raw.data, tmp_path / "run", site.how(), partial=True)
    assert outcome.reason == "exit"
    assert list(predictions.iterdir())
    with pytest.raises(TaskError, match="took longer than"):
        infer(
            site.cube(MODEL, "model", "sleep-infer"),
            raw.data,
            tmp_path / "other",
            site.how(infer=0.5),
            partial=True,
        )


def test_an_evaluator_without_results_is_refused(site: Site, raw: RawData, tmp_path: Path) -> None:
    evaluator = site.cube(EVALUATOR, "evaluator", "nothing-evaluate")
    with pytest.raises(TaskError, match=r"wrote no results\.yaml"):
        evaluate(evaluator, raw.data, raw.data, tmp_path / "run", site.how())


def test_a_container_config_runs_by_its_mount_paths(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    evaluator = site.cube(CONFIG, "evaluator", main="config.py")
    results, _ = evaluate(evaluator, raw.data, raw.labels, tmp_path / "run", site.how())
    found = json.loads(results.read_text())
    assert found == {"n": 2, "labels": "a,1\nb,0\n", "words": ["evaluate"]}


@pytest.fixture(scope="module")
def docker_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An image of this machine's Python with both programs, as `docker save` writes it."""
    folder = tmp_path_factory.mktemp("docker")
    shutil.copyfile(rootfs.python_tar(folder), folder / "root.tar")
    python = os.path.realpath(sys.executable)
    folder.joinpath("main.py").write_text(MAIN)
    folder.joinpath("config.py").write_text(CONFIG_MAIN)
    folder.joinpath("Dockerfile").write_text(DOCKERFILE.replace("PYTHON", python))
    name = f"medperf-test-model-run:{os.getpid()}"
    subprocess.run(["docker", "build", "--quiet", "--tag", name, folder], check=True)
    subprocess.run(["docker", "save", "--output", folder / "image.tar", name], check=True)
    yield folder / "image.tar", python
    subprocess.run(["docker", "image", "rm", "--force", name], check=True)


@pytest.mark.docker
@pytest.mark.parametrize(
    "engine", ["docker", pytest.param("singularity", marks=pytest.mark.singularity)]
)
def test_both_forms_run_from_a_docker_archive(
    engine: str, docker_archive: tuple[Path, str], raw: RawData, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    os.link(docker_archive[0], archive)
    site = Site(tmp_path, engine, archive)
    prepared = prepare(site, raw, tmp_path / "d")
    run = tmp_path / "run"
    predictions, _ = infer(site.cube(MODEL, "model"), prepared.data, run, site.how())
    seen = json.loads(predictions.joinpath("predictions.json").read_text())
    assert [path for path in seen["files"] if "txt" in path] == [
        "/mlcube_io0/a.txt",
        "/mlcube_io0/b.txt",
    ]
    config = CONFIG.replace("PYTHON", docker_archive[1])
    results, _ = evaluate(site.cube(config, "evaluator"), predictions, raw.labels, run, site.how())
    found = json.loads(results.read_text())
    assert found == {"n": 1, "labels": "a,1\nb,0\n", "words": ["--all"]}
    with pytest.raises(TaskError) as caught:
        infer(site.cube(MODEL, "model", "sleep-infer"), raw.data, run, site.how(infer=1.0))
    assert caught.value.reason == "timeout"
