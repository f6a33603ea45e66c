"""`medperf dataset pack-demo|export|import|check`: data as files, moved and compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option, one_of, workplace
from .output import plain, print_json, print_text
from .outputs import Output

if TYPE_CHECKING:
    from ..reconciler.auditing import Audit
    from ..reconciler.describing import Described


@click.command("pack-demo")
@click.option("--data_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--labels_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--metadata_path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    default="demo.tar.gz",
    show_default=True,
    type=Output("file"),
    help="The archive.",
)
def pack_demo(data_path: Path, labels_path: Path, metadata_path: Path | None, output: Path) -> None:
    """Pack raw data and labels as the demo dataset of a benchmark.

    A demo dataset is public: everybody who tests a model downloads it. It is a tar.gz with
    paths.yaml at its root, which names data and labels.

    \b
    Example:
      medperf dataset pack-demo --data_path images --labels_path labels.csv --output demo.tar.gz
    """
    from ..runner.scaffold import pack_demo as pack

    packed = pack(data_path, labels_path, output, metadata=metadata_path)
    print_text(
        f"{packed.path}: {packed.digest}, {packed.size} bytes.\n"
        "Upload it, and give its address: medperf benchmark submit --demo-url https://…"
    )


@click.command("export")
@click.option("-d", "--data_uid", required=True, help="The dataset's uid or name.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=Output("either"),
    help="A new file, a tar archive; or a folder for it.",
)
@click.pass_context
def export(ctx: click.Context, data_uid: str, output: Path) -> None:
    """Put a prepared dataset into one file, to move it to another machine of yours.

    The file holds data, labels and the dataset's secret: keep it as private as the data. It is
    checked first that nothing has changed since the preparation.

    \b
    Example:
      medperf dataset export --data_uid chest --output /media/stick/chest.tar
    """
    from ..reconciler.transfer import export_dataset

    with workplace(ctx) as place:
        dataset = place.datasets.find(data_uid)
        target = output.absolute()
        if target.is_dir():
            target /= f"{dataset.record.name}.tar"
        written = export_dataset(dataset, target)
    print_text(
        f"{dataset.record.name} ({dataset.uid}) is in {written}: data, labels and secret. "
        "Keep it private.\nThere: medperf dataset import FILE"
    )


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-i", "--input", "input_", type=click.Path(path_type=Path), help="FILE, as MedPerf says it."
)
@click.pass_context
def import_(ctx: click.Context, file: Path | None, input_: Path | None) -> None:
    """Take over a dataset that was exported on another machine; every file is verified.

    FILE is what 'medperf dataset export' wrote: data, labels, statistics and the dataset's
    secret. It keeps its uid, so a dataset that was submitted elsewhere goes on here. Delete
    FILE afterwards: it holds the data.

    \b
    Example:
      medperf dataset import /media/stick/chest.tar
    """
    from ..reconciler.transfer import import_dataset

    file = one_of(file, input_, "FILE", "--input")
    with workplace(ctx) as place:
        dataset = import_dataset(place, file.absolute())
    print_text(f"{dataset.record.name!r} is here and whole. Its uid is {dataset.uid}.")


@click.command("check")
@click.option("-d", "--data_uid", required=True, help="The dataset's uid or name.")
@click.option("--against", metavar="RESULT", help="A published result, or its file: for auditors.")
@json_option
@click.pass_context
def check(ctx: click.Context, data_uid: str, against: str | None, as_json: bool) -> int:
    """Compare a prepared dataset with what was prepared, and say which files differ.

    The same check is made before every run. With --against it is shown to an auditor, by the
    dataset's secret, that a published result belongs to exactly these data; else exits with 1.

    \b
    Examples:
      medperf dataset check --data_uid chest
      medperf dataset check --data_uid chest --against 4ec7aeb55ce722e4
    """
    from ..reconciler.execute import check_unchanged

    with workplace(ctx) as place:
        dataset = place.datasets.find(data_uid)
        if against is not None:
            from ..reconciler.auditing import audit, result_data

            view = place.view(fetch=False)
            return _print_audit(audit(view, dataset, result_data(view, against)), as_json=as_json)
        check_unchanged(dataset)
        files = dataset.lines.count(b"\n")
    if as_json:
        print_json({"name": dataset.record.name, "uid": dataset.uid, "files": files})
    else:
        print_text(f"{dataset.record.name} ({dataset.uid}) is unchanged: {files} files.")
    return 0


def _print_audit(found: "Audit", *, as_json: bool) -> int:
    if as_json:
        print_json(found)
    else:
        answer = "belongs" if found.holds else "does NOT belong"
        print_text(f"{found.result} {answer} to these data, as far as can be shown:")
        for line in found.proven:
            print_text(f"  proven   {line}")
        for line in found.against:
            print_text(f"  against  {line}")
    return 0 if found.holds else 1


def print_local(dataset: "Described", *, as_json: bool) -> None:
    """A dataset of this machine, for its owner's eyes."""
    if as_json:
        print_json(dataset)
        return
    for name, value in plain(dataset).items():
        if value not in (None, ""):
            print_text("\n".join(_lines(name, value)))
    print_text("None of this has left by being shown.")


def _lines(name: str, value: object, depth: int = 0) -> Iterator[str]:
    """`name: value`; what is nested on lines of its own, a mapping of numbers alone on one."""
    before = "  " * depth + f"{name}:"
    if isinstance(value, bool):
        yield f"{before} {'yes' if value else 'no'}"
    elif not isinstance(value, dict):
        yield f"{before} {value}"
    elif depth > 1 and not any(isinstance(one, dict) for one in value.values()):
        yield f"{before} " + ", ".join(f"{key} {one}" for key, one in value.items())
    else:
        yield before
        for key, one in value.items():
            yield from _lines(str(key), one, depth + 1)
