"""`medperf result withdraw`."""

import click

from .desk import ask_to_send, workplace, yes_option
from .output import print_text


@click.command("withdraw")
@click.argument("uid")
@click.option("--reason", help="Why; it is published with the statement.")
@yes_option
@click.pass_context
def withdraw(ctx: click.Context, uid: str, reason: str | None, yes: bool) -> None:
    """Withdraw a published result of your dataset: it stays, struck out, and never runs again.

    UID is the result's name, or the 16 digits of its file.

    \b
    Example:
      medperf result withdraw chestxray.chest-resnet.chest --reason "wrong labels"
    """
    from ..reconciler.approving import merge_if_ready
    from ..reconciler.withdrawing import check_withdrawable, result_called

    with workplace(ctx) as place:
        view = place.view()
        result = result_called(view, uid)
        check_withdrawable(result, place.owner)
        data = view.result_item(result.path).data
        files = place.statement(result.path, data, decision="revoke", reason=reason)
        ask_to_send(
            f"{result.name} is withdrawn" + (f", because: {reason}" if reason else ""),
            files,
            place.url,
            yes=yes,
        )
        proposal = place.propose(f"withdraw-{result.name}", files, f"Withdraw {result.path}")
        done = merge_if_ready(place, view, proposal)
    if done is None:
        print_text(f"Proposed as {proposal.shown}. It is withdrawn once that is merged.")
    else:
        print_text(f"Withdrawn (merged as {done.commit[:12]}).")
