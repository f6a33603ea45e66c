"""Digests, canonical JSON, run keys, content hashes and commitments against the golden values."""

import hashlib
import json
from pathlib import Path

import pytest

from medperf.schemas import digests

VECTORS = Path(__file__).parent.parent / "vectors"
VALUES = json.loads((VECTORS / "values.json").read_text())


def test_a_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"first\n")
    assert digests.digest(b"first\n") == "sha256:" + hashlib.sha256(b"first\n").hexdigest()
    assert digests.file_digest(file) == digests.digest(b"first\n")
    assert digests.is_digest(digests.digest(b""))
    for wrong in ("sha256:" + "A" * 64, "a" * 64, digests.digest(b"") + "\n", "md5:" + "a" * 64):
        assert not digests.is_digest(wrong)


def test_canonical_json_is_sorted_dense_utf8_without_floats() -> None:
    value = {"b": [1, True, None], "a": "é\n"}
    assert digests.canonical_json(value) == '{"a":"é\\n","b":[1,true,null]}'.encode()
    for wrong in (1.0, [1.0], {"a": {"b": (0.5,)}}):
        with pytest.raises(TypeError, match="no floats"):
            digests.canonical_json(wrong)


def test_the_run_key_is_the_golden_one() -> None:
    assert digests.run_key(**VALUES["runKeyInputs"]) == VALUES["runKey"]


def test_a_run_key_is_the_hash_of_the_canonical_json_whatever_the_words() -> None:
    for word in ("plain", 'a "quoted" one', "é\n\u2028\\", "{}"):
        for partial in (True, False):
            said = {"registry": word, "benchmark": f"b{word}", "dataset": word, "model": "m"}
            text = digests.canonical_json({**said, "partial": partial})
            assert digests.run_key(**said, partial=partial) == hashlib.sha256(text).hexdigest()


def test_the_content_hash_and_the_commitment_are_the_golden_ones() -> None:
    files = [
        (hashlib.sha256(text.encode()).hexdigest(), len(text.encode()), path)
        for path, text in VALUES["contentFiles"].items()
    ]
    lines = digests.content_lines(reversed(files))
    assert lines == (VECTORS / "content.txt").read_bytes()
    content = hashlib.sha256(lines).digest()
    assert content.hex() == VALUES["contentHash"]
    secret = bytes.fromhex(VALUES["datasetSecret"])
    assert digests.commitment(secret, content) == VALUES["commitment"]
    with pytest.raises(ValueError, match="32 bytes"):
        digests.commitment(secret[1:], content)
