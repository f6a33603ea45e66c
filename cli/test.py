"""`medperf test`: the compatibility test."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .desk import home, json_option, workplace
from .groups import NearGroup
from .output import plain, print_json, print_table, say
from .trial import print_report

if TYPE_CHECKING:
    from ..reconciler.reports import TrialReport
    from ..reconciler.workplace import Workplace
    from ..runner.local_cubes import Extras
    from ..runner.packing import Role


@click.group("test", cls=NearGroup)
def command() -> None:
    """Run preparator, model and evaluator on a benchmark's demo dataset.

    \b
    Example:
      medperf test run --benchmark chestxray --model resnet
    """


_PART = "CUBE|FILE"


_EXTRAS = (
    ("preparator", ("--data_preparation", "--data_preparator")),
    ("model", ("--model",)),
    ("evaluator", ("--evaluator",)),
)
_OF_A_FILE = "For a cube that is a file: {}, instead of what lies beside it."


def _extras(path: click.Path) -> Iterator[Any]:
    """The options for what a cube that is a file takes from elsewhere."""
    for part, what in (
        ("parameters", "its parameters.yaml"),
        ("additional_files", "a folder or tar.gz"),
    ):
        for role, options in _EXTRAS:
            yield click.option(
                *(f"{option}_{part}" for option in options),
                f"{role}_{part}",
                type=path,
                help=_OF_A_FILE.format(what),
            )


def _options(function: Any) -> Any:
    path = click.Path(path_type=Path)
    for option in reversed(
        (
            click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", metavar="B"),
            click.option(
                "-p",
                "--data_preparation",
                "--data_preparation_mlcube",
                "--data_preparator",
                "preparator",
                metavar=_PART,
                help="Instead of the benchmark's preparator.",
            ),
            click.option(
                "-m", "--model", metavar=_PART, help="Default: the benchmark's reference model."
            ),
            click.option(
                "-e", "--evaluator", metavar=_PART, help="Instead of the benchmark's evaluator."
            ),
            click.option(
                "--demo_dataset_url",
                "--demo-url",
                "demo",
                metavar="PATH|URL",
                help="Another demo dataset: a tar.gz with paths.yaml.",
            ),
            click.option("--data_path", type=path, help="Raw data of your own."),
            click.option("--labels_path", type=path, help="The labels of your own raw data."),
            click.option("--metadata_path", type=path, help="Their metadata, if any."),
            click.option(
                "-d", "--data_uid", "dataset", metavar="D", help="A dataset prepared here."
            ),
            click.option(
                "--prepared",
                "--skip-demo-data-preparation",
                "prepared",
                is_flag=True,
                help="The data are in the prepared form already: only check and count them.",
            ),
            *_extras(path),
            click.option(
                "--metrics", type=path, help="Metrics to check against, where there is no B."
            ),
            click.option(
                "--sandbox-command",
                default="",
                metavar="CMD",
                help="What runs in the sandbox for cubes that are files; default: main.py.",
            ),
            click.option(
                "--scratch-root",
                is_flag=True,
                help="Let cubes that are files write anywhere, into a layer that is thrown away.",
            ),
            click.option(
                "--engine",
                type=click.Choice(["docker", "singularity", "sandbox"]),
                help="Where there is no profile; default: the first that works.",
            ),
            click.option("--offline", is_flag=True, help="Do not fetch the registry."),
            click.option("--no-cache", is_flag=True, help="Run it even if it has passed before."),
        )
    ):
        function = option(function)
    return function


@command.command("run")
@_options
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    benchmark: str | None,
    preparator: str | None,
    model: str | None,
    evaluator: str | None,
    demo: str | None,
    data_path: Path | None,
    labels_path: Path | None,
    metadata_path: Path | None,
    dataset: str | None,
    prepared: bool,
    metrics: Path | None,
    sandbox_command: str,
    scratch_root: bool,
    engine: str | None,
    offline: bool,
    no_cache: bool,
    as_json: bool,
    **extras: Path | None,
) -> None:
    """Test a model: prepare, infer and evaluate, on demo data or on data of your own.

    Each part is a registered cube, or a file: a cube's mlcube.yaml (or container_config.yaml),
    or a manifest. What you do not name is the benchmark's. If every part is a file, neither a
    registry nor a login is needed. The report is kept: see 'medperf test ls'.

    \b
    Examples:
      medperf test run --benchmark chestxray --model resnet
      medperf test run --benchmark chestxray --model my-model/mlcube.yaml
      medperf test run --data_preparation prep/mlcube.yaml --model model/mlcube.yaml \\
          --evaluator metrics/mlcube.yaml --data_path raw --labels_path raw/labels.csv
    """
    from ..reconciler.mixing import Mix, set_up
    from ..reconciler.trials import run_trial
    from ..schemas.errors import TaskError

    mix = Mix(
        benchmark=benchmark,
        preparator=preparator,
        model=model,
        evaluator=evaluator,
        demo=demo,
        data=data_path,
        labels=labels_path,
        metadata=metadata_path,
        dataset=dataset,
        prepared=prepared,
        extras=_named(extras),
        metrics=metrics,
        sandbox_command=tuple(shlex.split(sandbox_command)),
        scratch_root=scratch_root,
    )
    with anywhere(ctx, engine) as place:
        setup = set_up(place, mix, lambda: place.view(fetch=not offline))
        try:
            report = run_trial(place, setup, say=say, cache=not no_cache)
        except TaskError as error:
            if error.log_tail:
                say("The end of its log:\n" + error.log_tail)
            raise
    if as_json:
        print_json(_fields(report))
    else:
        print_report(report)


def _named(extras: dict[str, Path | None]) -> "dict[Role, Extras]":
    """What was said with the options of `_extras`, by role."""
    from ..runner.local_cubes import NOTHING_EXTRA, Extras

    roles: tuple[Role, ...] = ("preparator", "model", "evaluator")
    found = {
        role: Extras(extras[f"{role}_parameters"], extras[f"{role}_additional_files"])
        for role in roles
    }
    return {role: one for role, one in found.items() if one != NOTHING_EXTRA}


def _fields(report: "TrialReport") -> dict[str, Any]:
    return {"id": report.id, **plain(report)}


@contextmanager
def anywhere(ctx: click.Context, engine: str | None) -> Iterator["Workplace"]:
    """The profile that is meant; without any, a place of work that knows no registry."""
    from ..reconciler.offline import offline_workplace

    if ctx.find_root().obj is None and home().read() is None:
        with offline_workplace(home(), engine=engine) as place:
            yield place
        return
    if engine is not None:
        raise click.UsageError(
            "The engine is this profile's: 'medperf profile set engine=…' changes it."
        )
    with workplace(ctx) as place:
        yield place


@command.command("ls")
@json_option
@click.pass_context
def ls(ctx: click.Context, as_json: bool) -> None:
    """List the reports of the trials that passed on this machine.

    A report is kept by the digests of all that it used, so the same trial is not run twice;
    'associate' takes it from here.

    \b
    Example:
      medperf test ls
    """
    from ..reconciler.reports import all_reports

    with anywhere(ctx, None) as place:
        reports = all_reports(place.storage / "trials")
    if as_json:
        print_json([_fields(one) for one in reports])
        return
    rows = [
        (one.id, one.names.get("model", ""), one.benchmark or None, one.engine, len(one.metrics))
        for one in reports
    ]
    headers = ("report", "model", "benchmark", "engine", "metrics")
    print_table(headers, rows, empty="No trial has passed here yet: 'medperf test run'.")


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show the report UID: its id, or the beginning of it, or the model's name.

    The digests of preparator, model, evaluator and data, the engine, the metrics that the demo
    data gave, and how long each step took.

    \b
    Example:
      medperf test view 4ec7aeb5
    """
    from ..reconciler.reports import report_of

    with anywhere(ctx, None) as place:
        report = report_of(place.storage / "trials", uid)
    if as_json:
        print_json(_fields(report))
    else:
        print_report(report)
