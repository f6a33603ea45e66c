"""`medperf login`: one guided step to a working profile."""

import click

from .desk import ask, ask_new_passphrase, ask_passphrase, home, yes_option
from .output import confirm, print_text, say
from .outputs import Storage


@click.command("login")
@click.argument("registry")
@click.option("--owner", metavar="NAME", help="Your organisation's name in the registry.")
@click.option("--member", metavar="NAME", help="You, as a person who signs approvals and objects.")
@click.option("--site", metavar="NAME", help="This machine, if it is a data site: signs results.")
@click.option("--name", default="default", show_default=True, help="The profile's name.")
@click.option("--storage", type=Storage(), metavar="DIR", help="Where data, images and runs live.")
@click.option(
    "--engine",
    type=click.Choice(["docker", "singularity", "sandbox"]),
    help="What runs cubes. Default: the first that is here.",
)
@click.option("--key", metavar="FILE", help="An existing member key, or 'agent' for ssh-agent.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A setting, as in policy.release=automatic. Repeatable.",
)
@yes_option
def command(
    registry: str,
    owner: str | None,
    member: str | None,
    site: str | None,
    name: str,
    storage: str | None,
    engine: str | None,
    key: str | None,
    settings: tuple[str, ...],
    yes: bool,
) -> None:
    """Set this machine up for REGISTRY, an address or a path.

    Fetches the registry, shows what will be trusted (its id, its first commit, the admins' keys),
    asks you to compare it with what an admin tells you on another way, makes your keys, and writes
    the profile. Run it again to add a site or a member.

    A new member key may have a passphrase; a site's key has none, since it works unattended.

    \b
    Example:
      medperf login https://github.com/example/chest.git --owner hospital --member bob --site ward
    """
    from ..reconciler.joining import log_in, show_enrolment

    owner = owner or ask("Your organisation's name in the registry", "--owner NAME")
    if member is None and site is None:
        member = ask("Your own name in it", "--member NAME (or --site NAME)")
    where = home()
    enrolment, described = show_enrolment(where, name, registry)
    say(described)
    confirm("Is this what the registry's admins told you?", yes=yes)
    answer = log_in(
        where,
        name,
        enrolment,
        owner=owner,
        member=member,
        site=site,
        storage=storage,
        engine=engine,
        key=key,
        settings=settings,
        passphrase=ask_passphrase,
        new_passphrase=None if yes else ask_new_passphrase,
    )
    print_text(answer)
