"""`medperf bundle`: the registry as one file, to verify it offline."""

from pathlib import Path

import click

from .desk import workplace
from .output import print_text
from .outputs import Output


@click.command("bundle")
@click.argument("file", type=Output("file"))
@click.pass_context
def command(ctx: click.Context, file: Path) -> None:
    """Write the registry with its whole history to FILE, as a Git bundle.

    Anybody can verify it without a network, without this program's settings and years later;
    'git clone FILE' reads it too.

    \b
    Examples:
      medperf bundle chest.bundle
      medperf registry verify --clone chest.bundle
      medperf result verify 4ec7aeb55ce722e4.yaml --clone chest.bundle
    """
    from ..reconciler.freshness import CHECKPOINTS
    from ..registry.bundles import write_bundle

    with workplace(ctx) as place:
        view = place.view()
        checkpoint = place.repository.resolve(CHECKPOINTS)
        size = write_bundle(place.repository, view, checkpoint, file)
    print_text(f"{file}: {size} bytes, main at {view.tip}.")
