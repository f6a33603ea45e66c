"""Documents from bytes to models: each stage, what it says, and how a manifest is written."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from medperf.schemas import documents
from medperf.schemas.digests import digest
from medperf.schemas.errors import InvalidDocumentError
from medperf.schemas.manifests import (
    MANIFEST_LIMIT,
    RESULT_LIMIT,
    Association,
    BenchmarkSettings,
    Cube,
    Manifest,
    Owner,
    Registry,
    Result,
)
from medperf.schemas.yaml_subset import dump as dump_value
from medperf.schemas.yaml_subset import parse

TESTS = Path(__file__).parent.parent
VALID = TESTS / "fixtures" / "manifests" / "valid"
RESULT = (TESTS / "vectors" / "4ec7aeb55ce722e4.yaml").read_bytes()

EARLIER = {"metric": "a", "reason": "complement"}
LATER = {"metric": "b", "reason": "complement"}


def said(data: bytes) -> list[str]:
    with pytest.raises(InvalidDocumentError) as caught:
        documents.load(data, file="f.yaml")
    return [str(problem) for problem in caught.value.problems]


def edited(kind: str, **changes: Any) -> bytes:
    """The usual fixture of a kind with fields replaced: `spec__admins__threshold=2`."""
    value = parse((VALID / kind / "usual.yaml").read_bytes(), file="f").value
    for path, change in changes.items():
        *most, last = path.split("__")
        place = value
        for key in most:
            place = place[int(key) if isinstance(place, list) else key]
        if change is ...:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = change
    return dump_value(value)


def test_a_document_knows_its_file_bytes_digest_manifest_and_lines() -> None:
    document = documents.load(RESULT, file="results/x.yaml")
    assert document.file == "results/x.yaml"
    assert document.data == RESULT
    assert document.digest == digest(RESULT)
    assert isinstance(document.manifest, Result)
    assert document.manifest.spec.metrics == {"auc-cardiomegaly": 0.88, "auc-edema": 0.913}
    assert document.parsed.line(("spec", "metrics", "auc-edema")) == 36


def test_load_as_gives_the_kind_that_is_asked_for_or_says_what_it_found() -> None:
    data = (VALID / "owner" / "usual.yaml").read_bytes()
    assert documents.load_as(data, Owner, file="owners/hospital.yaml").metadata.name == "hospital"
    with pytest.raises(InvalidDocumentError, match="is a manifest of kind Owner"):
        documents.load_as(data, Registry, file="registry.yaml")


def test_every_problem_of_one_stage_is_reported_once_and_in_order() -> None:
    data = RESULT.replace(b"runKey:", b"run_key:").replace(b"k: 10", b"k: 2.0")
    data = data.replace(b"partial: false", b"partial: no").replace(b"day: 2026", b"day: 26")
    assert said(data) == [
        "f.yaml:4: spec.run_key: is not a field here. Did you mean runKey?",
        "f.yaml:26: spec.run.partial: is the text 'no'. Write true or false.",
        "f.yaml:27: spec.run.day: is the text '26-11-21'. Write a day such as 2026-11-21.",
        "f.yaml:29: spec.disclosure.k: is the number 2.0. Write a whole number.",
    ]


def test_no_message_has_the_validators_own_words() -> None:
    for path in (TESTS / "fixtures" / "manifests" / "invalid").rglob("*.yaml"):
        for line in said(path.read_bytes()):
            for jargon in ("Input", "pydantic", "schema", "regex", "tuple", "str ", "^[", "anyOf"):
                assert jargon not in line, line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\n", "f.yaml:1: is not a mapping. Write fields: apiVersion, kind, spec."),
        (b"- a\n", "f.yaml:1: is not a mapping. Write fields: apiVersion, kind, spec."),
        (b"kind: Cube\n", "f.yaml:1: apiVersion: is missing. Write medperf/v1alpha1."),
        (
            b"apiVersion: medperf/v1alpha1\nkind: [Cube]\n",
            "f.yaml:2: kind: is ['Cube']. Write one of Registry, Owner, Cube, Benchmark, Settings, "
            "Dataset, Association, Result.",
        ),
        (b"apiVersion: medperf/v1alpha1\n", "f.yaml:1: kind: is missing."),
    ],
)
def test_a_file_that_is_no_manifest_is_told_what_one_is(data: bytes, expected: str) -> None:
    assert said(data)[0].startswith(expected)


def test_a_manifest_may_have_64_kib_and_a_result_16() -> None:
    comment = b"#" + b" " * (RESULT_LIMIT - 2) + b"\n"
    assert "At most 16384 bytes are allowed in a result." in said(comment + RESULT)[0]
    association = (VALID / "association" / "usual.yaml").read_bytes()
    documents.load(comment + association, file="f.yaml")
    padded = association + b"#" * (MANIFEST_LIMIT - len(association))
    documents.load(padded, file="f.yaml")
    assert "At most 65536 bytes are allowed." in said(padded + b"#")[0]


@pytest.mark.parametrize("kind", ["Settings", "BenchmarkSettings"])
def test_settings_without_spec_are_refused_not_crashed_on(kind: str) -> None:
    spec = "" if kind == "Settings" else "spec: [active]\n"
    assert said(f"apiVersion: medperf/v1alpha1\nkind: Settings\n{spec}".encode())


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("owner", {"spec__sites__0__name": "bob"}, "spec.sites[0].name: is 'bob', which another"),
        ("cube", {"spec__files": {"parameters.yaml": "a"}}, "spec.files.mlcube.yaml: is missing."),
        ("cube", {"spec__images__0__image": ...}, "image: is missing. Write either"),
        ("cube", {"spec__images__2__platform": "linux/amd64"}, "has no use for singularity"),
        ("cube", {"spec__images__2__command": ["a"]}, "command: has no use for singularity"),
        ("cube", {"spec__images__0__command": ["a"]}, "command: has no use for docker"),
        ("cube", {"spec__images__3__archive": ...}, "archive: is missing."),
        ("cube", {"spec__additionalFiles__url": "https://[/x"}, "is not an address."),
        ("cube", {"spec__additionalFiles__url": "https://h:99999/x"}, "is not an address."),
        ("cube", {"spec__additionalFiles__url": "https:///x"}, "names no host."),
        ("cube", {"spec__additionalFiles__url": "https://h/x#"}, "has a fragment"),
        ("cube", {"spec__additionalFiles__url": "https://@h/x"}, "has a user name"),
        ("cube", {"spec__additionalFiles__url": "file:///x?y"}, "has ? or a dot segment"),
        ("cube", {"spec__additionalFiles__url": "file://host/x"}, "Write an address"),
        ("cube", {"spec__additionalFiles__url": "https://h/a b"}, "Write an address"),
        ("cube", {"spec__additionalFiles__url": "https://h/a\n"}, "Write an address"),
        ("cube", {"spec__additionalFiles__digest": "sha256:" + "A" * 64}, "Write sha256:"),
        ("cube", {"spec__role": "model\n"}, "Write preparator"),
        ("cube", {"metadata__name": "a\n"}, "Write a name"),
        ("cube", {"metadata__name": "a" * 64}, "Write a name"),
        ("cube", {"metadata__description": "x" * 4001}, "has 4001 characters. Write at most 4000."),
        ("cube", {"metadata__labels": {"nul": "x"}}, "Windows keeps this one"),
        ("cube", {"spec__images__3__command": [""]}, "command[0]: is the text ''. Write a text"),
        ("cube", {"spec__images__3__command": ["x"] * 51}, "has 51 items. Write at most 50."),
        ("benchmark", {"spec__metrics__n-edema__decimals": 0}, "decimals: stands in an integer."),
        ("benchmark", {"spec__metrics__n-edema__min": 0.5}, "Write a whole number, as the metric"),
        ("benchmark", {"spec__metrics__n-edema__max": 10**17 * 9.99e17}, "nearer to zero"),
        ("benchmark", {"spec__metrics__n-edema__min": -1}, "kind: is count, but the metric"),
        ("benchmark", {"spec__metrics__n-edema__support": "n-edema"}, "no other metric of kind"),
        ("benchmark", {"spec__metrics__n-edema__from": ["AUC"]}, "lies below the path of another"),
        ("benchmark", {"spec__metrics__auc-edema__min": True}, "is true. Write a number."),
        ("benchmark", {"spec__metrics": {}}, "has 0 items. Write at least 1."),
        ("benchmark", {"spec__replaces": "committee/cxr"}, "is this object itself."),
        ("association", {"spec__model": ...}, "spec.model: is missing. Write either"),
        ("association", {"spec__trial__data": ...}, "data: is missing. The trial of a model"),
        ("association", {"spec__trial__metrics": ...}, "metrics: is missing."),
        ("association", {"spec__round": True}, "is true. Write a whole number."),
        ("result", {"spec__run__partial": True}, "runKey: is 4ec7"),
        ("result", {"spec__disclosure__suppressed": [LATER, EARLIER]}, "is not sorted by name"),
        ("benchmark-settings", {"spec__approve__models": ["Hospital"]}, "models[0]: is the text"),
        ("benchmark-settings", {"spec__approve__models": ["a", "a"]}, "has the same item twice."),
        ("benchmark-settings", {"spec__approve__models": 1}, "Write never or always or a list."),
    ],
)
def test_a_broken_rule_is_named_where_it_is_broken(
    kind: str, changes: dict[str, Any], expected: str
) -> None:
    [line] = said(edited(kind, **changes))
    assert expected in line
    assert line.startswith("f.yaml:")


def test_two_keys_of_the_same_person_cannot_be_one_key() -> None:
    data = (VALID / "owner" / "keys-of-every-state.yaml").read_bytes()
    value = parse(data, file="f").value
    keys = value["spec"]["members"][0]["keys"]
    keys[1]["publicKey"] = keys[0]["publicKey"]
    [line] = said(dump_value(value))
    assert "already stands under members: bob." in line


def test_python_names_are_no_fields_of_a_manifest() -> None:
    lines = said(edited("result").replace(b"apiVersion", b"api_version"))
    assert "apiVersion: is missing" in lines[0]


def test_the_golden_result_is_written_byte_for_byte_from_decimals() -> None:
    content = parse(RESULT, file="f").value
    content["spec"]["metrics"] = {
        "auc-cardiomegaly": Decimal("0.880"),
        "auc-edema": Decimal("0.913"),
    }
    content["metadata"] = None
    shuffled = {"spec": content["spec"], "kind": "Result", **content}
    assert documents.dump(shuffled) == RESULT


def test_a_model_is_written_in_the_order_of_the_design_without_what_is_none() -> None:
    manifest: Manifest = documents.load(edited("association"), file="f").manifest
    assert isinstance(manifest, Association)
    data = documents.dump(manifest)
    assert data == (VALID / "association" / "usual.yaml").read_bytes()
    assert b"null" not in data
    assert b"dataset" not in data
    mixed = {"apiVersion": "medperf/v1alpha1", "kind": "Association", "spec": manifest.spec}
    assert documents.dump(mixed) == data


def test_an_embedded_file_survives_writing_and_reading() -> None:
    text = "  name: x # é\n\n\ttasks".replace("\t", "  ") + ":\n  \n\n"
    data = edited("cube", spec__files={"mlcube.yaml": text})
    manifest = documents.load_as(data, Cube, file="f")
    assert manifest.spec.files["mlcube.yaml"] == text
    again = documents.load_as(documents.dump(manifest), Cube, file="f")
    assert again == manifest


def test_settings_of_a_benchmark_are_recognised_by_any_field_of_theirs() -> None:
    data = b"apiVersion: medperf/v1alpha1\nkind: Settings\nspec: {serial: 1, active: true}\n"
    assert [line.split(": ")[1] for line in said(data)] == ["spec.committee", "spec.approve"]
    manifest = documents.load(edited("benchmark-settings"), file="f").manifest
    assert isinstance(manifest, BenchmarkSettings)
