"""`medperf mlcube settings` and `medperf dataset settings`: what may change after the merge."""

from typing import TYPE_CHECKING, Any

import click

from .benchmark_settings import pairs
from .desk import ask_to_send, json_option, workplace, yes_option
from .objects import show
from .output import print_json, print_text

if TYPE_CHECKING:
    from ..reconciler.object_settings import Kind, ObjectChange
    from ..reconciler.workplace import Workplace

_OPTIONS = (
    click.argument("uid"),
    click.option(
        "--deprecated/--in-use", default=None, help="Tell people to use another, or take it back."
    ),
    click.option("--description", help="The text for people."),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="NAME=TEXT",
        help="NAME= takes it out. Repeatable.",
    ),
    click.option(
        "--mirror",
        "mirrors",
        multiple=True,
        metavar="DIGEST=URL",
        help="Another address of a pinned file. Repeatable.",
    ),
    json_option,
    yes_option,
    click.pass_context,
)


def _options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("settings")
@_options
def cube_settings(ctx: click.Context, uid: str, as_json: bool, yes: bool, **said: Any) -> None:
    """Show a cube's settings, or propose a change of them: what may change after the merge.

    A deprecated cube still runs where it is approved; people see that another is meant. A mirror
    is a further address of an image or archive that the cube pins by its digest. Your signature
    is enough: the change is merged at once.

    \b
    Examples:
      medperf mlcube settings modeler/resnet
      medperf mlcube settings resnet --deprecated --description "Use resnet-2."
      medperf mlcube settings resnet --mirror sha256:…=https://mirror.example.org/resnet.tar
    """
    _settings(ctx, "cube", uid, _change(said), as_json=as_json, yes=yes)


@click.command("settings")
@_options
def dataset_settings(ctx: click.Context, uid: str, as_json: bool, yes: bool, **said: Any) -> None:
    """Show a dataset's settings, or propose a change of them: what may change after the merge.

    A deprecated dataset still takes part where it is approved; people see that another is meant.
    Your signature is enough: the change is merged at once.

    \b
    Examples:
      medperf dataset settings hospital/chest
      medperf dataset settings chest --description "Two wards" --label scanner=portable
    """
    _settings(ctx, "dataset", uid, _change(said), as_json=as_json, yes=yes)


def _change(said: dict[str, Any]) -> "ObjectChange":
    from ..reconciler.object_settings import ObjectChange

    return ObjectChange(
        deprecated=said["deprecated"],
        description=said["description"],
        labels={name: text or None for _, name, text in pairs(said["labels"])} or None,
        mirrors=tuple((name, text) for _, name, text in pairs(said["mirrors"])),
    )


def _settings(
    ctx: click.Context, kind: "Kind", uid: str, change: "ObjectChange", *, as_json: bool, yes: bool
) -> None:
    with workplace(ctx) as place:
        if change.empty:
            _show(place, kind, uid, as_json=as_json)
        else:
            _propose(place, kind, uid, change, yes=yes)


def _show(place: "Workplace", kind: "Kind", uid: str, *, as_json: bool) -> None:
    from ..registry.paths import settings_path

    view = place.view()
    object_ = view.cube(uid) if kind == "cube" else view.dataset(uid)
    item = view.file(settings_path(object_.path))
    if item is not None:
        show(item, as_json=as_json)
    elif as_json:
        print_json(None)
    else:
        print_text(f"{object_.ref} has no settings: it is as its manifest says.")


def _propose(
    place: "Workplace", kind: "Kind", uid: str, change: "ObjectChange", *, yes: bool
) -> None:
    from ..reconciler.object_settings import object_settings_files
    from ..reconciler.reviewing import review, sign_and_merge

    view = place.view()
    ref, serial, files = object_settings_files(place, view, kind, uid, change)
    ask_to_send(f"New settings of {ref}", files, place.url, yes=yes)
    name = ref.partition("/")[2]
    proposal = place.propose(
        f"settings-{kind}-{name}-{serial}", files, f"Change the settings of the {kind} {ref}"
    )
    print_text(f"Proposed as {proposal.shown}.")
    done = sign_and_merge(place, view, review(place, view, proposal.id))
    print_text(f"Merged as {done.commit[:12]}: in force.")
