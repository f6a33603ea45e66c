"""A model that works on the demo dataset and breaks at a hospital: it takes for granted that every
patient's age is on record. Nobody checked with data that has gaps; the benchmark's demo has none.

    main.py infer --data_path DIR --parameters_file FILE --output_path DIR

A baseline without any picture reading: age, sex and the brightness of the lungs.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")


def signals(data_path: Path, row: dict[str, str]) -> np.ndarray:
    """Offset, age, sex and brightness of a case, about standard."""
    with Image.open(data_path / row["Path"]) as image:
        lungs = np.asarray(image.convert("L"))[40:150, 40:184]
    age = (int(row["Age"]) - 57) / 17  # the bug: Age may be blank
    return np.array([1.0, age, row["Sex"] == "Male", (float(lungs.mean()) - 100) / 15])


def infer(data_path: Path, parameters_file: Path, output_path: Path) -> None:
    """Write `predictions.csv`."""
    parameters = yaml.safe_load(parameters_file.read_text(encoding="utf-8"))
    matrix = np.array([parameters[name] for name in FINDINGS])
    output_path.mkdir(parents=True, exist_ok=True)
    with (
        (data_path / "data.csv").open(encoding="utf-8", newline="") as source,
        (output_path / "predictions.csv").open("w", encoding="utf-8", newline="") as sink,
    ):
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(("Path", *FINDINGS))
        for row in csv.DictReader(source):
            chances = 1 / (1 + np.exp(-matrix @ signals(data_path, row)))
            table.writerow((row["Path"], *(f"{chance:.6f}" for chance in chances)))


def options(words: list[str]) -> dict[str, Path]:
    """The `--key=value` and `--key value` pairs of a command line."""
    pairs: dict[str, Path] = {}
    rest = iter(words)
    for word in rest:
        key, given, value = word.partition("=")
        if not key.startswith("--"):
            raise SystemExit(f"unexpected argument: {word}")
        pairs[key[2:]] = Path(value if given else next(rest, ""))
    return pairs


if __name__ == "__main__":
    if sys.argv[1:2] != ["infer"]:
        raise SystemExit("usage: main.py infer --key=path …")
    infer(**options(sys.argv[2:]))
