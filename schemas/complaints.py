"""What two validators complain about, merged into one problem a place and said in plain words.

jsonschema's errors come first, because they carry the rule that was broken; pydantic's are added
where jsonschema saw nothing. The reader learns the field, what was found there and what to write.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import StringConstraints

from . import manifests
from .names import NAME_PATTERN, nearest
from .yaml_subset import Path, shown

if TYPE_CHECKING:
    from jsonschema import ValidationError


@dataclass(frozen=True)
class Complaint:
    """One thing wrong at one place of a document, before file and line are known."""

    path: Path
    found: str
    fix: str


def _pattern(annotated: Any) -> str:
    found = [item.pattern for item in get_args(annotated) if isinstance(item, StringConstraints)]
    return str(found[0])


_WORDS = {
    NAME_PATTERN: "a name: lower-case letters, digits and inner hyphens, at most 63 characters",
    _pattern(manifests.Ref): "owner/name",
    _pattern(manifests.Digest): "sha256: and 64 hex digits",
    _pattern(manifests.Hex64): "64 hex digits",
    _pattern(manifests.Commit): "a commit: 40 hex digits",
    _pattern(manifests.RegistryId): "the registry's id, a uuid4 in lower case",
    _pattern(manifests.Line): "a text of one line",
    _pattern(manifests.Url): "an address that begins with https:// (or file:///), without spaces",
    _pattern(manifests.PublicKey): "an Ed25519 key without its comment: ssh-ed25519 AAAA…",
    _pattern(manifests.Bytes): "a size such as 512Mi or 4Gi",
    _pattern(manifests.Day): "a day such as 2026-11-21",
    _pattern(manifests.Version): "a version such as 0.1.0",
    manifests.FORGE_PATTERN: "a login of letters, digits and hyphens",
    manifests.IMAGE_PATTERN: "an image by content: name@sha256:<64 hex digits>",
    manifests.PLATFORM_PATTERN: "a platform such as linux/amd64",
}
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def has_null(value: Any) -> bool:
    """Whether there is a null anywhere: the quick question before `null_complaints`."""
    if type(value) is dict:
        return any(map(has_null, value.values()))
    if type(value) is list:
        return any(map(has_null, value))
    return value is None


def null_complaints(value: Any, path: Path = ()) -> Iterator[Complaint]:
    """Every null: no field takes one, an optional field is left out."""
    if value is None:
        yield Complaint(path, "is null.", "Write a value or leave the field out.")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from null_complaints(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from null_complaints(item, (*path, at))


def merged(
    from_schema: Iterable["ValidationError"], from_model: Sequence[Any], value: Any
) -> list[Complaint]:
    """One complaint a place, in the order of the document's places."""
    complaints = {
        complaint.path: complaint for error in from_schema for complaint in _by_schema(error)
    }
    for error in from_model:
        path = _path_in(value, error["loc"])
        if not any(path[: len(seen)] == seen or seen[: len(path)] == path for seen in complaints):
            complaints[path] = _by_model(path, error)
    return _without_echoes(list(complaints.values()))


def _without_echoes(complaints: list[Complaint]) -> list[Complaint]:
    """A misspelt field is one mistake: not also a missing one."""
    meant = {
        (*complaint.path[:-1], complaint.fix.removeprefix("Did you mean ").removesuffix("?"))
        for complaint in complaints
        if complaint.fix.startswith("Did you mean ")
    }
    return [
        complaint
        for complaint in complaints
        if complaint.path not in meant or complaint.found != "is missing."
    ]


def _by_schema(error: "ValidationError") -> Iterator[Complaint]:
    path: Path = tuple(error.absolute_path)
    rule, schema = error.validator, _of(error)
    wanted: Any = error.validator_value
    found: Any = error.instance
    is_key = "propertyNames" in list(error.absolute_schema_path)[-2:]
    if is_key:
        words = _wanted(schema) if rule != "not" else "another name: Windows keeps this one"
        yield Complaint((*path, str(found)), "is not a key that may stand here.", f"Write {words}.")
    elif rule == "additionalProperties":
        known = schema.get("properties", {})
        for key in found:
            if key not in known:
                yield Complaint((*path, key), "is not a field here.", _meant(key, known))
    elif rule == "required":
        for key in wanted:
            if key not in found:
                what = _wanted(schema.get("properties", {}).get(key, {}))
                yield Complaint((*path, key), "is missing.", f"Add it: {what}.")
    elif rule == "anyOf":
        yield from _by_choice(error, path)
    elif rule == "not":
        yield Complaint(path, f"is {shown(found)}.", "Windows keeps this name: use another.")
    elif rule == "uniqueItems":
        yield Complaint(path, "has the same item twice.", "List each once.")
    elif rule in ("minItems", "minProperties"):
        yield Complaint(path, f"has {len(found)} items.", f"Write at least {wanted}.")
    elif rule in ("maxItems", "maxProperties"):
        yield Complaint(path, f"has {len(found)} items.", f"Write at most {wanted}.")
    elif rule == "minLength":
        yield Complaint(path, f"is {shown(found)}.", f"Write at least {wanted} character(s).")
    elif rule == "maxLength":
        yield Complaint(path, f"has {len(found)} characters.", f"Write at most {wanted}.")
    elif rule == "minimum":
        yield Complaint(path, f"is {shown(found)}.", f"Write {wanted} or more.")
    elif rule == "maximum":
        yield Complaint(path, f"is {shown(found)}.", f"Write {wanted} or less.")
    else:
        yield Complaint(path, f"is {_seen(found)}.", f"Write {_wanted(schema)}.")


def _of(error: "ValidationError") -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _by_choice(error: "ValidationError", path: Path) -> Iterator[Complaint]:
    """An anyOf: complain about the list's items if a list was meant, else name the choices."""
    if isinstance(error.instance, list):
        inner = [one for one in error.context or () if one.validator not in ("type", "enum")]
        if inner:
            for one in inner:
                yield from _by_schema(one)
            return
    offered: Any = error.validator_value
    choices = " or ".join(_wanted(choice) for choice in offered)
    yield Complaint(path, f"is {_seen(error.instance)}.", f"Write {choices}.")


def _meant(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = nearest(key, names, most=1)
    if not close:
        close = [name for name in names if name.lower() == key.lower().replace("_", "")]
    if close:
        return f"Did you mean {close[0]}?"
    return f"Take it out; the fields here are {', '.join(names)}."


def _wanted(schema: dict[str, Any]) -> str:
    """What may be written, in words."""
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        *most, last = [str(item) for item in schema["enum"]]
        return f"{', '.join(most)} or {last}" if most else last
    if schema.get("pattern") in _WORDS:
        return _WORDS[schema["pattern"]]
    return _TYPES.get(str(schema.get("type", "object")), "a value of another form")


def _seen(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"the text {shown(value)}" if isinstance(value, str) else f"the number {shown(value)}"


def _path_in(value: Any, location: Sequence[str | int]) -> Path:
    """As much of pydantic's location as is a path in the document (it adds names of unions)."""
    path: list[str | int] = []
    for part in location:
        items = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(items, dict) or part not in items:
            break
        value = items[part]
        path.append(part)
    return tuple(path)


def _by_model(path: Path, error: Any) -> Complaint:
    if error["type"] == "value_error":
        return Complaint(path, f"{error['ctx']['error']}.", "")
    return Complaint(path, f"{error['msg'][:1].lower()}{error['msg'][1:]}.", "")
