"""What commands start with: the profile that is meant, opened; the words before sending."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..schemas.errors import UsageError
from .output import confirm, say

if TYPE_CHECKING:
    from ..reconciler.reviewing import Sending
    from ..reconciler.settings import Home
    from ..reconciler.workplace import Workplace
    from ..registry.proposals import Proposal

yes_option = click.option("-y", "--yes", is_flag=True, help="Agree without being asked.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
operational_option = click.option(
    "--operational",
    is_flag=True,
    expose_value=False,
    help="As in MedPerf; it changes nothing: what is merged is in operation.",
)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="So many runs at once; default: limits.jobs of the profile.",
)


def one_of(argument: Path | None, option: Path | None, name: str, spelt: str) -> Path:
    """A path that may be said as an argument, or as the option that MedPerf has for it."""
    if (argument is None) == (option is None):
        raise click.UsageError(f"Name {name} once: as it is, or with {spelt}.")
    chosen = argument if argument is not None else option
    assert chosen is not None  # noqa: S101 - one of them is
    return chosen


def home() -> "Home":
    """The folder of the settings."""
    from ..reconciler.settings import Home, home_folder

    return Home(home_folder(os.environ))


@contextmanager
def workplace(ctx: click.Context) -> Iterator["Workplace"]:
    """The active profile (or the one of `--profile`), opened; closed when the command has ended.

    Not before: what a command prints after its work may still be read from the clone.
    """
    from ..reconciler.workplace import Workplace

    where = home()
    name, profile = where.profile(ctx.find_root().obj)
    if (where.path / f"moving.{name}.json").exists():
        from ..reconciler.moving import finish_move

        finish_move(where, name, say)
        name, profile = where.profile(name)
    place = Workplace(where, name, profile, passphrase=ask_passphrase)
    ctx.call_on_close(place.close)
    yield place


def ask(question: str, option: str) -> str:
    """A word typed at the terminal; where there is none, the option that says it is named."""
    if not sys.stdin.isatty():
        raise UsageError(f"{question} is missing and there is no terminal to ask at: say {option}.")
    answer: str = click.prompt(question, err=True)
    return answer


def ask_passphrase() -> str:
    """The passphrase of a locked key, typed at a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(
            "The key is locked with a passphrase and there is no terminal to ask at: "
            "hold it in an ssh-agent and log in with --key agent."
        )
    answer: str = click.prompt("Passphrase of the key", hide_input=True, err=True)
    return answer


def ask_new_passphrase() -> str | None:
    """A passphrase for a person's new key, typed twice at a terminal; None for none."""
    answer: str = click.prompt(
        "Passphrase for your new key (empty: none)",
        default="",
        show_default=False,
        hide_input=True,
        confirmation_prompt=True,
        err=True,
    )
    return answer or None


def _statement(data: bytes) -> str:
    """What a statement says, to the byte; or what else the file is."""
    from ..registry.statements import read_bundle
    from ..schemas.errors import SignatureError

    try:
        bundle = read_bundle(data)
    except SignatureError:
        return f"{len(data)} bytes"
    return f"{bundle.payload.decode(errors='replace')}\n(signed with {bundle.fingerprint})"


def ask_to_sign(what: str, sending: "Sending", url: str, *, yes: bool) -> None:
    """Shows the file of the registry that a statement is over, then the statement, and asks."""
    say(f"In the registry already, {sending.path}:")
    say(sending.data.decode(errors="replace").rstrip("\n") + "\n")
    ask_to_send(what, sending.statements, url, yes=yes)


def ask_to_close(proposal: "Proposal", reason: str, url: str, *, yes: bool) -> None:
    """Says what closing leaves behind and who can read it, and asks."""
    say(
        f"The branch {proposal.branch} (at {proposal.head[:12]}, {proposal.title!r}) goes.\n"
        "A record stays, signed by you: "
        + (f"closed, because: {reason}" if reason else "closed, without a reason")
        + f"\nIt goes to {url}\n"
        "Who can read that repository can read it, now and for ever."
    )
    confirm(f"Close {proposal.id} without a merge?", yes=yes)


def ask_to_send(what: str, files: dict[str, bytes], url: str, *, yes: bool) -> None:
    """Shows the exact files that will be sent, to whom they become visible, and asks."""
    say(f"{what}. These files will be sent:")
    for path, data in sorted(files.items()):
        say(f"\n--- {path}")
        if path.endswith(".yaml"):
            say(data.decode(errors="replace").rstrip("\n"))
        else:
            say(_statement(data))
    say(
        f"\nThey go to {url}\n"
        "Who can read that repository can read them, now and for ever: nothing can be taken back."
    )
    confirm("Send them?", yes=yes)
