"""The YAML subset by libyaml's events: whatever is not plain enough to be read line by line.

A builder of ours refuses anchors, aliases, tags, merge keys, duplicate keys, directives and more
than 16 levels as they appear. PyYAML is loaded with this module, so by few commands.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any, Protocol

import yaml
from yaml import events

from .errors import InvalidDocumentError
from .yaml_text import (
    DEPTH,
    LONGEST_NUMBER,
    MOST_DIGITS,
    NUMBER,
    WORDS,
    Path,
    bad_character,
    problem_at,
    shown,
)

__all__ = ["Builder", "build", "event_stream", "is_too_deep", "lines_of"]

_STARTS = frozenset("-0123456789ntf")  # what a number or one of these words begins with


def build(data: bytes, text: str, *, file: str) -> Any:
    """The value of a document, `text` being its bytes as text; else an InvalidDocumentError."""
    builder = Builder(file, check_scalars="\\" in text)
    try:
        return builder.build(event_stream(data))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: PyYAML's own parser
        raise _not_yaml(error, text, file) from error


def lines_of(data: bytes) -> dict[Path, int]:
    """The line (from 1) of every field of a document that parsed."""
    return dict(_locate(event_stream(data)))


class EventStream(Protocol):
    """What libyaml's parser and PyYAML's own have in common."""

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
        get, containers, keys = parser.get_event, self.open, self.keys
        while True:
            event = get()
            kind = type(event)
            if kind is events.ScalarEvent:
                if keys and keys[-1] is None and type(containers[-1]) is dict:
                    self._key(event, containers[-1])
                    continue
                item = self._scalar(event)
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                self._open(event, {} if kind is events.MappingStartEvent else [])
                continue
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                item = containers.pop()
                keys.pop()
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
            if not containers:
                value = item
            elif (key := keys[-1]) is not None:
                containers[-1][key] = item  # type: ignore[call-overload]  # a key: a mapping
                keys[-1] = None
            else:
                containers[-1].append(item)  # type: ignore[union-attr]
        if not documents:
            raise problem_at(self.file, None, (), "is empty.", "Write one document.")
        return value

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

    def _key(self, event: Any, mapping: dict[str, Any]) -> None:
        if event.anchor is not None or event.tag is not None:
            self._no_node_properties(event)
        key = event.value
        if key in mapping:
            first = "write each key once."
            raise self._refuse(
                event, f"the key {shown(key)} a second time", f"In one mapping {first}", key
            )
        if key == "<<":
            raise self._refuse(event, "a merge key (<<)", "Write the fields out.")
        if "\n" in key:
            raise self._refuse(event, "a key of more than one line", "A key is one line.")
        if self.check_scalars:
            self._characters(event)
        self.keys[-1] = key

    def _scalar(self, event: Any) -> Any:
        if event.anchor is not None or event.tag is not None:
            self._no_node_properties(event)
        text = event.value
        if event.style:
            if self.check_scalars:
                self._characters(event)
            return text
        if text[:1] not in _STARTS:
            return text
        if text in WORDS:
            return WORDS[text]
        match = NUMBER.match(text)
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
        found = bad_character(event.value)
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
        return problem_at(self.file, line, tuple(path), f"{what} stands here.", fix)


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


def is_too_deep(error: Exception) -> bool:
    """Whether libyaml itself gave up on the depth; from PyYAML 6.0.4 on it reads ahead of us."""
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    return "nesting depth" in str(problem or "")


def _not_yaml(error: Exception, text: str, file: str) -> InvalidDocumentError:
    line: int | None = None
    what = "cannot be read"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        what = error.problem or error.context or what
        if is_too_deep(error):
            found = f"a level deeper than {DEPTH} stands here."
            return problem_at(file, line, (), found, "Write it flatter.")
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
    return problem_at(
        file, line, (), f"is not YAML ({what}).", "Check the indentation, colons and quotes here."
    )
