"""Prints docs/cli.md: the help of every command, in the order of the work.

python -m medperf.cli.reference > docs/cli.md
"""

from collections.abc import Iterator

import click

from .app import cli

HEAD = """# Every command

Made from the commands' own help by `python -m medperf.cli.reference > docs/cli.md`; a test keeps
it in step. Options take `_` and `-` alike. A uid is `owner/name`, or the name alone where only one
object has it.

Exit codes: 0 done · 1 expected failure, told on standard error · 2 wrong use · 3 a bug, with a file
to report · 4 something is due, or a signature is missing · 130 interrupted. Answers go to standard
output, all else to standard error; `--json` prints the same answer for programs.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_pages(cli, ("medperf",))])


def _pages(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    name = " ".join(path)
    context = click.Context(command, info_name=name, max_content_width=90, terminal_width=90)
    context.help_option_names = ["-h", "--help"]
    yield f"{'#' * min(len(path) + 1, 4)} {name}\n\n```text\n{context.get_help()}\n```\n"
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            if found is not None and not found.hidden:
                yield from _pages(found, (*path, word))


if __name__ == "__main__":
    click.echo(reference(), nl=False)
