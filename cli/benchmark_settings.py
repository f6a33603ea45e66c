"""`medperf benchmark settings`, and its part `medperf association priority`."""

from typing import TYPE_CHECKING

import click

from .desk import ask_to_send, json_option, workplace, yes_option
from .objects import show
from .output import print_text, say

if TYPE_CHECKING:
    from ..reconciler.settings_changes import Change
    from ..reconciler.workplace import Workplace


@click.command("settings")
@click.argument("uid", required=False)
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", metavar="B")
@click.option("--active/--inactive", default=None, help="Open or close the benchmark.")
@click.option("--add-member", "add", multiple=True, metavar="OWNER/MEMBER", help="Repeatable.")
@click.option("--remove-member", "remove", multiple=True, metavar="OWNER/MEMBER")
@click.option("--threshold", type=click.IntRange(min=1), help="How many must sign.")
@click.option("--approve-models", metavar="RULE", help="never, always, or owners: a,b.")
@click.option("--approve-datasets", metavar="RULE", help="never, always, or owners: a,b.")
@click.option(
    "--priority",
    "priorities",
    multiple=True,
    metavar="MODEL=N",
    help="Higher runs first; MODEL= takes it out. Repeatable.",
)
@click.option("--description", help="The text for people.")
@click.option("--label", "labels", multiple=True, metavar="NAME=TEXT", help="Repeatable.")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="DIGEST=URL",
    help="Another address of a pinned file. Repeatable.",
)
@json_option
@yes_option
@click.pass_context
def settings(
    ctx: click.Context,
    uid: str | None,
    benchmark: str | None,
    active: bool | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    approve_models: str | None,
    approve_datasets: str | None,
    priorities: tuple[str, ...],
    description: str | None,
    labels: tuple[str, ...],
    mirrors: tuple[str, ...],
    as_json: bool,
    yes: bool,
) -> None:
    """Show a benchmark's settings, or propose and sign a change of them.

    Committee and approval rules take the committee's threshold of signatures; the rest takes one
    member's. A change that waits for nobody else is merged at once, else the exit code is 4.

    \b
    Examples:
      medperf benchmark settings chestxray
      medperf benchmark settings chestxray --approve-datasets hospital,clinic
      medperf benchmark settings chestxray --inactive
    """
    from ..reconciler.settings_changes import Change

    named = uid or benchmark
    if named is None:
        raise click.UsageError("Name the benchmark: medperf benchmark settings B.")
    change = Change(
        active=active,
        add=add,
        remove=remove,
        threshold=threshold,
        approve_models=approve_models,
        approve_datasets=approve_datasets,
        priorities={name: _number(one, text) for one, name, text in pairs(priorities)} or None,
        description=description,
        labels={name: text or None for _, name, text in pairs(labels)} or None,
        mirrors=tuple((name, text) for _, name, text in pairs(mirrors)),
    )
    with workplace(ctx) as place:
        if change.empty:
            _show(place, named, as_json=as_json)
        else:
            change_settings(place, named, change, yes=yes)


def _show(place: "Workplace", named: str, *, as_json: bool) -> None:
    from ..registry.paths import settings_path

    view = place.view()
    item = view.file(settings_path(view.benchmark(named).path))
    assert item is not None  # noqa: S101 - a benchmark in force has settings
    show(item, as_json=as_json)


def change_settings(place: "Workplace", named: str, change: "Change", *, yes: bool) -> None:
    """Shows the changed file, asks, proposes, and merges it if nobody else must sign."""
    from ..reconciler.reviewing import review, sign_and_merge
    from ..reconciler.settings_changes import settings_files, strange_owners

    view = place.view()
    ref, serial, files = settings_files(place, view, named, change)
    for sentence in strange_owners(view, change):
        say(sentence)
    ask_to_send(f"New settings of {ref}", files, place.url, yes=yes)
    proposal = place.propose(f"settings-{ref}-{serial}", files, f"Change the settings of {ref}")
    print_text(f"Proposed as {proposal.shown}.")
    done = sign_and_merge(place, view, review(place, view, proposal.id))
    print_text(f"Merged as {done.commit[:12]}: in force.")


def pairs(words: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Each word, what stands before its last `=`, and what behind (an address has its own)."""
    found = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is not NAME=VALUE.")
        found.append((word, name, text))
    return found


def _number(word: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise click.UsageError(f"{word!r}: a priority is a whole number.") from error


@click.command("priority")
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option("-m", "--model_uid", required=True, metavar="M", help="The model.")
@click.option("-p", "--priority", "number", required=True, type=int, help="Higher runs first.")
@yes_option
@click.pass_context
def priority(ctx: click.Context, benchmark: str, model_uid: str, number: int, yes: bool) -> None:
    """Let sites run a model earlier or later than others; all begin with 0.

    Higher runs first, ties go by name. A change of the benchmark's settings, which one member
    of the committee signs.

    \b
    Example:
      medperf association priority --benchmark chestxray --model_uid resnet --priority 10
    """
    from ..reconciler.settings_changes import Change

    with workplace(ctx) as place:
        change_settings(place, benchmark, Change(priorities={model_uid: number}), yes=yes)
