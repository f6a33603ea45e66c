"""`medperf test`: the compatibility test."""

from pathlib import Path

import click

from .desk import json_option, workplace
from .output import print_json, say
from .trial import print_report


@click.group("test")
def command() -> None:
    """Run preparator, model and evaluator on a benchmark's demo dataset.

    \b
    Example:
      medperf test run --benchmark chestxray --model resnet
    """


@command.command("run")
@click.option("--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option("--model", metavar="CUBE|FILE", help="Default: the benchmark's reference model.")
@json_option
@click.pass_context
def run(ctx: click.Context, benchmark: str, model: str | None, as_json: bool) -> None:
    """Test a model on a benchmark's demo dataset; MODEL is a registered cube or a manifest file.

    \b
    Examples:
      medperf test run --benchmark chestxray --model resnet
      medperf test run --benchmark chestxray --model cubes/modeler/resnet.yaml
    """
    from ..reconciler.submissions import part_of, trial_setup
    from ..reconciler.trials import run_trial

    with workplace(ctx) as place:
        view = place.view()
        item = view.benchmark(benchmark)
        chosen = model or item.manifest.spec.reference_model.ref
        part = part_of(view, chosen, Path(chosen))
        report = run_trial(place, trial_setup(view, item.manifest, model=part), say=say)
    if as_json:
        print_json(report)
    else:
        print_report(report)
