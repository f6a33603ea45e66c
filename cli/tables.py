"""How a table is fitted into a terminal: pure, cells of text in, lines of text out.

A word is never broken while anything else can give way. In this order, until the table fits:
columns of several words wrap at spaces; names wrap behind `/`, then behind `.`, then behind `-`; at
last the widest words are cut, all but those of the columns that are kept (states).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

GAP = 2
_BREAKS = (r"(?<= )", r"(?<=[ /])", r"(?<=[ /.])", r"(?<=[ /.\-])")
_LEAST = 4


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for wide characters, none for combining."""
    if text.isascii():  # nearly every cell of a table of thousands
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def fit(rows: Sequence[Sequence[str]], room: int, *, keep: frozenset[int]) -> list[list[list[str]]]:
    """The rows, each cell as its lines, so wide that all columns side by side fit into `room`.

    Columns in `keep` are never broken. What cannot fit is cut last of all, never below a few
    characters: then the lines are longer than the room.
    """
    room -= GAP * (len(rows[0]) - 1)
    cells = [dict.fromkeys(column) for column in zip(*rows, strict=True)]  # most come often
    widths = [max(map(columns, column)) for column in cells]
    level = 0
    while sum(widths) > room and level < len(_BREAKS):
        least = [
            width if at in keep else _longest(cells[at], level) for at, width in enumerate(widths)
        ]
        widths = _narrow(widths, least, room)
        level += 1
    least = [width if at in keep else _LEAST for at, width in enumerate(widths)]
    widths = _narrow(widths, least, room)
    level = max(level - 1, 0)
    lines = [
        {cell: _lines(cell, width, level) for cell in column}
        for column, width in zip(cells, widths, strict=True)
    ]
    return [[known[cell] for known, cell in zip(lines, row, strict=True)] for row in rows]


@lru_cache(maxsize=4096)  # a table has the same names in many rows
def pad(text: str, width: int) -> str:
    """`text` with spaces up to `width` columns."""
    return text + " " * max(0, width - columns(text))


def widths_of(fitted: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    """How wide each column of fitted rows is."""
    return [
        max(columns(line) for line in {line for lines in column for line in lines})
        for column in zip(*fitted, strict=True)
    ]


def _longest(cells: Iterable[str], level: int) -> int:
    return max(columns(word.rstrip()) for cell in cells for word in _words(cell, level))


def _words(cell: str, level: int) -> list[str]:
    return re.split(_BREAKS[level], cell)


def _narrow(widths: list[int], least: list[int], room: int) -> list[int]:
    """The widths, the widest made narrower one by one, none below its least."""
    widths = list(widths)
    while sum(widths) > room:
        wide = [at for at, width in enumerate(widths) if width > least[at]]
        if not wide:
            break
        widths[max(wide, key=lambda at: widths[at])] -= 1
    return widths


def _lines(cell: str, width: int, level: int) -> list[str]:
    if columns(cell) <= width:
        return [cell]
    lines, line = [], ""
    for whole in _words(cell, level):
        word = whole
        if line and columns((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        while columns(word.rstrip()) > width:
            at = _cut(word, width)
            lines.append(word[:at])
            word = word[at:]
        line += word
    return [*lines, line.rstrip()]


def _cut(word: str, width: int) -> int:
    """How many characters of `word` fill `width` columns, with what combines with them."""
    taken = 0
    for at, char in enumerate(word):
        taken += columns(char)
        if taken > width and at:
            return at
    return len(word)
