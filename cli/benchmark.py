"""`medperf benchmark`: define benchmarks and look at them."""

from pathlib import Path

import click

from .benchmark_run import run
from .benchmark_settings import settings as settings_command
from .desk import ask_to_send, json_option, operational_option, workplace, yes_option
from .groups import NearGroup
from .inviting import invite
from .objects import show
from .output import none_of, print_json, print_table, print_text, say
from .trial import print_report


@click.group("benchmark", cls=NearGroup)
def command() -> None:
    """A benchmark is three cubes, a demo dataset, and the metrics that may leave a site.

    \b
    Example:
      medperf benchmark ls
    """


for _one in (run, invite, settings_command):
    command.add_command(_one)


@command.command("submit")
@click.option("-n", "--name", required=True, help="The benchmark's name.")
@click.option("-d", "--description", default="", help="What it measures, for people.")
@click.option(
    "--demo-url",
    required=True,
    metavar="PATH|URL",
    help="The demo dataset: a tar.gz with paths.yaml at its root.",
)
@click.option(
    "-p",
    "--data-preparation-mlcube",
    "--data-preparation-container",
    "data_preparation_mlcube",
    required=True,
    metavar="CUBE",
)
@click.option(
    "-m",
    "--reference-model-mlcube",
    "--reference-model-container",
    "--reference-model",
    "reference_model_mlcube",
    required=True,
    metavar="CUBE",
)
@click.option(
    "-e",
    "--evaluator-mlcube",
    "--evaluator-container",
    "evaluator_mlcube",
    required=True,
    metavar="CUBE",
)
@click.option(
    "--metrics",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="YAML with metrics, and perhaps ignore, engines, dataFormat.",
)
@click.option(
    "--committee",
    multiple=True,
    metavar="OWNER/MEMBER",
    help="Who approves what takes part. Repeatable; default: you.",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of the committee must sign.",
)
@operational_option
@yes_option
@click.pass_context
def submit(
    ctx: click.Context,
    name: str,
    description: str,
    demo_url: str,
    data_preparation_mlcube: str,
    reference_model_mlcube: str,
    evaluator_mlcube: str,
    metrics: Path,
    committee: tuple[str, ...],
    threshold: int,
    yes: bool,
) -> None:
    """Propose a benchmark, its first settings, and its reference model's association.

    Runs the reference model on the demo dataset first. The benchmark is in force once its owner
    and the admins have signed and merged the proposal.

    \b
    Example:
      medperf benchmark submit --name chestxray --demo-url https://files.example.org/demo.tar.gz \\
          --data-preparation-mlcube prep --reference-model-mlcube densenet \\
          --evaluator-mlcube chest-metrics --metrics metrics.yaml
    """
    from ..reconciler import submissions
    from ..reconciler.trials import run_trial
    from ..runner.packing import asset_for

    with workplace(ctx) as place:
        view = place.view()
        parts = submissions.BenchmarkParts(
            name=name,
            description=description or name,
            preparator=data_preparation_mlcube,
            reference_model=reference_model_mlcube,
            evaluator=evaluator_mlcube,
            demo=asset_for(demo_url, place.assets, None),
            metrics_file=str(metrics),
            metrics_data=metrics.read_bytes(),
            committee=committee or (place.member().by,),
            threshold=threshold,
        )
        path = f"benchmarks/{place.owner}/{name}.yaml"
        submissions.check_new(view, path, "benchmark")
        submissions.check_members(view, committee)
        data = submissions.checked(
            path,
            submissions.benchmark_manifest(view, place.owner, parts),
        )
        report = run_trial(place, submissions.benchmark_setup(view, data), say=say)
        print_report(report, err=True)
        files = submissions.benchmark_files(place, view, data, parts, report)
        ask_to_send(f"The benchmark {place.owner}/{name}", files, place.url, yes=yes)
        proposal = place.propose(
            f"benchmark-{name}", files, f"Add the benchmark {place.owner}/{name}"
        )
    print_text(
        f"Proposed as {proposal.shown}. The admins sign and merge it: "
        f"medperf proposal merge {proposal.id}"
    )


@command.command("ls")
@click.option("--mine", is_flag=True, help="Only your organisation's.")
@json_option
@click.pass_context
def ls(ctx: click.Context, mine: bool, as_json: bool) -> None:
    """List the benchmarks in force, and those that wait for signatures.

    With how many models and datasets take part in each, and the newest description. One that
    its committee has closed is not active: nothing new runs for it, and its results stay.

    \b
    Example:
      medperf benchmark ls
    """
    with workplace(ctx) as place:
        view = place.view()
        owner = place.owner
    rows = []
    for ref, item in sorted(view.benchmarks.items()):
        if mine and not ref.startswith(owner + "/"):
            continue
        settings = view.benchmark_settings(ref)
        models = view.associations_of(ref, "models")
        datasets = view.associations_of(ref, "datasets")
        rows.append(
            {
                "benchmark": ref,
                "active": settings.active,
                "models": sum(one.state == "approved" for one in models),
                "datasets": sum(one.state == "approved" for one in datasets),
                "description": settings.description or item.manifest.metadata.description,
            }
        )
    if as_json:
        print_json(rows)
        return
    headers = ("benchmark", "active", "models", "datasets", "description")
    known = len(view.benchmarks)
    nothing = "No benchmark is in the registry yet. What waits to be merged: 'medperf proposal ls'."
    empty = none_of(known, "benchmark", empty=nothing)
    print_table(headers, [tuple(row.values()) for row in rows], empty=empty)
    for path, waits in view.pending.items():
        if path.startswith("benchmarks/"):
            print_text(f"not in force: {path} waits for {', and for '.join(waits)}")


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show the benchmark UID with its settings.

    The manifest, which never changes: its three cubes, its demo dataset and the metrics that
    may leave a site; then the settings, which may: committee, approval, priorities.

    \b
    Example:
      medperf benchmark view chestxray
    """
    from ..registry.paths import settings_path

    with workplace(ctx) as place:
        view = place.view()
        item = view.benchmark(uid)
        settings = view.file(settings_path(item.path))
    show(item, as_json=as_json)
    if settings is not None and not as_json:
        print_text("")
        show(settings, as_json=False)
