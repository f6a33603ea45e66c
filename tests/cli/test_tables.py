"""Tables that fit, and text that cannot act on a terminal."""

import sys
from decimal import Decimal
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.cli import output
from medperf.cli.tables import columns, fit, widths_of
from medperf.reconciler.plan import State
from medperf.schemas.errors import UsageError

NASTY = "\x1b[31mred\x07 \u202eesrever\u200b \x9b2J"


def printed(capsys: pytest.CaptureFixture[str], *rows: tuple[object, ...]) -> list[str]:
    headers = ("model", "local result UID", "partial result", "state", "why")
    output.print_table(headers, rows, empty="none")
    return capsys.readouterr().out.splitlines()


def test_a_small_table_is_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, ("a/b", "x.y.z", False, "due", None))
    assert lines == [
        "MODEL  LOCAL RESULT UID  PARTIAL RESULT  STATE  WHY",
        "a/b    x.y.z             no              due    -",
    ]


def test_states_are_whole_and_lines_fit_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-hospital-with-a-long-name/a-model-with-a-long-name"
    why = "a sentence of many words that says what is missing here, and who must do what"
    lines = printed(capsys, (name, name.replace("/", "."), True, "awaiting-release", why))
    assert max(map(len, lines)) <= 80
    assert sum("awaiting-release" in line for line in lines) == 1
    text = "".join(line.split("  ")[0] for line in lines[1:] if line.split("  ")[0])
    assert "a-model-with" in text


def test_names_break_behind_their_slash_first() -> None:
    fitted = fit([["committee/chest-reference", "word " * 5]], 40, keep=frozenset())
    assert fitted[0][0] == ["committee/chest-reference"]
    fitted = fit([["committee/chest-reference", "word"]], 24, keep=frozenset())
    assert fitted[0][0] == ["committee/", "chest-reference"]


def test_what_cannot_fit_is_cut_last_of_all() -> None:
    fitted = fit([["x" * 50, "published"]], 30, keep=frozenset({1}))
    assert fitted[0][1] == ["published"]
    assert "".join(fitted[0][0]) == "x" * 50
    assert sum(widths_of(fitted)) + 2 <= 30


def test_wide_and_combining_characters_are_counted_as_they_look() -> None:
    assert columns("胸部") == 4
    assert columns("u\u0308") == 1


@given(
    st.lists(
        st.tuples(st.text("ab-/. 胸部ü\u0308", max_size=60), st.text("xy 部", max_size=30)),
        min_size=1,
        max_size=4,
    ),
    st.integers(14, 60),
)
def test_whatever_is_in_it_a_table_fits_and_nothing_is_lost(
    rows: list[tuple[str, str]], room: int
) -> None:
    fitted = fit([("name", "why"), *rows], room, keep=frozenset())
    assert sum(widths_of(fitted)) + 2 <= room
    for row, cells in zip(rows, fitted[1:], strict=True):
        for cell, lines in zip(row, cells, strict=True):
            assert "".join(lines).replace(" ", "") == cell.replace(" ", "")


def test_every_state_is_kept_whole() -> None:
    assert "state" in output.WHOLE
    assert all(len(state) <= 17 for state in State)


@pytest.mark.parametrize("print_", [output.print_text, output.say])
def test_text_of_strangers_cannot_act_on_a_terminal(
    print_: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(print_)
    print_(NASTY + "\nsecond line")
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert text.isprintable() or text.replace("\n", "").isprintable()
    assert "\\x1b[31mred\\x07" in text
    assert text.count("\n") == 2


def test_a_cell_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("a",), [("x\ny",)], empty="none")
    assert capsys.readouterr().out == "A\nx\\x0ay\n"


def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    styled: list[str] = []

    def style(text: str, fg: str) -> str:
        styled.append(fg)
        return text

    monkeypatch.setattr(click, "style", style)
    monkeypatch.delenv("NO_COLOR", raising=False)
    table = (("state",), [("failed",)])
    output.print_table(*table, empty="")
    assert styled == []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.print_table(*table, empty="")
    assert styled == ["red"]
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_table(*table, empty="")
    assert styled == ["red"]
    capsys.readouterr()


def test_json_takes_what_answers_are_made_of() -> None:
    value = {"a": (Decimal("0.5"), State.DUE, Path("x")), "b": {3, 1}}
    assert output.plain(value) == {"a": [0.5, "due", "x"], "b": [1, 3]}


def test_nothing_goes_on_without_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output.confirm("Send?", yes=True)
    assert "Send? Yes (-y)." in capsys.readouterr().err
    with pytest.raises(UsageError, match="say -y"):
        output.confirm("Send?", yes=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    with pytest.raises(click.exceptions.Exit):
        output.confirm("Send?", yes=False)
    assert "Nothing is changed." in capsys.readouterr().err
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    output.confirm("Send?", yes=False)
