"""`medperf dataset`: prepare data, submit its metadata, ask to take part."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .data_moving import check, export, import_, pack_demo, print_local
from .desk import ask_to_send, json_option, workplace, yes_option
from .groups import NearGroup
from .inviting import propose_association
from .object_settings import dataset_settings
from .objects import show
from .output import none_of, print_json, print_table, print_text, say
from .stopping import stopped_by_signals

if TYPE_CHECKING:
    from ..reconciler.workplace import Workplace


@click.group("dataset", cls=NearGroup)
def command() -> None:
    """Datasets stay where they are; only a description, declared statistics and a commitment leave.

    \b
    Example:
      medperf dataset create --name chest --data_path images --labels_path labels.csv \\
          --benchmark chestxray --location Ulm
    """


for _one in (pack_demo, check, export, import_, dataset_settings):
    command.add_command(_one)


@command.command("create")
@click.option("--name", required=True, help="The dataset's name.")
@click.option("--description", default="", help="What it is, for people.")
@click.option("--location", default="unknown", help="Where it is from, for people.")
@click.option(
    "-d", "--data_path", required=True, type=click.Path(path_type=Path), help="The raw data."
)
@click.option(
    "-l", "--labels_path", required=True, type=click.Path(path_type=Path), help="The raw labels."
)
@click.option(
    "-m",
    "--metadata_path",
    type=click.Path(path_type=Path),
    help="Metadata of the data, where the preparator takes them, or of prepared data.",
)
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option(
    "--prepared",
    "--submit-as-prepared",
    "--skip_data_preparation_step",
    "prepared",
    is_flag=True,
    help="The data are in the prepared form already: only check and count them.",
)
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    description: str,
    location: str,
    data_path: Path,
    labels_path: Path,
    metadata_path: Path | None,
    benchmark: str,
    prepared: bool,
) -> None:
    """Prepare raw data with a benchmark's preparator: prepare, sanity check, statistics.

    Nothing leaves this machine. Interrupted, or stopped by the preparator for manual work (exit
    code 4), the same command goes on where it was. What the preparator reports of each case is in
    a file that 'dataset view' names. Where a preparator has no sanity check, this is told.

    \b
    Example:
      medperf dataset create --name chest --description "One ward" --location Ulm \\
          --data_path images --labels_path labels.csv --benchmark chestxray
    """
    from ..reconciler.preparing import RawParts, create_dataset
    from ..runner.preparation import ManualWorkError
    from ..schemas.errors import MedperfError, TaskError
    from .trial import NO_SANITY_CHECK

    parts = RawParts(
        name,
        description or name,
        location,
        data_path.absolute(),
        labels_path.absolute(),
        benchmark,
        prepared,
        metadata_path.absolute() if metadata_path else None,
    )
    stop = threading.Event()
    with stopped_by_signals(stop), workplace(ctx) as place:
        try:
            dataset = create_dataset(place, place.view(), parts, say=say, stop=stop)
        except MedperfError as error:
            if stop.is_set():
                raise KeyboardInterrupt from error
            if isinstance(error, TaskError | ManualWorkError) and error.log_tail:
                say("The end of its log, which stays here:\n" + error.log_tail)
            raise
        print_text(
            f"Dataset {name!r} is prepared. Its uid is {dataset.uid}.\n"
            + ("" if dataset.record.sanity_checked else f"{NO_SANITY_CHECK}\n")
            + f"Next: medperf dataset submit --data_uid {dataset.uid}"
        )


@command.command("submit")
@click.option("-d", "--data_uid", required=True, help="The uid that 'create' printed, or the name.")
@yes_option
@click.pass_context
def submit(ctx: click.Context, data_uid: str, yes: bool) -> None:
    """Propose a prepared dataset's metadata; shows exactly what would leave, and asks.

    Name, description, location, the preparator, the statistics that it declares, and a
    commitment that binds you to these data and tells nothing of them. No data, no label and no
    path leaves this machine.

    \b
    Example:
      medperf dataset submit --data_uid 6d6e0cbb99ab
    """
    from ..reconciler.submissions import check_new, dataset_files
    from ..registry.paths import dataset_path

    with workplace(ctx) as place:
        dataset = place.datasets.find(data_uid)
        view, ref = place.view(), f"{place.owner}/{dataset.record.name}"
        check_new(view, dataset_path(ref), "dataset")
        files = dataset_files(place, view, dataset)
        ask_to_send(f"The metadata of {ref}", files, place.url, yes=yes)
        proposal = place.propose(f"dataset-{dataset.record.name}", files, f"Add the dataset {ref}")
    print_text(
        f"Proposed as {proposal.shown}. Merge it with: medperf proposal merge {proposal.id}\n"
        "Then ask to take part: medperf dataset associate "
        f"--benchmark_uid {dataset.record.benchmark} --data_uid {dataset.record.name}"
    )


@command.command("associate")
@click.option("-b", "--benchmark_uid", "--benchmark", "benchmark", required=True, metavar="B")
@click.option("-d", "--data_uid", required=True, help="The dataset's uid or name.")
@yes_option
@click.pass_context
def associate(ctx: click.Context, benchmark: str, data_uid: str, yes: bool) -> None:
    """Ask that a dataset takes part in a benchmark; runs the reference model on it first.

    That run stays here. It counts as the reference model's run and is published only after the
    disclosure check and your release.

    \b
    Example:
      medperf dataset associate --benchmark_uid chestxray --data_uid chest
    """
    from ..reconciler.preparing import reference_run
    from ..reconciler.submissions import association_files, next_round

    with workplace(ctx) as place:
        view = place.view()
        item = view.benchmark(benchmark)
        name = place.datasets.find(data_uid).record.name
        next_round(view, item.ref, "datasets", f"{place.owner}/{name}")  # before the long work
        run = reference_run(place, view, benchmark=item.ref, data_uid=data_uid, say=say)
        files = association_files(
            place,
            view,
            benchmark=item.ref,
            side="dataset",
            component={"ref": run.dataset, "digest": run.digest},
            trial=run.manifest(place.profile.engine),
        )
        ask_to_send(f"{run.dataset} asks to take part in {item.ref}", files, place.url, yes=yes)
        propose_association(place, view, item.ref, "dataset", run.dataset, files)


@command.command("ls")
@click.option(
    "--local", "--unregistered", is_flag=True, help="Those on this machine, submitted or not."
)
@click.option("--mine", is_flag=True, help="Only your organisation's.")
@json_option
@click.pass_context
def ls(ctx: click.Context, local: bool, mine: bool, as_json: bool) -> None:
    """List the datasets of the registry, or those on this machine.

    With --local the prepared ones here, by the uid that 'create' printed, how far unfinished
    ones came, and where each stands in the registry: merged, proposed (and not merged yet),
    rejected, no, or unknown where the registry cannot be asked. With --mine those of your owner
    in the registry.

    \b
    Example:
      medperf dataset ls --local
    """
    known = 0
    rows: list[dict[str, object]]
    with workplace(ctx) as place:
        own = f"{place.owner}/"
        if local:
            rows = list(_local(place))
        else:
            rows = [
                {
                    "dataset": ref,
                    "preparator": item.manifest.spec.preparator.ref,
                    "statistics": dict(item.manifest.spec.statistics),
                    "location": item.manifest.spec.location,
                }
                for ref, item in sorted(place.view().datasets.items())
            ]
            known = len(rows)
            rows = [row for row in rows if not mine or str(row["dataset"]).startswith(own)]
    if as_json:
        print_json(rows)
        return
    rows = [{name: value for name, value in row.items() if name not in _ASIDE} for row in rows]
    headers = tuple(rows[0]) if rows else ()
    if local:
        empty = "No dataset is prepared here yet: 'medperf dataset create' does that."
    else:
        nothing = (
            "No dataset is in the registry yet. Those on this machine: 'medperf dataset ls "
            "--local'; what waits to be merged: 'medperf proposal ls'."
        )
        empty = none_of(known, "dataset", empty=nothing)
    print_table(headers, [tuple(map(_shown, row.values())) for row in rows], empty=empty)


_ASIDE = ("ref", "proposal")  # a name that a proposal gives it is mostly the local one


def _local(place: "Workplace") -> Iterator[dict[str, object]]:
    """The datasets of this machine, each with where it stands in the registry."""
    from ..reconciler.describing import describe
    from ..reconciler.registered import standings

    standing = standings(place, say=say)
    for one in place.datasets.all():
        described, registered = describe(None, one), standing.of(one)
        yield {
            "uid": described.uid,
            "name": described.name,
            "state": described.state,
            "registered": registered.state,
            "benchmark": described.benchmark,
            "location": described.location,
            "ref": registered.ref,
            "proposal": registered.proposal,
        }


def _shown(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return value


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show the dataset UID: of the registry, or one that is only on this machine.

    A registered one as its manifest; a local one with its uid, what is known of it and its
    folder. Nothing leaves by being looked at.

    \b
    Examples:
      medperf dataset view hospital/chest
      medperf dataset view 6d6e0cbb99ab
    """
    from ..reconciler.describing import describe, local_dataset
    from ..schemas.errors import UsageError

    with workplace(ctx) as place:
        view = place.view()
        try:
            item = view.dataset(uid)
        except UsageError:
            described = describe(view, local_dataset(place, uid))
            print_local(described, as_json=as_json)
            return
        show(item, as_json=as_json)
