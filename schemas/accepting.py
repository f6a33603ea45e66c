"""A committed JSON Schema as one fast question: does it accept this value?

`jsonschema` walks a schema anew for each value, which costs ten times the reading of the YAML;
`jsonschema-rs` compiles it once. What it does not accept, `jsonschema` itself looks at and
explains: a no of this module is never the last word. Its yes is the standard's, which in one place
is wider than ours (1.0 is an integer there, see `documents.py`), where the models say no.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .generate import schema_file

Accepts = Callable[[Any], bool]


_made: dict[type[Any], Accepts] = {}


def acceptor(kind: type[Any]) -> Accepts:
    """Whether the JSON Schema of this kind accepts a value."""
    if kind not in _made:
        _made[kind] = _make(schema_file(kind))
    return _made[kind]


def _make(file: Path) -> Accepts:
    import jsonschema_rs

    is_valid = jsonschema_rs.validator_for(file.read_text("utf-8")).is_valid

    def accepts(value: Any) -> bool:
        try:
            return is_valid(value)
        except ValueError:  # what has no JSON, such as a lone surrogate
            return False

    return accepts
