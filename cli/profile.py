"""`medperf profile`: the registries that this machine knows."""

import click

from .desk import home, json_option, yes_option
from .groups import NearGroup
from .output import confirm, plain, print_json, print_table, print_text, say


@click.group("profile", cls=NearGroup)
def command() -> None:
    """The profiles of this machine: one for each registry, or for each role in one.

    \b
    Settings are in config.yaml below $MEDPERF_HOME; 'medperf profile set' changes them, as in
      medperf profile set policy.release=automatic limits.memory=16Gi
    """


@command.command("ls")
@json_option
def ls(as_json: bool) -> None:
    """List the profiles.

    A profile is one registry as you or this machine see it: its address and what was pinned of
    it, who acts, the engine, the storage. The star marks the active one.

    \b
    Example:
      medperf profile ls
    """
    config = home().read()
    profiles = config.profiles if config else {}
    if as_json:
        print_json(config)
        return
    rows = [
        (
            "*" if config and name == config.active else "",
            name,
            profile.me.owner,
            profile.engine,
            profile.registry.url,
        )
        for name, profile in profiles.items()
    ]
    print_table(
        ("active", "profile", "owner", "engine", "registry"),
        rows,
        empty="None yet: 'medperf login'.",
    )


@command.command("view")
@click.argument("name", required=False)
@json_option
@click.pass_context
def view_(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Show profile NAME with all its settings; default: the active one.

    Those of config.yaml, and the defaults of all that is not there.

    \b
    Example:
      medperf profile view
    """
    known, profile = home().profile(name or ctx.find_root().obj)
    if as_json:
        print_json({"name": known, **plain(profile)})
        return
    from ..schemas.documents import dump

    fields = profile.model_dump(by_alias=True, exclude_none=True, mode="json")
    print_text(f"# {known}\n{dump(fields).decode().rstrip()}")


@command.command("delete")
@click.argument("name")
@yes_option
def delete(name: str, yes: bool) -> None:
    """Forget profile NAME; its keys, datasets and runs stay where they are.

    Only the entry in config.yaml goes. Log in again with the same --storage to go on.

    \b
    Example:
      medperf profile delete old-registry
    """
    where = home()
    _, profile = where.profile(name)
    confirm(
        f"Forget profile {name!r}? What it stored stays in {where.resolve(profile.storage)}.",
        yes=yes,
    )
    where.forget(name)
    print_text(f"Profile {name!r} is forgotten.")


@command.command("activate")
@click.argument("name")
def activate(name: str) -> None:
    """Make profile NAME the active one.

    Commands act in the active profile, unless --profile names another one for that command.

    \b
    Example:
      medperf profile activate second-registry
    """
    where = home()
    _, profile = where.profile(name)
    where.save(name, profile, activate=True)
    print_text(f"{name} is the active profile.")


@command.command("set")
@click.argument("settings", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.pass_context
def set_(ctx: click.Context, settings: tuple[str, ...]) -> None:
    """Change settings of the active profile.

    Each is checked before anything is written, and comments in config.yaml stay. Lists and
    mappings are written as in YAML's flow style.

    \b
    Examples:
      medperf profile set engine=singularity
      medperf profile set policy.release=automatic policy.hosts='[files.example.org]'
    """
    from ..reconciler.profile_fields import change

    where = home()
    name, profile = where.profile(ctx.find_root().obj)
    changed = change(profile, settings)
    where.resolve(changed.storage)  # a path that cannot be is not saved
    where.save(name, changed)
    print_text(f"Profile {name!r} is changed.")
    if changed.storage != profile.storage:
        say(
            f"What is stored stays in {where.resolve(profile.storage)}, and is not seen any more "
            "until the profile says so again; 'medperf storage move' takes it along."
        )
