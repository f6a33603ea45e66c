"""`medperf approve-run`: consent to one run, where the site's policy asks for it."""

import click

from .desk import workplace, yes_option
from .output import confirm, print_text, say


@click.command("approve-run")
@click.argument("run")
@yes_option
@click.pass_context
def command(ctx: click.Context, run: str, yes: bool) -> None:
    """Let RUN happen, after you have seen what would run on which data.

    Needed only where the profile says policy.consent: cube.

    \b
    Example:
      medperf approve-run chestxray.chest-resnet.chest
    """
    from ..reconciler.results import consent, describe_run

    with workplace(ctx) as place:
        say(describe_run(place, run))
        confirm("Let it run?", yes=yes)
        print_text(consent(place, run))
