"""Manifests from bytes to checked models, and back.

`load` goes on only while nothing is wrong: size → YAML subset → kind → jsonschema and pydantic,
both of which must accept → meaning (rules over two fields or more). Each stage reports all that it
finds, a problem a place, with file, line and field. The two validators stand side by side because
their edges differ; the schemas say in any language what the models say in Python.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from . import complaints, meaning
from .accepting import acceptor
from .complaints import Complaint
from .digests import digest
from .errors import InvalidDocumentError, Problem
from .generate import schema_file
from .manifests import (
    API_VERSION,
    KINDS,
    MANIFEST_LIMIT,
    RESULT_LIMIT,
    BenchmarkSettings,
    Manifest,
    Result,
    Settings,
)
from .names import nearest
from .yaml_subset import Parsed, field_name, parse, shown
from .yaml_subset import dump as dump_value

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

M = TypeVar("M", bound=BaseModel)
_BY_NAME: dict[str, type[Any]] = {kind.__name__: kind for kind in KINDS}
_KINDS = {kind.__name__: kind for kind in KINDS if kind is not BenchmarkSettings}
_ONLY_BENCHMARK_SETTINGS = frozenset({"active", "committee", "approve", "priorities"})
_TOP = ("apiVersion", "kind", "metadata", "spec")


@dataclass(frozen=True)
class Known:
    """A manifest that was checked, now or before, with the bytes that it was read from."""

    file: str
    data: bytes
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """The digest of the bytes: what pins name and statements sign."""
        return digest(self.data)


@dataclass(frozen=True)
class Document(Known):
    """A manifest that was checked just now, with its plain value."""

    parsed: Parsed


MOST_PROBLEMS = 100
"""What is told of one document: a stranger's may have thousands, and many documents."""


def load(data: bytes, *, file: str) -> Document:
    """The document in `data`; an InvalidDocumentError lists everything that is wrong with it."""
    parsed = parse(data, file=file, limit=MANIFEST_LIMIT)
    kind = _kind_of(parsed, file)
    if kind is Result and len(data) > RESULT_LIMIT:
        found = f"is {len(data)} bytes long."
        fix = f"At most {RESULT_LIMIT} bytes are allowed in a result."
        raise InvalidDocumentError([Problem(file, None, "", found, fix)])
    manifest = _of_form(kind, parsed, file)
    _refuse(meaning.complaints(manifest), parsed, file)
    return Document(file, data, manifest, parsed)


def get_ready() -> None:
    """Make both validators of each kind now, while there is time, and not with the first."""
    for kind in KINDS:
        kind.model_rebuild()
        acceptor(kind)


def remembered(kind: str, value: str) -> Manifest:
    """The manifest of a document that `load` has checked: its kind's name, its value as JSON."""
    manifest: Manifest = _BY_NAME[kind].model_validate_json(value, by_alias=True, by_name=False)
    return manifest


def load_as(data: bytes, kind: type[M], *, file: str) -> M:
    """The manifest in `data`, which must be of this kind."""
    manifest = load(data, file=file).manifest
    if not isinstance(manifest, kind):
        found = f"is a manifest of kind {type(manifest).__name__}."
        fix = f"A manifest of kind {kind.__name__} belongs here."
        raise InvalidDocumentError([Problem(file, None, "kind", found, fix)])
    return manifest


def dump(manifest: BaseModel | Mapping[str, Any]) -> bytes:
    """A manifest as the bytes to be committed: block style, nothing that is None.

    A model is written in its own order; a mapping in the order given, but for the four top fields.
    Decimals keep their digits, so whoever writes a result hands its metrics over as Decimals.
    """
    content: Any = manifest
    if isinstance(manifest, BaseModel):
        content = manifest.model_dump(by_alias=True)
    content = _without_none(content)
    first = {key: content[key] for key in _TOP if key in content}
    return dump_value({**first, **content})


def _without_none(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True)
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def _kind_of(parsed: Parsed, file: str) -> type[Any]:
    """The class that a document says it is."""
    value = parsed.value
    found: list[Complaint] = []
    kind: type[Any] | None = None
    if not isinstance(value, dict):
        fix = "Write fields: apiVersion, kind, spec."
        raise InvalidDocumentError([Problem(file, 1, "", "is not a mapping.", fix)])
    version, name = value.get("apiVersion"), value.get("kind")
    if version != API_VERSION:
        said = "is missing." if version is None else f"is {shown(version)}."
        found.append(Complaint(("apiVersion",), said, f"Write {API_VERSION}."))
    if isinstance(name, str) and name in _KINDS:
        kind = _KINDS[name]
    else:
        close = nearest(name, _KINDS, most=1) if isinstance(name, str) else []
        said = "is missing." if name is None else f"is {shown(name)}."
        fix = f"Did you mean {close[0]}?" if close else f"Write one of {', '.join(_KINDS)}."
        found.append(Complaint(("kind",), said, fix))
    _refuse(found, parsed, file)
    assert kind is not None  # noqa: S101 - an unknown kind was refused just now
    spec = value.get("spec")
    if kind is Settings and isinstance(spec, dict) and _ONLY_BENCHMARK_SETTINGS & spec.keys():
        return BenchmarkSettings
    return kind


def _of_form(kind: type[Any], parsed: Parsed, file: str) -> Manifest:
    """The manifest, if both validators accept it."""
    value = parsed.value
    if b"null" in parsed.data and complaints.has_null(value):
        _refuse(complaints.null_complaints(value), parsed, file)
    from_model: list[Any] = []
    manifest: Any = None
    try:
        manifest = kind.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        from_model = list(error.errors(include_url=False))
    accepted = not from_model and acceptor(kind)(value)
    from_schema = [] if accepted else list(validator(kind).iter_errors(value))
    if from_model or from_schema:
        _refuse(complaints.merged(from_schema, from_model, value), parsed, file)
    checked: Manifest = manifest
    return checked


def _refuse(found: Iterable[Complaint], parsed: Parsed, file: str) -> None:
    problems = [
        Problem(file, parsed.line(one.path), field_name(one.path), one.found, one.fix)
        for one in found
    ]
    if problems:
        problems.sort(key=lambda problem: problem.line or 0)
        more = len(problems) - MOST_PROBLEMS
        if more > 0:
            told = f"has {more} more problems."
            problems[MOST_PROBLEMS:] = [Problem(file, None, "", told, "Mend these first.")]
        raise InvalidDocumentError(problems)


def validator(kind: type[BaseModel]) -> "Validator":
    """The jsonschema validator of a kind, built once from the committed file."""
    return _validator(schema_file(kind))


@cache
def _validator(file: Path) -> "Validator":
    import jsonschema
    from jsonschema.validators import extend

    def pattern(_: Any, wanted: str, text: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
        if isinstance(text, str) and not _compiled(wanted).search(text):
            yield jsonschema.ValidationError(f"{text!r} does not match {wanted!r}")

    def is_integer(_: Any, number: object) -> bool:
        # JSON Schema counts 1.0 among the integers; the models do not.
        return isinstance(number, int) and not isinstance(number, bool)

    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", is_integer)
    strict = extend(base, {"pattern": pattern}, type_checker=checker)  # type: ignore[no-untyped-call]
    built: Validator = strict(json.loads(file.read_bytes()))
    return built


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Python's `$` also matches before a last newline; JSON Schema's and pydantic's does not.
    return re.compile(re.sub(r"\$\Z", r"\\Z", pattern))
