"""A preparator: a site's raw data in the form that the benchmark's models and evaluator read.

    main.py prepare      --data_path=DIR --labels_path=FILE --parameters_file=FILE
                         --output_path=DIR --output_labels_path=DIR
    main.py sanity_check --data_path=DIR --labels_path=DIR --parameters_file=FILE
    main.py statistics   --data_path=DIR --labels_path=DIR --parameters_file=FILE --output_path=FILE

The raw labels are a CSV with `Path` (of a file below the raw data) and one column a finding. The
prepared data are the files under new names, and `data.csv`, which lists them; the prepared labels
are `labels.csv`. Only what the manifest declares of the statistics ever leaves a site.
"""

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml


def rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with file.open(encoding="utf-8-sig", newline="") as source:
        return list(csv.DictReader(source))


def write(file: Path, header: list[str], table: list[list[str]]) -> None:
    """One table."""
    with file.open("w", encoding="utf-8", newline="") as sink:
        csv.writer(sink, lineterminator="\n").writerows([header, *table])


def findings(parameters_file: Path) -> list[str]:
    """The columns that labels must have."""
    return [str(name) for name in yaml.safe_load(parameters_file.read_text("utf-8"))["findings"]]


def prepare(
    data_path: Path,
    labels_path: Path,
    parameters_file: Path,
    output_path: Path,
    output_labels_path: Path,
) -> None:
    """Copy the files that the labels name, under new names, and write both tables."""
    wanted = findings(parameters_file)
    cases, labels = [], []
    for number, row in enumerate(rows(labels_path)):
        source = data_path / row["Path"]
        name = f"case-{number:06}{source.suffix}"
        shutil.copyfile(source, output_path / name)
        cases.append([name])
        labels.append([name, *(row[finding].strip() for finding in wanted)])
    write(output_path / "data.csv", ["Path"], cases)
    write(output_labels_path / "labels.csv", ["Path", *wanted], labels)


def sanity_check(data_path: Path, labels_path: Path, parameters_file: Path) -> None:
    """Stop unless every case has a file and labels that are 0 or 1."""
    labels = {row["Path"]: row for row in rows(labels_path / "labels.csv")}
    cases = [row["Path"] for row in rows(data_path / "data.csv")]
    if not cases or set(cases) != labels.keys():
        raise SystemExit("data.csv and labels.csv do not list the same cases")
    if missing := [case for case in cases if not (data_path / case).is_file()]:
        raise SystemExit(f"{len(missing)} cases have no file")
    for finding in findings(parameters_file):
        if {row[finding] for row in labels.values()} - {"0", "1"}:
            raise SystemExit(f"{finding} has labels that are not 0 or 1")


def statistics(
    data_path: Path, labels_path: Path, parameters_file: Path, output_path: Path
) -> None:
    """Write how many cases there are, and how many have each finding."""
    labels = rows(labels_path / "labels.csv")
    found = {
        "cases": len(rows(data_path / "data.csv")),
        "positives": {
            finding: sum(row[finding] == "1" for row in labels)
            for finding in findings(parameters_file)
        },
    }
    output_path.write_text(yaml.safe_dump(found), encoding="utf-8")


def options(words: list[str]) -> dict[str, Path]:
    """The `--key=path` pairs of a command line."""
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {key: Path(path) for key, _, path in pairs}


TASKS: dict[str, Callable[..., None]] = {
    "prepare": prepare,
    "sanity_check": sanity_check,
    "statistics": statistics,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        raise SystemExit("usage: main.py prepare|sanity_check|statistics --key=path …")
    TASKS[sys.argv[1]](**options(sys.argv[2:]))
