"""`medperf suspend`: let this site rest."""

import click

from .desk import workplace
from .output import print_text


@click.command("suspend")
@click.option("--reason", default="", help="Why, for whoever asks later.")
@click.pass_context
def command(ctx: click.Context, reason: str) -> None:
    """Start nothing and let nothing leave at this site, until 'medperf resume'.

    A run under way ends at its next step; what it has done is kept.

    \b
    Example:
      medperf suspend --reason "maintenance until Monday"
    """
    from ..reconciler.suspending import suspend

    with workplace(ctx) as place:
        print_text(suspend(place, reason))
