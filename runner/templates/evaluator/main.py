"""An evaluator: how well predictions agree with labels.

    main.py evaluate --predictions=DIR --labels=DIR --parameters_file=FILE --output_path=FILE

Reads `predictions.csv` and `labels.csv` (`Path`, and one column a finding) and writes one YAML
file. Predictions are a stranger's text: what is not a number between 0 and 1 is refused. What of
the file may leave a site is declared by the benchmark, see metrics.yaml.
"""

import csv
import sys
from pathlib import Path

import yaml


def table(file: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by their `Path`."""
    with file.open(encoding="utf-8", newline="") as source:
        return {row["Path"]: row for row in csv.DictReader(source)}


def probability(text: str) -> float:
    """A number between 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise SystemExit("a prediction is not between 0 and 1")
    return value


def auc(with_it: list[float], without: list[float]) -> float | None:
    """The chance that a case with the finding gets more than one without; None without pairs."""
    pairs = len(with_it) * len(without)
    if not pairs:
        return None
    wins = sum((one > other) + (one == other) / 2 for one in with_it for other in without)
    return wins / pairs


def evaluate(predictions: Path, labels: Path, parameters_file: Path, output_path: Path) -> None:
    """Write the metrics of each finding."""
    findings = yaml.safe_load(parameters_file.read_text("utf-8"))["findings"]
    predicted, known = table(predictions / "predictions.csv"), table(labels / "labels.csv")
    if predicted.keys() != known.keys():
        raise SystemExit("the predictions are not those of these cases")
    found: dict[str, dict[str, float | int | None]] = {"AUC": {}, "positives": {}}
    for finding in findings:
        with_it: list[float] = []
        without: list[float] = []
        for path, row in known.items():
            chance = probability(predicted[path][finding])
            (with_it if row[finding] == "1" else without).append(chance)
        found["AUC"][finding] = auc(with_it, without)
        found["positives"][finding] = len(with_it)
    output_path.write_text(yaml.safe_dump(found), encoding="utf-8")


def options(words: list[str]) -> dict[str, Path]:
    """The `--key=path` pairs of a command line."""
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {key: Path(path) for key, _, path in pairs}


if __name__ == "__main__":
    if sys.argv[1:2] != ["evaluate"]:
        raise SystemExit("usage: main.py evaluate --key=path …")
    evaluate(**options(sys.argv[2:]))
