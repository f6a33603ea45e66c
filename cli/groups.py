"""Groups of commands that answer a misspelt name with the nearest ones."""

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
        if wanted.startswith("-") or wanted.replace("_", "-") in names:
            return super().resolve_command(ctx, args)
        close = difflib.get_close_matches(wanted.lower().replace("_", "-"), names, n=2)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(names)}."
        raise click.UsageError(f"There is no command {wanted!r} in {ctx.command_path}. {hint}", ctx)
