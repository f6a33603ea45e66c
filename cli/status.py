"""`medperf status`: where every run of this site is."""

import click

from .desk import json_option, workplace
from .output import print_json, print_text, say
from .runs import print_plan


@click.command("status")
@json_option
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, offline: bool) -> None:
    """Show who you are, what the registry is, what is on this machine, and where each run is.

    What is new since you last looked comes first: runs, results that were withdrawn or whose
    proposal was closed, how many results came of your models and in your benchmarks, your
    associations, your objects that were merged, the settings of benchmarks that you take part
    in. A command of yours is told of it, too: see 'medperf profile set notify.command=…'; it
    gets a JSON document on its standard input.

    \b
    Example:
      medperf status
    """
    from ..reconciler.news import tell_hook, write_seen
    from ..reconciler.status import status

    with workplace(ctx) as place:
        now, concerning, view = status(place, fetch=not offline)
        write_seen(place, "person", now.plan, concerning)
        if problem := tell_hook(place, now.plan, concerning, view):
            say(problem)
    if as_json:
        print_json(now)
        return
    print_text(
        f"profile   {now.profile}\n"
        f"registry  {now.url} at {now.commit[:12]}\n"
        f"view      {now.freshness}\n"
        f"acts for  {', '.join(now.identities)}\n"
        f"engine    {now.engine}\n"
        f"datasets  {', '.join(now.datasets) or 'none'}\n"
    )
    if now.new:
        print_text("new since you last looked:")
        for line in now.new:
            print_text(f"  {line.text}")
        print_text("")
    print_plan(now.plan)
    for one in now.told:
        most = f" of {one.most}" if one.most is not None else ""
        whom = f"models of {one.reader[:-2]}" if one.reader.endswith("/*") else one.reader
        noun = "result" if one.results == 1 and one.most is None else "results"
        print_text(f"left      {one.results}{most} {noun} of {one.dataset} to {whom}")
    for note in now.notes:
        print_text(f"ignored: {note}")
