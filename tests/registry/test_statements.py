"""Statements: byte for byte as agreed, believed by others' tools, and strict against strangers."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry.keys import FileSigner
from medperf.registry.public_keys import key_bytes, to_pem
from medperf.registry.statements import (
    MEDIA_TYPE,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Statement,
    make_approval,
    make_checkpoint,
    make_result,
    pae,
    read_bundle,
)
from medperf.schemas.digests import canonical_json, digest
from medperf.schemas.errors import SignatureError, UsageError

REGISTRY = "3f6c1f0e-8d3b-4c55-9a51-0d6f5e7b2a10"
APPROVAL_TYPE = "https://medperf.org/attestation/approval/v1"
RESULT = "4ec7aeb55ce722e4.yaml"
ASSOCIATION = "modeler__resnet.yaml"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="session")
def values(vectors: Path) -> dict[str, Any]:
    """The golden values."""
    found: dict[str, Any] = json.loads((vectors / "values.json").read_text())
    return found


@pytest.fixture(scope="session")
def signer(values: dict[str, Any]) -> FileSigner:
    """The key of the golden values."""
    return FileSigner.from_seed(bytes.fromhex(values["seed"]))


@pytest.fixture(scope="session")
def result(vectors: Path) -> bytes:
    """The golden signature of a result."""
    return (vectors / "4ec7aeb55ce722e4.sigstore.json").read_bytes()


def approval(signer: FileSigner, data: bytes = b"kind: Association\n", **more: Any) -> bytes:
    """An approval by alice over `data`."""
    return make_approval(
        signer,
        by="committee/alice",
        registry=REGISTRY,
        subject_name=ASSOCIATION,
        data=data,
        **more,
    )


def sign_payload(signer: FileSigner, payload: bytes) -> bytes:
    """A well-formed bundle over any payload at all, truly signed."""
    bundle = {
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {
                    "keyid": signer.fingerprint,
                    "sig": base64.b64encode(signer.sign(pae(payload))).decode(),
                }
            ],
        },
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.fingerprint}},
    }
    return canonical_json(bundle)


def statement() -> dict[str, Any]:
    """A right statement, to be changed."""
    return {
        "_type": STATEMENT_TYPE,
        "predicate": {"by": "committee/alice", "decision": "approve", "registry": REGISTRY},
        "predicateType": APPROVAL_TYPE,
        "subject": [{"digest": {"sha256": "0" * 64}, "name": ASSOCIATION}],
    }


def test_the_statements_are_byte_for_byte_the_golden_ones(
    signer: FileSigner, values: dict[str, Any], vectors: Path, result: bytes
) -> None:
    association = (vectors / ASSOCIATION).read_bytes()
    made_result = make_result(
        signer,
        by="hospital/ward",
        registry=REGISTRY,
        run_key=values["runKey"],
        subject_name=RESULT,
        data=(vectors / RESULT).read_bytes(),
    )
    revoked = approval(signer, association, decision="revoke", reason="weights withdrawn")
    stem = "modeler__resnet.1.committee.alice"
    assert signer.fingerprint == values["fingerprint"]
    assert made_result == result
    assert pae(read_bundle(result).payload) == (vectors / "result.pae").read_bytes()
    assert approval(signer, association) == (vectors / f"{stem}.sigstore.json").read_bytes()
    assert revoked == (vectors / f"{stem}.revoke.sigstore.json").read_bytes()


def test_a_verified_result_says_who_signed_which_run(
    signer: FileSigner, values: dict[str, Any], vectors: Path, result: bytes
) -> None:
    assert read_bundle(result).verify(signer.public_key) == Statement(
        kind="result",
        by="hospital/ward",
        registry=REGISTRY,
        subject=RESULT,
        digest=digest((vectors / RESULT).read_bytes()),
        fingerprint=values["fingerprint"],
        run_key=values["runKey"],
    )


def test_a_verified_revocation_gives_its_reason(signer: FileSigner) -> None:
    bundle = approval(signer, decision="revoke", reason="Gewichte zurückgezogen")
    found = read_bundle(bundle).verify(signer.public_key)
    assert (found.kind, found.decision, found.reason, found.run_key) == (
        "approval",
        "revoke",
        "Gewichte zurückgezogen",
        None,
    )


def test_a_checkpoint_is_a_statement_of_its_own(signer: FileSigner) -> None:
    bundle = make_checkpoint(signer, by="committee/alice", registry=REGISTRY, data=b"{}")
    found = read_bundle(bundle).verify(signer.public_key)
    assert (found.kind, found.subject, found.decision) == ("checkpoint", "checkpoint.json", None)
    assert found.digest == digest(b"{}")


def test_the_subject_is_compared_by_name_and_bytes(signer: FileSigner) -> None:
    found = read_bundle(approval(signer, b"one")).verify(signer.public_key)
    found.check_subject(ASSOCIATION, digest(b"one"))
    with pytest.raises(SignatureError, match="other bytes"):
        found.check_subject(ASSOCIATION, digest(b"two"))
    with pytest.raises(SignatureError, match="lies beside 'other"):
        found.check_subject("other.yaml", digest(b"one"))


def test_the_payload_need_not_be_canonical(signer: FileSigner) -> None:
    spaced = json.dumps(statement(), indent=3).encode()
    assert read_bundle(sign_payload(signer, spaced)).verify(signer.public_key).by == (
        "committee/alice"
    )


def test_another_key_is_not_the_signer(
    result: bytes, make_signer: Callable[[str], FileSigner]
) -> None:
    with pytest.raises(SignatureError, match="names the key"):
        read_bundle(result).verify(make_signer("mallory").public_key)


def test_a_forged_hint_does_not_make_a_signature_hold(
    signer: FileSigner, result: bytes, make_signer: Callable[[str], FileSigner]
) -> None:
    mallory = make_signer("mallory")
    forged = result.replace(signer.fingerprint.encode(), mallory.fingerprint.encode())
    with pytest.raises(SignatureError, match="does not hold"):
        read_bundle(forged).verify(mallory.public_key)


def test_a_transplanted_payload_does_not_verify(signer: FileSigner, result: bytes) -> None:
    theirs = json.loads(approval(signer))
    ours = json.loads(result)
    ours["dsseEnvelope"]["payload"] = theirs["dsseEnvelope"]["payload"]
    with pytest.raises(SignatureError, match="does not hold"):
        read_bundle(canonical_json(ours)).verify(signer.public_key)


def envelope(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["dsseEnvelope"]
    return found


def url_safe(bundle: dict[str, Any]) -> None:
    sig = envelope(bundle)["signatures"][0]
    sig["sig"] = sig["sig"].replace("+", "-").replace("/", "_")


def stray_bits(bundle: dict[str, Any]) -> None:
    sig = envelope(bundle)["signatures"][0]
    sig["sig"] = sig["sig"][:-3] + chr(ord(sig["sig"][-3]) + 1) + "=="


BUNDLES: dict[str, tuple[Change, str]] = {
    "url-safe base64": (url_safe, "sig cannot be decoded: it is not standard"),
    "stray bits in the base64": (stray_bits, "not canonical base64"),
    "base64 without padding": (
        lambda b: envelope(b)["signatures"][0].update(
            sig=envelope(b)["signatures"][0]["sig"].rstrip("=")
        ),
        "not standard base64",
    ),
    "a line break in the base64": (
        lambda b: envelope(b).update(payload="\n" + envelope(b)["payload"]),
        "payload holds control",
    ),
    "a letter outside ASCII in the base64": (
        lambda b: envelope(b).update(payload="é" + envelope(b)["payload"]),
        "payload cannot be decoded",
    ),
    "two signatures": (
        lambda b: envelope(b)["signatures"].append(envelope(b)["signatures"][0]),
        "2 signatures entries",
    ),
    "no signature": (lambda b: envelope(b)["signatures"].clear(), "0 signatures entries"),
    "signatures that are no list": (
        lambda b: envelope(b).update(signatures=envelope(b)["signatures"][0]),
        "no list of signatures",
    ),
    "a short signature": (
        lambda b: envelope(b)["signatures"][0].update(sig="AAAA"),
        "3 bytes",
    ),
    "an unknown field in the bundle": (lambda b: b.update(more=1), "bundle has the unknown"),
    "an unknown field in the envelope": (
        lambda b: envelope(b).update(more=1),
        "dsseEnvelope has the unknown field 'more'",
    ),
    "an unknown field in the signature": (
        lambda b: envelope(b)["signatures"][0].update(cert=""),
        "signature has the unknown field 'cert'",
    ),
    "a certificate": (
        lambda b: b["verificationMaterial"].update(certificate={}),
        "unknown field 'certificate'",
    ),
    "an unknown field in the key": (
        lambda b: b["verificationMaterial"]["publicKey"].update(rawBytes="AA=="),
        "unknown field 'rawBytes'",
    ),
    "a wrong payload type": (
        lambda b: envelope(b).update(payloadType="application/json"),
        "payloadType is 'application/json'",
    ),
    "a wrong media type": (
        lambda b: b.update(mediaType=MEDIA_TYPE.replace("v0.3", "v0.2")),
        "mediaType is",
    ),
    "a hint that is not the key id": (
        lambda b: b["verificationMaterial"]["publicKey"].update(hint="SHA256:" + "A" * 43),
        "hint is",
    ),
    "no key id": (lambda b: envelope(b)["signatures"][0].pop("keyid"), "no field 'keyid'"),
    "an empty key id": (
        lambda b: envelope(b)["signatures"][0].update(keyid=""),
        "keyid is '', not",
    ),
    "a key id that is a number": (
        lambda b: envelope(b)["signatures"][0].update(keyid=7),
        "keyid is not text",
    ),
    "no payload": (lambda b: envelope(b).pop("payload"), "no field 'payload'"),
    "an envelope that is a list": (
        lambda b: b.update(dsseEnvelope=[]),
        "dsseEnvelope is not a JSON object",
    ),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_another_form_is_refused(name: str, result: bytes) -> None:
    change, reason = BUNDLES[name]
    bundle = json.loads(result)
    change(bundle)
    with pytest.raises(SignatureError, match=reason):
        read_bundle(json.dumps(bundle).encode())


RAW: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda b: b[: len(b) // 2], "is not JSON"),
    "empty": (lambda _: b"", "is not JSON"),
    "a list": (lambda _: b"[]", "not a JSON object"),
    "with a byte order mark": (lambda b: b"\xef\xbb\xbf" + b, "is not JSON"),
    "in UTF-16": (lambda b: b.decode().encode("utf-16"), "is not JSON in UTF-8"),
    "with NaN": (lambda b: b.replace(b'"mediaType":"', b'"mediaType":NaN,"x":"'), "holds NaN"),
    "with a second text behind it": (lambda b: b + b, "is not JSON"),
    "nested without end": (lambda _: b"[" * 16_000, "nested too deeply"),
    "with a number of 5,000 digits": (lambda _: b"9" * 5_000, "is not JSON"),
    "too large": (lambda b: b + b" " * 16 * 1024, "more than 16384"),
    "with one key twice": (
        lambda b: b.replace(b'{"dsseEnvelope"', b'{"mediaType":"","dsseEnvelope"'),
        "same JSON key twice",
    ),
    "with one key twice, one of them escaped": (
        lambda b: b.replace(b'{"keyid"', b'{"\\u006beyid":"","keyid"'),
        "same JSON key twice",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_strict_json_are_refused(name: str, result: bytes) -> None:
    change, reason = RAW[name]
    with pytest.raises(SignatureError, match=reason):
        read_bundle(change(result))


STATEMENTS: dict[str, tuple[Change, str]] = {
    "two subjects": (lambda s: s["subject"].append(s["subject"][0]), "2 subject entries"),
    "no subject": (lambda s: s["subject"].clear(), "0 subject entries"),
    "a subject without a name": (lambda s: s["subject"][0].pop("name"), "no field 'name'"),
    "an empty subject name": (lambda s: s["subject"][0].update(name=""), "no file's name"),
    "a path as the subject name": (
        lambda s: s["subject"][0].update(name="../registry.yaml"),
        "no file's name",
    ),
    "a second digest": (
        lambda s: s["subject"][0]["digest"].update(sha512="0" * 128),
        "unknown field 'sha512'",
    ),
    "another digest": (
        lambda s: s["subject"][0].update(digest={"sha1": "0" * 40}),
        "unknown field 'sha1'",
    ),
    "a digest in capitals": (
        lambda s: s["subject"][0]["digest"].update(sha256="A" * 64),
        "not 64 hex digits",
    ),
    "an unknown field in the subject": (
        lambda s: s["subject"][0].update(uri="https://example.test"),
        "subject has the unknown field 'uri'",
    ),
    "an unknown field in the statement": (lambda s: s.update(x=1), "unknown field 'x'"),
    "an unknown field in the predicate": (
        lambda s: s["predicate"].update(role="admin"),
        "predicate has the unknown field 'role'",
    ),
    "another statement type": (
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        "_type is",
    ),
    "an unknown predicate type": (
        lambda s: s.update(predicateType=APPROVAL_TYPE.replace("v1", "v2")),
        "unknown predicateType",
    ),
    "an approval that calls itself a result": (
        lambda s: s.update(predicateType=APPROVAL_TYPE.replace("approval", "result")),
        "unknown field 'decision'",
    ),
    "no registry": (lambda s: s["predicate"].pop("registry"), "no field 'registry'"),
    "another decision": (
        lambda s: s["predicate"].update(decision="APPROVE"),
        "only approve or revoke",
    ),
    "a signer without an owner": (
        lambda s: s["predicate"].update(by="alice"),
        "is no owner/name",
    ),
    "a signer below a folder": (
        lambda s: s["predicate"].update(by="committee/../alice"),
        "is no owner/name",
    ),
    "a terminal escape in the reason": (
        lambda s: s["predicate"].update(reason="\x1b[2Jall is well"),
        "reason holds control",
    ),
    "a bidi override in the reason": (
        lambda s: s["predicate"].update(reason="\u202edenetaht"),
        "reason holds control",
    ),
    "half a surrogate pair in the reason": (
        lambda s: s["predicate"].update(reason="\ud800"),
        "reason holds control",
    ),
    "a null reason": (lambda s: s["predicate"].update(reason=None), "reason is null"),
    "a reason that is a list": (lambda s: s["predicate"].update(reason=[]), "reason is not text"),
    "a signer that is a number": (lambda s: s["predicate"].update(by=1), "by is not text"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_signed_statement_of_another_form_is_refused(name: str, signer: FileSigner) -> None:
    change, reason = STATEMENTS[name]
    changed = statement()
    change(changed)
    bundle = read_bundle(sign_payload(signer, json.dumps(changed).encode()))
    with pytest.raises(SignatureError, match=reason):
        bundle.verify(signer.public_key)


def test_a_signed_payload_with_one_key_twice_is_refused(signer: FileSigner) -> None:
    text = json.dumps(statement()).replace('"decision"', '"decision": "revoke", "decision"')
    bundle = read_bundle(sign_payload(signer, text.encode()))
    with pytest.raises(SignatureError, match="statement has the same JSON key twice"):
        bundle.verify(signer.public_key)


def test_a_payload_is_not_read_before_its_signature_holds(
    signer: FileSigner, make_signer: Callable[[str], FileSigner]
) -> None:
    mallory = make_signer("mallory")
    forged = sign_payload(mallory, b"[").replace(
        mallory.fingerprint.encode(), signer.fingerprint.encode()
    )
    with pytest.raises(SignatureError, match="does not hold"):
        read_bundle(forged).verify(signer.public_key)


@pytest.mark.parametrize(
    "reason", ["two\nlines", "\x9b31m", "zero\u200bwidth", "\udcff", "x" * 20_000]
)
def test_a_reason_that_no_reader_would_take_is_not_signed(signer: FileSigner, reason: str) -> None:
    with pytest.raises(UsageError, match="cannot be signed"):
        approval(signer, reason=reason)


@given(st.binary(max_size=400), st.text(max_size=40))
def test_any_bytes_and_any_reason_are_signed_and_read_back_or_refused(
    data: bytes, reason: str
) -> None:
    signer = FileSigner.from_seed(bytes(32))
    try:
        bundle = approval(signer, data, reason=reason)
    except UsageError:
        return
    found = read_bundle(bundle).verify(signer.public_key)
    assert (found.digest, found.reason) == (digest(data), reason)


@given(st.data())
def test_one_changed_byte_never_verifies_as_something_else(data: st.DataObject) -> None:
    signer = FileSigner.from_seed(bytes(32))
    bundle = approval(signer)
    before = read_bundle(bundle).verify(signer.public_key)
    at = data.draw(st.integers(0, len(bundle) - 1))
    changed = bundle[:at] + bytes([data.draw(st.integers(0, 255))]) + bundle[at + 1 :]
    try:
        after = read_bundle(changed).verify(signer.public_key)
    except SignatureError:
        return
    assert after == before


def run_cosign(bundle: Path, key: Path, file: Path, kind: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        *("cosign", "verify-blob-attestation", "--bundle", bundle, "--key", key),
        *("--insecure-ignore-tlog=true", "--type", kind, file),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.cosign
def test_cosign_takes_our_statement_and_refuses_one_changed_byte(
    signer: FileSigner, tmp_path: Path
) -> None:
    file, bundle, key = (tmp_path / name for name in (ASSOCIATION, "b.sigstore.json", "k.pem"))
    file.write_bytes(b"kind: Association\n")
    bundle.write_bytes(approval(signer, file.read_bytes(), reason="für immer"))
    key.write_bytes(to_pem(signer.public_key))
    good = run_cosign(bundle, key, file, APPROVAL_TYPE)
    assert good.returncode == 0, good.stderr
    file.write_bytes(b"kind: Associatiom\n")
    assert run_cosign(bundle, key, file, APPROVAL_TYPE).returncode != 0
    file.write_bytes(b"kind: Association\n")
    changed = json.loads(bundle.read_bytes())
    payload = base64.b64decode(changed["dsseEnvelope"]["payload"]).replace(b"alice", b"carol")
    changed["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle.write_text(json.dumps(changed))
    bad = run_cosign(bundle, key, file, APPROVAL_TYPE)
    assert bad.returncode != 0
    with pytest.raises(SignatureError, match="does not hold"):
        read_bundle(bundle.read_bytes()).verify(signer.public_key)


@pytest.mark.cosign
def test_cosign_takes_the_golden_result(vectors: Path) -> None:
    kind = "https://medperf.org/attestation/result/v1"
    bundle = vectors / "4ec7aeb55ce722e4.sigstore.json"
    answer = run_cosign(bundle, vectors / "key.pem", vectors / RESULT, kind)
    assert answer.returncode == 0, answer.stderr


def test_securesystemslib_verifies_our_envelope(signer: FileSigner, result: bytes) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    public = {"public": key_bytes(signer.public_key).hex()}
    key = SSlibKey(signer.fingerprint, "ed25519", "ed25519", public)
    parsed = Envelope.from_dict(json.loads(result)["dsseEnvelope"])
    assert list(parsed.verify([key], 1)) == [signer.fingerprint]
    parsed.payload = parsed.payload.replace(b"ward", b"yard")
    with pytest.raises(VerificationError):
        parsed.verify([key], 1)


def test_openssl_verifies_the_encoding_that_was_signed(
    signer: FileSigner, result: bytes, tmp_path: Path
) -> None:
    bundle = read_bundle(result)
    (tmp_path / "k.pem").write_bytes(to_pem(signer.public_key))
    (tmp_path / "sig").write_bytes(bundle.signature)
    command = [
        *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "k.pem"),
        *("-rawin", "-in", "pae", "-sigfile", "sig"),
    ]
    for changed, status in ((pae(bundle.payload), 0), (pae(bundle.payload + b" "), 1)):
        (tmp_path / "pae").write_bytes(changed)
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert answer.returncode == status, answer.stderr
