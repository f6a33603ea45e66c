"""The chest X-ray example as its users run it: programs, in processes of their own."""

import csv
import filecmp
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parents[2] / "examples/chestxray"
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")
CUBES = ("prep", "evaluator", "reference", "resnet", "ensemble", "broken")
MODELS = ("reference", "resnet", "ensemble")


def run(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run one of the example's programs with one thread and nothing of our environment."""
    return subprocess.run(
        [sys.executable, str(HERE / program), *map(str, words)],
        cwd=(HERE / program).parent,
        env={"HOME": "/nonexistent", "PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def must(program: str, *words: object) -> str:
    """What a program says that has to succeed."""
    done = run(program, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


@dataclass(frozen=True)
class Dataset:
    """A generated dataset, raw and prepared."""

    raw: Path
    data: Path
    labels: Path
    metadata: Path


def dataset(folder: Path, site: str, cases: int, seed: int = 7) -> Dataset:
    """Generate and prepare a dataset of a site."""
    made = Dataset(folder / "raw", folder / "data", folder / "labels", folder / "metadata")
    must("generate.py", made.raw, "--cases", cases, "--seed", seed, "--site", site)
    must(
        *("prep/main.py", "prepare", "--data_path", made.raw / "images"),
        *(f"--labels_path={made.raw / 'labels.csv'}", f"--output_path={made.data}"),
        *(f"--output_labels_path={made.labels}", f"--metadata_path={made.metadata}"),
    )
    return made


def infer(cube: str, data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Run a model on prepared data."""
    workspace = HERE / cube / "workspace"
    words = [f"--data_path={data}", f"--parameters_file={workspace / 'parameters.yaml'}"]
    if (workspace / "additional_files").exists():
        words.append(f"--weights={workspace / 'additional_files' / f'{cube}.npz'}")
    return run(f"{cube}/main.py", "infer", *words, f"--output_path={out}")


def evaluate(
    predictions: Path, labels: Path, out: Path, parameters: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the evaluator."""
    parameters = parameters or HERE / "evaluator/workspace/parameters.yaml"
    return run(
        *("evaluator/main.py", "evaluate", f"--predictions={predictions}", f"--labels={labels}"),
        *(f"--parameters_file={parameters}", f"--output_path={out}"),
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(tmp_path_factory.mktemp("demo"), "demo", 24)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(tmp_path_factory.mktemp("hospital"), "hospital", 120)


@pytest.fixture(scope="module")
def predicted(hospital: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The predictions of each good model on the hospital's data."""
    folder = tmp_path_factory.mktemp("predictions")
    for cube in MODELS:
        done = infer(cube, hospital.data, folder / cube)
        assert done.returncode == 0, done.stderr
    return {cube: folder / cube for cube in MODELS}


@pytest.fixture(scope="module")
def results(
    hospital: Dataset, predicted: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, dict[str, float]]]:
    """What the evaluator says of each good model."""
    folder, found = tmp_path_factory.mktemp("results"), {}
    for cube, predictions in predicted.items():
        out = folder / f"{cube}.yaml"
        done = evaluate(predictions, hospital.labels, out)
        assert done.returncode == 0, done.stderr
        found[cube] = yaml.safe_load(out.read_text())
    return found


# --- the generator


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        archives.append(tmp_path / f"{name}.tar.gz")
        must("generate.py", tmp_path / name, "--cases", 3, "--demo", archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_the_demo_keeps_radiographs_only_while_the_whole_generator_stays_the_same() -> None:
    code = (
        "import sys, demo; before = set(sys.modules); import generate; from pathlib import Path; "
        "new = [sys.modules[name] for name in set(sys.modules) - before]; "
        "files = [Path(getattr(module, '__file__', None) or '/') for module in new]; "
        "own = {file.name for file in files if file.parent == Path(demo.__file__).parent}; "
        "sys.exit(own != set(demo.GENERATOR) and str(own))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_more_cases_extend_a_dataset_and_another_seed_or_site_changes_it(tmp_path: Path) -> None:
    def made(name: str, *words: object) -> tuple[list[dict[str, str]], list[str]]:
        must("generate.py", tmp_path / name, *words)
        rows = table(tmp_path / name / "labels.csv")
        pictures = [(tmp_path / name / "images" / row["Path"]).read_bytes() for row in rows]
        return rows, [hashlib.sha256(picture).hexdigest() for picture in pictures]

    rows, digests = made("one", "--cases", 2, "--seed", 1, "--site", "ward")
    more, further = made("more", "--cases", 3, "--seed", 1, "--site", "ward")
    assert more[:2] == rows
    assert further[:2] == digests
    for other in (("--seed", 2, "--site", "ward"), ("--seed", 1, "--site", "clinic")):
        _, changed = made("-".join(map(str, other)), "--cases", 2, *other)
        assert not set(changed) & set(digests)


def test_the_labels_have_the_layout_of_chexpert(hospital: Dataset) -> None:
    rows = table(hospital.raw / "labels.csv")
    assert len(rows) == 120
    assert list(rows[0])[:5] == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"]
    assert len(rows[0]) == 5 + 14
    assert rows[0]["Path"] == "CheXpert-v1.0-small/valid/patient00001/study1/view1_frontal.png"
    values = {row[name] for row in rows for name in list(rows[0])[5:]}
    assert values == {"1", "0", "-1", ""}
    assert all((hospital.raw / "images" / row["Path"]).is_file() for row in rows)


def test_a_demo_dataset_is_packed_as_medperf_wants_it(tmp_path: Path) -> None:
    must(
        "generate.py", tmp_path / "demo", "--cases", 2, "--size", 100, "--demo", tmp_path / "d.tgz"
    )
    with tarfile.open(tmp_path / "d.tgz") as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "out", filter="data")
    assert {(m.mtime, m.uid, m.gid, m.uname, m.isreg()) for m in members} == {(0, 0, 0, "", True)}
    paths = yaml.safe_load((tmp_path / "out/paths.yaml").read_text())
    assert (tmp_path / "out" / paths["data_path"]).is_dir()
    assert len(table(tmp_path / "out" / paths["labels_path"])) == 2


# --- the preparator


def test_a_prepared_dataset_passes_its_sanity_check(demo: Dataset, hospital: Dataset) -> None:
    for made in (demo, hospital):
        must(
            *("prep/main.py", "sanity_check"),
            *(f"--data_path={made.data}", f"--labels_path={made.labels}"),
        )


def test_what_a_model_sees_names_no_source(hospital: Dataset) -> None:
    files = {p.relative_to(hospital.data).as_posix() for p in hospital.data.rglob("*.*")}
    assert files == {"data.csv", *(f"images/case-{n:06d}.png" for n in range(1, 121))}
    assert "patient" not in (hospital.data / "data.csv").read_text()
    assert list(table(hospital.data / "data.csv")[0]) == [
        *("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
    ]
    sources = [row["Source"] for row in table(hospital.metadata / "sources.csv")]
    assert sorted(sources) == [row["Path"] for row in table(hospital.raw / "labels.csv")]
    assert sources != sorted(sources)


def test_the_labels_follow_their_pictures(hospital: Dataset) -> None:
    raw = {row["Path"]: row for row in table(hospital.raw / "labels.csv")}
    source = {row["Path"]: row["Source"] for row in table(hospital.metadata / "sources.csv")}
    for row in table(hospital.labels / "labels.csv"):
        assert {**raw[source[row["Path"]]], "Path": row["Path"]}.items() >= row.items()


def test_preparing_twice_gives_the_same_files(demo: Dataset, tmp_path: Path) -> None:
    again = dataset(tmp_path, "demo", 24)
    for old, new in ((demo.data, again.data), (demo.labels, again.labels)):
        names = [p.relative_to(old).as_posix() for p in old.rglob("*.*")]
        assert filecmp.cmpfiles(old, new, names, shallow=False) == (names, [], [])


def test_statistics_count_the_cases(hospital: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "statistics.yaml"
    must(
        *("prep/main.py", "statistics", f"--data_path={hospital.data}"),
        *(f"--labels_path={hospital.labels}", f"--output_path={out}"),
    )
    found = yaml.safe_load(out.read_text())
    assert (found["cases"], found["width"], found["height"]) == (120, 224, 224)
    for name in FINDINGS:
        assert sum(found["columns"][name].values()) == 120
    for declared in yaml.safe_load((HERE / "prep/statistics.yaml").read_text()).values():
        assert declared["min"] <= reached(found, declared["from"]) <= declared["max"]


def reached(found: Any, keys: list[str]) -> Any:
    """What lies at this path of keys."""
    for key in keys:
        found = found[key]
    return found


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("picture", "has no picture"),
        ("extra", "is not listed"),
        ("size", "is L 100x100, not L 224x224"),
        ("text", "cannot be read"),
        ("range", "is '2', not 1, 0, -1 or blank"),
        ("column", "missing columns: Edema"),
        ("twice", "1 cases are listed twice"),
    ],
)
def test_the_sanity_check_says_what_is_wrong(
    damage: str, complaint: str, demo: Dataset, tmp_path: Path
) -> None:
    for name in ("data", "labels"):
        shutil.copytree(getattr(demo, name), tmp_path / name)
    made = replace(demo, data=tmp_path / "data", labels=tmp_path / "labels")
    first = made.data / "images/case-000001.png"
    labels = made.labels / "labels.csv"
    if damage == "picture":
        first.unlink()
    elif damage == "extra":
        (made.data / "images/case-000099.png").write_bytes(first.read_bytes())
    elif damage == "size":
        must("generate.py", tmp_path / "small", "--cases", 1, "--size", 100)
        next((tmp_path / "small").rglob("*.png")).replace(first)
    elif damage == "text":
        first.write_text("no picture")
    elif damage == "range":
        lines = labels.read_text().splitlines()
        lines[1] = ",".join([*lines[1].split(",")[:-1], "2"])
        labels.write_text("\n".join(lines) + "\n")
    elif damage == "column":
        labels.write_text(labels.read_text().replace("Edema", "Oedema"))
    else:
        labels.write_text(labels.read_text() + labels.read_text().splitlines()[1] + "\n")
    done = run(
        *("prep/main.py", "sanity_check"),
        *(f"--data_path={made.data}", f"--labels_path={made.labels}"),
    )
    assert done.returncode == 1
    assert complaint in done.stderr


def test_swapped_data_and_labels_are_refused(demo: Dataset) -> None:
    done = run(
        *("prep/main.py", "sanity_check"),
        *(f"--data_path={demo.labels}", f"--labels_path={demo.data}"),
    )
    assert done.returncode == 1
    assert "missing columns" in done.stderr


@pytest.mark.parametrize("path", ["../outside.png", "/etc/hostname", "nowhere.png", ""])
def test_a_row_cannot_name_a_picture_outside_the_folder(path: str, tmp_path: Path) -> None:
    must("generate.py", tmp_path / "raw", "--cases", 1, "--size", 64)
    labels = tmp_path / "raw/labels.csv"
    (tmp_path / "raw/outside.png").write_bytes(b"")
    row = table(labels)[0]["Path"]
    labels.write_text(labels.read_text().replace(row, path))
    done = run(
        *("prep/main.py", "prepare", f"--data_path={tmp_path / 'raw/images'}"),
        *(f"--labels_path={labels}", f"--output_path={tmp_path / 'd'}"),
        f"--output_labels_path={tmp_path / 'l'}",
    )
    assert done.returncode == 1
    assert repr(path) in done.stderr


# --- the evaluator


def by_hand(predictions: Path, labels: Path, finding: str) -> dict[str, float]:
    """n, positives, AUC and F1 (at 0.4) by their definitions: every pair of cases is compared."""
    truth = {row["Path"]: row[finding] for row in table(labels / "labels.csv")}
    scores = {row["Path"]: float(row[finding]) for row in table(predictions / "predictions.csv")}
    high = [scores[case] for case, label in truth.items() if label == "1"]
    low = [scores[case] for case, label in truth.items() if label in ("0", "")]
    wins = sum((p > q) + 0.5 * (p == q) for p in high for q in low)
    hits, alarms = sum(p >= 0.4 for p in high), sum(q >= 0.4 for q in low)
    return {
        "n": len(high) + len(low),
        "positives": len(high),
        "AUC": wins / (len(high) * len(low)),
        "F1": hits / (hits + 0.5 * (alarms + len(high) - hits)),
    }


@pytest.mark.parametrize("cube", MODELS)
def test_the_metrics_are_what_their_definitions_give(
    cube: str,
    hospital: Dataset,
    predicted: dict[str, Path],
    results: dict[str, dict[str, dict[str, float]]],
) -> None:
    for finding in FINDINGS:
        for metric, value in by_hand(predicted[cube], hospital.labels, finding).items():
            assert results[cube][metric][finding] == pytest.approx(value, abs=1e-6)


def test_the_declared_metrics_are_those_that_the_evaluator_writes(
    results: dict[str, dict[str, dict[str, float]]],
) -> None:
    declared = yaml.safe_load((HERE / "metrics.yaml").read_text())
    assert list(declared) == ["metrics", "ignore", "engines", "dataFormat"]
    for one in declared["metrics"].values():
        assert one["min"] <= reached(results["resnet"], one["from"]) <= one["max"]
        assert one.get("support") in (None, *declared["metrics"])
    written = {(metric, name) for metric, found in results["resnet"].items() for name in found}
    assert written == {tuple(one["from"]) for one in declared["metrics"].values()}


def small(folder: Path, labels: list[str], scores: list[str]) -> tuple[Path, Path]:
    """Predictions and labels of a few cases, the same for every finding."""
    predictions, truth = folder / "predictions", folder / "labels"
    for where in (predictions, truth):
        where.mkdir(parents=True)
    head = ",".join(("Path", *FINDINGS)) + "\n"
    for file, values in (
        (truth / "labels.csv", labels),
        (predictions / "predictions.csv", scores),
    ):
        lines = [f"images/case-{n}.png" + f",{value}" * 4 for n, value in enumerate(values)]
        file.write_text(head + "\n".join(lines) + "\n")
    return predictions, truth


@pytest.mark.parametrize(
    ("uncertain", "n", "positives"), [("ignore", 3, 1), ("zero", 4, 1), ("one", 4, 2)]
)
def test_uncertain_labels_count_as_the_parameters_say_and_blanks_are_negative(
    uncertain: str, n: int, positives: int, tmp_path: Path
) -> None:
    predictions, labels = small(tmp_path, ["1", "0", "", "-1"], ["0.9", "0.2", "0.1", "0.6"])
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(yaml.safe_dump({"findings": ["Edema"], "uncertain": uncertain}))
    text = (predictions / "predictions.csv").read_text().splitlines()
    kept = [",".join([line.split(",")[0], line.split(",")[4]]) for line in text]
    (predictions / "predictions.csv").write_text("\n".join(kept) + "\n")
    done = evaluate(predictions, labels, tmp_path / "results.yaml", parameters)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load((tmp_path / "results.yaml").read_text())
    assert (found["n"]["Edema"], found["positives"]["Edema"]) == (n, positives)
    assert found["AUC"]["Edema"] == 1


def test_a_metric_that_cannot_be_computed_is_left_out(tmp_path: Path) -> None:
    predictions, labels = small(tmp_path, ["0", "0"], ["0.9", "0.2"])
    assert evaluate(predictions, labels, tmp_path / "results.yaml").returncode == 0
    found = yaml.safe_load((tmp_path / "results.yaml").read_text())
    assert found["AUC"] == found["F1"] == {}
    assert found["n"]["Edema"] == 2


GOOD = "images/case-0.png,0.1,0.2,0.3,0.4\nimages/case-1.png,0.1,0.2,0.3,0.4\n"
HEAD = ",".join(("Path", *FINDINGS)) + "\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + GOOD + "images/case-2.png,0,0,0,0\n", "more than 2 rows"),
        (HEAD + GOOD.replace("case-1", "case-9"), "no such case: 'images/case-9.png'"),
        (HEAD + GOOD.replace("case-1", "case-0"), "images/case-0.png is listed twice"),
        (HEAD + GOOD.splitlines()[0] + "\n", "1 of 2 cases have no prediction"),
        (HEAD + GOOD.replace("0.3", "nan", 1), "line 2: 'nan' is not a number in 0..1"),
        (HEAD + GOOD.replace("0.3", "inf", 1), "'inf' is not a number in 0..1"),
        (HEAD + GOOD.replace("0.3", "1.5", 1), "'1.5' is not a number in 0..1"),
        (HEAD + GOOD.replace("0.3", "", 1), "'' is not a number in 0..1"),
        (HEAD + GOOD.replace("0.3", "0" * 500, 1), "is not a number in 0..1"),
        (HEAD + GOOD.replace("0.3", "0" * 5000, 1), "a line is longer than"),
        (HEAD + GOOD.replace(",0.4", "", 1), "line 2 has 4 fields, not 5"),
        (HEAD.replace("Edema", "Oedema") + GOOD, "its columns must be Path, Atelectasis"),
        (HEAD, "no rows"),
        ("\0" * 200, "no rows"),
        (HEAD + '"' + GOOD, "not a CSV table"),
    ],
)
def test_hostile_predictions_are_refused(text: str, complaint: str, tmp_path: Path) -> None:
    predictions, labels = small(tmp_path, ["1", "0"], ["0.9", "0.2"])
    (predictions / "predictions.csv").write_text(text)
    done = evaluate(predictions, labels, tmp_path / "results.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: predictions.csv: ")
    assert complaint in done.stderr
    assert not (tmp_path / "results.yaml").exists()


@pytest.mark.parametrize(
    ("trick", "complaint"),
    [
        ("link", "cannot be opened as a plain file"),
        ("pipe", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("huge", "is larger than"),
        ("binary", "is not UTF-8 text"),
        ("none", "cannot be opened as a plain file"),
    ],
)
def test_only_a_plain_file_of_bounded_size_is_read(
    trick: str, complaint: str, tmp_path: Path
) -> None:
    predictions, labels = small(tmp_path, ["1", "0"], ["0.9", "0.2"])
    file = predictions / "predictions.csv"
    content = file.read_bytes()
    file.unlink()
    if trick == "link":
        (tmp_path / "elsewhere.csv").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere.csv")
    elif trick == "pipe":
        os.mkfifo(file)
    elif trick == "folder":
        file.mkdir()
    elif trick == "huge":
        with file.open("wb") as sink:
            sink.truncate(10**12)
    elif trick == "binary":
        file.write_bytes(content + b"\xff\xfe")
    done = evaluate(predictions, labels, tmp_path / "results.yaml")
    assert done.returncode == 1
    assert complaint in done.stderr


# --- the models


def mean_auc(result: dict[str, dict[str, float]]) -> float:
    return math.fsum(result["AUC"].values()) / len(result["AUC"])


def test_the_trained_networks_beat_the_reference_and_none_is_perfect(
    results: dict[str, dict[str, dict[str, float]]],
) -> None:
    assert 0.7 < mean_auc(results["reference"]) < 0.88
    for cube in ("resnet", "ensemble"):
        assert mean_auc(results["reference"]) + 0.04 < mean_auc(results[cube]) < 0.99


def test_the_broken_model_passes_on_the_demo_and_fails_at_the_hospital(
    demo: Dataset, hospital: Dataset, tmp_path: Path
) -> None:
    assert infer("broken", demo.data, tmp_path / "demo").returncode == 0
    done = evaluate(tmp_path / "demo", demo.labels, tmp_path / "results.yaml")
    assert done.returncode == 0, done.stderr
    failed = infer("broken", hospital.data, tmp_path / "hospital")
    assert failed.returncode == 1
    assert "ValueError: invalid literal for int() with base 10: ''" in failed.stderr


def test_predictions_do_not_depend_on_the_size_of_a_batch(demo: Dataset, tmp_path: Path) -> None:
    (tmp_path / "parameters.yaml").write_text("batch_size: 5\n")
    weights = HERE / "resnet/workspace/additional_files/resnet.npz"
    must(
        *("resnet/main.py", "infer", f"--data_path={demo.data}", f"--weights={weights}"),
        *(f"--parameters_file={tmp_path / 'parameters.yaml'}", f"--output_path={tmp_path / 'a'}"),
    )
    assert infer("resnet", demo.data, tmp_path / "b").returncode == 0
    for one, other in zip(
        table(tmp_path / "a/predictions.csv"), table(tmp_path / "b/predictions.csv"), strict=True
    ):
        for name in FINDINGS:
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-4)


# --- the cubes as files


@pytest.mark.parametrize("cube", CUBES)
def test_each_cube_has_what_its_mlcube_file_names(cube: str) -> None:
    described = yaml.safe_load((HERE / cube / "mlcube.yaml").read_text())
    assert described["name"] == f"chest-{cube}"
    assert described["docker"]["image"] == f"medperf-examples/chest-{cube}:0.1.0"
    for task in described["tasks"].values():
        inputs = task["parameters"]["inputs"]
        for key in inputs.keys() & {"parameters_file", "weights"}:
            assert (HERE / cube / "workspace" / inputs[key]).is_file()
    weights = HERE / cube / "workspace/additional_files"
    assert all(path.stat().st_size < 400_000 for path in weights.glob("*"))


def test_the_ensemble_is_the_network_with_other_weights() -> None:
    assert filecmp.cmp(HERE / "resnet/main.py", HERE / "ensemble/main.py", shallow=False)


def test_packing_twice_gives_the_same_archives(tmp_path: Path) -> None:
    first = must("pack.py", HERE / "resnet", tmp_path / "a")
    assert must("pack.py", HERE / "resnet", tmp_path / "b") == first
    for line in first.splitlines():
        name, digest, size = line.split()
        content = (tmp_path / "a" / name).read_bytes()
        assert digest == "sha256:" + hashlib.sha256(content).hexdigest()
        assert len(content) == int(size)
    with tarfile.open(tmp_path / "a/resnet-additional_files.tar.gz") as tar:
        assert tar.getnames() == ["resnet.npz"]
    with tarfile.open(tmp_path / "a/resnet-sandbox.tar.gz") as tar:
        assert tar.getnames() == ["main.py"]
