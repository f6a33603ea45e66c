"""YAML as strangers write it in a cube's files, read within bounds into plain values.

An MLCube or container-config file is not one of our manifests: people's files have anchors and
merge keys, comments, tabs after values, Windows line ends. So anchors, aliases and `<<` are taken,
but every alias counts as all that it stands for, so that a bomb of them meets the bound; tags,
duplicate keys, several documents and endless nesting are refused. Plain scalars follow JSON's
grammar, and everything else is a string: `no` is no boolean here and a date is no date.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from ..schemas.errors import CubeError

SIZE_LIMIT = 64 * 1024
DEPTH_LIMIT = 32
NODE_LIMIT = 20_000

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?\Z")
_BAD = re.compile("[\0\ud800-\udfff]")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def parse(text: str, *, file: str) -> Any:
    """The one document in `text` as dicts, lists and scalars; CubeError names `file` and line."""
    if _BAD.search(text):
        raise CubeError(f"{file} has half a character or a NUL in it: save it as UTF-8 text.")
    if len(text.encode()) > SIZE_LIMIT:
        raise CubeError(f"{file} is larger than {SIZE_LIMIT} bytes: keep only the tasks in it.")
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _Builder(file, events).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = file if mark is None else f"{file}:{mark.line + 1}"
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise CubeError(f"{place}: this is not YAML ({problem}): correct the line.") from error
    except RecursionError as error:  # libyaml's own nesting, before our bound is asked
        raise CubeError(f"{file} is nested too deeply: at most {DEPTH_LIMIT} levels.") from error


@dataclass(frozen=True)
class _Anchored:
    value: Any
    nodes: int
    depth: int


class _Builder:
    """One document from the parser's events; aliases share the value that they name."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self.file = file
        self.events = events
        self.anchors: dict[Any, _Anchored] = {}
        self.nodes = 0
        self.deepest = 0

    def document(self) -> Any:
        """The value of the only document."""
        self._next(yaml.StreamStartEvent)
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            raise CubeError(f"{self.file} is empty: write the cube's tasks into it.")
        value = self._node(next(self.events), 1)
        self._next(yaml.DocumentEndEvent)
        if not isinstance(next(self.events), yaml.StreamEndEvent):
            raise CubeError(f"{self.file} has more than one document: keep one, without `---`.")
        return value

    def _next(self, kind: type[Any]) -> None:
        event = next(self.events)
        if not isinstance(event, kind):
            raise CubeError(f"{self.file}: {kind.__name__} was expected, found {event}.")

    def _refuse(self, event: Any, found: str, fix: str) -> CubeError:
        return CubeError(f"{self.file}:{event.start_mark.line + 1}: {found}: {fix}")

    def _count(self, event: Any, nodes: int, depth: int) -> None:
        self.nodes += nodes
        self.deepest = max(self.deepest, depth)
        if self.nodes > NODE_LIMIT:
            raise self._refuse(event, f"more than {NODE_LIMIT} values, aliases counted", "shorten.")
        if depth > DEPTH_LIMIT:
            raise self._refuse(event, f"nested deeper than {DEPTH_LIMIT} levels", "flatten it.")

    def _node(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            known = self.anchors.get(event.anchor)
            if known is None:
                raise self._refuse(
                    event, f"alias *{event.anchor} stands before its anchor", "move."
                )
            self._count(event, known.nodes, depth + known.depth)
            return known.value
        if event.tag is not None and event.tag != "!":
            raise self._refuse(event, f"the tag {event.tag}", "tags are not read; remove it.")
        before, deepest, self.deepest = self.nodes, self.deepest, depth
        self._count(event, 1, depth)
        value = self._value(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, self.nodes - before, self.deepest - depth)
        self.deepest = max(self.deepest, deepest)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            if _BAD.search(event.value):  # an escape in quotes made one
                raise self._refuse(event, "half a character or a NUL", "remove it.")
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._mapping(depth)

    def _sequence(self, depth: int) -> list[Any]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, "a key that is not a word", "write a plain key.")
            self._count(event, 1, depth)
            value = self._node(next(self.events), depth + 1)
            if event.value == "<<" and event.implicit[0]:
                for part in value if isinstance(value, list) else [value]:
                    if not isinstance(part, dict):
                        raise self._refuse(event, "`<<` merges what is no mapping", "correct it.")
                    self._count(event, len(part), depth)
                    merged = {**part, **merged}
            elif event.value in own:
                raise self._refuse(event, f"the key {event.value!r} stands twice", "keep one.")
            else:
                own[event.value] = value
        return {**merged, **own}


def _scalar(event: Any) -> Any:
    text = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    match = _NUMBER.match(text)
    if match is None:
        return text
    return int(text) if match[2] is None and match[3] is None else float(text)
