"""Groups of commands that answer a misspelt name with the nearest ones, MedPerf's with ours."""

import difflib

import click


class NearGroup(click.Group):
    """A group that says which of its commands may have been meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or a usage error with the nearest names, else with all of them."""
        wanted = args[0]
        names = self.list_commands(ctx)
        known_here = wanted.startswith("-") or wanted.replace("_", "-") in names
        if known_here or self.get_command(ctx, wanted) is not None:
            return super().resolve_command(ctx, args)
        from .medperf_words import command_instead

        known = command_instead(ctx.command_path, wanted)
        if known is not None:
            raise click.UsageError(
                f"There is no command {wanted!r} in {ctx.command_path}. {known}", ctx
            )
        close = difflib.get_close_matches(wanted.lower().replace("_", "-"), names, n=2)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(names)}."
        raise click.UsageError(f"There is no command {wanted!r} in {ctx.command_path}. {hint}", ctx)
