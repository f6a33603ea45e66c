"""A cube's own files: what they must hold, and what they may lack."""

from pathlib import Path

import pytest

from medperf.runner.cubes import check_role, lacking, read_cube
from medperf.schemas.errors import CubeError
from tests.runner.recorded_tasks import MLCUBE, Recorder, call, cube, parts, ready

__all__ = ["parts"]


@pytest.mark.parametrize(
    ("name", "message"), [("train", "no task 'train'; its tasks are evaluate")]
)
def test_an_unknown_task_is_named(tmp_path: Path, parts: Path, name: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        call(tmp_path, ready(parts), name, Recorder())


def test_a_cube_without_its_file_is_refused() -> None:
    wrong = cube().spec.model_copy(update={"files": {"parameters.yaml": "x"}})
    with pytest.raises(CubeError, match=r"its files have no mlcube\.yaml"):
        read_cube(cube().model_copy(update={"spec": wrong}))


def test_roles_ask_for_their_tasks_parameters_and_files() -> None:
    check_role(read_cube(cube()), "model")
    with pytest.raises(CubeError, match="a preparator needs the task 'prepare'"):
        check_role(read_cube(cube()), "preparator")
    check_role(read_cube(cube(files={"mlcube.yaml": MLCUBE})), "model")
    with pytest.raises(CubeError, match=r"tasks\.infer takes weights from the additional files"):
        check_role(read_cube(cube(additional_files=None)), "model")


def test_what_a_cube_may_have_forgotten_is_told() -> None:
    assert lacking(read_cube(cube()), "model") == []
    bare = read_cube(cube(files={"mlcube.yaml": MLCUBE}, additional_files=None))
    parameters, additional = lacking(bare, "model")
    assert "takes parameters_file but has no parameters.yaml" in parameters
    assert "takes additional files but has none" in additional
    assert lacking(bare, "evaluator") == []


EXAMPLES = Path(__file__).parents[2] / "examples" / "chestxray"
ROLES = {
    "prep": "preparator",
    "evaluator": "evaluator",
    "reference": "model",
    "resnet": "model",
    "broken": "model",
    "ensemble": "model",
}


@pytest.mark.parametrize(("folder", "role"), ROLES.items())
def test_the_examples_are_whole_cubes(folder: str, role: str) -> None:
    text = EXAMPLES.joinpath(folder, "mlcube.yaml").read_text()
    check_role(read_cube(cube(text, role)), role)
