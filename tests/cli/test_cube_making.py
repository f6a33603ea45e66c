"""From nothing to a tested cube, without a registry: create, test, one task alone, package."""

import json
import shutil
from pathlib import Path

import pytest

from medperf.cli.app import run
from medperf.schemas.digests import file_digest


@pytest.fixture
def cubes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space and an umlaut in its name, holding a fresh cube of each role."""
    folder = tmp_path / "mine, in Köln"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for role in ("preparator", "model", "evaluator"):
        assert run(["mlcube", "create", role]) == 0
    return folder


TEST = [
    "test",
    "run",
    "--data_preparation=preparator/mlcube.yaml",
    "--model=model/mlcube.yaml",
    "--evaluator=evaluator",
]
OWN = ["--data_path=preparator/sample/data", "--labels_path=preparator/sample/labels.csv"]
SANDBOX = ["--engine=sandbox"]


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What was printed since the last look, read as JSON."""
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("cubes")
def test_fresh_templates_run_at_once_without_a_registry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert run([*TEST, *OWN, *SANDBOX, "--json"]) == 0
    first = report(capsys)
    assert first["outcome"] == "passed"
    assert first["metrics"] == {"AUC.Finding": 0.5, "positives.Finding": 8}
    assert first["declared"] is False

    assert run(["test", "ls", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [first["id"]]
    assert run(["test", "view", str(first["id"])[:6], "--json"]) == 0
    assert report(capsys) == first
    assert run(["test", "view", "modle/mlcube.yaml"]) == 2
    assert "Did you mean model/mlcube.yaml?" in capsys.readouterr().err


def test_the_same_trial_is_not_run_twice_unless_asked(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run([*TEST, *OWN, *SANDBOX]) == 0
    assert "infer" in capsys.readouterr().err
    assert run([*TEST, *OWN, *SANDBOX]) == 0
    assert "has passed before" in capsys.readouterr().err
    assert run([*TEST, *OWN, *SANDBOX, "--no-cache"]) == 0
    assert "model/mlcube.yaml: infer" in capsys.readouterr().err
    (cubes / "model/workspace/parameters.yaml").write_text(
        "findings: [Finding]\nprobability: 0.7\n"
    )
    assert run([*TEST, *OWN, *SANDBOX]) == 0
    assert "model/mlcube.yaml: infer" in capsys.readouterr().err, "other parameters: another trial"


def test_a_demo_dataset_that_was_packed_here_serves_as_the_data(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dataset", "pack-demo", *OWN, "--output", "demo set.tar.gz"]) == 0
    assert file_digest(cubes / "demo set.tar.gz") in capsys.readouterr().out
    taken = ["--output", "preparator/sample/labels.csv"]
    before = (cubes / taken[1]).read_bytes()
    assert run(["dataset", "pack-demo", *OWN, *taken]) == 2
    assert (cubes / taken[1]).read_bytes() == before, "nobody's file is written over"
    assert run(["dataset", "pack-demo", *OWN, "--output", "demo set.tar.gz"]) == 0, "the same"
    capsys.readouterr()
    declared = "--metrics=evaluator/metrics.yaml"
    assert run([*TEST, "--demo-url", "demo set.tar.gz", declared, *SANDBOX, "--json"]) == 0
    found = report(capsys)
    assert found["metrics"] == {"auc": 0.5, "positives": 8}
    assert found["data"] == file_digest(cubes / "demo set.tar.gz")


def test_parameters_and_weights_may_lie_elsewhere_than_beside_the_cube(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cubes / "others.yaml").write_text("findings: [Finding]\nprobability: 0.25\n")
    (cubes / "weights").mkdir()
    (cubes / "weights/w.npz").write_bytes(b"0")
    capsys.readouterr()
    assert run([*TEST, *OWN, *SANDBOX, "--json"]) == 0
    beside = report(capsys)
    extras = ["--model_parameters=others.yaml", "--model_additional_files=weights"]
    assert run([*TEST, *OWN, *SANDBOX, *extras, "--json"]) == 0
    elsewhere = report(capsys)
    assert elsewhere["model"] != beside["model"]
    assert elsewhere["evaluator"] == beside["evaluator"]
    written = next((cubes.parent / "home").rglob(f"{elsewhere['id']}/predictions/predictions.csv"))
    assert "0.25" in written.read_text()


def test_prepared_data_are_taken_as_they_are(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = ["mlcube", "run-test", "--mlcube=preparator", "--task=prepare", *SANDBOX]
    inputs = [f"--input={one.removeprefix('--')}" for one in OWN]
    assert run([*prepare, *inputs, "--output=made"]) == 0
    data = ["--data_path=made/output_path", "--labels_path=made/output_labels_path", "--prepared"]
    capsys.readouterr()
    assert run([*TEST, *data, *SANDBOX, "--json"]) == 0
    assert report(capsys)["metrics"] == {"AUC.Finding": 0.5, "positives.Finding": 8}
    (cubes / "made/output_path/data.csv").unlink()
    assert run([*TEST, *data, *SANDBOX]) == 1, "the preparator's own check sees it"


@pytest.mark.usefixtures("cubes")
def test_what_is_missing_for_a_trial_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("odd.yaml").write_text("metrics: {}\nignore: 4\n")
    for words, sentence in (
        ([*TEST, *SANDBOX], "--demo_dataset_url, or --data_path and --labels_path"),
        ([*TEST[:-1], *OWN, *SANDBOX], "Say --evaluator"),
        ([*TEST, *OWN[:1], *SANDBOX], "belong together"),
        ([*TEST[:-1], "--evaluator=model", *OWN, *SANDBOX], "needs the task 'evaluate'"),
        ([*TEST[:-1], "--evaluator=nowhere.yaml", *OWN, *SANDBOX], "There is no file nowhere"),
        ([*TEST, *OWN, "--demo-url=x.tar.gz", *SANDBOX], "Say which data once"),
        ([*TEST, *OWN, "--data_uid=x", *SANDBOX], "Say which data once"),
        ([*TEST, "--demo-url=x", "--metadata_path=x", *SANDBOX], "belongs to --data_path"),
        ([*TEST, "--data_uid=x", "--prepared", *SANDBOX], "prepared already"),
        ([*TEST, "--data_uid=x", *SANDBOX], "no prepared dataset 'x'"),
        ([*TEST, *OWN, "--model_parameters=no.yaml", *SANDBOX], "There is nothing at no.yaml"),
        ([*TEST, *OWN, "--model_parameters=model", *SANDBOX], "model is a folder"),
        ([*TEST, *OWN, "--metrics=no.yaml", *SANDBOX], "There is no file no.yaml."),
        ([*TEST, *OWN, "--metrics=model", *SANDBOX], "model is a folder: name the file."),
        ([*TEST, *OWN, "--metrics=odd.yaml", *SANDBOX], "odd.yaml: ignore: Input should be"),
        ([*TEST[:-1], "--evaluator_parameters=a", *OWN, *SANDBOX], "Say --evaluator"),
    ):
        assert run(words) in (1, 2)
        assert sentence in capsys.readouterr().err


def test_a_task_that_fails_shows_the_end_of_its_log(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cubes / "model/main.py").write_text('raise SystemExit("my bug")\n')
    assert run([*TEST, *OWN, *SANDBOX]) == 1
    assert "my bug" in capsys.readouterr().err


def test_one_task_of_one_cube_runs_alone(cubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["mlcube", "run-test", "--mlcube=preparator/mlcube.yaml", *SANDBOX]
    capsys.readouterr()
    words = [*one, "--task=prepare", "--input=data_path=preparator/sample/data"]
    assert run([*words, "--output=tried"]) == 2
    assert "needs --input labels_path=PATH" in capsys.readouterr().err
    words.append("--input=labels_path=preparator/sample/labels.csv")
    assert run([*words, "--output=tried", "--json"]) == 0
    found = report(capsys)
    assert (cubes / "tried/output_path/data.csv").read_text().startswith("Path\ncase-000000.txt")
    assert Path(str(found["log"])).is_file()
    assert run([*words, "--output=tried"]) == 2, "what was written stays"
    assert "is not empty" in capsys.readouterr().err
    assert run([*one, "--task=prepear", "--output=other"]) == 1
    assert "its tasks are prepare, sanity_check, statistics" in capsys.readouterr().err
    assert run([*one, "--task=prepare", "--input=weights=x", "--output=other"]) == 2
    assert "takes no 'weights'" in capsys.readouterr().err


def test_packing_gives_the_same_bytes_again(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = cubes / "model/workspace/additional_files/weights.npz"
    weights.parent.mkdir()
    weights.write_bytes(b"\0" * 1000)
    capsys.readouterr()
    assert run(["mlcube", "package", "--mlcube", "model", "--output", "one", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    weights.touch()
    shutil.copytree("model", "again")
    assert run(["mlcube", "package", "--mlcube", "again", "--output", "two", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert {Path(file["path"]).name for file in first} == {
        "mlcube.yaml",
        "parameters.yaml",
        "additional_files.tar.gz",
        "sandbox.tar.gz",
    }
    assert [file["digest"] for file in first] == [file["digest"] for file in second]
    for _ in range(2):  # what was packed before does not become part of the cube
        medperfs = ["mlcube", "package", "--mlcube=model", "--mlcube-types=model", "--json"]
        assert run(medperfs) == 0
        third = json.loads(capsys.readouterr().out)
        assert {Path(file["path"]).parent for file in third} == {Path("model/assets")}
        assert [file["digest"] for file in first] == [file["digest"] for file in third]
    metrics = ["mlcube", "package", "--mlcube=evaluator", "--mlcube-types=metrics"]
    assert run(metrics) == 0
    capsys.readouterr()
    assert run(["mlcube", "package", "--mlcube=model", "--output=x", "--role=evaluator"]) == 1
    assert "needs the task 'evaluate'" in capsys.readouterr().err


def test_a_cube_is_not_created_over_something(
    cubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mlcube", "create", "model"]) == 2
    assert "model is not empty" in capsys.readouterr().err
    assert run(["mlcube", "create", "data_preparator", "--output", "p2", "--name", "p2"]) == 0
    assert "name: p2" in (cubes / "p2/mlcube.yaml").read_text()


def test_links_are_not_packed(cubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cubes / "model/workspace/additional_files"
    folder.mkdir()
    (folder / "secret").symlink_to("/etc/hostname")
    assert run(["mlcube", "package", "--mlcube=model", "--output=x"]) == 2
    assert "is a link or a device" in capsys.readouterr().err
