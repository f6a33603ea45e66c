"""`medperf registry carry`: to a site without a network, and its proposals and results out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option, workplace, yes_option
from .output import confirm, print_json, print_table, print_text, say, several
from .outputs import Output
from .storage import human

if TYPE_CHECKING:
    from ..reconciler.carrying import Trip


@click.command("carry")
@click.argument("folder", type=Output("folder"))
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="B",
    help="Only what this benchmark needs. Default: all. Repeatable.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["docker", "singularity", "sandbox"]),
    help="The site's engine. Default: this profile's. Repeatable.",
)
@click.option("--no-assets", is_flag=True, help="The registry only, no images and files.")
@yes_option
@json_option
@click.pass_context
def carry(
    ctx: click.Context,
    folder: Path,
    benchmarks: tuple[str, ...],
    engines: tuple[str, ...],
    no_assets: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring FOLDER, which is carried to a site without a network, up to date; send what it wrote.

    On a machine with a network: proposes what the site has put on its branches, after showing it;
    then writes into FOLDER the registry as it was verified here, and the images and files that the
    benchmarks' approved models need. The site logs in with FOLDER/registry.git as the registry, and
    takes the files from FOLDER/assets by itself. Nothing on the folder is believed unverified, and
    no data, prediction or log is ever on it.

    \b
    Examples:
      medperf registry carry /media/stick --benchmark committee/cxr --engine singularity
      medperf login /media/stick/registry.git --owner hospital --member bob --site ward
    """
    from ..reconciler.carrying import Cargo, Loaded, Trip, cargo_of

    with workplace(ctx) as place:
        trip = Trip(place, folder)
        cargo = Cargo((), ())
        if not no_assets:
            cargo = cargo_of(trip.view, benchmarks, engines or (place.profile.engine,))
        sent = _send(trip, yes=yes)
        trip.refresh()
        loaded = trip.load(cargo, say=say) if cargo.pieces else Loaded(0, 0, 0)
        main = trip.view.tip
    if as_json:
        print_json({"main": main, "sent": sent, "loaded": loaded, "left": cargo.left})
        return
    for branch, address in sent:
        print_text(f"Proposed {branch}" + (f": {address}" if address else ""))
    print_text(f"{trip.url} is at {main[:12]}.")
    if not no_assets:
        size = f", {loaded.fresh} of them new ({human(loaded.size)})" if loaded.fresh else ""
        print_text(f"{several(loaded.files, 'file')} in its store{size}.")
    for reason in cargo.left:
        say(f"Not carried: {reason}")


def _send(trip: "Trip", *, yes: bool) -> list[tuple[str, str]]:
    """Shows what the site wrote, asks, proposes it; each branch with its address."""
    for problem in trip.carried.stuck:
        say(problem)
    if not trip.carried.waiting:
        return []
    rows = [(one.branch, one.head[:12], len(one.files), one.title) for one in trip.carried.waiting]
    print_table(("branch", "commit", "files", "title"), rows, empty="", err=True)
    for path, data in trip.contents():
        say(f"\n--- {path}")
        if data is not None and path.endswith(".yaml"):
            say(data.decode(errors="replace").rstrip("\n"))
        else:
            say("removed" if data is None else f"{len(data)} bytes")
    say(
        f"\nThis goes to {trip.place.url}\n"
        "Who can read that repository can read it, now and for ever: nothing can be taken back."
    )
    confirm("Propose it?", yes=yes)
    return [(one.branch, address) for one, address in trip.send()]
