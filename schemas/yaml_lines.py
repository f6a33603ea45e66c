"""The plainest YAML, read a line at a time: what our own writer makes of a result.

libyaml hands over an event for every word, which costs most of reading a manifest. A text all of
whose lines are `key: value`, `key:` or an item of a list, in two more spaces a level, with words
and numbers of characters that mean nothing else in YAML, can be read without it. Any other text is
none of this module's, and one that might be wrong is neither: `yaml_events.py` reads those, and
says what is wrong with them. A test holds both to the same values.
"""

import re
from math import isfinite
from typing import Any

from .yaml_text import DEPTH, MOST_DIGITS, NUMBER, WORDS

# A word has no character that could begin anything in YAML where it stands: no quote, bracket,
# comma, hash, and a colon only inside. So words with one space between them are one plain scalar.
_WORD = r"(?:[A-Za-z0-9/+.]|-[0-9])[A-Za-z0-9/+.:@_=-]*+(?<!:)"
_VALUE = rf"'[A-Za-z0-9/+.:@_=-]*+'|\[\]|\{{\}}|{_WORD}(?: {_WORD})*+"
_KEY = r"[A-Za-z_][A-Za-z0-9_-]{0,99}+"
_LINE = rf"^((?:  )*+)(- )?+(?:({_KEY}):(?: ({_VALUE}))?|(?<=- )({_VALUE}))\n"
_LINES = re.compile(_LINE, re.MULTILINE)
_STARTS = frozenset("-0123456789ntf'[{")  # what any other scalar than a plain text begins with


class _UnsureError(Exception):
    """This text is better read, or refused, by its events."""


def read_lines(text: str) -> dict[str, Any] | None:
    """The mapping in a text of plain lines; None if it is anything else, or wrong."""
    lines = _LINES.findall(text)
    if not lines or len(lines) != text.count("\n") or text[-1] != "\n":
        return None
    try:
        return _mapping(lines)
    except _UnsureError:
        return None


def _mapping(lines: list[tuple[str, ...]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    open_: list[Any] = [whole]  # what goes on, outermost first: each two spaces further in
    begun = ""  # the key of the line before, if its value is what follows
    for pad, dash, key, value, item in lines:
        depth = len(pad) >> 1
        if begun:
            if depth != len(open_):
                raise _UnsureError
            inside: Any = [] if dash else {}
            open_[-1][begun] = inside
            open_.append(inside)
            begun = ""
        elif depth >= len(open_):
            raise _UnsureError
        else:
            del open_[depth + 1 :]
        into = open_[depth]
        if dash:
            if type(into) is not list or len(open_) > DEPTH:
                raise _UnsureError
            if item:
                into.append(item if item[0] not in _STARTS else _scalar(item, len(open_)))
                continue
            into.append({})
            into = into[-1]
            open_.append(into)
        if type(into) is not dict or key in into or len(open_) > DEPTH:
            raise _UnsureError
        if value:
            into[key] = value if value[0] not in _STARTS else _scalar(value, len(open_))
        else:
            begun = key
    if begun:
        raise _UnsureError
    return whole


def _scalar(text: str, depth: int) -> Any:
    """A text in quotes, a number, a word of YAML's, or something empty."""
    first = text[0]
    if first == "'":
        return text[1:-1]
    if first in "[{":
        if depth >= DEPTH:
            raise _UnsureError
        return [] if first == "[" else {}
    if text in WORDS:
        return WORDS[text]
    match = NUMBER.match(text)
    if match is None:
        return text
    if len(text) > MOST_DIGITS:  # Python itself reads no whole number of more than 4300 digits
        raise _UnsureError
    number = int(text) if match.lastindex is None else float(text)
    if not isfinite(number):
        raise _UnsureError
    return number
