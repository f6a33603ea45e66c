"""`medperf reconcile`: one pass, or one after another."""

import threading

import click

from .desk import jobs_option, json_option, workplace
from .output import print_json, say
from .runs import print_summary
from .stopping import stopped_by_signals


@click.command("reconcile")
@json_option
@click.option("--benchmark", metavar="B", help="Only this benchmark's runs.")
@click.option("--model", metavar="M", help="Only this model's runs.")
@jobs_option
@click.option(
    "--every",
    type=click.IntRange(min=10),
    metavar="SECONDS",
    help="Go on with a pass every so often, until interrupted.",
)
@click.pass_context
def command(
    ctx: click.Context,
    as_json: bool,
    benchmark: str | None,
    model: str | None,
    jobs: int | None,
    every: int | None,
) -> int:
    """Run what is due on this site's datasets, and publish what is released.

    Fetches and verifies the registry, runs each approved model that has no result yet on your
    data in a container without network, checks what would leave, and proposes released results
    as a signed commit. Interrupt it at any moment: the next pass goes on. The exit code tells of
    this pass only: 1 if a run or publishing failed in it.

    With --jobs (or limits.jobs) several runs go side by side, begun in the order of the plan, as
    far as their memory limits fit into this machine; a GPU is given to one run at a time.

    \b
    Examples:
      medperf reconcile
      medperf reconcile --jobs 2 --every 3600
    """
    from ..reconciler.news import tell_hook
    from ..reconciler.passes import reconcile
    from ..reconciler.plan import Pair

    only_benchmark, only_model = _meant(ctx, benchmark, model)

    def wanted(pair: Pair) -> bool:
        return only_benchmark in (None, pair.benchmark) and only_model in (None, pair.model)

    stop = threading.Event()
    with stopped_by_signals(stop):
        while True:
            with workplace(ctx) as place:
                summary = reconcile(place, say=say, stop=stop, wanted=wanted, jobs=jobs)
                if problem := tell_hook(place, summary.plan):
                    say(problem)
                if as_json:
                    print_json(summary)
                else:
                    print_summary(summary)
            if stop.is_set():
                return 130
            if every is None or stop.wait(every):
                return 1 if summary.failed else 0


def _meant(
    ctx: click.Context, benchmark: str | None, model: str | None
) -> tuple[str | None, str | None]:
    """What the names mean, before anything runs: a wrong one would leave nothing to do, quietly."""
    if benchmark is None and model is None:
        return None, None
    with workplace(ctx) as place:
        view = place.view()
        found = (
            None if benchmark is None else view.benchmark(benchmark).ref,
            None if model is None else view.cube(model).ref,
        )
        place.close()
    return found
