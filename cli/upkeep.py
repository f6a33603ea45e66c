"""`medperf registry upgrade` and `protect`: keeping a registry's repository in order."""

import os
from typing import TYPE_CHECKING, Literal

import click

from .desk import ask_to_send, json_option, workplace, yes_option
from .output import print_json, print_table, print_text

if TYPE_CHECKING:
    from ..registry.protect import Compared


@click.command("upgrade")
@click.option("--dry-run", is_flag=True, help="Only say what is not the newest.")
@yes_option
@click.pass_context
def upgrade(ctx: click.Context, dry_run: bool, yes: bool) -> None:
    """Propose the newest JSON Schemas and workflows of this version of medperf.

    README.md, CODEOWNERS and workflows of your own are left alone. An admin merges the proposal.

    \b
    Examples:
      medperf registry upgrade --dry-run
      medperf registry upgrade
    """
    from ..registry.upgrade import upgrade_changes

    with workplace(ctx) as place:
        view = place.view()
        changes = upgrade_changes(place.repository, view.tip)
        if not changes:
            print_text("The registry has the newest schemas and workflows.")
            return
        print_text("Not the newest: " + ", ".join(sorted(changes)))
        if dry_run:
            return
        ask_to_send("Upgrade the registry", changes, place.url, yes=yes)
        proposal = place.propose("upgrade", changes, "Upgrade the registry's schemas and workflows")
    print_text(
        f"Proposed as {proposal.shown}. An admin merges it: medperf proposal merge {proposal.id}"
    )


@click.command("protect")
@click.option(
    "--print",
    "form",
    type=click.Choice(["github", "gitlab", "gitea"]),
    help="Say which settings such a repository needs.",
)
@click.option(
    "--check", is_flag=True, help="Compare them with the registry's, through GitHub's API."
)
@json_option
@click.pass_context
def protect(
    ctx: click.Context,
    form: Literal["github", "gitlab", "gitea"] | None,
    check: bool,
    as_json: bool,
) -> int:
    """Say how the repository should be protected at its forge, or whether it is (exit 1 if not).

    \b
    Examples:
      medperf registry protect --print github
      medperf registry protect --check
    """
    from ..registry.protect import SETTINGS

    if (form is None) != check:
        raise click.UsageError("Say either --print and a forge, or --check.")
    if form is not None:
        if as_json:
            print_json(SETTINGS[form])
        else:
            rows = [(one.name, one.wanted, one.why) for one in SETTINGS[form]]
            print_table(("setting", "wanted", "why"), rows, empty="")
        return 0
    with workplace(ctx) as place:
        url = place.url
    found = _checked(url)
    if as_json:
        print_json(found)
    else:
        lines = [
            ("ok" if one.ok else "failed", one.setting.name, one.setting.wanted, one.found)
            for one in found
        ]
        print_table(("state", "setting", "wanted", "found"), lines, empty="")
    return 0 if all(one.ok for one in found) else 1


def _checked(url: str) -> "list[Compared]":
    from ..registry.forges.addresses import hosted
    from ..registry.forges.github import is_github, open_api
    from ..registry.protect import check

    where = hosted(url)
    if where is None or not is_github(where, os.environ):
        raise click.UsageError(
            f"{url} is not at github.com, nor at the host that GH_HOST names: use --print, and "
            "compare by hand."
        )
    with open_api(where.host, os.environ) as api:
        return check(api, where.path)
