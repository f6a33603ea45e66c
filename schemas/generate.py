"""Writes the JSON Schemas (2020-12) of all kinds, generated from the models, beside this module.

    python -m medperf.schemas.generate [--check]

`--check` writes nothing and fails if a file is not as it would be written. pydantic's own output is
tidied so that the schema says the same as the model: an optional field is absent, never null; a
mapping's keys are checked by `propertyNames`; a list's length is `minItems`, not `minLength`.
"""

import argparse
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from .manifests import KINDS

FOLDER = Path(__file__).parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_file(kind: type[Any]) -> Path:
    """Where the JSON Schema of this kind stands: BenchmarkSettings → benchmark-settings.json."""
    return FOLDER / _file_name(kind.__name__)


@cache
def _file_name(kind: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind).lower() + ".json"


def schema_of(kind: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a kind, tidied."""
    raw = kind.model_json_schema(by_alias=True)
    tidy: dict[str, Any] = {"$schema": DIALECT, "title": kind.__name__}
    tidy.update((key, _tidy(value, key)) for key, value in raw.items() if key != "title")
    return tidy


def schema_bytes(kind: type[Any]) -> bytes:
    """The JSON Schema of a kind as it is committed."""
    return (json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n").encode()


def _tidy(value: Any, under: str) -> Any:
    if isinstance(value, list):
        return [_tidy(item, "") for item in value]
    if not isinstance(value, dict):
        return value
    if under in ("properties", "$defs"):  # here keys are names, not keywords
        return {name: _tidy(item, "") for name, item in value.items()}
    schema = {key: _tidy(item, key) for key, item in value.items() if key != "title"}
    if schema.get("default", ...) is None:
        del schema["default"]
    return _one_of_two(_lengths(_keys(schema)))


def _keys(schema: dict[str, Any]) -> dict[str, Any]:
    """Keys outside the one pattern are errors, not free: `propertyNames` says so."""
    patterns = schema.pop("patternProperties", None)
    if patterns:
        [(pattern, values)] = patterns.items()
        schema["propertyNames"] = {"pattern": pattern, **schema.get("propertyNames", {})}
        schema["additionalProperties"] = values
    return schema


def _lengths(schema: dict[str, Any]) -> dict[str, Any]:
    names = {"minLength": "minItems", "maxLength": "maxItems"}
    if schema.get("type") == "array":
        return {names.get(key, key): value for key, value in schema.items()}
    return schema


def _one_of_two(schema: dict[str, Any]) -> dict[str, Any]:
    """No null for an optional field, and one `number` for int | float."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if choices == [{"type": "integer"}, {"type": "number"}]:
        choices = [{"type": "number"}]
    if len(choices) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**choices[0], **rest}
    if choices:
        schema["anyOf"] = choices
    return schema


def stale() -> list[type[Any]]:
    """The kinds whose schema file is missing or not as it would be written now."""
    return [
        kind
        for kind in KINDS
        if not schema_file(kind).is_file() or schema_file(kind).read_bytes() != schema_bytes(kind)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the schemas, or with --check say which are not in step."""
    parser = argparse.ArgumentParser(prog="python -m medperf.schemas.generate")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if out of step")
    check = parser.parse_args(arguments).check
    outdated = stale()
    for kind in outdated:
        path = schema_file(kind)
        sys.stderr.write(f"{path.name} {'is not in step' if check else 'written'}\n")
        if not check:
            path.write_bytes(schema_bytes(kind))
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
