"""A small residual network for chest radiographs, in plain NumPy; several networks are averaged.

    main.py infer --data_path DIR --parameters_file FILE --weights FILE --output_path DIR

Reads `data.csv` and the 224 x 224 pictures that it lists; writes `predictions.csv`: `Path` and the
probability of each finding. Trained and exported by `train/resnet.py`, which computes the same in
torch: batch norm is folded into the weights, and these are stored as 16-bit floats.

The weights file holds, for each network i, `i.stem`, `i.head`, and for each block b `i.b.one`,
`i.b.two` and, where it halves the picture, `i.b.skip`. Each is a matrix: a row for every input at
every position of the kernel (3 x 3 or 1 x 1), then one for the offset; a column for every output.
"""

import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")
Arrays = dict[str, np.ndarray]


def standard(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, 224, 224) as the network wants them: (n, 112, 112), of mean 0, variance 1."""
    count, height, width = pictures.shape
    halves = pictures.reshape(count, height // 2, 2, width // 2, 2).mean(
        axis=(2, 4), dtype=np.float32
    )
    mean, spread = halves.mean(axis=(1, 2)), halves.std(axis=(1, 2))
    scaled: np.ndarray = (halves - mean[:, None, None]) / np.maximum(spread, 1)[:, None, None]
    return scaled


def convolve(planes: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Planes (n, h, w, c) under a 3 x 3 or 1 x 1 kernel with its offset in the last row."""
    count, height, width, depth = planes.shape
    rows = kernel.shape[0] - 1
    high, wide = -(-height // stride), -(-width // stride)
    if rows == depth:
        patches = planes[:, ::stride, ::stride]
    else:
        padded = np.zeros((count, height + 2, width + 2, depth), dtype=np.float32)
        padded[:, 1:-1, 1:-1] = planes
        patches = np.empty((count, high, wide, 9, depth), dtype=np.float32)
        for spot in range(9):
            down, across = divmod(spot, 3)
            patches[:, :, :, spot] = padded[
                :, down : down + height : stride, across : across + width : stride
            ]
    flat = patches.reshape(-1, rows) @ kernel[:-1]
    flat += kernel[-1]
    return flat.reshape(count, high, wide, -1)


def network(pictures: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    """Logits (n, findings) of one network for standard pictures."""
    planes = convolve(pictures[..., None], weights[f"{name}.stem"], 2)
    np.maximum(planes, 0, out=planes)
    block = 0
    while f"{name}.{block}.one" in weights:
        skip = weights.get(f"{name}.{block}.skip")
        stride = 1 if skip is None else 2
        inner = convolve(planes, weights[f"{name}.{block}.one"], stride)
        np.maximum(inner, 0, out=inner)
        inner = convolve(inner, weights[f"{name}.{block}.two"], 1)
        inner += planes if skip is None else convolve(planes, skip, 2)
        planes = np.maximum(inner, 0, out=inner)
        block += 1
    pooled = np.concatenate([planes.mean(axis=(1, 2)), planes.max(axis=(1, 2))], axis=1)
    logits: np.ndarray = pooled @ weights[f"{name}.head"][:-1] + weights[f"{name}.head"][-1]
    return logits


def chances(pictures: np.ndarray, weights: Arrays) -> np.ndarray:
    """Probabilities (n, findings), averaged over the networks of the weights."""
    ready = standard(pictures)
    names = sorted({key.partition(".")[0] for key in weights})
    logits = [np.clip(network(ready, weights, name), -30, 30) for name in names]
    mean: np.ndarray = np.mean([1 / (1 + np.exp(-values)) for values in logits], axis=0)
    return mean


def load(path: Path) -> Arrays:
    """The weights, as 32-bit floats."""
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key].astype(np.float32) for key in arrays.files}


def cases(data_path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Path and picture of each case."""
    with (data_path / "data.csv").open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            with Image.open(data_path / row["Path"]) as image:
                yield row["Path"], np.asarray(image.convert("L"))


def infer(data_path: Path, parameters_file: Path, weights: Path, output_path: Path) -> None:
    """Write `predictions.csv`."""
    parameters: dict[str, Any] = yaml.safe_load(parameters_file.read_text(encoding="utf-8"))
    arrays, size = load(weights), int(parameters["batch_size"])
    output_path.mkdir(parents=True, exist_ok=True)
    number, queue = 0, cases(data_path)
    with (output_path / "predictions.csv").open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(("Path", *FINDINGS))
        while batch := list(islice(queue, size)):
            found = chances(np.stack([picture for _, picture in batch]), arrays)
            for (path, _), row in zip(batch, found, strict=True):
                table.writerow((path, *(f"{chance:.6f}" for chance in row)))
            number += len(batch)
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
