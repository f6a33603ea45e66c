"""Cubes in the shapes that others write (`tests/fixtures/wild`), unmodified, on both engines."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WILD = Path(__file__).parents[1] / "fixtures" / "wild"
CONTEXTS = {
    "in-the-data": "project",
    "by-volumes": ".",
    "own-entrypoint": "project",
    "archive-by-volumes": ".",
    "no-run-args": ".",
    "two-tasks": ".",
}


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the cubes, their images built; one of them is an archive, and a SIF."""
    folder = tmp_path_factory.mktemp("wild cubes")
    shutil.copytree(WILD, folder, dirs_exist_ok=True)
    names = []
    for name, context in CONTEXTS.items():
        names.append(f"medperf-wild/{name}:0.1.0")
        _run("docker", "build", "--quiet", "--tag", names[-1], folder / name / context)
    archive = folder / "archive-by-volumes"
    _run(
        "docker", "save", "--output", archive / "model.tar", "medperf-wild/archive-by-volumes:0.1.0"
    )
    yield folder
    _run("docker", "image", "rm", "--force", *names)


@pytest.fixture(scope="module")
def sif(cubes: Path) -> Path:
    """The archive's cube as one that names a SIF, made by Apptainer from the same archive."""
    folder = cubes / "sif-by-volumes"
    shutil.copytree(cubes / "archive-by-volumes", folder)
    text = (folder / "container_config.yaml").read_text()
    text = text.replace("DockerArchive", "SingularityFile").replace("model.tar", "model.sif")
    (folder / "container_config.yaml").write_text(text)
    _run(
        "apptainer", "--quiet", "build", folder / "model.sif", f"docker-archive:{folder}/model.tar"
    )
    (folder / "model.tar").unlink()
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which Docker images are converted for Apptainer once."""
    return tmp_path_factory.mktemp("converted")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw data below a folder with a space in its name, as everybody has one."""
    folder = tmp_path / "Röntgen 1"
    (folder / "labels").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    (folder / "valid.csv").write_text("a,1\n")
    (folder / "labels/valid.csv").write_text("a,1\n")
    return folder


def _run(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def medperf(home: Path, *words: str | Path) -> str:
    """What a command says to programs."""
    environment = {**os.environ, "MEDPERF_HOME": str(home)}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("medperf")), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def trial(home: Path, engine: str, parts: tuple[Path, Path, Path], data: tuple[Path, Path]) -> int:
    """The count that the evaluator found."""
    return int(report(home, engine, parts, data)["metrics"]["n"])


def report(
    home: Path, engine: str, parts: tuple[Path, Path, Path], data: tuple[Path, Path]
) -> dict[str, Any]:
    """The report of a trial."""
    preparator, model, evaluator = parts
    said = medperf(
        home, "test", "run", "--engine", engine, "--json", "--no-cache",
        "--data_preparation", preparator, "--model", model, "--evaluator", evaluator,
        "--data_path", data[0], "--labels_path", data[1],
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.docker
def test_an_mlcube_of_2023_with_labels_in_the_data(cubes: Path, raw: Path, tmp_path: Path) -> None:
    parts = (
        cubes / "in-the-data/mlcube/mlcube.yaml",
        cubes / "own-entrypoint/mlcube",
        cubes / "no-run-args",
    )
    data = (raw, raw / "valid.csv")
    assert trial(tmp_path / "home", "docker", parts, data) == 3, "the labels lie beside two cases"


@pytest.mark.docker
def test_containers_by_their_mount_paths(cubes: Path, raw: Path, tmp_path: Path) -> None:
    parts = (
        cubes / "by-volumes",
        cubes / "archive-by-volumes/container_config.yaml",
        cubes / "no-run-args",
    )
    assert trial(tmp_path / "home", "docker", parts, (raw, raw / "labels")) == 2


@pytest.mark.docker
@pytest.mark.singularity
def test_both_forms_and_a_sif_on_apptainer(
    cubes: Path, sif: Path, raw: Path, converted: Path
) -> None:
    """Docker images converted, and a SIF that starts in its first image's working folder."""
    parts = (cubes / "in-the-data/mlcube", sif, cubes / "no-run-args")
    data = (raw, raw / "valid.csv")
    assert trial(converted, "singularity", parts, data) == 3


@pytest.mark.docker
def test_variables_volumes_in_one_another_and_no_sanity_check(
    cubes: Path, raw: Path, tmp_path: Path
) -> None:
    two_tasks(tmp_path / "home", "docker", cubes, cubes / "own-entrypoint/mlcube", raw)


@pytest.mark.docker
@pytest.mark.singularity
def test_the_same_on_apptainer(cubes: Path, sif: Path, raw: Path, converted: Path) -> None:
    two_tasks(converted, "singularity", cubes, sif, raw)


def two_tasks(home: Path, engine: str, cubes: Path, model: Path, raw: Path) -> None:
    (raw / "valid.csv").unlink()
    parts = (cubes / "two-tasks", model, cubes / "no-run-args")
    answer = report(home, engine, parts, (raw, raw / "labels"))
    assert answer["metrics"]["n"] == 3, "two cases, and the place of the labels"
    assert answer["sanity_checked"] is False
    shown = medperf(home, "test", "view", answer["key"][:16])
    assert "No sanity check was done" in shown
