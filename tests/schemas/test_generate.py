"""The JSON Schemas that are committed are those that the models give."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medperf.schemas import generate
from medperf.schemas.manifests import KINDS, Cube


def test_the_committed_schemas_are_in_step() -> None:
    assert generate.stale() == []
    assert generate.main(["--check"]) == 0
    assert len(list(generate.FOLDER.glob("*.json"))) == len(KINDS)


def test_a_schema_out_of_step_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "registry.json is not in step" in capsys.readouterr().err
    assert list(tmp_path.glob("*.json")) == []
    assert generate.main([]) == 0
    assert len(list(tmp_path.glob("*.json"))) == len(KINDS)
    (tmp_path / "cube.json").write_text("{}")
    assert generate.stale() == [Cube]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_a_schema_is_valid_and_says_what_json_schema_can_say(kind: type[Any]) -> None:
    schema = json.loads(generate.schema_file(kind).read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    for left_over in ("patternProperties", '"null"', '"default"', '"title": "Spec"'):
        assert left_over not in text
    assert schema["additionalProperties"] is False
    for part in [schema, *schema.get("$defs", {}).values()]:
        assert part["additionalProperties"] is False
