"""One task of one cube, run by itself: for the makers of cubes."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..runner.task_run import run_task
from ..runner.task_spec import CONTRACTS
from ..schemas.errors import TaskError, UsageError
from .execute import execution
from .trials import Part
from .workplace import Workplace


@dataclass(frozen=True)
class TaskReport:
    """How one task went, and what it wrote, by the output's key."""

    cube: str
    task: str
    seconds: float
    peak_memory: int | None
    outputs: Mapping[str, Path]
    log: Path


def run_one_task(
    place: Workplace,
    part: Part,
    task: str,
    inputs: Mapping[str, Path],
    output: Path,
    *,
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> TaskReport:
    """Runs a task; afterwards what it wrote lies in `output`, each under its key.

    TaskError (with `log_tail`) if it fails, UsageError where an input is missing or unknown.
    """
    ready = place.ready(part.cube, part.digest, say=say, stop=stop)
    spec = ready.task(task)
    known = {slot.key for slot in spec.inputs}
    if unknown := sorted(inputs.keys() - known):
        raise UsageError(
            f"The task {task} takes no {unknown[0]!r}; its inputs are {', '.join(sorted(known))}."
        )
    contract = CONTRACTS[part.cube.spec.role].get(task)
    needed = contract.inputs if contract else frozenset()
    if missing := sorted((needed & known) - inputs.keys()):
        raise UsageError(f"The task {task} needs --input {missing[0]}=PATH.")
    for key, path in inputs.items():
        if not path.exists():
            raise UsageError(f"There is nothing at {path} (the input {key}).")
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty: name a new folder.")
    outputs = {slot.key: output / slot.key for slot in spec.outputs}
    place.end_leftovers()
    label = f"task-{part.digest[7:19]}"
    how = execution(place, label, output / "logs", stop)
    say(f"{part.name}: {task}")
    outcome = run_task(
        ready,
        task,
        {key: path.absolute() for key, path in inputs.items()},
        outputs,
        how,
        work=output / "work",
    )
    if outcome.reason != "done":
        ended = outcome.detail or f"It ended by {outcome.reason}."
        raise TaskError(
            outcome.reason,
            f"The task {task} of {part.name} failed. {ended} "
            f"Its log is {output / 'logs' / task}.log; what it wrote is in {output / 'work'}.",
            log_tail=outcome.log_tail,
        )
    return TaskReport(
        cube=part.name,
        task=task,
        seconds=round(outcome.seconds, 1),
        peak_memory=outcome.peak_memory,
        outputs={key: path for key, path in outputs.items() if path.exists()},
        log=output / "logs" / f"{task}.log",
    )
