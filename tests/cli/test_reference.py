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


NAMES = """
    login
    registry init|verify|keys|log|compare|upgrade|protect
    owner ls|view|join|add-key|retire-key
    mlcube ls|view|create|submit|associate|package|run-test
    dataset ls|view|create|submit|associate|check|export|import
    benchmark ls|view|submit|associate|run|settings
    association ls|view|approve|reject|revoke|priority
    result ls|view|submit|release|verify|withdraw
    proposal ls|view|try|merge|close
    test run|ls|view
    plan|reconcile|status|explain|retry|approve-run|suspend|resume|doctor
    validate
    profile|storage|bundle|completion
"""


def test_every_name_that_people_were_promised_is_there() -> None:
    for line in NAMES.split("\n"):
        *group, names = line.split() or ("",)
        for name in filter(None, names.split("|")):
            words = " ".join((*group, name))
            there = words in COMMANDS or any(one.startswith(f"{words} ") for one in COMMANDS)
            assert there, words
