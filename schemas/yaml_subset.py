"""The YAML subset that every manifest is written in (design §3): reading and writing it.

Reading, in this order: size, UTF-8 without BOM, characters (no tab, control, bidi or zero-width
character, LF only, NFC), then PyYAML's libyaml events with a builder of ours that refuses anchors,
aliases, tags, merge keys, duplicate keys, directives and more than 16 levels as they appear, so a
bomb costs nothing. PyYAML's own resolver is not used: it reads YAML 1.1 (`no` is False there, dates
become dates). Plain scalars follow JSON's grammar; everything else, and every key, is a string.

Writing is block style, keys in the order given, and `parse(dump(value)).value == value`.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import isfinite
from typing import Any, Protocol

import yaml
from yaml import events

from .errors import InvalidDocumentError, Problem

LIMIT = 64 * 1024
DEPTH = 16
MOST_DIGITS = 18
LONGEST_NUMBER = 40
LONGEST_KEY = 500

Path = tuple[str | int, ...]

# Control characters, what Unicode calls default ignorable (zero-width, soft hyphen, variation
# selectors, tags), bidi controls, line and paragraph separators, surrogates (PyYAML's own parser
# makes them of escapes) and non-characters. A fixed list, for `unicodedata` differs between
# versions of Python and two sites must agree.
_REFUSED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(1 << 16, 17 << 16, 1 << 16)
    )
    + "]"
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {"null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Parsed:
    """A document's plain value, and the line on which each of its parts stands."""

    value: Any
    data: bytes

    def line(self, path: Path) -> int | None:
        """The line (from 1) of the field at `path`, or of the nearest part of it that exists."""
        for end in range(len(path), -1, -1):
            if path[:end] in self._lines:
                return self._lines[path[:end]]
        return None

    @cached_property
    def _lines(self) -> dict[Path, int]:
        # Read again only when somebody asks: lines are needed for errors, values always.
        return dict(_locate(event_stream(self.data)))


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


def parse(data: bytes, *, file: str, limit: int = LIMIT) -> Parsed:
    """The document in `data`, or an InvalidDocumentError that says where and what to write."""
    text = _checked_text(data, file=file, limit=limit)
    builder = Builder(file, check_scalars="\\" in text)
    try:
        value = builder.build(event_stream(data))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: PyYAML's own parser
        raise _not_yaml(error, text, file) from error
    return Parsed(value, data)


def _checked_text(data: bytes, *, file: str, limit: int) -> str:
    if len(data) > limit:
        raise _problem(
            file, None, (), f"is {len(data)} bytes long.", f"At most {limit} bytes are allowed."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _problem(file, line, (), "is not UTF-8 text.", "Save the file as UTF-8.") from error
    found = _bad_character(text)
    if found:
        at, what, fix = found
        raise _problem(file, text.count("\n", 0, at) + 1, (), f"{what} stands here.", fix)
    return text


def _bad_character(text: str) -> tuple[int, str, str] | None:
    """Where and what the first character is that no manifest may hold."""
    match = _REFUSED.search(text)
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


class EventStream(Protocol):
    def get_event(self) -> Any: ...
    def check_event(self) -> bool: ...


def event_stream(data: bytes) -> EventStream:
    """libyaml's event stream, or that of PyYAML's own parser where libyaml is missing."""
    if yaml.__with_libyaml__:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # only where libyaml is

        parser: EventStream = CParser(data)
        return parser
    return _PurePythonParser(data)


class _PurePythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    def __init__(self, data: bytes) -> None:
        yaml.reader.Reader.__init__(self, data)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


class Builder:
    """Makes plain values of events; refuses what the subset leaves out as it appears."""

    def __init__(self, file: str, *, check_scalars: bool) -> None:
        self.file = file
        self.check_scalars = check_scalars
        # Open containers, outermost first, and the key that each is at.
        self.open: list[dict[str, Any] | list[Any]] = []
        self.keys: list[str | None] = []

    def build(self, parser: EventStream) -> Any:
        value: Any = None
        documents = 0
        get = parser.get_event
        while True:
            event = get()
            kind = type(event)
            if kind is events.ScalarEvent:
                if self.keys and self.keys[-1] is None and type(self.open[-1]) is dict:
                    self._key(event)
                    continue
                item = self._scalar(event)
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                self._open(event, {} if kind is events.MappingStartEvent else [])
                continue
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                item = self.open.pop()
                self.keys.pop()
            elif kind is events.DocumentStartEvent:
                documents += 1
                self._document(event, documents)
                continue
            elif kind is events.AliasEvent:
                raise self._refuse(event, "an alias (*name)", "Write the value out.")
            elif kind is events.StreamEndEvent:
                break
            else:
                continue
            if not self.open:
                value = item
            else:
                self._place(item)
        if not documents:
            raise _problem(self.file, None, (), "is empty.", "Write one document.")
        return value

    def _place(self, item: Any) -> None:
        container, key = self.open[-1], self.keys[-1]
        if isinstance(container, list):
            container.append(item)
        elif key is not None:
            container[key] = item
            self.keys[-1] = None

    def _document(self, event: Any, documents: int) -> None:
        if documents > 1:
            raise self._refuse(event, "a second document", "Write one document a file.")
        if event.version or event.tags:
            raise self._refuse(event, "a % directive", "Take it out.")

    def _open(self, event: Any, container: dict[str, Any] | list[Any]) -> None:
        self._no_node_properties(event)
        if self.open and self.keys[-1] is None and type(self.open[-1]) is dict:
            raise self._refuse(event, "a list or mapping as a key", "A key is one plain word.")
        if len(self.open) >= DEPTH:
            raise self._refuse(event, f"a level deeper than {DEPTH}", "Write it flatter.")
        self.open.append(container)
        self.keys.append(None)

    def _key(self, event: Any) -> None:
        self._no_node_properties(event)
        key = event.value
        mapping = self.open[-1]
        if key in mapping:
            first = "write each key once."
            raise self._refuse(
                event, f"the key {shown(key)} a second time", f"In one mapping {first}", key
            )
        if key == "<<":
            raise self._refuse(event, "a merge key (<<)", "Write the fields out.")
        if "\n" in key:
            raise self._refuse(event, "a key of more than one line", "A key is one line.")
        self._characters(event)
        self.keys[-1] = key

    def _scalar(self, event: Any) -> Any:
        self._no_node_properties(event)
        text = event.value
        if event.style:
            self._characters(event)
            return text
        if text in _WORDS:
            return _WORDS[text]
        match = _NUMBER.match(text)
        if match is None:
            return text
        return self._number(event, text, whole=match.lastindex is None)

    def _number(self, event: Any, text: str, *, whole: bool) -> int | float:
        if whole:
            if len(text.lstrip("-")) > MOST_DIGITS:
                raise self._refuse(
                    event,
                    f"a whole number of more than {MOST_DIGITS} digits",
                    "If it is a text, put it in quotes.",
                )
            return int(text)
        number = float(text) if len(text) <= LONGEST_NUMBER else float("inf")
        if not isfinite(number):
            raise self._refuse(
                event, "a number that is too long or too large", "If it is a text, quote it."
            )
        return number

    def _characters(self, event: Any) -> None:
        # Escapes can bring in what the raw text may not hold; without a backslash there are none.
        if self.check_scalars:
            found = _bad_character(event.value)
            if found:
                raise self._refuse(event, f"{found[1]}, written as an escape,", found[2])

    def _no_node_properties(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._refuse(event, "an anchor (&name)", "Take it out and write values out.")
        if event.tag is not None:
            raise self._refuse(event, "a tag (!name)", "Take it out; quotes make a string.")

    def _refuse(
        self, event: Any, what: str, fix: str, key: str | None = None
    ) -> InvalidDocumentError:
        path: list[str | int] = []
        for container, at in zip(self.open, self.keys, strict=True):
            if isinstance(container, list):
                path.append(len(container))
            elif at is not None:
                path.append(at)
        if key is not None:
            path.append(key)
        line = event.start_mark.line + 1
        return _problem(self.file, line, tuple(path), f"{what} stands here.", fix)


def _locate(parser: EventStream) -> Iterator[tuple[Path, int]]:
    """Each path of a document that parsed, with the line of its key (or its item)."""
    path: list[str | int] = []
    states: list[int | None] = []  # per container: the index of a list's next item, or None
    awaiting_key = False
    while True:
        event = parser.get_event()
        kind = type(event)
        if kind is events.StreamEndEvent:
            return
        if kind in (events.MappingEndEvent, events.SequenceEndEvent):
            states.pop()
        elif kind in (events.ScalarEvent, events.MappingStartEvent, events.SequenceStartEvent):
            if awaiting_key:
                path.append(event.value)
                yield tuple(path), event.start_mark.line + 1
                awaiting_key = False
                continue
            if states and states[-1] is not None:
                path.append(states[-1])
                states[-1] += 1
                yield tuple(path), event.start_mark.line + 1
            elif not states:
                yield (), event.start_mark.line + 1
            if kind is not events.ScalarEvent:
                states.append(0 if kind is events.SequenceStartEvent else None)
                awaiting_key = kind is events.MappingStartEvent
                continue
        else:
            continue
        # A value is complete: leave its key or index.
        if path:
            path.pop()
        awaiting_key = bool(states) and states[-1] is None


def _problem(file: str, line: int | None, path: Path, found: str, fix: str) -> InvalidDocumentError:
    return InvalidDocumentError([Problem(file, line, field_name(path), found, fix)])


def _not_yaml(error: Exception, text: str, file: str) -> InvalidDocumentError:
    line: int | None = None
    what = "cannot be read"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        what = error.problem or error.context or what
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
    return _problem(
        file, line, (), f"is not YAML ({what}).", "Check the indentation, colons and quotes here."
    )


# Writing

_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@`~=<")
# What other YAML readers would not take for a string; ours would, but people use others' tools too.
_OTHERS = re.compile(
    r"(?:null|true|false|yes|no|on|off|y|n|[-+]?\.inf|\.nan"
    r"|[-+]?(?:0x[0-9a-f_]+|0o?[0-7_]+|0b[01_]+|[0-9][0-9_]*\.?[0-9_]*(?:e[-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*(?:e[-+]?[0-9]+)?))\Z",
    re.IGNORECASE,
)


def dump(value: Any) -> bytes:
    """`value` in block style; Decimals keep their digits, multi-line texts are literal blocks.

    What `parse` would refuse is refused here, with the same kind of error.
    """
    if isinstance(value, Mapping | list | tuple) and value:
        lines = _block(value, (), 0)
    else:
        lines = _scalar_lines(value, (), 0)
    return ("\n".join(lines) + "\n").encode()


def _block(value: Any, path: Path, indent: int) -> list[str]:
    """The lines of a mapping or list that has items, at this indentation."""
    if len(path) >= DEPTH:
        raise _unwritable(path, f"a level deeper than {DEPTH}", "Write it flatter.")
    pad = " " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            start = pad + _key_text(key, path) + ":"
            below = (*path, key)
            if _has_items(item):
                lines.append(start)
                lines += _block(item, below, indent + 2)
            else:
                first, *rest = _scalar_lines(item, below, indent + 2)
                lines += [f"{start} {first}", *rest]
        return lines
    for at, item in enumerate(value):
        below = (*path, at)
        if _has_items(item):
            first, *rest = _block(item, below, indent + 2)
            lines += [f"{pad}- {first[indent + 2 :]}", *rest]
        else:
            first, *rest = _scalar_lines(item, below, indent + 2)
            lines += [f"{pad}- {first}", *rest]
    return lines


def _has_items(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)


def _key_text(key: Any, path: Path) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is a string, not {type(key).__name__}")
    if "\n" in key or len(key) > LONGEST_KEY or key == "<<":
        raise _unwritable(path, f"the key {shown(key)}", "Use a shorter key of one line.")
    return _scalar_lines(key, (*path, key), 0)[0]


def _scalar_lines(value: Any, path: Path, indent: int) -> list[str]:
    if value is None:
        return ["null"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str):
        return _string_lines(value, path, indent)
    if isinstance(value, int | float | Decimal):
        return [_number_text(value, path)]
    if isinstance(value, Mapping):
        return ["{}"]
    if isinstance(value, Sequence):
        return ["[]"]
    raise TypeError(f"{field_name(path)}: {type(value).__name__} cannot be written as YAML")


def _number_text(value: int | float | Decimal, path: Path) -> str:
    if not isinstance(value, int) and not isfinite(value):
        raise _unwritable(path, "a number that is not finite", "Leave it out.")
    text = format(value, "f") if isinstance(value, Decimal) else repr(value)
    whole = "." not in text and "e" not in text
    if len(text.lstrip("-")) > (MOST_DIGITS if whole else LONGEST_NUMBER):
        raise _unwritable(path, "a number with too many digits", "Use a smaller one.")
    return text


def _string_lines(text: str, path: Path, indent: int) -> list[str]:
    found = _bad_character(text)
    if found:
        raise _unwritable(path, found[1], found[2])
    if "\n" in text:
        if text.strip("\n") and not (text[0] == " " and not indent):
            return _literal_lines(text, indent)
        return [json.dumps(text, ensure_ascii=False)]
    if (
        not text
        or text[0] in _INDICATORS
        or text != text.strip(" ")
        or ": " in text
        or " #" in text
        or text[-1] == ":"
        or text.startswith("...")
        or _OTHERS.match(text)
    ):
        return ["'" + text.replace("'", "''") + "'"]
    return [text]


def _literal_lines(text: str, indent: int) -> list[str]:
    """A literal block: indentation indicator where the first line hides it, chomping as it ends."""
    hint = "2" if text[0] in " \n" else ""
    if not text.endswith("\n"):
        chomp = "-"
    elif text.endswith("\n\n"):
        chomp = "+"
    else:
        chomp = ""
    pad = " " * (indent or 2)
    body = text.removesuffix("\n").split("\n")
    return [f"|{hint}{chomp}", *(pad + line if line else "" for line in body)]


def _unwritable(path: Path, what: str, fix: str) -> InvalidDocumentError:
    return _problem("new document", None, path, f"{what} cannot be written.", fix)
