"""What may stand in a manifest's text, and how a place or a value of it is shown in a message."""

import re
import unicodedata

from .errors import InvalidDocumentError, Problem

LIMIT = 64 * 1024
DEPTH = 16
MOST_DIGITS = 18
LONGEST_NUMBER = 40
LONGEST_KEY = 500

Path = tuple[str | int, ...]

# What a plain scalar may be besides a text: JSON's numbers, and three words.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")
WORDS: dict[str, bool | None] = {"null": None, "true": True, "false": False}

# Control characters, what Unicode calls default ignorable (zero-width, soft hyphen, variation
# selectors, tags), bidi controls, line and paragraph separators, surrogates (PyYAML's own parser
# makes them of escapes) and non-characters. A fixed list, for `unicodedata` differs between
# versions of Python and two sites must agree.
REFUSED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(1 << 16, 17 << 16, 1 << 16)
    )
    + "]"
)


def field_name(path: Path) -> str:
    """`path` as people write it: `spec.images[0].engine`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + shown(part, quotes=False)
    return text


def shown(value: object, *, most: int = 60, quotes: bool = True) -> str:
    """`value` short enough for a message, and harmless in a terminal."""
    text = repr(value)
    if isinstance(value, str):
        text = repr(value[: most + 1])
        if not quotes:
            text = text[1:-1]
    return text if len(text) <= most else text[:most] + "…"


def bad_character(text: str) -> tuple[int, str, str] | None:
    """Where and what the first character is that no manifest may hold."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return None  # nearly every document; the search takes 60 times as long
    match = REFUSED.search(text)
    if match:
        character = match.group()
        if character == "\t":
            return match.start(), "a tab", "Use spaces."
        if character == "\r":
            return match.start(), "a carriage return", "Save the file with LF line ends."
        if character == "\ufeff" and match.start() == 0:
            return 0, "a byte order mark", "Save the file as UTF-8 without BOM."
        name = f"the invisible or control character U+{ord(character):04X}"
        return match.start(), name, "Take it out."
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        normal = unicodedata.normalize("NFC", text)
        pairs = zip(text, normal, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), len(normal))
        return at, "text that is not in Unicode's normal form NFC", "Normalise it to NFC."
    return None


def problem_at(
    file: str, line: int | None, path: Path, found: str, fix: str
) -> InvalidDocumentError:
    """The error for one thing wrong at one place."""
    return InvalidDocumentError([Problem(file, line, field_name(path), found, fix)])
