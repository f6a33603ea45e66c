"""Reading the file that an evaluator (or a statistics task) wrote: a stranger's text."""

import json
import re
from math import nan
from typing import Any

import yaml

from .errors import InvalidDocumentError, WithheldError
from .yaml_events import Builder, event_stream, is_too_deep
from .yaml_text import DEPTH, MOST_DIGITS

FILE_LIMIT = 16 * 1024


def parse_evaluator_file(data: bytes) -> object:
    """The values of an evaluator's (or preparator's) YAML or JSON file, as they were found.

    Stricter than YAML (no tags, anchors, aliases, duplicate keys; 16 levels, 16 KiB), and as
    tolerant as what evaluators write needs: `.nan`, `NaN`, `1.0e-05`, quoted keys, JSON with tabs.
    """
    if len(data) > FILE_LIMIT:
        raise WithheldError([f"the file is {len(data)} bytes long, over {FILE_LIMIT}"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WithheldError(["the file is not UTF-8 text"]) from error
    if text.lstrip().startswith("{"):
        try:
            return _json(text)
        except (json.JSONDecodeError, RecursionError):
            pass  # flow style looks like JSON and is not: read it as YAML
    try:
        return _EvaluatorBuilder("the file").build(event_stream(text.encode()))
    except InvalidDocumentError as error:
        problem = error.problems[0]
        where = f"line {problem.line}" if problem.line else "the file"
        raise WithheldError([f"{where}: {problem.found.rstrip('.')}"]) from error
    except yaml.YAMLError as error:
        deep = f"a level deeper than {DEPTH} stands in the file"
        raise WithheldError([deep if is_too_deep(error) else "the file is not YAML"]) from error


def _json(text: str) -> object:
    return json.loads(
        text,
        object_pairs_hook=_unrepeated,
        parse_int=_whole,
        parse_constant=_words,
    )


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise WithheldError(["a key stands twice in one mapping"])
    return mapping


_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_WHOLE = re.compile(r"[-+]?[0-9]+\Z")
_PLAIN: dict[str, bool | float | None] = {
    "": None,
    "~": None,
    "null": None,
    ".nan": nan,
    "nan": nan,
}
_PLAIN |= {"true": True, "false": False, "-.inf": -float("inf"), "-infinity": -float("inf")}
_PLAIN |= {".inf": float("inf"), "+.inf": float("inf"), "infinity": float("inf")}


class _EvaluatorBuilder(Builder):
    """Plain scalars as evaluators' tools write them; everything else as strict as a manifest."""

    def __init__(self, file: str) -> None:
        super().__init__(file, check_scalars=False)

    def _scalar(self, event: Any) -> Any:
        self._no_node_properties(event)
        return event.value if event.style else _words(event.value)


def _words(text: str) -> Any:
    if text.lower() in _PLAIN:
        return _PLAIN[text.lower()]
    if _WHOLE.match(text):
        return _whole(text)
    return float(text) if _FLOAT.match(text) else text


def _whole(text: str) -> int | float:
    """A whole number; a float, which no range holds, for one too long to be meant."""
    return int(text) if len(text) <= MOST_DIGITS else float(text)
