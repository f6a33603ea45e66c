"""`medperf benchmark run`: what is due for one benchmark on one dataset."""

import threading
from pathlib import Path

import click

from .desk import jobs_option, json_option, workplace
from .output import print_json, say
from .runs import print_summary
from .stopping import stopped_by_signals


@click.command("run")
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option("-d", "--data_uid", required=True, metavar="D", help="The dataset's uid or name.")
@click.option(
    "-m",
    "--model",
    "--model_uid",
    "models",
    multiple=True,
    metavar="M",
    help="Only this model, again if it failed. Repeatable, or names between commas.",
)
@click.option(
    "-f",
    "--models-from-file",
    "models_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only the models that FILE names, between commas or a line each.",
)
@click.option(
    "--ignore-model-errors",
    is_flag=True,
    help="Evaluate what a failing model has written, as a partial result.",
)
@click.option(
    "--no-cache", is_flag=True, help="Run again what ran here; refused once it is proposed."
)
@jobs_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    benchmark: str,
    data_uid: str,
    models: tuple[str, ...],
    models_file: Path | None,
    ignore_model_errors: bool,
    no_cache: bool,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Run a benchmark's models on a dataset: what 'reconcile' does, for one benchmark.

    Models that have run are not run again. A partial result is marked as such, is published under
    a key of its own, and is made only where the benchmark allows it. The exit code is 1 if a
    model failed now.

    \b
    Examples:
      medperf benchmark run --benchmark chestxray --data_uid chest --jobs 2
      medperf benchmark run -b chestxray -d chest -m resnet --ignore-model-errors
      medperf benchmark run -b chestxray -d chest --models-from-file models.txt
    """
    from ..reconciler.running import run_benchmark

    stop = threading.Event()
    with workplace(ctx) as place, stopped_by_signals(stop):
        summary = run_benchmark(
            place,
            benchmark=benchmark,
            data_uid=data_uid,
            models=named_models(models, models_file),
            ignore_model_errors=ignore_model_errors,
            cache=not no_cache,
            jobs=jobs,
            say=say,
            stop=stop,
        )
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    if stop.is_set():
        return 130
    return 1 if summary.failed else 0


def named_models(models: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    """The models of the options and of the file, each once, in their order."""
    lines = list(models)
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{file} is no text file that can be read.") from error
        lines += [line.partition("#")[0] for line in text.splitlines()]
        if not any(line.strip(" ,") for line in lines[len(models) :]):
            raise click.UsageError(f"{file} names no model: write names, a line each.")
    names = (word.strip() for line in lines for word in line.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
