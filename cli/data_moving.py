"""`medperf dataset pack-demo`: files that carry data from one place to another."""

from pathlib import Path

import click

from .output import print_text


@click.command("pack-demo")
@click.option("--data_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--labels_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--metadata_path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    default="demo.tar.gz",
    show_default=True,
    type=click.Path(path_type=Path),
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
