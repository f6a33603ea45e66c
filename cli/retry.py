"""`medperf retry`: a failed run is tried again."""

import click

from .desk import workplace
from .output import print_text


@click.command("retry")
@click.argument("run")
@click.pass_context
def command(ctx: click.Context, run: str) -> None:
    """Forget the failures of RUN, so that the next pass tries it again.

    RUN is a local result's name (<benchmark>.<model>.<dataset>) or the first digits of its run key.

    \b
    Example:
      medperf retry chestxray.chest-resnet.chest
    """
    from ..reconciler.results import retry

    with workplace(ctx) as place:
        print_text(retry(place, run))
