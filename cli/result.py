"""`medperf result`: look at results, decide what leaves, publish, verify."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option, workplace, yes_option
from .groups import NearGroup
from .output import confirm, none_of, print_json, print_table, print_text, say
from .runs import print_published
from .withdrawing import withdraw

if TYPE_CHECKING:
    from ..reconciler.results import Answer, LocalResult
    from ..reconciler.workplace import Actor, Workplace


@click.group("result", cls=NearGroup)
def command() -> None:
    """Results stay at the site until they are released; published ones can be verified by anybody.

    \b
    Example:
      medperf result release --all
    """


command.add_command(withdraw)


@command.command("ls")
@click.option(
    "--local",
    "--unregistered",
    is_flag=True,
    help="Finished runs of this site that are not published.",
)
@click.option("--mine", is_flag=True, help="Only those of your datasets and models.")
@click.option("-b", "--benchmark", metavar="B", help="Only this benchmark's.")
@click.option("-m", "--model", "--model_uid", "model", metavar="M", help="Only this model's.")
@click.option("-d", "--dataset", "--data_uid", "dataset", metavar="D", help="Only this dataset's.")
@json_option
@click.pass_context
def ls(
    ctx: click.Context,
    local: bool,
    mine: bool,
    benchmark: str | None,
    model: str | None,
    dataset: str | None,
    as_json: bool,
) -> None:
    """List the published results, or the local ones.

    Published ones with what the rules say of each: valid, invalid and why, or withdrawn. Local
    ones are this site's runs with their states. With --mine those of your own models and
    datasets.

    \b
    Examples:
      medperf result ls --local
      medperf result ls --benchmark chestxray --model chest-resnet
    """
    from ..reconciler import results
    from ..reconciler.passes import look

    with workplace(ctx) as place:
        if local:
            view, plan = look(place)
            wanted = results.filter_of(view, benchmark=benchmark, model=model, dataset=dataset)
            waiting = [
                one
                for one in results.local(place, view, plan.runs)
                if wanted.keeps(one.pair.benchmark, one.pair.model, one.pair.dataset)
            ]
            if as_json:
                print_json(waiting)
                return
            print_table(
                ("result", "state", "metrics", "bits"),
                [
                    (one.name, _stands(one.state, one.reason), len(one.metrics), one.bits)
                    for one in waiting
                ],
                empty="No finished run is here that is not published yet: see 'medperf plan'.",
            )
            return
        view = place.view()
        wanted = results.filter_of(view, benchmark=benchmark, model=model, dataset=dataset)
        known = len(view.results)
        owner = place.owner if mine else None
        found = results.published(view, owner=owner, wanted=wanted)
    if as_json:
        print_json([{"name": one.name, **_fields(one)} for one in found])
        return
    rows = [
        (one.name, one.dataset, one.model, ", ".join(_once(one.answer, *one.marks)), one.day)
        for one in found
    ]
    headers = ("result", "dataset", "model", "state", "day")
    empty = none_of(known, "published result", empty="No result is published yet.")
    print_table(headers, rows, empty=empty)


def _stands(state: str, reason: str) -> str:
    return f"{state} ({reason})" if state == "proposed" and reason else state


def _once(*words: str) -> list[str]:
    return list(dict.fromkeys(words))


def _fields(result: object) -> dict[str, object]:
    from .output import plain

    fields = plain(result)
    assert isinstance(fields, dict)  # noqa: S101
    return fields


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show the result UID: a local result's name, or the path or name of a published one.

    A local one shows what would leave, and what is suppressed and why; a published one its file
    as it is in the registry, and on standard error what it is worth: valid, withdrawn, or
    invalid and why.

    \b
    Example:
      medperf result view chestxray.chest-resnet.chest
    """
    from ..reconciler import results
    from ..reconciler.passes import look

    with workplace(ctx) as place:
        view, plan = look(place)
        if (one := results.find_published(view, uid)) is not None:
            if as_json:
                print_json({"name": one.name, **_fields(one)})
            else:
                say(f"{one.path} is {one.sentence}")
                print_text(view.result_item(one.path).data.decode().rstrip())
            return
        run = results.find_run(plan.runs, uid, published=results.published_names(view))
        local = [one for one in results.local(place, view, plan.runs) if one.pair == run.pair]
    if as_json:
        print_json(local[0] if local else run)
    elif local:
        _print_local(local[0])
        print_text(local[0].explanation)
    else:
        print_text(f"{run.pair.local_name} is {run.state}: {run.explanation}")


def _print_local(result: "LocalResult", *, err: bool = False) -> None:
    head = f"{result.name} ({result.state}): {result.pair.model} on {result.pair.dataset}"
    if result.agreed:
        head += f"; {' and '.join(result.agreed)} has agreed already"
    print_text(head, err=err)
    if result.withheld:
        print_text("It is withheld: " + "; ".join(result.withheld), err=err)
        return
    rows: list[tuple[object, ...]]
    before = {name: str(value)[:40] for name, value in result.before.items()}
    rows = [(name, before.get(name), value, "leaves") for name, value in result.metrics.items()]
    rows += [
        (one.metric, before.get(one.metric), "-", f"suppressed: {one.reason}")
        for one in result.suppressed
    ]
    headers = ("metric", "before", "leaves as", "what happens")
    print_table(headers, rows, empty="No metric would leave.", err=err)
    print_text(f"These numbers carry at most {result.bits} bits.", err=err)


@command.command("release")
@click.argument("uid", required=False)
@click.option("--all", "all_", is_flag=True, help="Every result that awaits a decision.")
@click.option("--decline", is_flag=True, help="Decide that it does not leave.")
@click.option("--member", metavar="NAME", help="Another member of your owner, who decides here.")
@click.option("--key", metavar="FILE", help="That member's key, or 'agent' for ssh-agent.")
@yes_option
@click.pass_context
def release(
    ctx: click.Context,
    uid: str | None,
    all_: bool,
    decline: bool,
    member: str | None,
    key: str | None,
    yes: bool,
) -> None:
    """Decide what leaves: shows exactly the numbers that would, and asks.

    A released result is published by the next 'medperf reconcile' or 'medperf result submit'.
    Where the site's policy says `releasers: 2`, two members must each release it: the second one
    says who he is and brings his own key, which signs what he was shown.

    \b
    Examples:
      medperf result release chestxray.chest-resnet.chest
      medperf result release --all
      medperf result release --all --member bea --key agent
    """
    if (member is None) != (key is None):
        raise click.UsageError("--member and --key go together.")
    with workplace(ctx) as place:
        person = place.person(member, key) if member and key else None
        _decide(place, uid, all_=all_, decline=decline, yes=yes, person=person)


def _decide(
    place: "Workplace",
    uid: str | None,
    *,
    all_: bool,
    decline: bool,
    yes: bool,
    person: "Actor | None" = None,
) -> int:
    from ..reconciler import results

    if (uid is None) != all_:
        raise click.UsageError("Name one result, or say --all.")
    _, waiting = results.awaiting(place, uid, "declined" if decline else "released")
    if not waiting:
        print_text("No result awaits a decision.")
        return 0
    for one in waiting:
        _print_local(one, err=True)
        say("")
    say(
        f"They go to {place.url}\n"
        "Who can read that repository can read them, now and for ever: nothing can be taken back."
    )
    two = place.profile.policy.releasers > 1 and not decline
    if two:
        by = person.by if person else place.member().by
        say(f"This site asks two people for a release. You decide as {by}, and sign it.")
    confirm("Decline these?" if decline else "Let these numbers leave?", yes=yes)
    for one in waiting:
        answer: Answer = "declined" if decline else "released"
        agreed = results.decide(place, one, answer, person=person)
        print_text(_said(one.name, answer, agreed, two=two))
    return len(waiting)


def _said(name: str, answer: str, agreed: Sequence[str], *, two: bool) -> str:
    if not two:
        return f"{answer.capitalize()} {name}"
    if len(agreed) > 1:
        return f"Released {name}: {' and '.join(agreed)} have agreed"
    return f"{' and '.join(agreed)} has agreed to {name}; it stays until a second person has too"


@command.command("submit")
@click.option("-r", "--result", "uid", metavar="ID", help="A local result.")
@click.option("--all", "all_", is_flag=True, help="Every local result.")
@yes_option
@click.pass_context
def submit(ctx: click.Context, uid: str | None, all_: bool, yes: bool) -> None:
    """Release results and publish them at once, as a signed commit on this site's proposal.

    Shows the numbers that would leave, the address, and who can read them there, and asks.
    'medperf result release' decides alone; the next pass then publishes.

    \b
    Example:
      medperf result submit --result chestxray.chest-resnet.chest
    """
    from ..reconciler.release import publish_released

    with workplace(ctx) as place:
        _decide(place, uid, all_=all_, decline=False, yes=yes)
        published = publish_released(place, say=say)
    if published is None:
        print_text("Nothing new to publish.")
    else:
        print_published(published)


@command.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--clone", type=click.Path(path_type=Path), help="A clone or bundle to check with.")
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, clone: Path | None, as_json: bool) -> int:
    """Check one result file against the registry, offline, and say what is proven and by whom.

    The history up to main is judged, the signature, the pins, the run key and both approvals
    are checked, and each is told in words. With --clone a clone or a bundle is enough: no
    settings, no network. Exits with 1 if anything does not hold.

    \b
    Examples:
      medperf result verify 4ec7aeb55ce722e4.yaml
      medperf result verify 4ec7aeb55ce722e4.yaml --clone chest.git
    """
    from ..registry.bundles import opened
    from ..registry.verify import verify_result
    from ..registry.view import open_view

    data = file.read_bytes()
    if clone is not None:
        with opened(clone) as (repository, tip):
            found = verify_result(open_view(repository, tip), data)
    else:
        with workplace(ctx) as place:
            found = verify_result(place.view(fetch=False), data)
    if as_json:
        print_json(found)
    else:
        print_text(f"{file.name}: {found.answer}")
        for line in found.proven:
            print_text(f"  proven   {line}")
        for line in found.against:
            print_text(f"  against  {line}")
        if found.answer == "unknown" and clone is None:
            say("This looked at the registry as last fetched: 'medperf status' fetches it.")
    return 0 if found.accepted else 1
