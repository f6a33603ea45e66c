"""How answers look: tables that fit a terminal, JSON for programs, strangers' words harmless.

Answers go to standard output, everything else to standard error. A manifest's texts are a
stranger's: control, bidi and zero-width characters never reach a terminal.
"""

import dataclasses
import json
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
}


def clean(text: object, *, lines: bool = False) -> str:
    """`text` with characters that could act on a terminal shown as `\\xNN` or `\\uNNNN`."""
    return "".join(
        char
        if (lines and char == "\n") or unicodedata.category(char) not in _BAD
        else (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")
        for char in str(text)
    )


def plain(value: Any) -> Any:
    """`value` as JSON can say it: dataclasses as objects, paths and enums as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {item.name: plain(getattr(value, item.name)) for item in fields}
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
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_text(text: str) -> None:
    """The answer for people, one or more lines."""
    click.echo(clean(text, lines=True))


def say(text: str) -> None:
    """Progress and remarks, on standard error."""
    click.echo(clean(text, lines=True), err=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A table that fits the terminal (80 columns where there is none); `empty` where no row is."""
    if not rows:
        say(empty)
        return
    cells = [[_cell(item) for item in row] for row in rows]
    widths = [
        max(len(header), *(len(row[at]) for row in cells)) for at, header in enumerate(headers)
    ]
    room = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    widths = _fit(widths, room - 2 * (len(headers) - 1))
    click.echo(_row([header.upper() for header in headers], widths).rstrip())
    for row in cells:
        for line in _wrap(row, widths):
            click.echo(line.rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(value)


def _fit(widths: list[int], room: int) -> list[int]:
    widths = list(widths)
    while sum(widths) > room and max(widths) > 8:
        widest = widths.index(max(widths))
        widths[widest] -= min(sum(widths) - room, max(1, widths[widest] // 8))
    return widths


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell[:width].ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded)


def _wrap(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    pieces = [_pieces(cell, width) for cell, width in zip(row, widths, strict=True)]
    depth = max(len(piece) for piece in pieces)
    lines = []
    for at in range(depth):
        line = []
        for piece, width in zip(pieces, widths, strict=True):
            text = piece[at] if at < len(piece) else ""
            padded = text.ljust(width)
            line.append(click.style(padded, fg=STATE_COLOURS[text]) if _coloured(text) else padded)
        lines.append("  ".join(line))
    return lines


def _coloured(text: str) -> bool:
    return text in STATE_COLOURS and sys.stdout.isatty()


def _pieces(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    lines, line = [], ""
    for word in cell.split(" "):
        while len(word) > width:
            head = width if not line else 0
            if not head:
                lines.append(line)
                line = ""
                continue
            lines.append(word[:head])
            word = word[head:]
        if len(line) + len(word) + bool(line) <= width:
            line = f"{line} {word}" if line else word
        else:
            lines.append(line)
            line = word
    return [*lines, line] if line else lines


def confirm(question: str, *, yes: bool) -> None:
    """Goes on only after a yes: by `-y`, or typed at a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("This needs an answer and there is no terminal: say -y to agree.")
    if not click.confirm(question, err=True):
        raise click.exceptions.Exit(1)
