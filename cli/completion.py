"""`medperf completion`: the shell's completion script."""

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    Commands and options are completed, and the choices of options that have a list of them.

    \b
    Example:
      echo 'eval "$(medperf completion bash)"' >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click knows these three"  # noqa: S101
    root = ctx.find_root()
    click.echo(found(root.command, {}, "medperf", "_MEDPERF_COMPLETE").source())
