"""`medperf proposal`: pull requests, whatever the forge."""

import os

import click

from .desk import ask_to_close, json_option, workplace, yes_option
from .groups import NearGroup
from .output import confirm, plain, print_json, print_table, print_text, say
from .review import print_review


@click.group("proposal", cls=NearGroup)
def command() -> None:
    """A proposal is a branch with changes, open until somebody merges or closes it.

    \b
    Example:
      medperf proposal ls
    """


@command.command("ls")
@click.option("--rejected", is_flag=True, help="Those that were closed without a merge, and why.")
@json_option
@click.pass_context
def ls(ctx: click.Context, rejected: bool, as_json: bool) -> None:
    """List the open proposals, or those that were rejected, with medperf or in a browser.

    A proposal is a branch, and on a forge a pull request, whose number works as UID too.

    \b
    Examples:
      medperf proposal ls
      medperf proposal ls --rejected
    """
    from ..registry.proposals import list_open, list_rejected

    with workplace(ctx) as place:
        found = list_open(place.repository, place.url, say=say)  # looks: closed ones come with it
        closed = list_rejected(place.repository, place.url) if rejected else []
    if rejected:
        if as_json:
            print_json([{"id": one.id, **plain(one)} for one in closed])
            return
        lines = [(one.id, one.author, one.reason, one.head[:12]) for one in closed]
        print_table(("proposal", "closed by", "why", "head"), lines, empty="None was rejected.")
        return
    if as_json:
        print_json(found)
        return
    rows = [(one.id, one.title, one.head[:12]) for one in found]
    print_table(("proposal", "title", "head"), rows, empty="No proposal is open.")


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show what proposal UID changes, and what the rules say of it.

    The summary that a forge shows in the browser: what it is and by whom, what changed, what a
    cube asks for, how to try it, who still has to sign and with which command.

    \b
    Example:
      medperf proposal view hospital/join
    """
    from ..reconciler.reviewing import review

    with workplace(ctx) as place:
        seen = review(place, place.view(), uid)
    if as_json:
        print_json({"proposal": seen.proposal, "verdict": seen.verdict, "paths": list(seen.files)})
    else:
        print_review(seen)


@command.command("try")
@click.argument("uid")
@click.option("--benchmark", "--benchmark_uid", "benchmark", metavar="B", help="For a cube alone.")
@json_option
@click.pass_context
def try_(ctx: click.Context, uid: str, benchmark: str | None, as_json: bool) -> None:
    """Run the compatibility test on what proposal UID brings, in this machine's engine.

    It runs a stranger's program, so it belongs on your machine and never into a workflow, where
    secrets are. This machine's policy decides what may run, as for any cube.

    \b
    Examples:
      medperf proposal try modeler/resnet
      medperf proposal try 7 --benchmark chestxray
    """
    from ..reconciler.reviewing import review
    from ..reconciler.trials import run_trial
    from ..reconciler.trying import trial_of
    from .trial import print_report

    if "GITHUB_ACTIONS" in os.environ:
        raise click.UsageError("Strangers' programs are tried on a person's machine, not in CI.")
    with workplace(ctx) as place:
        view = place.view()
        setup = trial_of(view, review(place, view, uid), benchmark=benchmark)
        report = run_trial(place, setup, say=say)
    if as_json:
        print_json(report)
    else:
        print_report(report)


@command.command("merge")
@click.argument("uids", nargs=-1, required=True, metavar="UID...")
@yes_option
@click.pass_context
def merge(ctx: click.Context, uids: tuple[str, ...], yes: bool) -> None:
    """Sign what proposal UID lacks of you, and merge it if it waits for nobody else.

    Shows the files first, byte for byte what is signed. Where somebody else must sign too, your
    signatures are pushed, nothing is merged, and the exit code is 4. Several are merged in the
    order given; the first that cannot be merged ends it.

    \b
    Examples:
      medperf proposal merge modeler/cube-resnet
      medperf proposal merge hospital/join modeler/join
    """
    from ..reconciler.reviewing import review, sign_and_merge

    with workplace(ctx) as place:
        for uid in uids:
            view = place.view()
            seen = review(place, view, uid)
            print_review(seen, err=True)
            say(f"It goes to {place.url}, for all who can read that, for ever.")
            confirm("Sign and merge it?" if seen.to_sign else "Merge it?", yes=yes)
            done = sign_and_merge(place, view, seen)
            for path in done.signed:
                print_text(f"Signed {path}")
            print_text(f"Merged {seen.proposal.id} as {done.commit[:12]}.")
            place.close()  # a view that stays open would keep the next from being saved


@command.command("close")
@click.argument("uid")
@click.option("--reason", default="", help="Why, for people.")
@yes_option
@click.pass_context
def close(ctx: click.Context, uid: str, reason: str, yes: bool) -> None:
    """End proposal UID without a merge.

    The branch goes, and the reason stays in the registry as a record that you sign; on a forge
    it is told below the pull request too. The same change may be proposed again.

    \b
    Example:
      medperf proposal close modeler/cube-resnet --reason "superseded"
    """
    from ..reconciler.reviewing import close_proposal

    with workplace(ctx) as place:
        proposal = close_proposal(
            place,
            uid,
            reason,
            agree=lambda found: ask_to_close(found, reason, place.url, yes=yes),
        )
    print_text(f"Closed {proposal.id}.")
