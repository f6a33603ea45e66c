"""`python -m bench`: measures, prints a table, writes bench/report.md."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from . import cases, downloads, judging, passes, report, tasks, tiers, world

SIZES = (1_000, 10_000, 100_000)


def main() -> int:
    """Measure everything; 0 whatever the figures are, since machines differ."""
    if sys.argv[1:2] == ["tiers"]:
        return tiers.main(sys.argv[2:])
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="`python -m bench tiers --help`: up to a million results, in Git itself.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few runs")
    parser.add_argument("--sizes", type=int, nargs="*", choices=SIZES, help="registries to build")
    parser.add_argument("--runs", type=int, help="runs of each command")
    options = parser.parse_args()
    runs = options.runs or (3 if options.quick else 7)
    sizes = SIZES[:2] if options.quick else SIZES
    sizes = sizes if options.sizes is None else tuple(options.sizes)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="medperf-bench-"))
    try:
        found, growth = _measure(folder, sizes, runs, quick=options.quick)
    finally:
        shutil.rmtree(folder)
    lines = [line for name, points in growth.items() for line in report.bars(name, points, "s")]
    minutes = (time.monotonic() - began) / 60
    where = Path(__file__).parent / "report.md"
    report.write(where, found, lines, minutes)
    for case in found:
        report.say(f"{case.mark:>4}  {case.name}: {case.figure}  [{case.target}]")
    report.say(f"Written to {where} in {minutes:.1f} minutes.")
    return 0


def _measure(
    folder: Path, sizes: Iterable[int], runs: int, *, quick: bool
) -> tuple[list[report.Case], dict[str, list[tuple[int, float]]]]:
    found: list[report.Case] = []
    growth: dict[str, list[tuple[int, float]]] = {}

    def add(more: Iterable[report.Case]) -> None:
        for case in more:
            report.say(f"  {case.name}: {case.figure}")
            found.append(case)

    report.say("Starting commands")
    add(cases.start(runs))
    report.say("Hashing")
    add(cases.hashing(folder, quick, 3))
    report.say("Downloading")
    add(downloads.cases(folder, quick, 3))
    report.say("Running tasks and passes")
    add(tasks.cases(folder, runs))
    add(passes.cases(folder, quick))
    report.say("Verifying")
    place = folder / "thousand"
    place.mkdir()
    add(judging.thousand(place, min(runs, 5)))
    shutil.rmtree(place)
    for size in sizes:
        place = folder / str(size)
        place.mkdir()
        report.say(f"Building a registry of about {size:,} manifests")
        start = time.monotonic()
        built = world.build(place, size)
        report.say(f"  built in {time.monotonic() - start:.0f} s")
        add(cases.registry(place, built, size, min(runs, 5), growth))
        if size <= 10_000:
            add(judging.work_tree(place, built, size, min(runs, 3)))
        if size == min(sizes):
            add(cases.publishing(place, built, quick))
        shutil.rmtree(place)
    return found, growth


if __name__ == "__main__":
    raise SystemExit(main())
