"""`medperf registry erase|handover|follow`: what has to go from the past, and who agrees."""

from typing import TYPE_CHECKING

import click

from .desk import json_option, workplace, yes_option
from .output import confirm, print_json, print_text, say, several

if TYPE_CHECKING:
    from ..reconciler.handing_over import Erasure


@click.command("erase")
@click.argument("paths", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, as everybody will read it for ever.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and send nothing.")
@yes_option
@click.pass_context
def erase(
    ctx: click.Context, paths: tuple[str, ...], reason: str, dry_run: bool, yes: bool
) -> None:
    """Prepare a history without the files PATHS, for what the law wants gone from the past too.

    A path may be a folder; settings and statements go with what they belong to. The whole history
    is made again without them, and a hand-over says which commit takes which one's place, so that
    results and run keys stay what they were. You sign it, as an admin, and it waits on the branch
    `handover`; main stays as it is until 'medperf registry handover --publish'. Every site is asked
    before it follows. Copies that others have made cannot be taken back.

    \b
    Example:
      medperf registry erase datasets/hospital/chest.yaml --reason "Request of 12 May 2026"
    """
    from ..reconciler import handing_over

    with workplace(ctx) as place:
        found = handing_over.prepare(place, paths, reason=reason)
        _show(found, err=True)
        if dry_run:
            say("Nothing was sent.")
            return
        say(f"It goes to {place.url}, to the branch handover. Main stays as it is.")
        confirm("Sign this hand-over?", yes=yes)
        handing_over.send(place, found)
    print_text(_next(found))


def _show(found: "Erasure", *, err: bool = False) -> None:
    one = found.handover
    print_text(
        f"old history  {one.commits[0]} to {one.commits[-1]}\n"
        f"new history  {one.root} to {one.head}\n"
        f"reason       {one.reason}\n"
        f"signed by    {', '.join(found.signed) or 'nobody'} (of {found.threshold})",
        err=err,
    )
    for path in found.files:
        print_text(f"left out: {path}", err=err)
    for change in found.changes:
        print_text(f"and then: {change}", err=err)


def _next(found: "Erasure") -> str:
    if found.missing:
        return (
            f"{several(found.missing, 'signature')} of admins missing: "
            "'medperf registry handover --sign' by each."
        )
    return "Signed by enough admins. 'medperf registry handover --publish' puts it in main's place."


@click.command("handover")
@click.option("--sign", is_flag=True, help="Add your signature, as an admin.")
@click.option("--publish", is_flag=True, help="Put the new history in main's place.")
@yes_option
@click.pass_context
def handover(ctx: click.Context, sign: bool, publish: bool, yes: bool) -> None:
    """Look at a hand-over that an admin has prepared; sign it; put it in main's place.

    What is shown was compared here, commit by commit, with main: what is left out, and what does
    not hold any more without it. With --publish main is replaced, so the forge must allow a push
    that does so, by whom you are there; branches that still hold the old history are listed for you
    to delete.

    \b
    Examples:
      medperf registry handover
      medperf registry handover --sign
      medperf registry handover --publish
    """
    from ..reconciler import handing_over

    with workplace(ctx) as place:
        found = handing_over.proposed(place)
        _show(found, err=sign or publish)
        if sign:
            confirm("Sign this hand-over?", yes=yes)
            found = handing_over.sign(place, found)
        if not publish:
            print_text(_next(found))
            return
        say(f"Main of {place.url} is replaced: its old history is not there any more.")
        confirm("Put the new history in main's place?", yes=yes)
        tip = handing_over.publish(place, found)
        left = handing_over.left_behind(place)
    print_text(f"Main is at {tip}. Every site, yours too, now says 'medperf registry follow'.")
    for ref in left:
        print_text(f"It may still hold the old history, delete it: {ref}")
    print_text("If the registry asks for checkpoints, make one: 'medperf registry checkpoint'.")


@click.command("follow")
@json_option
@yes_option
@click.pass_context
def follow(ctx: click.Context, as_json: bool, yes: bool) -> None:
    """Follow a registry whose admins have signed another history in the place of the one you know.

    Shows both histories, who signed, which files are left out, and what does not hold any more
    without them; all of it judged by what this site had verified before. Nothing else may be
    different. When you agree, the new root is pinned and the old history is deleted here.

    \b
    Example:
      medperf registry follow
    """
    from ..reconciler.following import follow as follow_now
    from ..reconciler.following import offer

    with workplace(ctx) as place:
        seen = offer(place)
        if seen is None:
            print_text("There is nothing to follow: main goes on from what this site knows.")
            return
        one = seen.handover
        if as_json:
            print_json(seen)
        print_text(
            f"this site knows  {one.commits[0]}, verified up to {seen.verified}\n"
            f"the admins hand  {one.commits[0]} to {one.commits[-1]}\n"
            f"over to          {one.root} to {one.head}\n"
            f"reason           {one.reason}\n"
            f"signed by        {', '.join(seen.signed)} (of the admins that this site knows, "
            f"{seen.threshold} must)",
            err=True,
        )
        for path in seen.files:
            print_text(f"left out: {path}", err=True)
        for change in seen.changes:
            print_text(f"and then: {change}", err=True)
        say(
            "Nothing else is different, commit by commit, up to what this site had verified; "
            "what is newer holds by the rules. Call the admins, if you did not expect this."
        )
        confirm("Follow it, and delete the old history here?", yes=yes)
        follow_now(place, seen)
    if not as_json:
        print_text(f"This site now trusts the root {one.root}. The next pass goes on from there.")
