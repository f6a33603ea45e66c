"""Reports of trials, kept in `trials/<16 hex>/report.yaml` by what the trial used."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..schemas.documents import dump
from ..schemas.errors import InvalidDocumentError, UsageError
from ..schemas.names import nearest
from ..schemas.yaml_subset import parse

REPORT = "report.yaml"


@dataclass(frozen=True)
class TrialReport:
    """How a trial went, with the digests of all that it used.

    `metrics` are the benchmark's where they were `declared`, else all that the evaluator wrote.
    """

    medperf: str
    engine: str
    outcome: str
    preparator: str
    model: str
    evaluator: str
    data: str
    metrics: Mapping[str, Decimal | int]
    not_computable: tuple[str, ...]
    seconds: Mapping[str, float]
    key: str = ""
    benchmark: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    declared: bool = True
    sanity_checked: bool = True

    @property
    def id(self) -> str:
        """The folder's name: the beginning of the key."""
        return self.key[:16]

    def manifest(self) -> dict[str, object]:
        """The `trial` of a model's association."""
        return {
            "medperf": self.medperf,
            "engine": self.engine,
            "outcome": self.outcome,
            "data": self.data,
            "metrics": dict(self.metrics),
        }


_READ = TypeAdapter(TrialReport)


def write_report(root: Path, report: TrialReport) -> None:
    """Puts the report beside what the trial wrote."""
    folder = root / report.id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = folder / f"{REPORT}.{os.getpid()}.tmp"
    fields: dict[str, Any] = asdict(report)
    fields["not_computable"] = list(report.not_computable)
    fields["seconds"] = {name: Decimal(str(value)) for name, value in report.seconds.items()}
    beside.write_bytes(dump(fields))
    beside.replace(folder / REPORT)


def find_report(root: Path, key: str) -> TrialReport | None:
    """The report of the trial with this key, if it has passed here."""
    report = _read(root / key[:16] / REPORT)
    return report if report is not None and report.key == key else None


def all_reports(root: Path) -> list[TrialReport]:
    """Every report here, by name of the model."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    found = [_read(folder / REPORT) for folder in folders]
    reports = [one for one in found if one is not None]
    return sorted(reports, key=lambda one: (one.names.get("model", ""), one.id))


def report_of(root: Path, uid: str) -> TrialReport:
    """The report that `uid` means: its id or the beginning of it, or the model's name."""
    reports = all_reports(root)
    by_id = [one for one in reports if len(uid) >= 4 and one.id.startswith(uid)]
    by_model = [one for one in reports if one.names.get("model") == uid]
    for same in (by_id, by_model):
        if len(same) == 1:
            return same[0]
        if same:
            raise UsageError(
                f"More than one report is meant by {uid!r}: write "
                f"{' or '.join(one.id for one in same)}."
            )
    names = [one.id for one in reports] + [one.names.get("model", "") for one in reports]
    close = nearest(uid, names)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"There is no report {uid!r} here.{hint} 'medperf test ls' lists them.")


def _read(file: Path) -> TrialReport | None:
    """A report; None where there is none, or one that cannot be read: the trial is run again."""
    try:
        return _READ.validate_python(parse(file.read_bytes(), file=str(file)).value)
    except (OSError, ValidationError, InvalidDocumentError):
        return None
