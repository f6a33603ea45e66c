"""Prepared pictures and labels of several made-up sites, as one file that the trainers read.

    python train/collect.py TRAIN.npz --sites north,south,east --cases 900 --seed 1000

It runs the generator and the benchmark's preparator as anybody would, then stacks what they wrote.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")
VALUES = {"1": 1, "0": 0, "": 0, "-1": -1}


def run(*words: object) -> None:
    """Run one of the example's programs."""
    command = [sys.executable, *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def collect(site: str, number: int, seed: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Pictures (224 x 224) and labels (1, 0, -1) of a site's cases, in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        raw, ready = Path(folder, "raw"), Path(folder, "ready")
        run(HERE / "generate.py", raw, "--cases", number, "--seed", seed, "--site", site)
        run(
            *(HERE / "prep/main.py", "prepare"),
            *(f"--data_path={raw / 'images'}", f"--labels_path={raw / 'labels.csv'}"),
            *(f"--output_path={ready / 'data'}", f"--output_labels_path={ready / 'labels'}"),
        )
        with (ready / "labels/labels.csv").open(encoding="utf-8", newline="") as source:
            rows = list(csv.DictReader(source))
        pictures = [np.asarray(Image.open(ready / "data" / row["Path"])) for row in rows]
    return pictures, [[VALUES[row[name]] for name in FINDINGS] for row in rows]


def main() -> None:
    """Write the file that the arguments describe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sites", required=True, help="names, separated by commas")
    parser.add_argument("--cases", type=int, default=900, help="of each site")
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    pictures: list[np.ndarray] = []
    labels: list[list[int]] = []
    for site in options.sites.split(","):
        more, theirs = collect(site, options.cases, options.seed)
        pictures += more
        labels += theirs
    np.savez(options.out, pictures=np.stack(pictures), labels=np.array(labels, dtype=np.int8))
    print(f"{len(pictures)} cases in {options.out}")


if __name__ == "__main__":
    main()
