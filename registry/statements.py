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
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..schemas.digests import canonical_json, digest
from ..schemas.errors import SignatureError, UsageError
from ..schemas.names import is_name
from .plain_statements import plain_bundle, plain_result
from .public_keys import Signer, check_signature, fingerprint
from .strict_json import (
    check_equal,
    parse_json,
    take_base64,
    take_fields,
    take_matching,
    take_one,
    take_text,
)

BUNDLE_LIMIT = 16 * 1024
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
CHECKPOINT_FILE = "checkpoint.json"
RELEASE_FILE = "release.yaml"

Kind = Literal["approval", "result", "checkpoint", "release", "handover"]
Decision = Literal["approve", "revoke"]
PREDICATE_TYPES: dict[str, Kind] = {
    "https://medperf.org/attestation/approval/v1": "approval",
    "https://medperf.org/attestation/result/v1": "result",
    "https://medperf.org/attestation/checkpoint/v1": "checkpoint",
    "https://medperf.org/attestation/release/v1": "release",
    "https://medperf.org/attestation/handover/v1": "handover",
}
_TYPE_OF_KIND = {kind: predicate_type for predicate_type, kind in PREDICATE_TYPES.items()}
_FIELDS: dict[str, tuple[str, ...]] = {
    "approval": ("by", "decision", "registry", "reason?"),
    "result": ("by", "registry", "runKey"),
    "checkpoint": ("by", "registry"),
    "release": ("by", "registry", "runKey"),
    "handover": ("by", "registry"),
}
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_HEX_FORM = "64 hex digits"
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


class Statement(NamedTuple):
    """What one key has signed: who says what about which bytes.

    `by` is `owner/member` or `owner/site`, `subject` a file's name without its folder, `digest`
    its `sha256:…`. `decision` is None unless it is an approval, `run_key` unless it is of a run: a
    result or a release.
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


class Bundle(NamedTuple):
    """A bundle of the right form whose signature nobody has checked yet: it says who claims it."""

    fingerprint: str
    payload: bytes
    signature: bytes

    def verify(self, public_key: str) -> Statement:
        """The statement, if this key signed it; a SignatureError that says why not."""
        named = fingerprint(public_key)
        if named != self.fingerprint:
            raise _other_key(self.fingerprint, named)
        check_signature(public_key, self.signature, pae(self.payload))
        return _read_statement(self.payload, self.fingerprint)


class Checked(NamedTuple):
    """A bundle whose signature was checked already, by the key that it names."""

    statement: Statement

    @property
    def fingerprint(self) -> str:
        """The key's."""
        return self.statement.fingerprint

    def verify(self, public_key: str) -> Statement:
        """The statement, if it is this key that has signed it."""
        named = fingerprint(public_key)
        if named != self.fingerprint:
            raise _other_key(self.fingerprint, named)
        return self.statement


def _other_key(said: str, named: str) -> SignatureError:
    return SignatureError(f"The bundle names the key {said} as its signer's, not {named}.")


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


def make_handover(
    signer: Signer, *, by: str, registry: str, subject_name: str, data: bytes
) -> bytes:
    """The bundle in which the admin `by` signs that one history takes the place of another."""
    predicate = {"by": by, "registry": registry}
    return _make(signer, "handover", predicate, subject_name, data)


def make_release(signer: Signer, *, by: str, registry: str, run_key: str, data: bytes) -> bytes:
    """The bundle in which a person of a site lets exactly these numbers of a run leave it.

    It stays at the site: nothing in a registry is read as one.
    """
    predicate = {"by": by, "registry": registry, "runKey": run_key}
    return _make(signer, "release", predicate, RELEASE_FILE, data)


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
    plain = plain_bundle(data)
    if plain is not None:
        return Bundle(*plain)
    names = ("mediaType", "verificationMaterial", "dsseEnvelope")
    media_type, material, envelope = take_fields("bundle", parse_json(data, "bundle"), *names)
    check_equal("mediaType", media_type, MEDIA_TYPE)
    (key,) = take_fields("verificationMaterial", material, "publicKey")
    (hint,) = take_fields("publicKey", key, "hint")
    names = ("payload", "payloadType", "signatures")
    payload, payload_type, signatures = take_fields("dsseEnvelope", envelope, *names)
    check_equal("payloadType", payload_type, PAYLOAD_TYPE)
    keyid, signature = take_fields("signature", take_one("signatures", signatures), "keyid", "sig")
    named = take_matching("keyid", keyid, _FINGERPRINT, "`SHA256:` and 43 characters of base64")
    check_equal("hint", hint, named)
    signed = take_base64("sig", signature)
    if len(signed) != 64:
        raise SignatureError(f"A signature has {len(signed)} bytes, where Ed25519's have 64.")
    return Bundle(fingerprint=named, payload=take_base64("payload", payload), signature=signed)


def _read_statement(payload: bytes, signed_with: str) -> Statement:
    """The statement in a payload whose signature holds."""
    plain = plain_result(payload)
    if plain is not None:
        by, registry, run_key, sha256, subject = plain
        named = f"sha256:{sha256}"
        return Statement(
            "result", _check_party(by), registry, subject, named, signed_with, run_key=run_key
        )
    names = ("_type", "predicateType", "predicate", "subject")
    kind_of, predicate_type, predicate, subjects = take_fields(
        "statement", parse_json(payload, "statement"), *names
    )
    check_equal("_type", kind_of, STATEMENT_TYPE)
    kind = PREDICATE_TYPES.get(take_text("predicateType", predicate_type))
    if kind is None:
        raise SignatureError(
            f"A statement has the unknown predicateType {str(predicate_type)[:100]!r}."
        )
    subject, sha256 = _read_subject(take_one("subject", subjects))
    said = _read_predicate(kind, predicate)
    return Statement(
        kind=kind,
        by=_check_party(said["by"]),
        registry=said["registry"],
        subject=subject,
        digest=f"sha256:{sha256}",
        fingerprint=signed_with,
        decision=_decision(said["decision"]) if kind == "approval" else None,
        reason=said.get("reason"),
        run_key=take_matching("runKey", said["runKey"], _HEX, _HEX_FORM)
        if "runKey" in said
        else None,
    )


def _read_predicate(kind: Kind, predicate: object) -> dict[str, str]:
    """The texts of a predicate; an optional one that is absent is absent here too."""
    wanted = _FIELDS[kind]
    found = zip(wanted, take_fields("predicate", predicate, *wanted), strict=True)
    return {
        name.removesuffix("?"): take_text(name.removesuffix("?"), value)
        for name, value in found
        if not (value is None and name.endswith("?"))
    }


def _read_subject(value: object) -> tuple[str, str]:
    name, digests = take_fields("subject", value, "name", "digest")
    (sha256,) = take_fields("digest", digests, "sha256")
    file_name = take_text("name", name)
    if not file_name or "/" in file_name or "\\" in file_name:
        raise SignatureError(f"A subject is named {file_name[:100]!r}, which is no file's name.")
    return file_name, take_matching("sha256", sha256, _HEX, _HEX_FORM)


def _check_party(text: str) -> str:
    owner, slash, name = text.partition("/")
    if not (slash and is_name(owner) and is_name(name)):
        raise SignatureError(f"A statement is by {text[:100]!r}, which is no owner/name.")
    return text


def _decision(text: str) -> Decision:
    if text == "approve":
        return "approve"
    if text == "revoke":
        return "revoke"
    raise SignatureError(f"A statement decides {text[:40]!r}: only approve or revoke count.")


def _check_size(data: bytes) -> None:
    if len(data) > BUNDLE_LIMIT:
        raise SignatureError(f"A bundle has {len(data)} bytes, more than {BUNDLE_LIMIT}.")
