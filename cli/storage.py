"""`medperf storage`: what lies on this machine, moving it, making room."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option, one_of, workplace, yes_option
from .groups import NearGroup
from .output import confirm, print_json, print_table, print_text, say
from .outputs import Output

if TYPE_CHECKING:
    from ..reconciler.storing import Kind

KINDS = ("trials", "images", "assets", "runs", "unfinished")


@click.group("storage", cls=NearGroup)
def command() -> None:
    """Datasets, runs, images and downloads of a profile: where they are, and how large.

    \b
    Example:
      medperf storage ls
    """


@command.command("ls")
@json_option
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@click.pass_context
def ls(ctx: click.Context, as_json: bool, offline: bool) -> None:
    """List what is stored, with sizes, and whether it can be made again.

    Made once: datasets with their secrets, and runs that have not left. Made again by a pass,
    at the cost of time: images, downloads, trials, runs whose results are published.

    \b
    Example:
      medperf storage ls
    """
    from ..reconciler.storing import list_storage

    with workplace(ctx) as place:
        items = list_storage(place, offline=offline)
        where = place.storage
    if as_json:
        print_json(items)
        return
    rows = [(one.kind, one.name, human(one.size), one.again, one.about or None) for one in items]
    print_table(("kind", "name", "size", "made again", "about"), rows, empty="Nothing yet.")
    print_text(f"\n{human(sum(one.size for one in items))} in {where}")


def human(size: int) -> str:
    """A number of bytes in words: `12.3 MB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


@command.command("cleanup")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Only these; default: all but unfinished, which are preparations of datasets that have "
    "not ended. Repeatable.",
)
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@yes_option
@click.pass_context
def cleanup(
    ctx: click.Context, kinds: tuple[str, ...], offline: bool, dry_run: bool, yes: bool
) -> None:
    """Remove what the next pass makes again: images, downloads, trials, published runs' files.

    Prepared datasets, and runs whose results have not left, are never removed. Preparations that
    have not ended are removed only with --kind unfinished: what a person has done in them is gone
    then.

    \b
    Examples:
      medperf storage cleanup --kind images --kind assets
      medperf storage cleanup --kind unfinished
    """
    from ..reconciler.storing import CLEANABLE, remove
    from ..reconciler.storing import cleanup as removable

    wanted: tuple[Kind, ...] = tuple(kind for kind in CLEANABLE if not kinds or kind in kinds)
    with workplace(ctx) as place:
        items = removable(place, wanted, unfinished="unfinished" in kinds, offline=offline)
        rows = [(one.kind, one.name, human(one.size)) for one in items]
        print_table(("kind", "name", "size"), rows, empty="Nothing can be removed.")
        if not items or dry_run:
            return
        if any(item.unfinished for item in items):
            say("Nothing makes an unfinished preparation again, nor a person's work in it.")
        confirm("Remove these?", yes=yes)
        freed = remove(place, items)
    print_text(f"{human(freed)} are free again.")


@command.command("move")
@click.argument("folder", required=False, type=Output("folder"))
@click.option(
    "-t", "--target", type=Output("folder"), metavar="FOLDER", help="FOLDER, as MedPerf says it."
)
@yes_option
@click.pass_context
def move(ctx: click.Context, folder: Path | None, target: Path | None, yes: bool) -> None:
    """Move everything that is stored to FOLDER, and let the profile know.

    On the same file system it is renamed. Elsewhere it is copied, and what was here is removed
    only when the copy is whole. Interrupted, even killed, it is undone or finished by the next
    command.

    \b
    Example:
      medperf storage move /srv/medperf
    """
    from ..reconciler.moving import check_target, move_storage

    folder = one_of(folder, target, "FOLDER", "--target")

    with workplace(ctx) as place:
        check_target(place.storage, folder.absolute())
        say(f"{place.storage} goes to {folder.absolute()}.")
        confirm("Move it?", yes=yes)
        new = move_storage(place, folder)
    print_text(f"The storage is {new} now.")
