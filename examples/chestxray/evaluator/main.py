"""The benchmark's evaluator: AUC and F1 for each finding, from predictions that it does not trust.

    main.py evaluate --predictions DIR --labels DIR --parameters_file FILE --output_path FILE

`labels/labels.csv`: `Path` and observations, 1, 0, -1 (uncertain) or blank (not mentioned).
`predictions/predictions.csv`: `Path` and one column a finding: probabilities, finite, in 0..1.

What counts: a blank is a negative, as CheXpert's own baselines have it; an uncertain label is left
out, or counted as negative or positive, as the parameter `uncertain` says (ignore, zero, one).

Predictions come from a stranger's code. They are refused, with a sentence, unless they are one
regular file of bounded size with exactly the columns expected and every labelled case exactly once.
With the parameter `missing: ignore` a missing case is left out (for partial runs).

Answer: `AUC`, `F1`, `n` (cases that counted) and `positives`, each a mapping by finding. A metric
that cannot be computed (AUC: only one class; F1: no positive case) is left out.
"""

import csv
import io
import math
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.metrics import f1_score, roc_auc_score

MOST_BYTES = 64 * 1024 * 1024
LONGEST_LINE = 1000
UNCERTAIN = {"ignore": None, "zero": 0, "one": 1}


class RefusedError(Exception):
    """The predictions, labels or parameters are not as agreed."""


def read_regular(path: Path, name: str, most: int = MOST_BYTES) -> str:
    """The text of a regular file of bounded size, opened without following a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise RefusedError(
            f"{name}: cannot be opened as a plain file ({error.strerror})"
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RefusedError(f"{name}: is not a regular file")
    with os.fdopen(handle, "rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        raise RefusedError(f"{name}: is larger than {most} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"{name}: is not UTF-8 text") from error


def rows_of(text: str, name: str, longest: int) -> list[list[str]]:
    """The rows of a CSV of at most `longest` rows, header first, all equally long."""
    if text.count("\n") > longest + 1:
        raise RefusedError(f"{name}: more than {longest} rows")
    if any(len(line) > LONGEST_LINE for line in text.splitlines()):
        raise RefusedError(f"{name}: a line is longer than {LONGEST_LINE} characters")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise RefusedError(f"{name}: not a CSV table ({error})") from error
    if len(rows) < 2:
        raise RefusedError(f"{name}: no rows")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise RefusedError(f"{name}: line {number} has {len(row)} fields, not {len(rows[0])}")
    return rows


def read_labels(folder: Path, findings: list[str]) -> dict[str, list[str]]:
    """Labels of each case, in the order of the findings."""
    rows = rows_of(read_regular(folder / "labels.csv", "labels.csv"), "labels.csv", 10**6)
    header = rows[0]
    lacking = [name for name in ("Path", *findings) if name not in header]
    if lacking:
        raise RefusedError(f"labels.csv: missing columns: {', '.join(lacking)}")
    at = [header.index(name) for name in findings]
    labels = {row[header.index("Path")]: [row[i].strip() for i in at] for row in rows[1:]}
    if len(labels) != len(rows) - 1:
        raise RefusedError("labels.csv: a case is listed twice")
    return labels


def probability(text: str, where: str) -> float:
    """A finite number in 0..1."""
    try:
        value = float(text) if len(text) <= 40 else math.nan
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise RefusedError(f"predictions.csv: {where}: {text[:20]!r} is not a number in 0..1")
    return value


def read_predictions(
    folder: Path, findings: list[str], labels: dict[str, list[str]], *, missing: bool
) -> dict[str, list[float]]:
    """Probabilities of each case, in the order of the findings; only of cases that have labels."""
    text = read_regular(folder / "predictions.csv", "predictions.csv")
    rows = rows_of(text, "predictions.csv", len(labels))
    header = rows[0]
    if sorted(header) != sorted(["Path", *findings]):
        wanted = ", ".join(["Path", *findings])
        raise RefusedError(f"predictions.csv: its columns must be {wanted}")
    path, at = header.index("Path"), [header.index(name) for name in findings]
    predictions: dict[str, list[float]] = {}
    for number, row in enumerate(rows[1:], 2):
        case = row[path]
        if case not in labels:
            raise RefusedError(f"predictions.csv: line {number}: no such case: {case[:60]!r}")
        if case in predictions:
            raise RefusedError(f"predictions.csv: line {number}: {case} is listed twice")
        predictions[case] = [probability(row[i], f"line {number}") for i in at]
    lacking = len(labels) - len(predictions)
    if lacking and not missing:
        raise RefusedError(f"predictions.csv: {lacking} of {len(labels)} cases have no prediction")
    return predictions


def truth_of(label: str, uncertain: int | None) -> int | None:
    """0 or 1, or None for a case that does not count."""
    if label in ("1", "1.0"):
        return 1
    if label in ("0", "0.0", ""):
        return 0
    if label in ("-1", "-1.0"):
        return uncertain
    raise RefusedError(f"labels.csv: {label[:20]!r} is not 1, 0, -1 or blank")


def score(truth: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics of one finding; what cannot be computed is left out."""
    positives = int(truth.sum())
    result: dict[str, float] = {"n": len(truth), "positives": positives}
    if positives:
        result["F1"] = round(float(f1_score(truth, scores >= threshold)), 6)
        if positives < len(truth):
            result["AUC"] = round(float(roc_auc_score(truth, scores)), 6)
    return result


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters, checked."""
    parameters = yaml.safe_load(read_regular(path, "parameters.yaml", 65536))
    if not isinstance(parameters, dict) or not parameters.get("findings"):
        raise RefusedError("parameters.yaml: findings are missing")
    if str(parameters.get("uncertain", "ignore")) not in UNCERTAIN:
        raise RefusedError("parameters.yaml: uncertain must be ignore, zero or one")
    if str(parameters.get("missing", "refuse")) not in ("refuse", "ignore"):
        raise RefusedError("parameters.yaml: missing must be refuse or ignore")
    return parameters


def evaluate(predictions: Path, labels: Path, parameters_file: Path, output_path: Path) -> None:
    """Write the metrics of the predictions as YAML."""
    parameters = read_parameters(parameters_file)
    findings = [str(name) for name in parameters["findings"]]
    thresholds = parameters.get("thresholds") or {}
    uncertain = UNCERTAIN[str(parameters.get("uncertain", "ignore"))]
    known = read_labels(labels, findings)
    guesses = read_predictions(
        predictions, findings, known, missing=parameters.get("missing") == "ignore"
    )
    answer: dict[str, dict[str, float]] = {"AUC": {}, "F1": {}, "n": {}, "positives": {}}
    for index, name in enumerate(findings):
        truth, scores = [], []
        for case, guess in guesses.items():
            value = truth_of(known[case][index], uncertain)
            if value is not None:
                truth.append(value)
                scores.append(guess[index])
        threshold = float(thresholds.get(name, 0.5))
        found = score(np.array(truth, dtype=int), np.array(scores), threshold)
        for metric, number in found.items():
            answer[metric][name] = number
    with output_path.open("w", encoding="utf-8") as sink:
        yaml.safe_dump(answer, sink, sort_keys=False)
    print(f"{len(guesses)} of {len(known)} cases evaluated")


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
    if sys.argv[1:2] != ["evaluate"]:
        raise SystemExit("usage: main.py evaluate --key=path …")
    try:
        evaluate(**options(sys.argv[2:]))
    except RefusedError as refused:
        raise SystemExit(f"refused: {refused}") from None
