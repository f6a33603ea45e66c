"""How answers look: tables that fit a terminal, JSON for programs, strangers' words harmless.

Answers go to standard output, everything else to standard error. A manifest's texts are a
stranger's: control, bidi and zero-width characters never reach a terminal.
"""

import dataclasses
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import click

from ..schemas.errors import UsageError
from .progress import wipe
from .tables import GAP, fit, pad, widths_of

_BAD = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
STATE_COLOURS = {
    "published": "green",
    "approved": "green",
    "valid": "green",
    "done": "green",
    "ok": "green",
    "due": "cyan",
    "awaiting-release": "yellow",
    "awaiting-consent": "yellow",
    "pending": "yellow",
    "waits": "yellow",
    "blocked": "yellow",
    "failed": "red",
    "withheld": "red",
    "revoked": "red",
    "stalled": "red",
}
WHOLE = frozenset(
    ("state", "registered", "must", "day", "active", "value", "bits")
)  # never broken into lines


def clean(text: object, *, lines: bool = False) -> str:
    """`text` with characters that could act on a terminal shown as `\\xNN` or `\\uNNNN`."""
    said = str(text)
    if said.isascii() and (said.replace("\n", "") if lines else said).isprintable():
        return said
    return "".join(
        char
        if (lines and char == "\n") or unicodedata.category(char) not in _BAD
        else (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")
        for char in said
    )


def plain(value: Any) -> Any:
    """`value` as JSON can say it: dataclasses and named tuples as objects, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {item.name: plain(getattr(value, item.name)) for item in fields}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, exclude_none=True, mode="json")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    return value


def print_json(value: Any) -> None:
    """The answer for programs."""
    wipe()
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=not utf8))


def print_text(text: str, *, err: bool = False) -> None:
    """The answer for people, one or more lines; with `err` what is shown before a question."""
    wipe()
    click.echo(_inert(clean(text, lines=True)), err=err)


def say(text: str) -> None:
    """Progress and remarks, on standard error."""
    wipe()
    click.echo(_inert(clean(text, lines=True)), err=True)


def print_command(line: str) -> None:
    """A workflow command, made harmless by who made it."""
    click.echo(line)


def _inert(text: str) -> str:
    """`text`; in a workflow's log, where a line can be a command to the runner, without any."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    from ..registry.annotations import harmless

    return harmless(text)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, err: bool = False
) -> None:
    """A table that fits the terminal (80 columns where there is none); `empty` where no row is."""
    if not rows:
        say(empty)
        return
    stream = sys.stderr if err else sys.stdout
    known: dict[str, str] = {}  # most words of a long table come often
    cells = [[header.upper() for header in headers]]
    cells += [[_cell(one, known) for one in row] for row in rows]
    room = shutil.get_terminal_size((80, 24)).columns if stream.isatty() else 80
    states = frozenset(at for at, header in enumerate(headers) if header in WHOLE)
    fitted = fit(cells, room, keep=states)
    widths = widths_of(fitted)
    colours = stream.isatty() and not os.environ.get("NO_COLOR")
    written = []
    for row in fitted:
        for at in range(max(map(len, row))):
            line = [lines[at] if at < len(lines) else "" for lines in row]
            written.append(_row(line, widths, colours=colours and row is not fitted[0]))
    click.echo(_inert("\n".join(written)), err=err)


def _cell(value: object, known: dict[str, str]) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return clean(value)
    if value not in known:
        known[value] = clean(value)
    return known[value]


def _row(line: Sequence[str], widths: Sequence[int], *, colours: bool) -> str:
    padded = []
    for text, width in zip(line, widths, strict=True):
        cell = pad(text, width)
        coloured = colours and text in STATE_COLOURS
        padded.append(click.style(cell, fg=STATE_COLOURS[text]) if coloured else cell)
    return (" " * GAP).join(padded).rstrip()


def several(number: int, noun: str) -> str:
    """`1 result`, `2 results`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def none_of(number: int, noun: str, *, empty: str) -> str:
    """Why a list has no row: nothing is there at all, or none of it was asked for."""
    return f"Of {several(number, noun)} none is among those you asked for." if number else empty


def confirm(question: str, *, yes: bool) -> None:
    """Goes on only after a yes: by `-y`, or typed at a terminal."""
    if yes:
        say(f"{question} Yes (-y).")
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer at: say -y to agree.")
    if not click.confirm(clean(question), err=True):
        say("Nothing is changed.")
        raise click.exceptions.Exit(1)
