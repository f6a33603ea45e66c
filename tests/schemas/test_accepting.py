"""The fast question is jsonschema's: both together with the models accept the same values."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medperf.schemas.accepting import acceptor
from medperf.schemas.documents import validator
from medperf.schemas.errors import InvalidDocumentError
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
    slow = next(validator(kind).iter_errors(value), None) is None
    fast = acceptor(kind)(value)
    if fast != slow:  # a whole number written as 1.0: no by jsonschema as we set it, and the model
        assert fast
        with pytest.raises(ValidationError):
            kind.model_validate(value, by_alias=True, by_name=False)


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_jsonschema_on_every_fixture_taken_for_every_kind(kind: Any) -> None:
    for value in VALUES:
        agree(kind, value)


@pytest.mark.parametrize("kind", KINDS)
def test_it_accepts_something_of_every_kind(kind: Any) -> None:
    assert any(acceptor(kind)(value) for value in VALUES)


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


@pytest.mark.parametrize("value", [10**400, "\ud800", {1: "x"}, {"x": {1, 2}}, float("nan")])
def test_what_has_no_json_is_not_accepted(value: Any) -> None:
    assert not any(acceptor(kind)(value) for kind in KINDS)
    assert not any(acceptor(kind)({"kind": value}) for kind in KINDS)
