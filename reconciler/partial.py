"""Partial results: what a model wrote before it failed, evaluated under a run key of its own.

Only where the benchmark allows them and a person asks for it. A failed model's predictions go into
the folder of the run with `partial: true`; from then on that run is planned like any other: due
(only its evaluator is left to run), checked, released and published, marked as partial. The whole
run stays failed, and is due again when somebody retries it. A partial run that is finished is not
made anew: what was shown to a person stays what it was.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..schemas.digests import run_key
from ..schemas.errors import TaskError
from ..schemas.manifests import BenchmarkSpec
from .plan import Pair
from .records import RunFolder, Runs

if TYPE_CHECKING:
    from ..runner.cubes import ReadyCube
    from ..runner.engines.protocol import Outcome
    from ..runner.task_run import Execution


class KeptError(TaskError):
    """The model failed, and what it had written is kept as a partial run."""


def partial_of(pair: Pair, registry: str) -> Pair:
    """The same pair as a partial run, with the key of its own."""
    key = run_key(
        registry=registry,
        benchmark=pair.benchmark_digest,
        dataset=pair.dataset_digest,
        model=pair.model_digest,
        partial=True,
    )
    return replace(pair, key=key, partial=True)


def is_begun(runs: Runs, pair: Pair) -> bool:
    """Whether this site has something of a partial run: predictions, or what became of them."""
    folder = runs.folder(pair)
    record = folder.read()
    there = folder.predictions.is_dir() or folder.results.exists()
    return there and record is not None and record.run_key == pair.key


def may_keep(runs: Runs, pair: Pair, benchmark: BenchmarkSpec, registry: str) -> bool:
    """Whether a failed model's predictions may be kept: allowed, and not finished already."""
    if not benchmark.allow_partial or pair.partial:
        return False
    return runs.record(partial_of(pair, registry)).done is None


def infer_keeping(
    model: "ReadyCube", data: Path, folder: RunFolder, runs: Runs, partial: Pair, how: "Execution"
) -> "Outcome":
    """Runs a model into `folder`; if it fails, what it wrote is kept as the partial run.

    It writes into the partial run's folder first, and whole predictions are moved from there: so
    predictions that lie in a whole run's folder are whole, wherever this is killed. KeptError if
    the model failed and something is kept, TaskError if nothing is.
    """
    from ..runner import model_run

    kept = runs.folder(partial)
    kept.results.unlink(missing_ok=True)
    _, outcome = model_run.infer(model, data, kept.path, how, partial=True)
    if outcome.reason == "done":
        kept.predictions.rename(folder.predictions)
        return outcome
    kept.write(runs.record(partial))
    raise KeptError(
        outcome.reason,
        f"The task infer of {model.name} failed. {outcome.detail or f'Reason: {outcome.reason}.'} "
        "What it had written is kept as a partial result.",
        log_tail=outcome.log_tail,
    )


Infer = Callable[["ReadyCube", Path, RunFolder, "Execution"], "Outcome"]


def infer_whole(model: "ReadyCube", data: Path, folder: RunFolder, how: "Execution") -> "Outcome":
    """Runs a model into `folder`; nothing of a failed one is kept."""
    from ..runner import model_run

    _, outcome = model_run.infer(model, data, folder.path, how)
    return outcome


def keeping(runs: Runs, partial: Pair) -> Infer:
    """`infer_keeping` for this partial run."""
    return lambda model, data, folder, how: infer_keeping(model, data, folder, runs, partial, how)
