"""JSON of a stranger, read by its grammar and field by field: nothing unknown, nothing twice.

Every function names what it reads, and raises a SignatureError of one sentence otherwise.
"""

import json
import re
import unicodedata
from functools import lru_cache

from ..schemas.errors import SignatureError
from .public_keys import strict_base64

# control, format (bidi, zero-width) and unpaired characters, and Unicode's own line breaks:
# what can move a terminal's cursor or make a text read as another one
_HIDDEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


class _NotAllowedError(Exception):
    """Something that JSON's grammar lets be, or Python's reading of it, and we do not."""


def _pairs(items: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(items)
    if len(found) != len(items):
        raise _NotAllowedError("has the same JSON key twice")
    return found


def _constant(name: str) -> object:
    raise _NotAllowedError(f"holds {name}, which is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def parse_json(data: bytes, what: str) -> object:
    """JSON as its grammar has it, without one key twice anywhere."""
    try:
        text = data.decode()
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a byte order mark")
        value: object = _DECODER.decode(text)
    except _NotAllowedError as error:
        raise SignatureError(f"A {what} {error}.") from None
    except (ValueError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise SignatureError(f"A {what} is not JSON in UTF-8: {cause}.") from None
    return value


def take_fields(what: str, value: object, *names: str) -> tuple[object, ...]:
    """The values of an object that has these fields and no other; `name?` may be absent (None)."""
    if not isinstance(value, dict):
        raise SignatureError(f"A statement's {what} is not a JSON object.")
    known, exactly = _known(names)
    if value.keys() == exactly:  # as nearly always; what is wrong else is found below
        return tuple([value[name] for name in known])
    for name in value:
        if name not in known:
            raise SignatureError(f"A statement's {what} has the unknown field {name[:60]!r}.")
    for name in names:
        if not name.endswith("?") and name not in value:
            raise SignatureError(f"A statement's {what} has no field {name!r}.")
        if name.endswith("?") and value.get(name[:-1], "") is None:
            raise SignatureError(f"A statement's {name[:-1]} is null: leave it out instead.")
    return tuple(value.get(name) for name in known)


@lru_cache
def _known(names: tuple[str, ...]) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """The fields without their marks; and as a set, if none of them may be absent."""
    known = tuple(name.removesuffix("?") for name in names)
    return known, frozenset(known) if known == names else None


def take_one(what: str, value: object) -> object:
    """The only item of a list of one."""
    if not isinstance(value, list) or len(value) != 1:
        count = len(value) if isinstance(value, list) else "no list of"
        raise SignatureError(f"A statement has {count} {what} entries, where exactly 1 counts.")
    return value[0]


def check_equal(field: str, value: object, expected: str) -> None:
    """Raise unless a value is this very text."""
    if value != expected:
        raise SignatureError(f"A bundle's {field} is {str(value)[:100]!r}, not {expected!r}.")


def take_text(field: str, value: object) -> str:
    """A value that is text which shows all that it holds."""
    if not isinstance(value, str):
        raise SignatureError(f"A statement's {field} is not text.")
    # what is plain ASCII and can be printed, as nearly all of it is, holds none of them
    plain = value.isascii() and value.isprintable()
    if not plain and any(unicodedata.category(letter) in _HIDDEN for letter in value):
        raise SignatureError(f"A statement's {field} holds control or invisible characters.")
    return value


def take_matching(field: str, value: object, pattern: re.Pattern[str], form: str) -> str:
    """Text of one form, which `form` names for people."""
    text = take_text(field, value)
    if not pattern.match(text):
        raise SignatureError(f"A statement's {field} is {text[:100]!r}, not {form}.")
    return text


def take_base64(field: str, value: object) -> bytes:
    """The bytes that a value's canonical base64 means."""
    try:
        return strict_base64(take_text(field, value))
    except ValueError as error:
        raise SignatureError(f"A bundle's {field} cannot be decoded: {error}.") from None
