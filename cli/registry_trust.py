"""`medperf registry accept|change|checkpoint|compare`: who decides, and whether a view is new."""

import click

from .desk import json_option, workplace, yes_option
from .output import confirm, print_json, print_text


@click.command("checkpoint")
@click.option(
    "--days",
    type=click.IntRange(min=1, max=366),
    help="How long it holds. Default: twice what registry.yaml lets a view be old, or 14.",
)
@json_option
@click.pass_context
def checkpoint(ctx: click.Context, days: int | None, as_json: bool) -> None:
    """Sign, as an admin, that main is now where you see it, and push that for the sites.

    Sites of a registry that asks for checkpoints start nothing on a view that none confirms any
    more, so that nobody can keep a revocation from them for long. Make one every few days; it is
    the branch `checkpoints`, and only the newest counts.

    \b
    Example:
      medperf registry checkpoint
    """
    from ..reconciler.freshness import sign_here

    with workplace(ctx) as place:
        made = sign_here(place, days=days)
    if as_json:
        print_json(made)
        return
    days = (made.expires - made.date) // 86400
    print_text(f"{made.by} has signed that main is at {made.commit}. It holds for {days} days.")


@click.command("compare")
@click.argument("theirs", nargs=-1)
@click.option("--offline", is_flag=True, help="Use the registry as last fetched.")
@json_option
@click.pass_context
def compare(ctx: click.Context, theirs: tuple[str, ...], offline: bool, as_json: bool) -> int:
    """Show where this registry is, in words for the phone; or look up what another one sees.

    A forge can show two sites two histories, each in order by itself. Read your words (or the
    commit) to an engineer of another site; he gives them to this command as THEIRS.
    Exits with 1 if his history is not found in yours.

    \b
    Examples:
      medperf registry compare
      medperf registry compare lusab-babad-gutih-tugad
      medperf registry compare 1a2b3c4d5e6f
    """
    from ..registry import comparing

    with workplace(ctx) as place:
        view = place.view(fetch=not offline)
        chain = view.ledger.commits
        here = comparing.position(view.registry.id, chain)
        found = comparing.compare(view.registry.id, chain, " ".join(theirs)) if theirs else None
    if as_json:
        print_json(found or here)
        return 0 if found is None or found.position else 1
    print_text(
        f"id            {here.id}\n"
        f"first commit  {here.root}\n"
        f"main          {here.head}, commit {here.number}\n"
        f"in words      {here.words}"
    )
    if found is not None:
        there = found.position
        at = f" (commit {there.number}, {there.head[:12]})" if there else ""
        print_text(f"\n{found.answer}{at}: {found.meaning}")
    return 0 if found is None or found.position else 1


@click.command("change")
@click.option("--add-admin", multiple=True, metavar="OWNER/MEMBER", help="A further admin.")
@click.option("--remove-admin", multiple=True, metavar="OWNER/MEMBER", help="No admin any more.")
@click.option("--threshold", type=click.IntRange(min=1), help="How many admins must sign.")
@click.option(
    "--checkpoint-days",
    type=click.IntRange(min=0),
    help="Sites ask for a checkpoint that is at most so many days old; 0 ends it.",
)
@yes_option
@click.pass_context
def change(
    ctx: click.Context,
    add_admin: tuple[str, ...],
    remove_admin: tuple[str, ...],
    threshold: int | None,
    checkpoint_days: int | None,
    yes: bool,
) -> None:
    """Propose other admins, another threshold, or that sites ask for checkpoints.

    The threshold of the present admins must sign, and that of the new ones.

    \b
    Examples:
      medperf registry change --add-admin uni/carol --threshold 2
      medperf registry change --checkpoint-days 7
    """
    from ..reconciler.rotating import change_registry
    from .owner_keys import send

    with workplace(ctx) as place:
        proposed = change_registry(
            place,
            place.view(),
            add=add_admin,
            remove=remove_admin,
            threshold=threshold,
            checkpoint_days=checkpoint_days,
        )
        send(place, proposed, yes=yes)


@click.command("accept")
@yes_option
@click.pass_context
def accept(ctx: click.Context, yes: bool) -> None:
    """Look at what the registry's people have loosened, and let this site go on with it.

    A lower threshold, owners whose models need no committee any more, an owner that the admins
    gave new keys: each is signed by whom it takes, and starts nothing here before you have agreed.

    \b
    Example:
      medperf registry accept
    """
    from ..reconciler.loosening import accept as accept_now
    from ..reconciler.loosening import loosened

    with workplace(ctx) as place:
        view = place.view()
        found = loosened(place, view)
        if not found:
            print_text("Nothing was loosened since you looked last.")
            return
        for one in found:
            print_text(one.sentence, err=True)
        confirm("Go on with that?", yes=yes)
        accept_now(place, view)
        print_text("Accepted. The next pass goes on.")
