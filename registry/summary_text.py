"""A proposal's summary as Markdown for a forge, and as plain lines for a terminal.

A stranger's text is shown, never obeyed: in Markdown it stands in a code span whose fence is longer
than any in it, so it is no HTML, no mention, no link, no table's end; characters that act on a
terminal or turn the reading direction are spelt out; what is long is cut.
"""

import re
from collections.abc import Iterator, Sequence

from .summary import Block, Commands, Facts, Grid, Points, Section, Summary, Words

LONGEST = 300
ROOM = 78  # of a terminal's 80 columns, two are the indentation
NARROW = 22
LIMIT = 60_000  # GitHub takes 65,536 characters of a comment
_CUT = "_The rest is too long to be shown here: look at it by the commands below._\n"
_TICKS = re.compile("`+")
_SIMPLE = re.compile(r"[A-Za-z0-9 :_-]*\Z")


def markdown(summary: Summary) -> str:
    """The summary for a browser, at most 60,000 characters."""
    kind = f" ({summary.kind})" if summary.kind != "mixed" else ""
    parts = [f"## {summary.headline}{kind}\n"]
    *middle, last = ["\n".join(_section(section)) for section in summary.sections]
    room = LIMIT - len(parts[0]) - len(last) - len(_CUT) - 4
    for text in middle:
        room -= len(text) + 1
        if room < 0:
            parts.append(_CUT)
            break
        parts.append(text)
    return "\n".join([*parts, last])


def _section(section: Section) -> Iterator[str]:
    about = f" {code(section.about)}" if section.about else ""
    yield f"### {section.heading}{about}\n"
    for block in section.blocks:
        yield from _block(block)
        yield ""


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Points):
        yield from (f"- {_value(item)}" for item in block.items)
    elif isinstance(block, Commands):
        yield "```sh"
        yield from (_plain(line) for line in block.lines)
        yield "```"
    else:
        headers = block.headers if isinstance(block, Grid) else ("", "")
        yield "| " + " | ".join(_header(one) for one in headers) + " |"
        yield "|" + " --- |" * len(headers)
        for row in block.rows:
            cells = [_name(row[0]), *row[1:]] if isinstance(block, Facts) else row
            yield "| " + " | ".join(_cell(one) for one in cells) + " |"


def _header(text: str) -> str:
    return _cell(Words(text))


def _name(text: str) -> str:
    """A fact's name: ours as it is; one that a stranger could have chosen as a value."""
    return Words(text) if _SIMPLE.match(text) else text


def _cell(text: str) -> str:
    """A table's cell. Readers disagree on a backslash before a `\\|`, so that one is a `¦`."""
    value = _value(text)
    if isinstance(text, Words):
        return value
    return value.replace("\\|", "\\¦").replace("|", "\\|")


def _value(text: str) -> str:
    if isinstance(text, Words):
        return re.sub(r"([\\`*_<>&@#\[\]!|~])", r"\\\1", _plain(text))
    return code(text) if text else ""


def code(text: str) -> str:
    """`text` as a code span that nothing in it can end."""
    text = _plain(text) or " "
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    # One space at each side belongs to the fence; a backtick at an end needs it.
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _plain(text: str) -> str:
    """One harmless line of a text."""
    shown = "".join(
        char if char.isprintable() else ("⏎" if char == "\n" else ascii(char)[1:-1])
        for char in text[: LONGEST + 1]
    )
    return shown if len(text) <= LONGEST else shown[:LONGEST] + " …"


def terminal(summary: Summary) -> str:
    """The summary as lines for a terminal; the same words as in the browser."""
    lines = [f"{summary.headline} ({summary.kind})"]
    for section in summary.sections:
        about = f" {_plain(section.about)}" if section.about else ""
        lines += ["", f"{section.heading}{about}"]
        for block in section.blocks:
            lines += [f"  {line}".rstrip() for line in _lines(block)]
    return "\n".join(lines)


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Points):
        yield from (_plain(item) for item in block.items)
    elif isinstance(block, Commands):
        yield from (f"  {_plain(line)}" for line in block.lines)
    elif isinstance(block, Facts):
        yield from _columns([(_plain(name), _plain(value)) for name, value in block.rows])
    else:
        rows = [block.headers, *block.rows]
        yield from _columns([[_plain(cell) for cell in row] for row in rows])


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table; what does not fit beside the rest stands below, whole, as it is for copying."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    if sum(widths) + 2 * (len(widths) - 1) <= ROOM:
        for row in rows:
            yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        return
    for row in rows:
        line = ""
        for cell, width in zip(row, widths, strict=True):
            if line.strip() and len(line.rstrip()) + 2 + len(cell) > ROOM:
                yield line
                line = "    "
            line += f"{cell:<{width if width <= NARROW else 0}}  "
        yield line
