"""`medperf association`: approve, reject and revoke what takes part."""

from typing import Any, Literal

import click

from .benchmark_settings import priority
from .desk import ask_to_close, ask_to_sign, json_option, workplace, yes_option
from .groups import NearGroup
from .output import confirm, none_of, print_json, print_table, print_text, say
from .review import print_review


@click.group("association", cls=NearGroup)
def command() -> None:
    """An association is a model's or a dataset's part in a benchmark; both sides sign it.

    \b
    Example:
      medperf association approve --benchmark chestxray --model_uid resnet
    """


command.add_command(priority)


def _parts(function: Any) -> Any:
    for option in (
        click.option("-d", "--data_uid", "--dataset", "data_uid", metavar="D", help="The dataset."),
        click.option(
            "-m", "--model_uid", "--model", "--mlcube", "model_uid", metavar="M", help="The model."
        ),
        click.option(
            "-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B"
        ),
    ):
        function = option(function)
    return function


def _side(model: str | None, data: str | None) -> tuple[Literal["models", "datasets"], str]:
    if (model is None) == (data is None):
        raise click.UsageError("Say either --model_uid or --data_uid.")
    return ("models", model) if model is not None else ("datasets", data or "")


@command.command("ls")
@click.option("--pending", "states", flag_value="pending", help="Those that wait for a signature.")
@click.option("--approved", "states", flag_value="approved")
@click.option("--revoked", "states", flag_value="revoked")
@click.option("--rejected", "states", flag_value="rejected", help="Whose proposal was closed.")
@click.option("--benchmark", "--benchmark_uid", "benchmark", metavar="B", help="Only this one's.")
@click.option("--model_uid", "--model", "model_uid", metavar="M", help="Only this model's.")
@click.option("--data_uid", "--dataset", "data_uid", metavar="D", help="Only this dataset's.")
@click.option("--mine", is_flag=True, help="Only those of your models, datasets and benchmarks.")
@json_option
@click.pass_context
def ls(
    ctx: click.Context,
    states: str | None,
    benchmark: str | None,
    model_uid: str | None,
    data_uid: str | None,
    mine: bool,
    as_json: bool,
) -> None:
    """List the associations, those in open proposals included.

    Approved ones run at the sites; pending ones lack a signature, and the last column says
    whose; revoked and rejected ones say why.

    \b
    Example:
      medperf association ls --pending
    """
    from ..reconciler.associations import list_associations

    with workplace(ctx) as place:
        view = place.view()
        found = list_associations(place, view, benchmark=benchmark, say=say)
        own = f"{place.owner}/"
        for uid, part, look_up in (
            (model_uid, "models", view.cube),
            (data_uid, "datasets", view.dataset),
        ):
            named = any(one.part == part and _called(one.component, uid or "") for one in found)
            if uid is not None and not named:
                look_up(uid)  # says which is meant, if there is no such one
    known = len(found)
    found = [
        one
        for one in found
        if states in (None, one.state)
        and (not mine or one.component.startswith(own) or one.benchmark.startswith(own))
        and (model_uid is None or (one.part == "models" and _called(one.component, model_uid)))
        and (data_uid is None or (one.part == "datasets" and _called(one.component, data_uid)))
    ]
    if as_json:
        print_json(found)
        return
    rows = [(one.benchmark, one.component, one.state, one.why) for one in found]
    empty = none_of(known, "association", empty="There is no association yet.")
    print_table(("benchmark", "component", "state", "why"), rows, empty=empty)


def _called(ref: str, uid: str) -> bool:
    """Whether a uid, owner/name or a bare name, means this object."""
    return uid in (ref, ref.rpartition("/")[2])


@command.command("view")
@_parts
@json_option
@click.pass_context
def view_(
    ctx: click.Context, benchmark: str, model_uid: str | None, data_uid: str | None, as_json: bool
) -> None:
    """Show one association: where it stands, who has signed it, whose signature is missing.

    With its bytes as they are in the registry or in the proposal that brings it: the pins, and
    the trial that went before. Of one that was rejected the reason is left.

    \b
    Examples:
      medperf association view --benchmark chestxray --model_uid resnet
      medperf association view --benchmark chestxray --data_uid hospital/chest --json
    """
    from ..reconciler.associations import view_association

    side, component = _side(model_uid, data_uid)
    with workplace(ctx) as place:
        found = view_association(
            place, place.view(), benchmark=benchmark, side=side, component=component, say=say
        )
    if as_json:
        print_json({name: value for name, value in vars(found).items() if name != "text"})
        return
    print_text(f"{found.component} in {found.benchmark}: {found.state}")
    why = () if found.missing else (found.why,)
    for word, lines in (
        ("why", why),
        ("signed", found.signed),
        ("missing", found.missing),
        ("proposal", (found.proposal,)),
        ("path", (found.path,)),
        ("digest", (found.digest,)),
    ):
        for line in filter(None, lines):
            print_text(f"  {word:<9} {line}")
    if found.state == "pending":
        option = "--model_uid" if side == "models" else "--data_uid"
        print_text(
            f"  they sign with: medperf association approve --benchmark {found.benchmark} "
            f"{option} {found.component}"
        )
    if found.text:
        print_text("\n" + found.text.rstrip())


@command.command("approve")
@_parts
@yes_option
@click.pass_context
def approve(
    ctx: click.Context, benchmark: str, model_uid: str | None, data_uid: str | None, yes: bool
) -> None:
    """Sign an association and merge it if it waits for nobody else (exit code 4 if it does).

    You see the bytes that you sign, and who has signed already. Your signature goes into the
    proposal, or where you may not push, onto a branch of approvals beside it. One person on
    both sides signs once.

    \b
    Example:
      medperf association approve --benchmark chestxray --data_uid hospital/chest
    """
    from ..reconciler.approving import approve_association
    from ..reconciler.reviewing import Review, Sending

    side, component = _side(model_uid, data_uid)
    with workplace(ctx) as place:

        def agree(seen: Review) -> None:
            print_review(seen, err=True)
            say(f"It goes to {place.url}, for all who can read that, for ever.")
            confirm("Sign and merge it?", yes=yes)

        def agree_alone(sending: Sending) -> None:
            what = f"You approve {component} in {benchmark}"
            ask_to_sign(what, sending, place.url, yes=yes)

        done = approve_association(
            place,
            place.view(),
            benchmark=benchmark,
            side=side,
            component=component,
            agree=agree,
            agree_alone=agree_alone,
        )
    print_text(f"Approved: {component} takes part in {benchmark} (merged as {done.commit[:12]}).")


@command.command("reject")
@_parts
@click.option("--reason", default="", help="Why, for people.")
@yes_option
@click.pass_context
def reject(
    ctx: click.Context,
    benchmark: str,
    model_uid: str | None,
    data_uid: str | None,
    reason: str,
    yes: bool,
) -> None:
    """Close the proposal of an association without a merge.

    Nothing was approved, so nothing is revoked: it is listed as rejected, with your reason, and
    its owner may propose it again.

    \b
    Example:
      medperf association reject --benchmark chestxray --model_uid resnet --reason "too slow"
    """
    from ..reconciler.reviewing import close_proposal, find_association

    side, component = _side(model_uid, data_uid)
    with workplace(ctx) as place:
        path, proposal = find_association(
            place, place.view(), benchmark=benchmark, side=side, component=component
        )
        if proposal is None:
            raise click.UsageError(f"{path} is merged already: revoke it instead.")
        ask_to_close(proposal, reason, place.url, yes=yes)
        close_proposal(place, proposal.id, reason)
    print_text(f"Rejected: {proposal.id} is closed.")


@command.command("revoke")
@_parts
@click.option("--reason", help="Why; it is published with the statement.")
@yes_option
@click.pass_context
def revoke(
    ctx: click.Context,
    benchmark: str,
    model_uid: str | None,
    data_uid: str | None,
    reason: str | None,
    yes: bool,
) -> None:
    """Revoke an association: sites stop its runs, and publish nothing of it any more.

    One member of either side, or one admin, is enough. That round is over for good; 'associate'
    proposes the next one, which both sides sign anew. Results that are published stay, with a
    mark.

    \b
    Example:
      medperf association revoke --benchmark chestxray --model_uid resnet --reason "wrong weights"
    """
    from ..reconciler.reviewing import Sending, revoke_association

    side, component = _side(model_uid, data_uid)
    with workplace(ctx) as place:

        def agree(sending: Sending) -> None:
            what = f"You revoke {component} in {benchmark}: this round cannot be approved again"
            ask_to_sign(what, sending, place.url, yes=yes)

        done = revoke_association(
            place,
            place.view(),
            benchmark=benchmark,
            side=side,
            component=component,
            reason=reason,
            agree=agree,
        )
    print_text(f"Revoked and merged as {done.commit[:12]}.")
