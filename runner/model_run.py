"""A run of one model on one prepared dataset: it infers, and the evaluator judges.

*Infer* shows the model the prepared data and its own parameters, nothing else: no labels, no name
of the dataset, no path that says where it is. *Evaluate* shows the evaluator the predictions and
the labels. What the evaluator wrote is not read here: only the disclosure check reads it.
"""

from pathlib import Path

from .cubes import ReadyCube
from .engines.protocol import Outcome
from .task_outcome import check_file, failure, remove, run_or_raise
from .task_run import Execution

RESULTS = "results.yaml"
PREDICTIONS = "predictions"
LOCAL_OUTPUTS = "local_outputs"


def infer(
    ready: ReadyCube, data: Path, into: Path, execution: Execution, *, partial: bool = False
) -> tuple[Path, Outcome]:
    """The folder of a model's predictions on prepared data, and how the task went.

    With `partial`, what a failed model has written is taken as well, if it has written anything:
    the outcome's reason is not `done` then.
    """
    target = into / PREDICTIONS
    remove(target)
    outcome = run_or_raise(
        ready,
        "infer",
        {"data_path": data},
        {"output_path": target},
        execution,
        into,
        partial=partial,
    )
    if not target.is_dir():
        raise failure(
            ready, "infer", "output", "It has written no predictions.", outcome, execution
        )
    return target, outcome


def evaluate(
    ready: ReadyCube, predictions: Path, labels: Path, into: Path, execution: Execution
) -> tuple[Path, Outcome]:
    """The evaluator's file, unread, and how the task went. `local_outputs` stay beside it."""
    target = into / RESULTS
    remove(target)
    remove(into / LOCAL_OUTPUTS)
    outcome = run_or_raise(
        ready,
        "evaluate",
        {"predictions": predictions, "labels": labels},
        {"output_path": target, "local_outputs_path": into / LOCAL_OUTPUTS},
        execution,
        into,
    )
    check_file(ready, target, "evaluate", outcome)
    return target, outcome
