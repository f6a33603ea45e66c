"""Remarks for GitHub: on the right file and line, and never a command of a stranger's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry.annotations import MOST, annotations, harmless
from medperf.schemas.errors import Problem

COMMAND = re.compile(r"::[a-z-]+( [^:]*)?::")


def test_a_problem_stands_on_its_file_and_line() -> None:
    problem = Problem("cubes/a/b.yaml", 7, "spec.role", "is 'modle'.", "Write model.")
    assert list(annotations([problem])) == [
        "::error file=cubes/a/b.yaml,line=7,title=medperf::spec.role: is 'modle'. Write model."
    ]


def test_a_problem_without_line_stands_on_its_file() -> None:
    problem = Problem("registry.yaml", None, "", "is deleted.", "Restore it.")
    assert list(annotations([problem])) == [
        "::error file=registry.yaml,title=medperf::is deleted. Restore it."
    ]


def test_what_is_waited_for_is_a_notice() -> None:
    assert list(annotations([], ["an admin"])) == ["::notice title=medperf::waits for an admin"]


@pytest.mark.parametrize(
    "text",
    [
        "x\n::error::owned",
        "x\r::set-output name=a::b",
        "x\r\n##[error]owned",
        "a %0A::warning::b",
        "::add-mask::a",
        "##[add-path]/tmp",
        "::stop-commands::t",
        ":::error:::x",
        "\u2028::error::x",
        "\udcff::error::x",
    ],
)
def test_a_strangers_text_is_no_command(text: str) -> None:
    problem = Problem(text, 1, text, text, text)
    for line in annotations([problem], [text]):
        assert "\n" not in line
        assert "\r" not in line
        assert "##[" not in line
        head, fields, message = line.split("::")[1].split(" ")[0], *line.split("::", 2)[1:]
        assert head in {"error", "notice"}
        assert "::" not in message
        assert fields.count("title=") == 1
        assert line.encode().decode().isprintable()
    for line in harmless(text).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@given(st.text())
def test_no_text_makes_a_second_command(text: str) -> None:
    (line,) = annotations([Problem(text, None, "", text, "")])
    assert len(line.splitlines()) == 1
    assert line.count("::") == 2
    assert "##[" not in line


def test_only_so_many_remarks_are_made() -> None:
    lines = list(annotations([Problem("a", None, "", "x", "")] * (MOST + 3)))
    assert len(lines) == MOST + 1
    assert "3 more problems" in lines[-1]
