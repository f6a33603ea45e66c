"""`medperf owner`: organisations, their people and machines."""

import click

from .desk import ask_to_send, json_option, workplace, yes_option
from .groups import NearGroup
from .output import print_json, print_table, print_text
from .owner_keys import add_key, retire_key


@click.group("owner", cls=NearGroup)
def command() -> None:
    """Owners are organisations; their members sign, their sites sign results and nothing else.

    \b
    Example:
      medperf owner join
    """


for _one in (add_key, retire_key):
    command.add_command(_one)


@command.command("join")
@click.option("--description", default="", help="What your organisation is, for people.")
@click.option("--forge", metavar="LOGIN", help="Your login at the forge, to be asked for reviews.")
@yes_option
@click.pass_context
def join(ctx: click.Context, description: str, forge: str | None, yes: bool) -> None:
    """Propose that your organisation, or your member and site in it, join the registry.

    An admin reviews and signs the proposal. Only public keys and names are sent.

    \b
    Example:
      medperf owner join --description "A hospital in Ulm"
    """
    from ..reconciler.joining import join_files

    with workplace(ctx) as place:
        files = join_files(place, place.view(), description=description, forge=forge)
        ask_to_send("You ask to join", files, place.url, yes=yes)
        proposal = place.propose("join", files, f"{place.owner} joins")
    print_text(
        f"Proposed as {proposal.shown}. An admin merges it: medperf proposal merge {proposal.id}"
    )


@command.command("ls")
@json_option
@click.pass_context
def ls(ctx: click.Context, as_json: bool) -> None:
    """List the owners with their members and sites.

    Members are people, who sign approvals; sites are machines, which sign results. Owners that
    wait for signatures are not in force and not here: 'medperf proposal ls' has them.

    \b
    Example:
      medperf owner ls
    """
    with workplace(ctx) as place:
        view = place.view()
    owners = [item.manifest for item in view.owners.values()]
    if as_json:
        print_json(owners)
        return
    rows = [
        (
            owner.metadata.name,
            ", ".join(one.name for one in owner.spec.members),
            ", ".join(one.name for one in owner.spec.sites),
            owner.metadata.description,
        )
        for owner in owners
    ]
    print_table(("owner", "members", "sites", "description"), rows, empty="There is no owner.")
    for path, waits in view.pending.items():
        print_text(f"not in force: {path} waits for {', and for '.join(waits)}")


@command.command("view")
@click.argument("name")
@json_option
@click.pass_context
def view_(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one owner.

    The owner's file as it is in force: its members and sites, with each key and whether it is
    active, retired or compromised.

    \b
    Example:
      medperf owner view hospital
    """
    from ..schemas.names import resolve

    with workplace(ctx) as place:
        view = place.view()
    item = view.owners[resolve(name, view.owners, "owner")]
    if as_json:
        print_json(item.manifest)
    else:
        print_text(item.data.decode())
