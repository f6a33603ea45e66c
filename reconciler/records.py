"""What a site keeps of a run: what a person decided and what was tried (design §7).

A record lives in `runs/<16 hex>/record.yaml`. Everything else about a run is read from Git and from
the files beside it, so losing a record loses at most retries and consents.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ..schemas.documents import dump
from ..schemas.errors import DataError, InvalidDocumentError
from ..schemas.manifests import Day, Digest, EngineName, Hex64, Many, Pin, ResultImages, Version
from ..schemas.yaml_subset import parse
from .plan import Pair
from .settings import Part

BACK_OFF = (60.0, 300.0, 900.0, 3600.0, 7200.0)


class Attempt(Part):
    """One try that failed: when (seconds since 1970), of which class, and whether time may help."""

    at: int
    failure: str
    problem: str
    transient: bool


class Done(Part):
    """How the run was made, once `results.yaml` lies beside the record."""

    medperf: Version
    engine: EngineName
    images: ResultImages
    day: Day
    held: Many[str]
    seconds: dict[str, float]
    partial: bool = False


class Signed(Part):
    """A person's own signature under a release, where the policy asks for two."""

    by: str
    bundle: str


class Decision(Part):
    """What a person said about the result; `shown` is the digest of the metrics that he saw."""

    answer: Literal["released", "declined"]
    shown: Digest
    signed: Many[Signed] = ()


class Record(Part):
    """One run's record."""

    run_key: Hex64
    benchmark: Pin
    dataset: Pin
    model: Pin
    partial: bool = False
    consented: bool = False
    attempts: Many[Attempt] = ()
    done: Done | None = None
    decision: Decision | None = None

    def next_try(self) -> float:
        """When a failed run may be tried again, in seconds since 1970."""
        if not self.attempts:
            return 0.0
        wait = BACK_OFF[min(len(self.attempts), len(BACK_OFF)) - 1]
        return self.attempts[-1].at + wait


@dataclass(frozen=True)
class RunFolder:
    """`runs/<16 hex>` of one run."""

    path: Path

    @property
    def predictions(self) -> Path:
        """What the model wrote; there only when the whole of it is."""
        return self.path / "predictions"

    @property
    def results(self) -> Path:
        """What the evaluator wrote; there only when it ended well."""
        return self.path / "results.yaml"

    @property
    def logs(self) -> Path:
        """The tasks' own words: private, they stay at the site."""
        return self.path / "logs"

    @property
    def record_file(self) -> Path:
        """Where the record is."""
        return self.path / "record.yaml"

    def read(self) -> Record | None:
        """The record, or None where there is none; DataError where it cannot be read."""
        if not self.record_file.exists():
            return None
        try:
            parsed = parse(self.record_file.read_bytes(), file=str(self.record_file))
            return Record.model_validate(parsed.value)
        except (ValidationError, InvalidDocumentError) as error:
            raise DataError(
                f"{self.record_file} cannot be read ({type(error).__name__}). Delete it: "
                "a lost record loses at most retries and consents."
            ) from error

    def write(self, record: Record) -> None:
        """Replaces the record."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path / f"record.yaml.{os.getpid()}.tmp"
        beside.write_bytes(dump(record.model_dump(by_alias=True, exclude_none=True, mode="json")))
        beside.replace(self.record_file)


@dataclass(frozen=True)
class Runs:
    """All runs of a site, in `runs/`."""

    root: Path

    def folder(self, pair: Pair) -> RunFolder:
        """The folder of one run, whether it is there or not."""
        return RunFolder(self.root / pair.short)

    def record(self, pair: Pair) -> Record:
        """The run's record; a fresh one where there is none, or none of this key."""
        found = self.folder(pair).read()
        if found is not None and found.run_key == pair.key:
            return found
        return Record(
            run_key=pair.key,
            benchmark=Pin(ref=pair.benchmark, digest=pair.benchmark_digest),
            dataset=Pin(ref=pair.dataset, digest=pair.dataset_digest),
            model=Pin(ref=pair.model, digest=pair.model_digest),
            partial=pair.partial,
        )

    def all(self) -> Iterator[tuple[RunFolder, Record]]:
        """Every run that has a record that can be read, by name."""
        if not self.root.is_dir():
            return
        for path in sorted(self.root.iterdir()):
            folder = RunFolder(path)
            record = folder.read()
            if record is not None:
                yield folder, record

    def decided(
        self,
        pair: Pair,
        *,
        answer: Literal["released", "declined"],
        shown: str,
        signed: Signed | None = None,
    ) -> Record:
        """Remembers what a person said about exactly these numbers, and returns the record.

        What another person has signed about the same numbers stays beside it.
        """
        record = self.record(pair)
        known: tuple[Signed, ...] = ()
        before = record.decision
        if (
            signed is not None
            and before is not None
            and (before.answer, before.shown)
            == (
                answer,
                shown,
            )
        ):
            known = tuple(one for one in before.signed if one.by != signed.by)
        now = (*known, signed) if signed is not None else ()
        decision = Decision(answer=answer, shown=shown, signed=now)
        record = record.model_copy(update={"decision": decision})
        self.folder(pair).write(record)
        return record

    def failed(self, pair: Pair, *, failure: str, problem: str, transient: bool) -> Record:
        """Remembers a failed try and returns the record."""
        record = self.record(pair)
        attempt = Attempt(
            at=int(time.time()), failure=failure, problem=problem, transient=transient
        )
        record = record.model_copy(update={"attempts": (*record.attempts, attempt)})
        self.folder(pair).write(record)
        return record
