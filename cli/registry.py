"""`medperf registry`: make one, verify it, get its keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .carrying import carry
from .desk import ask_new_passphrase, ask_passphrase, home, json_option, workplace, yes_option
from .groups import NearGroup
from .output import confirm, print_json, print_text, say, several
from .outputs import Output, Storage
from .registry_handover import erase, follow, handover
from .registry_trust import accept, change, checkpoint, compare
from .upkeep import protect, upgrade

if TYPE_CHECKING:
    from ..registry.git import Change


@click.group("registry", cls=NearGroup)
def command() -> None:
    """A registry is a Git repository; everything in it can be verified by anybody who has a clone.

    \b
    Example:
      medperf registry init chest.git --name chest --owner committee --member alice
    """


for _one in (accept, carry, change, checkpoint, compare, erase, follow, handover):
    command.add_command(_one)


@command.command("init")
@click.argument("url")
@click.option("--name", required=True, help="The registry's name.")
@click.option("--description", default="", help="What it is for.")
@click.option("--owner", required=True, help="The first organisation, whose member is the admin.")
@click.option("--member", required=True, help="You, the first admin.")
@click.option(
    "--approval",
    type=click.Choice(["signed", "merge"]),
    default="signed",
    show_default=True,
    help="signed: people sign what takes part. merge: whoever can merge is believed.",
)
@click.option("--profile-name", default="default", show_default=True)
@click.option("--storage", type=Storage(), metavar="DIR", help="Where data, images and runs live.")
@click.option("--engine", type=click.Choice(["docker", "singularity", "sandbox"]))
@click.option("--key", metavar="FILE", help="An existing key, or 'agent' for ssh-agent.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A setting.")
@yes_option
def init(
    url: str,
    name: str,
    description: str,
    owner: str,
    member: str,
    approval: str,
    profile_name: str,
    storage: str | None,
    engine: str | None,
    key: str | None,
    settings: tuple[str, ...],
    yes: bool,
) -> None:
    """Make a registry at URL: a path where nothing is yet, or an empty repository.

    Makes your key and profile too, if they are not there. The first commit holds registry.yaml,
    your organisation's file, JSON Schemas, CODEOWNERS and the validating workflow, and is signed.

    \b
    Examples:
      medperf registry init /srv/git/chest.git --name chest --owner committee --member alice
      medperf registry init git@github.com:example/chest.git --name chest --owner uni --member carol
    """
    from ..reconciler.joining import found_registry

    say(f"A registry {name!r} is made at {url}, with {owner}/{member} as its first admin.")
    confirm("Go on?", yes=yes)
    print_text(
        found_registry(
            home(),
            name,
            url,
            profile=profile_name,
            description=description,
            owner=owner,
            member=member,
            approval="merge" if approval == "merge" else "signed",
            storage=storage,
            engine=engine,
            key=key,
            settings=settings,
            passphrase=ask_passphrase,
            new_passphrase=None if yes else ask_new_passphrase,
        )
    )


@command.command("verify")
@click.option(
    "--clone", type=click.Path(path_type=Path), help="A clone or bundle, without profile."
)
@json_option
@click.pass_context
def verify(ctx: click.Context, clone: Path | None, as_json: bool) -> int:
    """Check every commit, statement and result of the registry, from the first commit on.

    With a profile, from what was pinned at login; with --clone, any clone, on its own word.

    \b
    Examples:
      medperf registry verify
      medperf registry verify --clone chest.git
    """
    from ..registry.verify import verify_registry

    if clone is not None:
        from ..registry.bundles import opened

        with opened(clone) as (repository, tip):
            report = verify_registry(repository, tip)
    else:
        from ..reconciler.workplace import MAIN

        with workplace(ctx) as place:
            place.fetch()
            tip = place.repository.resolve(MAIN) or ""
            report = verify_registry(place.repository, tip, place.pinned)
    if as_json:
        print_json(report)
        return 0 if report.accepted else 1
    for one in report.handovers:
        print_text(f"handed over: {one}")
    for note in report.notes:
        print_text(f"ignored: {note}")
    for path, waits in report.pending.items():
        print_text(f"not in force: {path} waits for {', and for '.join(waits)}")
    for problem in report.problems:
        print_text(f"wrong: {problem}")
    print_text(
        f"{'Verified' if report.accepted else 'NOT verified'}: {report.commits} commits, "
        f"{report.statements} statements, {report.valid_results} of {report.results} results "
        f"valid, at {report.tip[:12]}."
    )
    return 0 if report.accepted else 1


@command.command("keys")
@click.option(
    "--format", "form", type=click.Choice(["pem", "ssh", "allowed-signers"]), default="pem"
)
@click.option("-o", "folder", type=Output("folder"), required=True, metavar="DIR")
@click.pass_context
def keys(ctx: click.Context, form: str, folder: Path) -> None:
    """Write the owners' public keys into DIR, for cosign, openssl, ssh-keygen or git.

    One file a key, <owner>.<member or site>.pem or .pub, or one file of allowed signers for
    Git. The keys are those of the newest owners' files; who held which role at a commit is for
    'medperf registry verify' to say.

    \b
    Example:
      medperf registry keys --format pem -o keys
      cosign verify-blob-attestation --key keys/hospital.ward.pem …
    """
    from ..registry.keyring import key_files

    with workplace(ctx) as place:
        view = place.view()
        owners = [item.manifest for item in view.owners.values()]
        files = key_files(owners, form)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    print_text(f"{several(len(files), 'file')} in {folder}: {', '.join(sorted(files))}")


def _told(changes: "Sequence[Change]", most: int = 3) -> str:
    """The first of a commit's changes, and how many more there are."""
    told = [f"{one.status} {one.path}" for one in changes if one.path.endswith(".yaml")][:most]
    told = told or [f"{one.status} {one.path}" for one in changes[:most]]
    more = len(changes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


@command.command("log")
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True)
@json_option
@click.pass_context
def log(ctx: click.Context, most: int, as_json: bool) -> None:
    """Show the newest commits of the registry's main, and what each of them did.

    From the newest back. A and M are files that a commit added or modified. Use it to see what
    stopped a site, or what came since you last looked.

    \b
    Example:
      medperf registry log -n 5
    """
    from ..reconciler.workplace import MAIN
    from .output import print_table

    with workplace(ctx) as place:
        place.fetch()
        tip = place.repository.resolve(MAIN)
        chain = place.repository.chain(tip)[-most:] if tip else []
        steps = list(place.repository.changed(chain))
    if as_json:
        print_json(steps)
        return
    rows = [
        (step.commit[:12], _told([one for one in step.changes if one.path[0] != "."]))
        for step in reversed(steps)
    ]
    print_table(("commit", "changes"), rows, empty="There is no commit.")


command.add_command(upgrade)
command.add_command(protect)
