"""Every command that the manuals print is one, with the options that they print."""

import re
import shlex
from pathlib import Path

import click
import pytest

from medperf.cli.app import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")} - {ROOT / "docs" / "cli.md"})


def commands(text: str) -> list[str]:
    """The lines of code that call medperf, those that go on in the next line joined."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += [line for line in text.splitlines() if line.startswith("    ")]
    found = (re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(medperf [a-z].*)", line) for line in lines)
    return [one[1] for one in found if one]


def fault(line: str) -> str:
    """What of a command does not exist; nothing if all does."""
    words = shlex.split(line, comments=True)
    end = next((at for at, word in enumerate(words) if word in ("|", ">", "&&", ";", "||")), None)
    command: click.Command = cli
    # with its settings: a command makes its help option once, for whoever asks first
    context = click.Context(command, info_name="medperf", **cli.context_settings)
    rest = iter(words[1:end])
    for word in rest:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            if found is None:
                return f"no command {word}"
            command, context = found, click.Context(found, parent=context, info_name=word)
        elif word.startswith("--"):
            name = word.partition("=")[0].replace("_", "-")
            known = {
                one.replace("_", "-")
                for option in command.get_params(context)
                for one in (*option.opts, *option.secondary_opts)
            }
            if name not in known:
                return f"{command.name} has no option {name}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_manuals_commands_exist(page: Path) -> None:
    wrong = {line: fault(line) for line in commands(page.read_text()) if fault(line)}
    assert wrong == {}


def test_a_wrong_command_would_be_found() -> None:
    assert commands("    medperf proposal \\\n      lss  # x\n") == ["medperf proposal lss  # x"]
    assert fault("medperf proposal lss") == "no command lss"
    assert fault("medperf proposal ls --nothing | less") == "ls has no option --nothing"
    assert fault("medperf mlcube associate --benchmark B --model_uid M -y") == ""
    assert sum(len(commands(page.read_text())) for page in PAGES) > 60


def test_the_page_for_medperfs_users_answers_with_commands_that_exist() -> None:
    page = (ROOT / "docs/from-medperf.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    answers = [code for row in rows for code in re.findall("`(medperf [^`]*)`", row[2])]
    assert len(answers) > 15
    assert {line: fault(line) for line in answers if fault(line)} == {}
