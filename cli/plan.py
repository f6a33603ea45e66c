"""`medperf plan`: what a pass would do, and why it would not do the rest."""

import time

import click

from .desk import json_option, workplace
from .output import print_json, print_text
from .runs import print_plan


@click.command("plan")
@json_option
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 4 if something is due, for scripts."
)
@click.pass_context
def command(ctx: click.Context, as_json: bool, offline: bool, detailed_exitcode: bool) -> int:
    """Show every run of this site's datasets with its state, in the order they would run.

    Nothing is run and nothing is changed.

    \b
    Example:
      medperf plan --json | jq '.runs[] | select(.state == "due")'
    """
    with workplace(ctx) as place:
        view = place.view(fetch=not offline)
        from ..reconciler.observe import observe  # loaded while Git fetches

        plan = observe(place, view, now=time.time())
    if as_json:
        print_json(plan)
    else:
        print_plan(plan)
        print_text(f"\n{len(plan.due)} due of {len(plan.runs)}, at {plan.commit[:12]}.")
    return 4 if detailed_exitcode and plan.due else 0
