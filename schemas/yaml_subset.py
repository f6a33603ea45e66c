"""The YAML subset that every manifest is written in (design §3): reading and writing it.

Reading, in this order: size, UTF-8 without BOM, characters (no tab, control, bidi or zero-width
character, LF only, NFC), then the plain form line by line (`yaml_lines.py`), and all else by
libyaml's events (`yaml_events.py`) as they appear, so a bomb costs nothing. PyYAML's own resolver
is not used: it reads YAML 1.1 (`no` is False there, dates become dates). Plain scalars follow
JSON's grammar; everything else, and every key, is a string.

Writing (`yaml_writing.py`) is its inverse: `parse(dump(value)).value == value`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .yaml_lines import read_lines
from .yaml_text import LIMIT, Path, bad_character, field_name, problem_at, shown
from .yaml_writing import dump

__all__ = ["Parsed", "Path", "dump", "field_name", "line_at", "parse", "shown"]


@dataclass(frozen=True)
class Parsed:
    """A document's plain value, and the line on which each of its parts stands."""

    value: Any
    data: bytes

    def line(self, path: Path) -> int | None:
        """The line (from 1) of the field at `path`, or of the nearest part of it that exists."""
        return line_at(self._lines, path)

    @cached_property
    def _lines(self) -> dict[Path, int]:
        # Read again only when somebody asks: lines are needed for errors, values always.
        from .yaml_events import lines_of

        return lines_of(self.data)


def line_at(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of the field at `path`, or of the nearest part of it that exists."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def parse(data: bytes, *, file: str, limit: int = LIMIT) -> Parsed:
    """The document in `data`, or an InvalidDocumentError that says where and what to write."""
    text = _checked_text(data, file=file, limit=limit)
    plain = read_lines(text)
    if plain is not None:
        return Parsed(plain, data)
    from .yaml_events import build

    return Parsed(build(data, text, file=file), data)


def _checked_text(data: bytes, *, file: str, limit: int) -> str:
    if len(data) > limit:
        raise problem_at(
            file, None, (), f"is {len(data)} bytes long.", f"At most {limit} bytes are allowed."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise problem_at(file, line, (), "is not UTF-8 text.", "Save the file as UTF-8.") from error
    found = bad_character(text)
    if found:
        at, what, fix = found
        raise problem_at(file, text.count("\n", 0, at) + 1, (), f"{what} stands here.", fix)
    return text
