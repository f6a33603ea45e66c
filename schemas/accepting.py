"""A committed JSON Schema as one fast question: does it accept this value?

`jsonschema` walks a schema anew for each value, which costs ten times the reading of the YAML. So
the schema is turned into functions once. They know the keywords that our generated schemas use
and the two places where our reading is narrower than the standard's (`documents.py`); at any other
keyword there is no fast answer. What is not accepted here, `jsonschema` itself looks at and
explains: a no of this module is never the last word, and tests hold its yes to be jsonschema's.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

Accepts = Callable[[Any], bool]
_SILENT = frozenset({"$schema", "$defs", "title", "description", "default"})


@cache
def acceptor(file: Path) -> Accepts:
    """Whether the JSON Schema in `file` accepts a value; never, where a keyword is unknown here."""
    schema = json.loads(file.read_bytes())
    try:
        return _Compiler(schema.get("$defs", {})).of(schema)
    except LookupError:
        return lambda _: False


class _Compiler:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._compiled: dict[str, Accepts] = {}

    def of(self, schema: Any) -> Accepts:
        """The question for one schema; a LookupError if it has a keyword that is unknown here."""
        if schema is True or schema == {}:
            return lambda _: True
        if schema is False:
            return lambda _: False
        checks = [
            self._keyword(name, wanted, schema)
            for name, wanted in schema.items()
            if name not in _SILENT
        ]
        return _all([check for check in checks if check is not None])

    def _keyword(self, name: str, wanted: Any, schema: Mapping[str, Any]) -> Accepts | None:
        if name == "$ref":
            return self._reference(wanted)
        if name in ("properties", "additionalProperties"):
            # one function for both, made at the first of them
            first = next(key for key in schema if key in ("properties", "additionalProperties"))
            return self._fields(schema) if name == first else None
        if name in ("items", "propertyNames", "not"):
            return _NESTED[name](self.of(wanted))
        if name == "anyOf":
            choices = [self.of(choice) for choice in wanted]
            return lambda value: any(choice(value) for choice in choices)
        return _PLAIN[name](wanted)

    def _reference(self, where: str) -> Accepts:
        name = where.removeprefix("#/$defs/")
        if name not in self._compiled:
            self._compiled[name] = self.of(self._definitions[name])
        return self._compiled[name]

    def _fields(self, schema: Mapping[str, Any]) -> Accepts:
        known = {name: self.of(inner) for name, inner in schema.get("properties", {}).items()}
        other = self.of(schema.get("additionalProperties", True))

        def fields(value: Any) -> bool:
            if type(value) is not dict:
                return True
            for name, item in value.items():  # noqa: SIM110 - a loop costs half of all(...)
                if not known.get(name, other)(item):
                    return False
            return True

        return fields


def _all(checks: list[Accepts]) -> Accepts:
    if len(checks) == 1:
        return checks[0]

    def every(value: Any) -> bool:
        for check in checks:  # noqa: SIM110 - a loop costs half of all(...)
            if not check(value):
                return False
        return True

    return every


def _type(wanted: str) -> Accepts:
    types = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "boolean": (bool,),
        "integer": (int,),
        "number": (int, float),
    }[wanted]
    return lambda value: type(value) in types  # a bool's type is not int, and 1.0 is no integer


def _pattern(wanted: str) -> Accepts:
    # Python's `$` also matches before a last newline; JSON Schema's does not.
    search = re.compile(re.sub(r"\$\Z", r"\\Z", wanted)).search
    return lambda value: type(value) is not str or search(value) is not None


def _equal_to(*wanted: Any) -> Accepts:
    if not all(type(one) is str for one in wanted):
        raise LookupError("only texts are compared here")
    return lambda value: type(value) is str and value in wanted


def _required(wanted: list[str]) -> Accepts:
    return lambda value: type(value) is not dict or all(name in value for name in wanted)


def _unique(wanted: bool) -> Accepts:
    def unique(value: Any) -> bool:
        return type(value) is not list or all(one not in value[:at] for at, one in enumerate(value))

    return unique if wanted else lambda _: True


def _sized(kind: type[Any], least: bool) -> Callable[[int], Accepts]:
    def sized(wanted: int) -> Accepts:
        if least:
            return lambda value: type(value) is not kind or len(value) >= wanted
        return lambda value: type(value) is not kind or len(value) <= wanted

    return sized


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


_PLAIN: dict[str, Callable[[Any], Accepts]] = {
    "type": _type,
    "pattern": _pattern,
    "const": _equal_to,
    "enum": lambda wanted: _equal_to(*wanted),
    "required": _required,
    "uniqueItems": _unique,
    "minLength": _sized(str, True),
    "maxLength": _sized(str, False),
    "minItems": _sized(list, True),
    "maxItems": _sized(list, False),
    "minProperties": _sized(dict, True),
    "maxProperties": _sized(dict, False),
    "minimum": lambda wanted: lambda value: not _is_number(value) or value >= wanted,
    "maximum": lambda wanted: lambda value: not _is_number(value) or value <= wanted,
}
_NESTED: dict[str, Callable[[Accepts], Accepts]] = {
    "items": lambda inner: lambda value: type(value) is not list or all(map(inner, value)),
    "propertyNames": lambda inner: lambda value: type(value) is not dict or all(map(inner, value)),
    "not": lambda inner: lambda value: not inner(value),
}
