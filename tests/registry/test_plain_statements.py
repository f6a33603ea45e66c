"""What the two patterns read is what the reading field by field says."""

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry import statements
from medperf.registry.keys import FileSigner
from medperf.registry.plain_statements import plain_bundle, plain_result
from medperf.registry.statements import Bundle, make_approval, make_result, read_bundle
from medperf.schemas.errors import SignatureError

SIGNER = FileSigner.from_seed(bytes(32))
REGISTRY = "3f6c1f0e-8d3b-4c55-9a51-0d6f5e7b2a10"
RESULT = make_result(
    SIGNER,
    by="hospital/ward",
    registry=REGISTRY,
    run_key="7" * 64,
    subject_name="7777777777777777.yaml",
    data=b"kind: Result\n",
)
PAYLOAD = read_bundle(RESULT).payload


def slowly(data: bytes) -> Bundle | str:
    """The bundle as it is read field by field, or what is wrong with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statements, "plain_bundle", lambda _: None)
        try:
            return read_bundle(data)
        except SignatureError as error:
            return str(error)


def slowly_said(payload: bytes) -> object:
    """The statement in a payload as it is read field by field, or what is wrong with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statements, "plain_result", lambda _: None)
        try:
            return statements._read_statement(payload, SIGNER.fingerprint)
        except SignatureError as error:
            return str(error)


def quickly_said(payload: bytes) -> object:
    """The statement in a payload as it is read, or what is wrong with it."""
    try:
        return statements._read_statement(payload, SIGNER.fingerprint)
    except SignatureError as error:
        return str(error)


def edits(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes a few characters away from these: put in, taken out, or others in their place."""
    piece = st.sampled_from(
        [
            b"",
            b"=",
            b"+",
            b"A",
            b"0",
            b"/",
            b"-",
            b'"',
            b"\\u0041",
            b"\n",
            b" ",
            b"{}",
            b"\xff",
            b".",
        ]
    )
    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 3), piece)

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        text = data
        for at, length, put in changes:
            text = text[:at] + put + text[at + length :]
        return text

    return st.lists(edit, min_size=1, max_size=3).map(apply)


def test_what_our_own_writer_makes_of_a_result_is_read_by_them() -> None:
    assert plain_bundle(RESULT) is not None
    assert plain_result(PAYLOAD) == (
        "hospital/ward",
        REGISTRY,
        "7" * 64,
        hashlib.sha256(b"kind: Result\n").hexdigest(),
        "7777777777777777.yaml",
    )
    assert slowly(RESULT) == read_bundle(RESULT)
    assert slowly_said(PAYLOAD) == quickly_said(PAYLOAD)


@given(edits(RESULT))
def test_an_edited_bundle_means_the_same_read_in_either_way(data: bytes) -> None:
    found = plain_bundle(data)
    if found is not None:
        assert slowly(data) == Bundle(*found)


@given(edits(PAYLOAD))
def test_an_edited_payload_means_the_same_read_in_either_way(payload: bytes) -> None:
    assert quickly_said(payload) == slowly_said(payload)


def test_stray_bits_in_base64_are_left_to_the_other_reading() -> None:
    signature = base64.b64encode(read_bundle(RESULT).signature)
    data = RESULT.replace(signature, signature[:85] + b"B==")  # whose last four bits mean nothing
    assert plain_bundle(data) is None
    assert slowly(data) == "A bundle's sig cannot be decoded: it is not canonical base64."


def test_an_approval_is_not_read_by_them() -> None:
    made = make_approval(
        SIGNER, by="a/b", registry=REGISTRY, subject_name="x.yaml", data=b"kind: Cube\n"
    )
    assert plain_result(read_bundle(made).payload) is None


def test_they_read_the_golden_statement(vectors: Path) -> None:
    golden = (vectors / "4ec7aeb55ce722e4.sigstore.json").read_bytes()
    found = plain_bundle(golden)
    assert found is not None
    assert slowly(golden) == Bundle(*found)
    assert plain_result(found[1]) is not None
