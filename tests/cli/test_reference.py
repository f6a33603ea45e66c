"""docs/cli.md says what the commands say of themselves."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from medperf.cli.app import cli
from medperf.cli.reference import reference

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_in_step_with_the_commands() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference(), (
        "run: python -m medperf.cli.reference > docs/cli.md"
    )


def commands(
    group: click.Group, context: click.Context, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, with what one types for them."""
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            inner = click.Context(found, parent=context)
            yield from commands(found, inner, (*words, name))
        else:
            yield " ".join((*words, name)), found


COMMANDS = dict(commands(cli, click.Context(cli)))


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_a_command_has_a_line_a_paragraph_and_an_example(words: str) -> None:
    line, *paragraphs = (COMMANDS[words].help or "").split("\n\n")
    assert "\n" not in line
    assert line.endswith(".")
    *explained, example = paragraphs
    assert example.strip("\b\n ").startswith("Example")
    assert f"medperf {words}" in example
    assert explained


@pytest.mark.parametrize(
    "words", sorted(name for name in COMMANDS if name.endswith((" ls", " view")))
)
def test_what_is_listed_or_viewed_can_be_read_by_programs(words: str) -> None:
    assert "--json" in {name for one in COMMANDS[words].params for name in one.opts}
