"""A task that a preparation or a run needs: well ended, or a TaskError says what went wrong.

The place of an output is cleared before, where nothing of it may stay, and looked at afterwards.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from ..schemas.errors import TaskError
from .cubes import ReadyCube
from .engines.protocol import Outcome
from .task_run import Execution, run_task


def run_or_raise(
    ready: ReadyCube,
    name: str,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    execution: Execution,
    into: Path,
    *,
    partial: bool = False,
    goes_on: bool = False,
) -> Outcome:
    """Runs a task; with `goes_on` its outputs begin with what they held, and are kept in any case.

    With `partial`, a failed task's outputs are kept if there are any. Else TaskError.
    """
    outcome = run_task(
        ready,
        name,
        inputs,
        outputs,
        execution,
        work=into / "work" / name,
        keep_failed=partial or goes_on,
        seeds={key: path for key, path in outputs.items() if path.exists()} if goes_on else None,
    )
    kept = goes_on or (partial and any(path.exists() for path in outputs.values()))
    if outcome.reason != "done" and not kept:
        raise failure(ready, name, outcome.reason, how_it_ended(outcome), outcome, execution)
    return outcome


def how_it_ended(outcome: Outcome) -> str:
    """A sentence about how a task ended, with what its engine had to say."""
    if outcome.detail:
        return outcome.detail
    status = "" if outcome.exit is None else f", status {outcome.exit}"
    return f"It ended by {outcome.reason}{status}."


def failure(
    ready: ReadyCube, task: str, reason: str, how: str, outcome: Outcome, execution: Execution
) -> TaskError:
    """The error for a task that failed; what its log says is for the site's eyes alone."""
    return TaskError(
        reason,
        f"The task {task} of {ready.name} failed. {how} Its log: {execution.logs / task}.log",
        log_tail=outcome.log_tail,
    )


def check_file(ready: ReadyCube, path: Path, task: str, outcome: Outcome | None = None) -> None:
    """TaskError if a task has not written this file: a link, or an empty one, is none."""
    if path.is_symlink() or not path.is_file() or not path.stat().st_size:
        raise TaskError(
            "output",
            f"The task {task} of {ready.name} ended well but wrote no {path.name}. Its log has "
            "more.",
            log_tail="" if outcome is None else outcome.log_tail,
        )


def remove(path: Path) -> None:
    """Take away what stands at the place of an output, if anything does."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
