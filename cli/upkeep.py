"""`medperf registry upgrade` and `protect`: keeping a registry's repository in order."""

import os
from typing import TYPE_CHECKING

import click

from .desk import ask_to_send, json_option, workplace, yes_option
from .output import print_json, print_table, print_text

if TYPE_CHECKING:
    from ..registry.protect import Compared, ForgeKind


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
    "--check", is_flag=True, help="Compare them with the registry's, through the forge's API."
)
@click.option(
    "--forge",
    "kind",
    type=click.Choice(["github", "gitlab", "gitea"]),
    help="With --check: which forge it is, where its host does not tell.",
)
@json_option
@click.pass_context
def protect(
    ctx: click.Context,
    form: "ForgeKind | None",
    check: bool,
    kind: "ForgeKind | None",
    as_json: bool,
) -> int:
    """Say how the repository should be protected at its forge, or whether it is (exit 1 if not).

    The API shows most settings to the repository's admins only: --check wants such a token. GitHub:
    `gh auth login` or GH_TOKEN. GitLab: GITLAB_TOKEN (read_api). Gitea and Forgejo: GITEA_TOKEN,
    and GITEA_HOST with the host that it is for.

    \b
    Examples:
      medperf registry protect --print github
      medperf registry protect --check
      medperf registry protect --check --forge gitea
    """
    from ..registry.protect import SETTINGS

    if (form is None) != check or (kind and not check):
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
    found = _checked(url, kind)
    if as_json:
        print_json(found)
    else:
        lines = [
            ("ok" if one.ok else "failed", one.setting.name, one.setting.wanted, one.found)
            for one in found
        ]
        print_table(("state", "setting", "wanted", "found"), lines, empty="")
    return 0 if all(one.ok for one in found) else 1


def _checked(url: str, kind: "ForgeKind | None") -> "list[Compared]":
    from ..registry.forges.addresses import hosted
    from ..registry.protect import check, kind_of, open_api

    where = hosted(url)
    if where is None:
        raise click.UsageError(f"{url} is at no forge: there is nothing to compare with.")
    kind = kind or kind_of(where, os.environ)
    with open_api(kind, where, os.environ) as api:
        return check(kind, api, where.path)
