"""The plainest YAML, read a line at a time: what our own writer makes of a result.

libyaml hands over an event for every word, which costs most of reading a manifest. A text all of
whose lines are `key: value`, `key:` or an item of a list, in two more spaces a level, with words
and numbers of characters that mean nothing else in YAML, can be read without it. Any other text is
none of this module's, and one that might be wrong is neither: `yaml_events.py` reads those, and
says what is wrong with them. A test holds both to the same values.
"""

import re
from functools import lru_cache
from math import isfinite
from typing import Any

from .yaml_text import DEPTH, MOST_DIGITS, NUMBER, WORDS

# A word has no character that could begin anything in YAML where it stands: no quote, bracket,
# comma, hash, and a colon only inside. So words with one space between them are one plain scalar.
_WORD = r"(?:[A-Za-z0-9/+.]|-[0-9])[A-Za-z0-9/+.:@_=-]*+(?<!:)"
_VALUE = rf"'[A-Za-z0-9/+.:@_=-]*+'|\[\]|\{{\}}|{_WORD}(?: {_WORD})*+"
_KEY = r"[A-Za-z_][A-Za-z0-9_-]{0,99}+"
_LINE = re.compile(rf"((?:  )*+)(- )?+(?:({_KEY}):(?: ({_VALUE}))?|(?<=- )({_VALUE}))\Z")
_STARTS = frozenset("-0123456789ntf'[{")  # what any other scalar than a plain text begins with
_EMPTY: dict[str, Any] = {"[]": list, "{}": dict}
_BEGUN = object()  # the value is what follows
_LONG = 160  # characters; longer lines are not kept, since a stranger may write them

# How deep, whether it begins an item of a list, its key (or none), and its value.
_Line = tuple[int, bool, str, Any]


class _UnsureError(Exception):
    """This text is better read, or refused, by its events."""


def read_lines(text: str) -> dict[str, Any] | None:
    """The mapping in a text of plain lines; None if it is anything else, or wrong."""
    if text[-1:] != "\n":
        return None
    try:
        return _mapping(text[:-1].split("\n"))
    except _UnsureError:
        return None


def _mapping(lines: list[str]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    open_: list[Any] = [whole]  # what goes on, outermost first: each two spaces further in
    begun = ""  # the key of the line before, if its value is what follows
    for line in lines:
        depth, dash, key, value = _known(line) if len(line) <= _LONG else _read(line)
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
            if type(into) is not list:
                raise _UnsureError
            if key:
                into.append({})
                into = into[-1]
                open_.append(into)
        elif type(into) is not dict:
            raise _UnsureError
        if len(open_) > DEPTH:
            raise _UnsureError
        if value is list or value is dict:
            if len(open_) >= DEPTH:
                raise _UnsureError
            value = value()
        if not key:
            into.append(value)
        elif key in into:
            raise _UnsureError
        elif value is _BEGUN:
            begun = key
        else:
            into[key] = value
    if begun:
        raise _UnsureError
    return whole


def _read(line: str) -> _Line:
    """One line by itself; an _UnsureError if it is none of this module's."""
    match = _LINE.match(line)
    if match is None:
        raise _UnsureError
    pad, dash, key, value, item = match.groups()
    text = item or value
    depth = len(pad) >> 1
    return depth, dash is not None, key or "", _BEGUN if text is None else _scalar(text)


# Most lines of a registry stand in many of its documents.
_known = lru_cache(maxsize=4096)(_read)


def _scalar(text: str) -> Any:
    """A text, a number or a word of YAML's; a type, for something empty of it."""
    first = text[0]
    if first not in _STARTS:
        return text
    if first == "'":
        return text[1:-1]
    if first in "[{":
        return _EMPTY[text]
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
