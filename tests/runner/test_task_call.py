"""How a task is called: its mounts, and the words that tell it so."""

from dataclasses import replace
from pathlib import Path

import pytest

from medperf.runner.cubes import check_role
from medperf.runner.engines.protocol import Mount
from medperf.runner.task_run import run_task
from medperf.schemas.errors import CubeError, DataError
from tests.runner.recorded_tasks import (
    CONFIG,
    MLCUBE,
    Recorder,
    call,
    cube,
    execution,
    parts,
    ready,
)

__all__ = ["parts"]


def test_an_mlcube_is_called_by_its_task_and_keys(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    assert call(tmp_path, ready(parts), "infer", engine).reason == "done"
    task = engine.tasks[0]
    assert task.entrypoint is None
    assert task.arguments == (
        "infer",
        "--data_path=/mlcube_io0",
        "--parameters_file=/mlcube_io1/parameters.yaml",
        "--more=/mlcube_io2",
        "--weights=/mlcube_io3/x.npz",
        "--folder=/mlcube_io4",
        "--output_path=/mlcube_io5",
    )
    by_target = {mount.target: mount for mount in task.mounts}
    assert by_target["/mlcube_io1/parameters.yaml"].kind == "file"
    assert by_target["/mlcube_io3"] == Mount(parts / "more/w", "/mlcube_io3")
    assert [mount.target for mount in task.mounts if mount.writable] == ["/mlcube_io5"]
    assert task.log == tmp_path / "logs/infer.log"
    assert task.label == "0123456789abcdef"


def test_a_files_name_and_neighbours_are_not_shown(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(role="evaluator")), "evaluate", engine)
    task = engine.tasks[0]
    assert task.entrypoint == ("python3", "/app/main.py")
    assert "--labels=/mlcube_io1/labels.csv" in task.arguments
    labels = next(mount for mount in task.mounts if mount.target == "/mlcube_io1/labels.csv")
    assert labels == Mount(parts / "Hospital of Mary Smith.csv", labels.target, kind="file")
    assert "Mary" not in " ".join(task.arguments) + " ".join(mount.target for mount in task.mounts)


def test_a_folders_file_gets_the_keys_name_and_its_own_ending(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    text = MLCUBE.replace("labels: labels.csv", "labels: {type: file, default: l}")
    call(tmp_path, ready(parts, cube(text, "evaluator")), "evaluate", engine)
    assert "--labels=/mlcube_io1/labels.csv" in engine.tasks[0].arguments


def test_a_container_config_is_called_by_its_own_command(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    it = ready(parts, cube(CONFIG))
    call(tmp_path, it, "infer", engine)
    call(tmp_path, it, "evaluate", engine)
    infer, evaluate = engine.tasks
    assert (infer.entrypoint, infer.arguments) == (None, ("run", "--fast"))
    assert infer.environment == {"A": "b"}
    assert infer.limits.shm == 128 << 20
    assert {mount.target for mount in infer.mounts} == {"/io/data", "/io/more", "/io/out"}
    assert evaluate.entrypoint == ("python3", "-u")
    result = next(mount for mount in evaluate.mounts if mount.writable)
    assert (result.kind, result.target) == ("file", "/io/results.yaml")


def test_parameters_may_lie_in_additional_files_that_the_cube_has_not_got(
    tmp_path: Path, parts: Path
) -> None:
    text = CONFIG.replace(
        "additional_files: {",
        "parameters_file: {mount_path: /io/more/own/parameters.yaml, type: file}\n"
        "      additional_files: {",
    )
    places: list[list[str]] = []

    def look(mounts: dict[str, Mount]) -> None:
        more = mounts["/io/more"].source
        places.append(sorted(str(path.relative_to(more)) for path in more.rglob("*")))
        mounts["/io/out"].source.joinpath("p.csv").write_text("x")

    it = replace(ready(parts, cube(text)), additional=None)
    call(tmp_path, it, "infer", Recorder(write=look))
    assert places == [["own", "own/parameters.yaml"]]


def test_in_the_sandbox_the_manifests_command_is_called_with_the_task(
    tmp_path: Path, parts: Path
) -> None:
    engine = Recorder("sandbox")
    call(tmp_path, ready(parts, cube(CONFIG), "sandbox"), "infer", engine)
    call(tmp_path, ready(parts, cube(role="evaluator"), "sandbox"), "evaluate", engine)
    assert engine.tasks[0].arguments == ("infer",)
    assert engine.tasks[1].entrypoint is None
    assert engine.tasks[1].arguments[:2] == ("evaluate", "--predictions=/mlcube_io0")


def test_a_folder_where_a_file_is_wanted_is_refused(tmp_path: Path, parts: Path) -> None:
    it = ready(parts, cube(CONFIG))
    how = execution(tmp_path, Recorder())
    inputs = {"predictions": parts / "predictions", "labels": parts / "data"}
    with pytest.raises(DataError, match="takes labels as a file, but a directory"):
        run_task(it, "evaluate", inputs, {}, how, work=tmp_path / "work")
    gone = {**inputs, "labels": parts / "gone"}
    with pytest.raises(DataError, match="labels is missing"):
        run_task(it, "evaluate", gone, {}, how, work=tmp_path / "work")


def test_missing_additional_files_are_named(tmp_path: Path, parts: Path) -> None:
    parts.joinpath("more/w/x.npz").unlink()
    with pytest.raises(CubeError, match=r"modeler/resnet: mlcube.yaml: weights.*'w/x.npz'"):
        call(tmp_path, ready(parts), "infer", Recorder())
    with pytest.raises(CubeError, match="no additional files"):
        call(tmp_path, replace(ready(parts), additional=None), "infer", Recorder())


FETS = """\
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: {type: file, default: "null"}, more:
               additional_files/, checkpoint_path: {type: file, default: "null"}}
      outputs: {output_path: output/}
"""


def test_what_a_cube_has_not_got_is_empty_and_what_it_says_is_not_given_is_not_there(
    tmp_path: Path, parts: Path
) -> None:
    it = ready(parts, cube(FETS, files={"mlcube.yaml": FETS}, additional_files=None))
    it = replace(it, parameters=None, additional=None)
    check_role(it.files, "model")
    given: dict[str, list[str] | str] = {}

    def look(mounts: dict[str, Mount]) -> None:
        for target, mount in mounts.items():
            folder = mount.source.is_dir()
            given[target] = (
                [path.name for path in mount.source.iterdir()]
                if folder
                else mount.source.read_text()
            )

    engine = Recorder(write=look)
    call(tmp_path, it, "infer", engine)
    assert engine.tasks[0].arguments == (
        "infer",
        "--data_path=/mlcube_io0",
        "--parameters_file=/mlcube_io1/parameters_file.yaml",
        "--more=/mlcube_io2",
        "--checkpoint_path=/mlcube_io3/null",
        "--output_path=/mlcube_io4",
    )
    assert given["/mlcube_io1/parameters_file.yaml"] == "{}\n"
    assert given["/mlcube_io2"] == given["/mlcube_io3"] == []
