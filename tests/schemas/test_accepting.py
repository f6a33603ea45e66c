"""The fast question is jsonschema's: it says yes exactly where jsonschema finds nothing."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medperf.schemas.accepting import acceptor
from medperf.schemas.documents import validator
from medperf.schemas.errors import InvalidDocumentError
from medperf.schemas.generate import schema_file
from medperf.schemas.manifests import KINDS, Manifest
from medperf.schemas.yaml_subset import parse

MANIFESTS = Path(__file__).parent.parent / "fixtures" / "manifests"
ODD: list[Any] = [None, True, False, 0, 1, -1, 1.0, 2.5, 10**12, "", "x", "a\n", "é" * 5000]
ODD += [[], ["x"], ["x", "x"], {}, {"x": "x"}, "con", "sha256:" + "0" * 64, "a/b", "never"]


def values() -> Iterator[Any]:
    """What stands in each fixture, valid or not, as far as it is YAML."""
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        try:
            yield parse(path.read_bytes(), file=path.name).value
        except InvalidDocumentError:
            continue


VALUES = list(values())


def agree(kind: type[Manifest], value: Any) -> None:
    fast = acceptor(schema_file(kind))(value)
    assert fast == (next(validator(kind).iter_errors(value), None) is None)


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_jsonschema_on_every_fixture_taken_for_every_kind(kind: Any) -> None:
    for value in VALUES:
        agree(kind, value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_keyword_of_our_schemas_is_known(kind: Any) -> None:
    accepted = [value for value in VALUES if acceptor(schema_file(kind))(value)]
    assert accepted, f"no valid fixture of {kind.__name__} is accepted: a keyword is unknown"


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        for key, inner in pairs:
            yield value, key
            yield from places(inner)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_it_agrees_on_fixtures_changed_anywhere(data: st.DataObject) -> None:
    value = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
    found = list(places(value))
    if found:
        container, key = found[data.draw(st.integers(0, len(found) - 1))]
        change = data.draw(st.sampled_from(["put", "drop", "add"]))
        if change == "drop":
            del container[key]
        elif change == "add" and isinstance(container, dict):
            container[data.draw(st.sampled_from(["x", "con", "serial"]))] = 1
        else:
            container[key] = data.draw(st.sampled_from(ODD))
    for kind in KINDS:
        agree(kind, value)


def test_an_unknown_keyword_means_that_jsonschema_is_always_asked(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"type": "string", "contentEncoding": "base64"}))
    assert not acceptor(file)("text")
