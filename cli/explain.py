"""`medperf explain`: what is missing, from whom, before a run can happen."""

from typing import TYPE_CHECKING

import click

from .desk import json_option, workplace
from .output import print_json, print_text, say

if TYPE_CHECKING:
    from ..reconciler.explaining import Explained


@click.command("explain")
@click.argument("uid", required=False)
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@json_option
@click.pass_context
def command(ctx: click.Context, uid: str | None, offline: bool, as_json: bool) -> None:
    """Say for each run, or those that UID means, what the registry lacks and what this site adds.

    UID is a local result's name, the first digits of a run key, or a model, dataset or benchmark.
    A committee names a model of its benchmark to see where it stands at each dataset.

    \b
    Examples:
      medperf explain
      medperf explain chestxray.chest-resnet.chest
    """
    from ..reconciler.explaining import explain
    from ..reconciler.passes import look
    from ..reconciler.plan import State
    from ..reconciler.proposed import ask_forge
    from ..reconciler.rejections import rejections

    with workplace(ctx) as place:
        view, plan = look(place, fetch=not offline)
        rejected = {} if offline else rejections(place, say=say)
        if not offline and plan.of(State.PROPOSED) and ask_forge(place, say=say):
            view, plan = look(place, fetch=False)
        found = explain(place, view, plan.runs, uid, rejected=rejected)
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing is asked of this site, and none of your models takes part anywhere yet.")
    for one in found:
        _print(one)


def _print(one: "Explained") -> None:
    print_text(f"{one.model} on {one.dataset} for {one.benchmark}: {one.state}")
    for line in one.missing:
        print_text(f"  missing   {line}")
    for line in one.registry:
        print_text(f"  registry  {line}")
    for line in one.site:
        print_text(f"  site      {line}")
    print_text("")
