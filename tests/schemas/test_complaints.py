"""Two validators' complaints become one a place, also where only one of them sees something."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from medperf.schemas import documents
from medperf.schemas.complaints import Complaint, merged
from medperf.schemas.manifests import Registry
from medperf.schemas.yaml_subset import field_name, shown


class Stricter(BaseModel):
    """A model that refuses what no schema knows of."""

    model_config = ConfigDict(strict=True)

    names: list[str]
    count: int | str

    @field_validator("names")
    @classmethod
    def no_bob(cls, names: list[str]) -> list[str]:
        if "bob" in names:
            raise ValueError("bob has left")
        return names


def complaints_of(value: Any) -> list[Complaint]:
    with pytest.raises(ValidationError) as caught:
        Stricter.model_validate(value)
    return merged([], list(caught.value.errors(include_url=False)), value)


def test_what_only_the_model_refuses_is_reported_at_its_place() -> None:
    assert complaints_of({"names": ["bob"], "count": 1}) == [
        Complaint(("names",), "bob has left.", "")
    ]
    [found] = complaints_of({"names": ["al", 2], "count": 1})
    assert (found.path, found.found) == (("names", 1), "input should be a valid string.")


def test_the_names_of_a_unions_branches_are_no_part_of_the_place() -> None:
    assert {found.path for found in complaints_of({"names": [], "count": 1.5})} == {("count",)}


def test_a_place_that_both_complain_of_is_reported_once() -> None:
    value: Any = {
        "apiVersion": "medperf/v1alpha1",
        "kind": "Registry",
        "metadata": 1,
        "spec": {"id": 2},
    }
    with pytest.raises(ValidationError) as caught:
        Registry.model_validate(value, by_alias=True, by_name=False)
    errors = list(documents.validator(Registry).iter_errors(value))
    found = merged(errors, list(caught.value.errors()), value)
    places = [field_name(one.path) for one in found]
    assert sorted(places) == ["metadata", "spec.admins", "spec.approval", "spec.id", "spec.serial"]


def test_what_is_shown_is_short_and_harmless_in_a_terminal() -> None:
    for value in ("\x1b[31m" * 100, ["x" * 1000], "\u202e", {"a": "\n" * 500}):
        text = shown(value)
        assert len(text) <= 61
        assert text.isprintable()
