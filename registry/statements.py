"""Signed statements over a registry's files: in-toto in DSSE in a Sigstore bundle (design §6).

A bundle holds one signature by one key over one file. Reading goes in this order, and no step is
left out:

1. the bundle's form: size, UTF-8, strict JSON, exactly the listed fields, canonical base64;
2. the signature, over the decoded payload, by the key that the bundle names;
3. the payload, from the same decoded bytes: exactly the listed fields, one subject, only sha256.

So nothing that an unknown key wrote is ever looked at. Whether a statement *counts* (who holds the
key and which role, at which commit) is a question for the rules, not for this module.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..schemas.digests import canonical_json, digest
from ..schemas.errors import SignatureError, UsageError
from ..schemas.names import is_name
from .public_keys import Signer, check_signature, fingerprint, strict_base64

BUNDLE_LIMIT = 16 * 1024
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
CHECKPOINT_FILE = "checkpoint.json"

Kind = Literal["approval", "result", "checkpoint"]
Decision = Literal["approve", "revoke"]
PREDICATE_TYPES: dict[str, Kind] = {
    "https://medperf.org/attestation/approval/v1": "approval",
    "https://medperf.org/attestation/result/v1": "result",
    "https://medperf.org/attestation/checkpoint/v1": "checkpoint",
}
_TYPE_OF_KIND = {kind: predicate_type for predicate_type, kind in PREDICATE_TYPES.items()}
_FIELDS: dict[str, tuple[str, ...]] = {
    "approval": ("by", "decision", "registry", "reason?"),
    "result": ("by", "registry", "runKey"),
    "checkpoint": ("by", "registry"),
}
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")
# control, format (bidi, zero-width) and unpaired characters, and Unicode's own line breaks:
# what can move a terminal's cursor or make a text read as another one
_HIDDEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


@dataclass(frozen=True)
class Statement:
    """What one key has signed: who says what about which bytes.

    `by` is `owner/member` or `owner/site`, `subject` a file's name without its folder, `digest`
    its `sha256:…`. `decision` is None unless it is an approval, `run_key` unless it is a result.
    """

    kind: Kind
    by: str
    registry: str
    subject: str
    digest: str
    fingerprint: str
    decision: Decision | None = None
    reason: str | None = None
    run_key: str | None = None

    def check_subject(self, name: str, file_digest: str) -> None:
        """Raise a SignatureError unless the statement is about this file name and these bytes."""
        if self.subject != name:
            raise SignatureError(f"A statement over {self.subject!r} lies beside {name!r}.")
        if self.digest != file_digest:
            raise SignatureError(
                f"A statement is about other bytes of {name!r} ({self.digest}) than these "
                f"({file_digest})."
            )


@dataclass(frozen=True)
class Bundle:
    """A bundle of the right form whose signature nobody has checked yet: it says who claims it."""

    fingerprint: str
    payload: bytes
    signature: bytes

    def verify(self, public_key: str) -> Statement:
        """The statement, if this key signed it; a SignatureError that says why not."""
        named = fingerprint(public_key)
        if named != self.fingerprint:
            raise SignatureError(
                f"The bundle names the key {self.fingerprint} as its signer's, not {named}."
            )
        check_signature(public_key, self.signature, pae(self.payload))
        return _read_statement(self.payload, self.fingerprint)


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def make_approval(
    signer: Signer,
    *,
    by: str,
    registry: str,
    subject_name: str,
    data: bytes,
    decision: Decision = "approve",
    reason: str | None = None,
) -> bytes:
    """The bundle in which `by` approves or revokes the file `subject_name` with these bytes."""
    predicate = {"by": by, "decision": decision, "registry": registry}
    if reason is not None:
        predicate["reason"] = reason
    return _make(signer, "approval", predicate, subject_name, data)


def make_result(
    signer: Signer, *, by: str, registry: str, run_key: str, subject_name: str, data: bytes
) -> bytes:
    """The bundle in which the site `by` signs a result file with these bytes."""
    predicate = {"by": by, "registry": registry, "runKey": run_key}
    return _make(signer, "result", predicate, subject_name, data)


def make_checkpoint(signer: Signer, *, by: str, registry: str, data: bytes) -> bytes:
    """The bundle in which the admin `by` signs the bytes of a checkpoint."""
    predicate = {"by": by, "registry": registry}
    return _make(signer, "checkpoint", predicate, CHECKPOINT_FILE, data)


def _make(
    signer: Signer, kind: Kind, predicate: Mapping[str, str], subject_name: str, data: bytes
) -> bytes:
    sha256 = digest(data).removeprefix("sha256:")
    statement = {
        "_type": STATEMENT_TYPE,
        "predicate": dict(predicate),
        "predicateType": _TYPE_OF_KIND[kind],
        "subject": [{"digest": {"sha256": sha256}, "name": subject_name}],
    }
    try:
        payload = canonical_json(statement)
        _read_statement(payload, signer.fingerprint)
        bundle = canonical_json(_bundle(signer, payload)) + b"\n"
        _check_size(bundle)
    except (SignatureError, UnicodeEncodeError) as error:
        raise UsageError(f"This cannot be signed: {error}") from error
    return bundle


def _bundle(signer: Signer, payload: bytes) -> dict[str, object]:
    signature = base64.b64encode(signer.sign(pae(payload))).decode()
    return {
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.fingerprint, "sig": signature}],
        },
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.fingerprint}},
    }


def read_bundle(data: bytes) -> Bundle:
    """A bundle's parts, if its form is exactly right; the signature is not checked yet."""
    _check_size(data)
    names = ("mediaType", "verificationMaterial", "dsseEnvelope")
    media_type, material, envelope = _fields("bundle", _strict_json(data, "bundle"), *names)
    _expect("mediaType", media_type, MEDIA_TYPE)
    (key,) = _fields("verificationMaterial", material, "publicKey")
    (hint,) = _fields("publicKey", key, "hint")
    names = ("payload", "payloadType", "signatures")
    payload, payload_type, signatures = _fields("dsseEnvelope", envelope, *names)
    _expect("payloadType", payload_type, PAYLOAD_TYPE)
    keyid, signature = _fields("signature", _one("signatures", signatures), "keyid", "sig")
    named = _matching("keyid", keyid, _FINGERPRINT, "`SHA256:` and 43 characters of base64")
    _expect("hint", hint, named)
    signed = _decoded("sig", signature)
    if len(signed) != 64:
        raise SignatureError(f"A signature has {len(signed)} bytes, where Ed25519's have 64.")
    return Bundle(fingerprint=named, payload=_decoded("payload", payload), signature=signed)


def _read_statement(payload: bytes, signed_with: str) -> Statement:
    """The statement in a payload whose signature holds."""
    names = ("_type", "predicateType", "predicate", "subject")
    kind_of, predicate_type, predicate, subjects = _fields(
        "statement", _strict_json(payload, "statement"), *names
    )
    _expect("_type", kind_of, STATEMENT_TYPE)
    kind = PREDICATE_TYPES.get(_text("predicateType", predicate_type))
    if kind is None:
        raise SignatureError(f"A statement has the unknown predicateType {predicate_type!r}.")
    subject, sha256 = _read_subject(_one("subject", subjects))
    fields = _FIELDS[kind]
    values = dict(
        zip(
            (field.removesuffix("?") for field in fields),
            _fields("predicate", predicate, *fields),
            strict=True,
        )
    )
    reason, run_key = values.get("reason"), values.get("runKey")
    return Statement(
        kind=kind,
        by=_party(values["by"]),
        registry=_text("registry", values["registry"]),
        subject=subject,
        digest=f"sha256:{sha256}",
        fingerprint=signed_with,
        decision=_decision(values["decision"]) if kind == "approval" else None,
        reason=None if reason is None else _text("reason", reason),
        run_key=_matching("runKey", run_key, _HEX, "64 hex digits") if kind == "result" else None,
    )


def _read_subject(value: object) -> tuple[str, str]:
    name, digests = _fields("subject", value, "digest", "name")[::-1]
    (sha256,) = _fields("digest", digests, "sha256")
    file_name = _text("name", name)
    if not file_name or "/" in file_name or "\\" in file_name:
        raise SignatureError(f"A subject is named {file_name[:100]!r}, which is no file's name.")
    return file_name, _matching("sha256", sha256, _HEX, "64 hex digits")


def _party(value: object) -> str:
    text = _text("by", value)
    owner, slash, name = text.partition("/")
    if not (slash and is_name(owner) and is_name(name)):
        raise SignatureError(f"A statement is by {text[:100]!r}, which is no owner/name.")
    return text


def _decision(value: object) -> Decision:
    if value == "approve":
        return "approve"
    if value == "revoke":
        return "revoke"
    raise SignatureError(f"A statement decides {str(value)[:40]!r}: only approve or revoke count.")


def _check_size(data: bytes) -> None:
    if len(data) > BUNDLE_LIMIT:
        raise SignatureError(f"A bundle has {len(data)} bytes, more than {BUNDLE_LIMIT}.")


def _strict_json(data: bytes, what: str) -> object:
    """JSON as its grammar has it, without one key twice anywhere."""

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            raise SignatureError(f"A {what} has the same JSON key twice.")
        return found

    def constant(name: str) -> object:
        raise SignatureError(f"A {what} holds {name}, which is no JSON.")

    try:
        value: object = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise SignatureError(f"A {what} is not JSON in UTF-8: {cause}.") from None
    return value


def _fields(what: str, value: object, *names: str) -> tuple[object, ...]:
    """The values of an object that has these fields and no other; `name?` may be absent (None)."""
    if not isinstance(value, dict):
        raise SignatureError(f"A statement's {what} is not a JSON object.")
    known = [name.removesuffix("?") for name in names]
    for name in value:
        if name not in known:
            raise SignatureError(f"A statement's {what} has the unknown field {name[:60]!r}.")
    for name in names:
        if not name.endswith("?") and name not in value:
            raise SignatureError(f"A statement's {what} has no field {name!r}.")
        if name.endswith("?") and value.get(name[:-1], "") is None:
            raise SignatureError(f"A statement's {name[:-1]} is null: leave it out instead.")
    return tuple(value.get(name) for name in known)


def _one(what: str, value: object) -> object:
    if not isinstance(value, list) or len(value) != 1:
        count = len(value) if isinstance(value, list) else "no list of"
        raise SignatureError(f"A statement has {count} {what} entries, where exactly 1 counts.")
    return value[0]


def _expect(field: str, value: object, expected: str) -> None:
    if value != expected:
        raise SignatureError(f"A bundle's {field} is {str(value)[:100]!r}, not {expected!r}.")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise SignatureError(f"A statement's {field} is not text.")
    if any(unicodedata.category(character) in _HIDDEN for character in value):
        raise SignatureError(f"A statement's {field} holds control or invisible characters.")
    return value


def _matching(field: str, value: object, pattern: re.Pattern[str], form: str) -> str:
    text = _text(field, value)
    if not pattern.match(text):
        raise SignatureError(f"A statement's {field} is {text[:100]!r}, not {form}.")
    return text


def _decoded(field: str, value: object) -> bytes:
    try:
        return strict_base64(_text(field, value))
    except ValueError as error:
        raise SignatureError(f"A bundle's {field} cannot be decoded: {error}.") from None
