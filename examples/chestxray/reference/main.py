"""The benchmark's reference model: hand-made picture features and a logistic regression a finding.

    main.py infer --data_path DIR --parameters_file FILE --weights FILE --output_path DIR

Reads `data.csv` and the 224 x 224 pictures that it lists; writes `predictions.csv`: `Path` and the
probability of each finding. Fitted by `train/reference.py`.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")
EDGE = 224
LEVELS = ((0.18, 0.36), (0.36, 0.54), (0.54, 0.70))  # upper, middle, lower zone of the lungs
SIDES = ((0.17, 0.40), (0.60, 0.83))


def features(picture: np.ndarray, clip: tuple[float, float]) -> np.ndarray:
    """What a person might measure: brightness and texture of lung zones, the heart's width."""
    low, high = np.percentile(picture, clip)
    scaled = np.clip((picture.astype(np.float32) - low) / max(high - low, 1.0), 0, 1)
    small = scaled.reshape(56, 4, 56, 4).mean(axis=(1, 3))
    rough = scaled.reshape(56, 4, 56, 4).std(axis=(1, 3))
    values = []
    for top, bottom in LEVELS:
        rows = slice(round(top * 56), round(bottom * 56))
        zones = [(rows, slice(round(left * 56), round(right * 56))) for left, right in SIDES]
        bright = [float(small[zone].mean()) for zone in zones]
        spread = [float(small[zone].std()) for zone in zones]
        grain = [float(rough[zone].mean()) for zone in zones]
        for pair in (bright, spread, grain):
            values += [sum(pair), abs(pair[0] - pair[1])]
    band = small[round(0.56 * 56) : round(0.68 * 56)].mean(axis=0)
    middle = (float(band[12:44].min()) + float(band[24:32].mean())) / 2
    heart = band[8:48] > middle
    values += [float(heart.mean()), float(heart[:20].mean()), float(heart[20:].mean())]
    values += [float(small[:, 8:48].mean()), float(small[38:].mean())]
    return np.array(values, dtype=np.float64)


def cases(data_path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Path and picture of each case."""
    with (data_path / "data.csv").open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            with Image.open(data_path / row["Path"]) as image:
                yield row["Path"], np.asarray(image.convert("L"))


def infer(data_path: Path, parameters_file: Path, weights: Path, output_path: Path) -> None:
    """Write `predictions.csv`."""
    parameters: dict[str, Any] = yaml.safe_load(parameters_file.read_text(encoding="utf-8"))
    low, high = parameters["clip_percentiles"]
    with np.load(weights, allow_pickle=False) as arrays:
        mean, scale = arrays["mean"], arrays["scale"]
        slope, offset = arrays["slope"], arrays["offset"]
    output_path.mkdir(parents=True, exist_ok=True)
    number = 0
    with (output_path / "predictions.csv").open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(("Path", *FINDINGS))
        for path, picture in cases(data_path):
            signal = slope @ ((features(picture, (low, high)) - mean) / scale) + offset
            chances = 1 / (1 + np.exp(-np.clip(signal, -30, 30)))
            table.writerow((path, *(f"{chance:.6f}" for chance in chances)))
            number += 1
    print(f"{number} cases")


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
