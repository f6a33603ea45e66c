"""`medperf doctor`: prove that this machine can run strangers' models safely."""

import click

from .desk import home, json_option
from .output import print_json, print_table, print_text, say


@click.command("doctor")
@click.option(
    "--engine",
    type=click.Choice(["docker", "singularity", "sandbox"]),
    help="Default: the profile's.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, engine: str | None, as_json: bool) -> int:
    """Run canaries in the engine: tasks that try what no task may do, and break each limit.

    Exit code 1 if a point that must hold does not: the engine should not be used then. Points
    that the engine cannot enforce here are named, and whether the path of the storage, which cubes
    can read, tells whose it is.

    \b
    Example:
      medperf doctor --engine docker
    """
    from ..reconciler.telling_path import check_path
    from ..runner.engines import open_engine
    from ..runner.probes import doctor

    where = home()
    profile = None
    if engine is None or where.read() is not None:
        _, profile = where.profile(ctx.find_root().obj)
        engine = engine or profile.engine
    checks = doctor(open_engine(engine), store=where.path / "doctor", progress=say)
    if profile is not None:
        checks.append(check_path(profile, where.resolve(profile.storage)))
    if as_json:
        print_json(checks)
    else:
        rows = [(one.requirement, one.state, one.must, one.detail) for one in checks]
        print_table(("requirement", "state", "must", "detail"), rows, empty="No check ran.")
    bad = [one.requirement for one in checks if one.must and one.state != "ok"]
    if bad:
        print_text(f"\nDo not use {engine} here: {', '.join(bad)} must hold and does not.")
    return 1 if bad else 0
