"""Changing a document in place, so that people's comments and order survive.

Only the three kinds that carry a serial are ever edited (design §3). What comes out is read again
as any document is: an edit that would break the form, or change more than was asked for, raises.
"""

import io
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ..schemas.documents import load
from ..schemas.errors import InvalidDocumentError, Problem

Edit = Callable[[dict[str, Any]], None]
_ITEM_UNDER_KEY = re.compile(rb"^( *)[^ \n].*:\n( *)- ", re.MULTILINE)
_KEY_UNDER_KEY = re.compile(rb"^[a-z]+:\n( +)[^ -]", re.MULTILINE)


def edit(data: bytes, change: Edit, *, file: str) -> bytes:
    """The document with its serial raised by one and `change` made to its content."""
    wanted = deepcopy(load(data, file=file).parsed.value)
    _raise_serial(wanted)
    change(wanted)

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    offset = _item_indent(data)
    yaml.indent(mapping=_key_indent(data), sequence=offset + 2, offset=offset)
    try:
        content = yaml.load(data)
        _raise_serial(content)
        change(content)
        out = io.BytesIO()
        yaml.dump(content, out)
    except YAMLError as error:
        found = "cannot be edited in place."
        fix = "Edit it by hand and raise its serial by one."
        raise InvalidDocumentError([Problem(file, None, "", found, fix)]) from error
    edited = out.getvalue()
    if load(edited, file=file).parsed.value != wanted:
        found = "would change elsewhere too if it were edited in place."
        fix = "Edit it by hand and raise its serial by one."
        raise InvalidDocumentError([Problem(file, None, "", found, fix)])
    return edited


def _raise_serial(content: dict[str, Any]) -> None:
    content["spec"]["serial"] += 1


def _item_indent(data: bytes) -> int:
    """By how much this document indents the items of a list below their key."""
    match = _ITEM_UNDER_KEY.search(data)
    return max(0, len(match[2]) - len(match[1])) if match else 2


def _key_indent(data: bytes) -> int:
    """By how much this document indents the fields of a field."""
    match = _KEY_UNDER_KEY.search(data)
    return len(match[1]) if match else 2
