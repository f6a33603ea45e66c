"""Preparing a dataset with the benchmark's preparator, once or over many calls.

*Prepare* is `prepare`, `sanity_check`, `statistics` with the benchmark's preparator, on raw data
and labels that are only read. A preparator may have no `sanity_check`: then `statistics` is what
judges the prepared data. Each step leaves a mark when it has ended well, so a killed
preparation goes on at the step that it was in. `content.txt` is written last of all: a folder
without it is no prepared dataset, whatever else lies in it. A step that fails leaves what it wrote
in `work/` for a person to look at, and the whole is begun anew next time.

A preparator may stop for manual work: a `prepare` with the input `manual_path` that ends with the
status 75 has written something for a person to go on with. It lies in `manual/` then, and is what
`manual_path` shows when the same command is given again (an empty folder the first time).

A `prepare` with the output `report_file` is resumable in MedPerf's own way: what it wrote stays in
`data/`, `labels/`, `metadata/` and `report.yaml` though it failed or its sanity check did, a person
works on it there, and the next call finds it in its outputs again. So it does with what it had
written when it was stopped, or was killed with this process.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..schemas.errors import TaskError, WaitError
from .adopting import take_prepared
from .content import content_hash
from .cubes import ReadyCube
from .engines.protocol import Outcome
from .prepared import CONTENT, REPORT, STATISTICS, Prepared, if_there, open_prepared
from .task_outcome import check_file, failure, how_it_ended, remove, run_or_raise
from .task_run import Execution, empty_work, rescue_outputs
from .task_spec import SANITY_CHECK

MANUAL = "manual"
MANUAL_PATH = "manual_path"
MANUAL_EXIT = 75
"""The exit status (`EX_TEMPFAIL`) by which `prepare` says that a person has to work now."""
_MARKS = ".steps.json"


class ManualWorkError(WaitError):
    """The preparator has stopped for a person's work, and goes on when it is called again.

    `log_tail` is for the site's eyes.
    """

    def __init__(self, message: str, *, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


def waits_for_person(folder: Path) -> bool:
    """Whether the preparation in `folder` has stopped for a person's work."""
    try:
        return json.loads(folder.joinpath(_MARKS).read_text()).get("waits") is True
    except (OSError, ValueError, AttributeError):
        return False


def prepare(
    ready: ReadyCube,
    *,
    data: Path,
    labels: Path,
    into: Path,
    execution: Execution,
    metadata: Path | None = None,
    prepared: bool = False,
) -> Prepared:
    """Prepare raw data into `into`; called again after a kill it goes on where it was.

    `metadata` is shown to a `prepare` that takes it. With `prepared`, `data`, `labels` and
    `metadata` are in the prepared form already: they are copied, then checked and counted.
    TaskError (with `log_tail`, for the site's eyes) says which step failed; ManualWorkError that
    the preparator waits for a person's work, and where.
    """
    if (done := open_prepared(into)) is not None:
        return done
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    given = {"data_path": data, "labels_path": labels}
    if metadata is not None:
        given["metadata_path"] = metadata
    steps = _Steps(into, ready, {key: str(path.absolute()) for key, path in given.items()})
    resumes = not prepared and _resumes(ready)
    again = resumes and steps.begun
    outcomes: dict[str, Outcome] = {}
    if not steps.done("prepare"):
        if not again:
            _clear(into)
            empty_work(into / "work")  # nothing that was written for other data can be rescued
        if prepared:
            take_prepared(ready, data, labels, metadata, into)
        else:
            steps.begin()
            if again:
                work = into / "work" / "prepare"
                rescue_outputs(ready, "prepare", _prepare_outputs(into), execution, work=work)
            try:
                outcomes["prepare"] = _prepare(ready, given, into, execution, resumes=resumes)
            except ManualWorkError:
                steps.begin(waits=True)
                raise
        _check_prepared(ready, into)
        steps.mark("prepare")
    made = {"data_path": into / "data"}
    spec = ready.task("prepare")
    made["labels_path"] = into / ("labels" if spec.output("output_labels_path") else "data")
    for key, name in (("metadata_path", "metadata"), ("report_file", REPORT)):
        if (path := if_there(into / name)) is not None:
            made[key] = path
    judge = SANITY_CHECK if ready.files.has_sanity_check else "statistics"
    if judge == SANITY_CHECK and not steps.done(SANITY_CHECK):
        with _judging(ready, into, steps, resumes=resumes):
            outcomes[SANITY_CHECK] = run_or_raise(ready, SANITY_CHECK, made, {}, execution, into)
        steps.mark(SANITY_CHECK)
    if not steps.done("statistics"):
        target = {"output_path": into / STATISTICS}
        judging = _judging(ready, into, steps, resumes=resumes)
        with judging if judge == "statistics" else contextlib.nullcontext():
            outcomes["statistics"] = run_or_raise(
                ready, "statistics", made, target, execution, into
            )
        check_file(ready, into / STATISTICS, "statistics")
        steps.mark("statistics")
    content = content_hash(into)
    beside = into / f".{CONTENT}"
    beside.write_bytes(content.lines)
    beside.replace(into / CONTENT)
    steps.forget()
    shutil.rmtree(into / "work", ignore_errors=True)
    shutil.rmtree(into / MANUAL, ignore_errors=True)
    return Prepared(into, content, outcomes)


@contextlib.contextmanager
def _judging(ready: ReadyCube, into: Path, steps: "_Steps", *, resumes: bool) -> Iterator[None]:
    """Around the task whose failure says that the prepared data are wrong, or not whole yet."""
    try:
        yield
    except TaskError as error:
        if error.reason in ("interrupted", "timeout"):
            raise
        if resumes:
            steps.begin(waits=True)
            raise _unready(ready, into, str(error), error.log_tail) from error
        steps.forget()  # the data are wrong: prepare them anew, not just check them again
        raise


def _resumes(ready: ReadyCube) -> bool:
    """Whether `prepare` goes on with its own outputs: it reports, and has no other way."""
    spec = ready.task("prepare")
    return spec.output("report_file") is not None and spec.input(MANUAL_PATH) is None


def _unready(ready: ReadyCube, into: Path, why: str, log_tail: str) -> ManualWorkError:
    report = if_there(into / REPORT)
    return ManualWorkError(
        f"{why} What {ready.name} has made so far is in {into / 'data'}"
        + (f"; {report} says what is to be done" if report else "")
        + ". Do that there, then give the same command again: it goes on from there.",
        log_tail=log_tail,
    )


def _prepare(
    ready: ReadyCube,
    given: Mapping[str, Path],
    into: Path,
    execution: Execution,
    *,
    resumes: bool,
) -> Outcome:
    """The task prepare; where it stops for manual work, what it wrote is kept for the next call."""
    outputs = _prepare_outputs(into)
    inputs = dict(given)
    if resumes:
        outcome = run_or_raise(ready, "prepare", inputs, outputs, execution, into, goes_on=True)
        if outcome.reason == "done":
            return outcome
        if outcome.reason == "exit" and if_there(into / REPORT) is not None:
            why = f"The task prepare of {ready.name} is not done (status {outcome.exit})."
            raise _unready(ready, into, why, outcome.log_tail)
        raise failure(ready, "prepare", outcome.reason, how_it_ended(outcome), outcome, execution)
    manual = ready.task("prepare").input(MANUAL_PATH) is not None
    if manual:
        (into / MANUAL).mkdir(mode=0o700, exist_ok=True)
        inputs[MANUAL_PATH] = into / MANUAL
    outcome = run_or_raise(ready, "prepare", inputs, outputs, execution, into, partial=manual)
    if outcome.reason == "done":
        return outcome
    if outcome.exit != MANUAL_EXIT or not (into / "data").is_dir():
        raise failure(ready, "prepare", outcome.reason, how_it_ended(outcome), outcome, execution)
    shutil.rmtree(into / MANUAL)
    (into / "data").rename(into / MANUAL)
    report = if_there(into / REPORT)
    raise ManualWorkError(
        f"{ready.name} waits for a person's work in {into / MANUAL}"
        + (f"; {report} says what is to be done" if report else "")
        + ". Then give the same command again: it goes on from there."
    )


def _prepare_outputs(into: Path) -> dict[str, Path]:
    """Where what `prepare` writes lies in a dataset's folder, by key."""
    return {
        "output_path": into / "data",
        "output_labels_path": into / "labels",
        "metadata_path": into / "metadata",
        "report_file": into / REPORT,
    }


def _check_prepared(ready: ReadyCube, into: Path) -> None:
    if not into.joinpath("data").is_dir():
        raise TaskError(
            "output",
            f"The task prepare of {ready.name} ended well but wrote no data. Look at its log, and "
            "whether the raw data are of the form that the benchmark asks for.",
        )


def _clear(into: Path) -> None:
    for name in ("data", "labels", "metadata", REPORT, STATISTICS):
        remove(into / name)


class _Steps:
    """Which steps of a preparation have ended well, for this cube and these raw data only."""

    def __init__(self, into: Path, ready: ReadyCube, raw: Mapping[str, str]) -> None:
        self.path = into / _MARKS
        self.of = {"cube": ready.digest, **raw}
        self.names: list[str] = []
        self.begun = False
        try:
            found = json.loads(self.path.read_text())
            if found["of"] == self.of:
                self.names = list(found["done"])
                self.begun = True
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def done(self, name: str) -> bool:
        return name in self.names

    def begin(self, *, waits: bool = False) -> None:
        """Note that this is begun, and that no step has ended; whether it waits for a person."""
        self.names = []
        self._write(waits=waits)

    def mark(self, name: str) -> None:
        self.names.append(name)
        self._write()

    def _write(self, *, waits: bool = False) -> None:
        beside = self.path.with_name(_MARKS + ".tmp")
        beside.write_text(json.dumps({"of": self.of, "done": self.names, "waits": waits}))
        beside.replace(self.path)

    def forget(self) -> None:
        self.names = []
        self.path.unlink(missing_ok=True)
