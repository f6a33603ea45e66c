"""Writing the YAML subset: block style, keys in the order given, embedded files byte-exact."""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from .errors import InvalidDocumentError
from .yaml_text import (
    DEPTH,
    LONGEST_KEY,
    LONGEST_NUMBER,
    MOST_DIGITS,
    Path,
    bad_character,
    field_name,
    problem_at,
    shown,
)

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
    found = bad_character(text)
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
    return problem_at("new document", None, path, f"{what} cannot be written.", fix)
