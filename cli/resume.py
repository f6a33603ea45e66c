"""`medperf resume`: let this site work again."""

import click

from .desk import workplace
from .output import print_text


@click.command("resume")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Let a suspended site go on.

    What was due stays due: the next pass starts it.

    \b
    Example:
      medperf resume
    """
    from ..reconciler.suspending import resume

    with workplace(ctx) as place:
        print_text(resume(place))
