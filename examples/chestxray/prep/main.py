"""The benchmark's preparator: radiographs in CheXpert's layout become 224 x 224 grey pictures.

    main.py prepare      --data_path DIR --labels_path CSV --output_path DIR
                         --output_labels_path DIR [--metadata_path DIR]
    main.py sanity_check --data_path DIR --labels_path DIR          (the prepared ones)
    main.py statistics   --data_path DIR --labels_path DIR --output_path FILE

Raw data: a folder of pictures and a CSV with the columns of CheXpert (`Path`, `Sex`, `Age`,
`Frontal/Lateral`, `AP/PA`, then observations: 1, 0, -1 for uncertain, or blank). `Path` is relative
to the folder. Lateral views are left out.

Prepared data: `images/case-000001.png`, … and `data.csv` (the columns before observations) for the
models; `labels.csv` (`Path` and the observations) for the evaluator. Cases are numbered afresh,
and their order tells nothing about the order of the source; which case came from which source is
written to `metadata_path/sources.csv`, if that is asked for, and nowhere else.
"""

import csv
import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

EDGE = 224
REQUIRED = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema")
OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
ABOUT = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
VALUES = {"1": "1", "1.0": "1", "0": "0", "0.0": "0", "-1": "-1", "-1.0": "-1", "": ""}
MEANINGS = {"1": "positive", "0": "negative", "-1": "uncertain", "": "blank"}
Row = dict[str, str]


def table_in(path: Path, name: str) -> Path:
    """The CSV meant by a path: the file itself, or `name` in the folder, or its only CSV."""
    if path.is_file():
        return path
    if (path / name).is_file():
        return path / name
    found = sorted(path.glob("*.csv"))
    if len(found) != 1:
        raise SystemExit(f"{name}: expected in the folder given, which has {len(found)} CSV files")
    return found[0]


def read_table(path: Path, name: str, columns: tuple[str, ...]) -> list[Row]:
    """The rows of a CSV that has at least these columns."""
    with table_in(path, name).open(encoding="utf-8-sig", newline="") as source:
        reader = csv.DictReader(source)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise SystemExit(f"{name}: missing columns: {', '.join(missing)}")
        rows = [{key: (row[key] or "").strip() for key in row if key} for row in reader]
    if not rows:
        raise SystemExit(f"{name}: no rows")
    return rows


def write_table(path: Path, columns: list[str], rows: list[Row]) -> None:
    """Write a CSV of these columns."""
    with path.open("w", encoding="utf-8", newline="") as sink:
        table = csv.DictWriter(sink, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def grey(image: Image.Image) -> Image.Image:
    """The picture as 8-bit grey; deeper pictures are stretched over their own range."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))
    return image.convert("L")


def square(image: Image.Image) -> Image.Image:
    """The middle square of the picture, 224 x 224."""
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    return image.resize((EDGE, EDGE), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def source_of(folder: Path, name: str) -> Path:
    """The picture that a row names; it must lie in the folder."""
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts:
        raise SystemExit(f"labels: not a relative path: {name!r}")
    if not (folder / parts).is_file():
        raise SystemExit(f"labels: no such picture: {name!r}")
    return folder / parts


def age_of(text: str) -> str:
    """The age in whole years; blank if it is not on record. Over 89 becomes 90."""
    try:
        years = float(text)
    except ValueError:
        return ""
    return str(min(int(years), 90)) if math.isfinite(years) and 0 <= years <= 130 else ""


def prepare(
    data_path: Path,
    labels_path: Path,
    output_path: Path,
    output_labels_path: Path,
    metadata_path: Path | None = None,
) -> None:
    """Write the prepared pictures, `data.csv` and `labels.csv`."""
    rows = read_table(labels_path, "labels.csv", (*ABOUT, *REQUIRED))
    frontal = [row for row in rows if row["Frontal/Lateral"] != "Lateral"]
    names = [row["Path"] for row in frontal]
    if len(set(names)) != len(names):
        raise SystemExit("labels.csv: the same Path in more than one row")
    if not frontal:
        raise SystemExit("labels.csv: no frontal views")
    observations = [name for name in OBSERVATIONS if name in frontal[0]]
    frontal.sort(key=lambda row: hashlib.sha256(row["Path"].encode()).digest())
    (output_path / "images").mkdir(parents=True, exist_ok=True)
    output_labels_path.mkdir(parents=True, exist_ok=True)
    about: list[Row] = []
    labels: list[Row] = []
    sources: list[Row] = []
    for number, row in enumerate(frontal, 1):
        case = f"images/case-{number:06d}.png"
        with Image.open(source_of(data_path, row["Path"])) as image:
            square(grey(image)).save(output_path / case, "PNG", compress_level=1)
        for name in observations:
            if row[name] not in VALUES:
                raise SystemExit(
                    f"labels.csv: {name} of {row['Path']!r} is {row[name]!r}, not 1, 0, -1 or blank"
                )
        about.append({**row, "Path": case, "Age": age_of(row["Age"])})
        labels.append({"Path": case, **{name: VALUES[row[name]] for name in observations}})
        sources.append({"Path": case, "Source": row["Path"]})
    write_table(output_path / "data.csv", list(ABOUT), about)
    write_table(output_labels_path / "labels.csv", ["Path", *observations], labels)
    if metadata_path is not None:
        metadata_path.mkdir(parents=True, exist_ok=True)
        write_table(metadata_path / "sources.csv", ["Path", "Source"], sources)
    print(f"{len(frontal)} cases prepared, {len(rows) - len(frontal)} lateral views left out")


def problems(data_path: Path, labels_path: Path) -> Iterator[str]:
    """What is wrong with a prepared dataset, a sentence each."""
    about = [row["Path"] for row in read_table(data_path, "data.csv", ABOUT)]
    labels = read_table(labels_path, "labels.csv", ("Path", *REQUIRED))
    labelled = [row["Path"] for row in labels]
    found = {p.relative_to(data_path).as_posix() for p in (data_path / "images").glob("*.png")}
    for name, listed in (("data.csv", about), ("labels.csv", labelled)):
        if len(set(listed)) != len(listed):
            yield f"{name}: {len(listed) - len(set(listed))} cases are listed twice"
        for case in sorted(set(listed) - found):
            yield f"{name}: {case} has no picture"
        for case in sorted(found - set(listed)):
            yield f"{name}: the picture {case} is not listed"
    for row in labels:
        for name in OBSERVATIONS:
            if row.get(name, "") not in ("1", "0", "-1", ""):
                yield f"labels.csv: {name} of {row['Path']} is {row[name]!r}, not 1, 0, -1 or blank"
    for name in REQUIRED:
        if not any(row[name] in ("0", "1") for row in labels):
            yield f"labels.csv: {name} is never 0 or 1"
    for case in sorted(found):
        try:
            with Image.open(data_path / case) as image:
                image.load()
                if image.mode != "L" or image.size != (EDGE, EDGE):
                    size = "x".join(map(str, image.size))
                    yield f"{case}: is {image.mode} {size}, not L {EDGE}x{EDGE}"
                elif image.getextrema()[0] == image.getextrema()[1]:
                    yield f"{case}: is blank"
        except (OSError, SyntaxError) as error:
            yield f"{case}: cannot be read: {error}"


def sanity_check(data_path: Path, labels_path: Path) -> None:
    """Exit with 1, having said what is wrong, unless data and labels are as the benchmark wants."""
    wrong = list(problems(data_path, labels_path))
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    if wrong:
        raise SystemExit(f"sanity check failed: {len(wrong)} problems")
    print("sanity check passed")


def statistics(data_path: Path, labels_path: Path, output_path: Path) -> None:
    """Write number of cases, picture size, and statistics of pixels and columns as YAML."""
    about = read_table(data_path, "data.csv", ABOUT)
    labels = read_table(labels_path, "labels.csv", ("Path", *REQUIRED))
    counts = np.zeros(256, dtype=np.int64)
    for row in about:
        with Image.open(data_path / row["Path"]) as image:
            counts += np.bincount(np.asarray(image).ravel(), minlength=256)
    levels = np.arange(256)
    mean = float((counts * levels).sum() / counts.sum())
    deviation = float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))
    seen = levels[counts > 0]
    ages = np.array([float(row["Age"]) for row in about if row["Age"]])
    lines = [f"cases: {len(about)}", f"width: {EDGE}", f"height: {EDGE}", "pixels:"]
    lines += [
        f"  mean: {mean:.3f}",
        f"  std: {deviation:.3f}",
        f"  min: {seen[0]}",
        f"  max: {seen[-1]}",
    ]
    lines += ["columns:", "  Age:", f"    known: {len(ages)}"]
    if len(ages):
        lines += [f"    mean: {ages.mean():.1f}", f"    std: {ages.std():.1f}"]
    for column, values in (("Sex", ("Female", "Male")), ("AP/PA", ("AP", "PA"))):
        lines.append(f"  {column}:")
        lines += [f"    {value}: {sum(row[column] == value for row in about)}" for value in values]
    for name in (name for name in OBSERVATIONS if name in labels[0]):
        lines.append(f"  {name}:")
        lines += [
            f"    {meaning}: {sum(row[name] == value for row in labels)}"
            for value, meaning in MEANINGS.items()
        ]
    output_path.write_text("\n".join(lines) + "\n", encoding="utf-8")


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


TASKS: dict[str, Callable[..., None]] = {
    "prepare": prepare,
    "sanity_check": sanity_check,
    "statistics": statistics,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        raise SystemExit(f"usage: main.py {'|'.join(TASKS)} --key=path …")
    TASKS[sys.argv[1]](**options(sys.argv[2:]))
