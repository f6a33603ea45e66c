"""`medperf owner add-key|retire-key`: who may sign, as time goes on."""

from typing import TYPE_CHECKING

import click

from .desk import ask_new_passphrase, ask_to_send, workplace, yes_option
from .output import print_text

if TYPE_CHECKING:
    from ..reconciler.rotating import Change
    from ..reconciler.workplace import Workplace


@click.command("add-key")
@click.option("--member", metavar="NAME", help="Whose key it is. Default: yours.")
@click.option("--site", metavar="NAME", help="The machine whose key it is.")
@click.option("--owner", metavar="OWNER", help="Another owner, for an admin who resets it.")
@click.option("--public-key", metavar="LINE", help="The public half: ssh-ed25519 AAAA…")
@click.option("--agent", is_flag=True, help="Take the key that your ssh-agent holds.")
@yes_option
@click.pass_context
def add_key(
    ctx: click.Context,
    member: str | None,
    site: str | None,
    owner: str | None,
    public_key: str | None,
    agent: bool,
    yes: bool,
) -> None:
    """Propose a further key of yours, of your site, or of a colleague who has lost his.

    Yours is made here. A colleague makes his own (ssh-keygen -t ed25519) and tells you the public
    half. A member of the owner and an admin sign; if no member of an owner has a key any more, the
    admins alone can, and every site shows it.

    \b
    Examples:
      medperf owner add-key
      medperf owner add-key --member bob --public-key "ssh-ed25519 AAAA…"
    """
    from ..reconciler.rotating import add_key as propose_key
    from ..reconciler.rotating import agent_key

    if member and site:
        raise click.UsageError("A key is a person's or a machine's: say --member or --site.")
    with workplace(ctx) as place:
        change = propose_key(
            place,
            place.view(),
            owner=owner,
            role="site" if site else "member",
            name=site or member,
            public_key=agent_key() if agent else public_key,
            passphrase=None if yes or site else ask_new_passphrase,
        )
        send(place, change, yes=yes)


@click.command("retire-key")
@click.argument("fingerprint")
@click.option("--owner", metavar="OWNER", help="Another owner, for an admin.")
@click.option("--compromised", is_flag=True, help="A stranger may have it: say --since too.")
@click.option(
    "--since", metavar="COMMIT", help="From which commit of main on nothing of it counts."
)
@yes_option
@click.pass_context
def retire_key(
    ctx: click.Context,
    fingerprint: str,
    owner: str | None,
    compromised: bool,
    since: str | None,
    yes: bool,
) -> None:
    """Propose that a key signs nothing more. What it has signed so far stays valid.

    With --compromised nothing counts that it signed from the commit --since on, backwards too:
    approvals and results since then are void.

    \b
    Examples:
      medperf owner retire-key SHA256:l9wtNsq1XnIBq3c2ySdk0t4G1hqZLgmQXQf7lDyAvpM
      medperf owner retire-key SHA256:… --compromised --since 1a2b3c4d5e6f
    """
    from ..reconciler.rotating import end_key

    with workplace(ctx) as place:
        change = end_key(
            place,
            place.view(),
            fingerprint,
            owner=owner,
            state="compromised" if compromised else "retired",
            since=since,
        )
        send(place, change, yes=yes)


def send(place: "Workplace", change: "Change", *, yes: bool) -> None:
    """Shows a change, asks, proposes it, and says what comes next."""
    ask_to_send(change.title, change.files, place.url, yes=yes)
    proposal = place.propose(change.slug, change.files, change.title)
    print_text(
        f"Proposed as {proposal.shown}. An admin merges it: medperf proposal merge {proposal.id}"
    )
    if change.then:
        print_text(change.then)
