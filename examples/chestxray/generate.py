"""A made-up chest X-ray dataset in CheXpert's layout, to try a benchmark without any patient.

    python generate.py OUT --cases 200 --seed 7 --site hospital
    python generate.py OUT --cases 24 --site demo --demo demo_dataset.tar.gz

`OUT/images` is the data path, `OUT/labels.csv` the labels path. What is always true here:

* Case i depends on seed, site and i only: more cases extend a dataset, and the same arguments give
  the same bytes (with the same versions of numpy and Pillow).
* One case is in memory at a time.
* `patients` says who is on a picture and what a reader writes of it, `radiographs` draws it.

Nothing here is fit for any medical purpose.
"""

import argparse
import csv
import gzip
import hashlib
import io
import os
import signal
import sys
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from patients import DEMO_SITE, OBSERVATIONS, Site, draw_patient, read_labels, site_of
from radiographs import render

COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS)
AHEAD = 500  # cases that are made before they are written
ROOT_FOLDER = "CheXpert-v1.0-small/valid"


def one_case(site: Site, name: str, seed: int, size: int, index: int) -> tuple[list[str], bytes]:
    """Row and PNG of case `index`, whatever other cases there are."""
    salt = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draw = np.random.default_rng([seed, salt, index])
    patient = draw_patient(draw, site, index)
    labels = read_labels(draw, site, patient)
    path = f"{ROOT_FOLDER}/patient{index + 1:05d}/study1/view1_frontal.png"
    age = "" if patient.age is None else str(patient.age)
    row = [path, patient.sex, age, "Frontal", patient.view, *(labels[n] for n in OBSERVATIONS)]
    png = io.BytesIO()
    # grain has no repeats to look for: Huffman codes alone are faster, and smaller
    film = render(draw, site, patient, size)
    film.save(png, "PNG", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
    return row, png.getvalue()


def cases(
    site: Site, name: str, seed: int, number: int, size: int
) -> Iterator[tuple[list[str], bytes]]:
    """Row and PNG of each case in order, made by all cores, a bounded number ahead."""
    make = partial(one_case, site, name, seed, size)
    cores = len(os.sched_getaffinity(0))
    if cores == 1 or number < 2 * AHEAD // 10:
        yield from map(make, range(number))
        return
    # Ctrl-C is this process's own, which then ends the others
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(cores, initializer=signal.signal, initargs=ignoring) as pool:
        for start in range(0, number, AHEAD):
            yield from pool.map(make, range(start, min(start + AHEAD, number)), chunksize=5)


def write_dataset(
    out: Path, site: Site, name: str, *, seed: int, number: int, size: int = 320
) -> None:
    """Write `out/images/…` and `out/labels.csv`."""
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(COLUMNS)
        for row, png in cases(site, name, seed, number, size):
            target = images / row[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png)
            table.writerow(row)


def pack_demo(out: Path, archive: Path) -> None:
    """Pack a written dataset as a demo dataset; the same dataset gives the same bytes."""
    paths = out / "paths.yaml"
    paths.write_text("data_path: images\nlabels_path: labels.csv\n", encoding="utf-8")
    with (out / "labels.csv").open(encoding="utf-8", newline="") as source:
        pictures = [out / "images" / row["Path"] for row in csv.DictReader(source)]
    members = [paths, out / "labels.csv", *pictures]
    with (
        archive.open("wb") as sink,
        gzip.GzipFile("", "wb", 6, sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for member in members:
            entry = tarfile.TarInfo(member.relative_to(out).as_posix())
            entry.size, entry.mode = member.stat().st_size, 0o644
            with member.open("rb") as source:
                tar.addfile(entry, source)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--cases", type=int, default=200, help="number of cases (default: 200)")
    parser.add_argument("--seed", type=int, default=7, help="whole number >= 0 (default: 7)")
    parser.add_argument(
        "--site", default=DEMO_SITE, help="name of a site; it sets the shifts below"
    )
    parser.add_argument("--size", type=int, default=320, help="edge in pixels (default: 320)")
    for name in (
        "exposure",
        "gamma",
        "noise",
        "scatter",
        "bedside",
        "age",
        "uncertain",
        "mistakes",
        "blank",
    ):
        parser.add_argument(f"--{name}", type=float, help="instead of the site's own")
    parser.add_argument(
        "--prevalence", type=float, help="factor on the site's share of each finding"
    )
    parser.add_argument(
        "--demo", type=Path, metavar="FILE", help="pack a demo dataset (.tar.gz) too"
    )
    options = parser.parse_args(arguments)
    if options.cases < 1 or options.seed < 0 or options.size < 64:
        parser.error("--cases must be at least 1, --seed at least 0, --size at least 64")
    return options


def main(arguments: list[str]) -> None:
    """Write the dataset that the arguments describe."""
    options = parse(arguments)
    site = site_of(options.site)
    chosen: dict[str, Any] = {
        f.name: value
        for f in fields(Site)
        if isinstance(value := getattr(options, f.name, None), float) and f.name != "prevalence"
    }
    if options.prevalence is not None:
        chosen["prevalence"] = {
            name: min(0.95, rate * options.prevalence) for name, rate in site.prevalence.items()
        }
    site = replace(site, **chosen)
    write_dataset(
        options.out, site, options.site, seed=options.seed, number=options.cases, size=options.size
    )
    if options.demo is not None:
        pack_demo(options.out, options.demo)
    print(f"{options.cases} cases in {options.out}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
