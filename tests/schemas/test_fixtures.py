"""Every fixture manifest: both validators agree, and a bad one is told where and what to write.

A bad one's first line says what is expected: `# line N, <field>: <part of the message>`. Its name
says who refuses it: `yaml-…` the YAML subset, `meaning-…` the rules over two fields, any other both
validators of its form.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medperf.schemas import documents
from medperf.schemas.complaints import null_complaints
from medperf.schemas.errors import InvalidDocumentError
from medperf.schemas.generate import schema_file
from medperf.schemas.manifests import KINDS, BenchmarkSettings, Settings
from medperf.schemas.yaml_subset import parse

FOLDER = Path(__file__).parent.parent / "fixtures" / "manifests"
VALID = sorted((FOLDER / "valid").rglob("*.yaml"))
INVALID = sorted((FOLDER / "invalid").rglob("*.yaml"))
CLASSES = {schema_file(kind).stem: kind for kind in KINDS}


def of_form_by_each(path: Path) -> tuple[bool, bool]:
    """Whether pydantic and whether jsonschema accepts the form of a fixture."""
    value = parse(path.read_bytes(), file=path.name).value
    return accepted(CLASSES[path.parent.name], value)


def accepted(kind: type[Any], value: Any) -> tuple[bool, bool]:
    """Whether pydantic and whether jsonschema accepts this value."""
    by_schema = documents.validator(kind).is_valid(value)
    try:
        kind.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return False, by_schema
    return not list(null_complaints(value)), by_schema


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_each_kind_has_three_valid_and_five_invalid_fixtures() -> None:
    for folder in CLASSES:
        assert sum(path.parent.name == folder for path in VALID) >= 3, folder
        assert sum(path.parent.name == folder for path in INVALID) >= 5, folder


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_fixture_is_accepted_and_written_back_with_the_same_meaning(path: Path) -> None:
    assert of_form_by_each(path) == (True, True)
    document = documents.load(path.read_bytes(), file=path.name)
    assert type(document.manifest) is CLASSES[path.parent.name]
    again = documents.load(documents.dump(document.manifest), file="again.yaml")
    assert again.manifest == document.manifest
    assert again.parsed.value == document.parsed.value


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_fixture_is_refused_with_file_line_field_and_what_to_write(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = re.match(r"# line (\d+), (\S*): (.+)\n", text)
    assert expected is not None
    with pytest.raises(InvalidDocumentError) as caught:
        documents.load(path.read_bytes(), file=f"there/{path.name}")
    [problem] = caught.value.problems
    assert (problem.file, problem.field) == (f"there/{path.name}", expected[2])
    assert problem.line == int(expected[1])
    assert expected[3] in f"{problem.found} {problem.fix}"
    assert problem.found.endswith(".")
    assert problem.fix.endswith((".", "?"))


@pytest.mark.parametrize(
    "path", [path for path in INVALID if not path.stem.startswith("yaml-")], ids=name
)
def test_both_validators_agree_on_the_form_of_an_invalid_fixture(path: Path) -> None:
    meant_by_form = not path.stem.startswith("meaning-")
    assert of_form_by_each(path) == (not meant_by_form, not meant_by_form)


def test_settings_of_a_benchmark_are_told_from_those_of_a_cube() -> None:
    assert CLASSES["settings"] is Settings
    assert CLASSES["benchmark-settings"] is BenchmarkSettings


PIECES: list[object] = [
    *(None, True, False, 0, 1, -1, 3, 1.0, 0.5, -0.0, 10**17, 1e300, "", "a", "A", "con", "a\n"),
    *("never", "docker", "passed", "number", "x" * 5000, "é", "https://h/x", "file:///x", "1Gi"),
    *("sha256:" + "a" * 64, "sha256:" + "a" * 64 + "\n", "a" * 64, "a" * 40, "a/b", "2026-11-21"),
    *([], [[]], ["a"], ["a", "a"], [1], {}, {"a": "x"}, {"a": 1}, {"A": 1}, {"a\n": 1}, {"": 1}),
    *({"a/b": 1}, {"infer": 5}, {"infer": 1.0}, {"sha256:" + "a" * 64: ["https://h/x"]}),
]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value below the top."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = []
    for key, item in items:
        found += [(*path, key), *places(item, (*path, key))]
    return found


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_both_validators_agree_on_a_manifest_that_was_changed_anywhere(
    path: Path, data: st.DataObject
) -> None:
    value = parse(path.read_bytes(), file=path.name).value
    *way, last = data.draw(st.sampled_from(places(value)))
    place = value
    for key in way:
        place = place[key]
    if data.draw(st.booleans()):
        place[last] = data.draw(st.sampled_from(PIECES))
    elif isinstance(place, dict) and data.draw(st.booleans()):
        place[data.draw(st.sampled_from(["a", "A", "con", "a\n", "labels", "x" * 70]))] = place[
            last
        ]
    else:
        del place[last]
    by_model, by_schema = accepted(CLASSES[path.parent.name], value)
    assert by_model == by_schema
