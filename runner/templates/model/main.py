"""A model: what it predicts for each case of the prepared data.

    main.py infer --data_path=DIR --parameters_file=FILE --output_path=DIR

`data.csv` in DIR lists the cases in its column `Path`. This writes `predictions.csv`: `Path`, and
one column a finding. The data are read-only, there is no network, and only --output_path is kept.
Replace `predict` by your model; weights go into `workspace/additional_files/`, with an input
`weights: additional_files/weights.npz` in mlcube.yaml.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import yaml


def predict(case: Path, parameters: dict[str, Any]) -> float:  # noqa: ARG001 - yours will read it
    """The probability that the case has a finding."""
    return float(parameters["probability"])


def infer(data_path: Path, parameters_file: Path, output_path: Path) -> None:
    """Write `predictions.csv` for all cases."""
    parameters = yaml.safe_load(parameters_file.read_text("utf-8"))
    with (data_path / "data.csv").open(encoding="utf-8", newline="") as source:
        cases = [row["Path"] for row in csv.DictReader(source)]
    output_path.mkdir(parents=True, exist_ok=True)
    with (output_path / "predictions.csv").open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(("Path", *parameters["findings"]))
        for case in cases:
            chance = predict(data_path / case, parameters)
            table.writerow((case, *(f"{chance:.4f}" for _ in parameters["findings"])))


def options(words: list[str]) -> dict[str, Path]:
    """The `--key=path` pairs of a command line."""
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {key: Path(path) for key, _, path in pairs}


if __name__ == "__main__":
    if sys.argv[1:2] != ["infer"]:
        raise SystemExit("usage: main.py infer --key=path …")
    infer(**options(sys.argv[2:]))
