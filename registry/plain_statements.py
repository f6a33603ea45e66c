"""The statements that our own writer makes of results, read by two patterns.

Nearly all statements of a large registry are sites' over their results, and all of these have one
form: to take a stranger's JSON apart field by field costs five times as much. What matches here
means what `statements.py` reads there, and is bounded by the same size; what does not is none of
this module's, and `statements.py` reads it, or says what is wrong. A test holds both together.
"""

import re

from .public_keys import strict_base64

# the keys stand in canonical JSON's order; no text in here can hold an escape
_BUNDLE = re.compile(
    rb'\{"dsseEnvelope":\{"payload":"([A-Za-z0-9+/]+={0,2})",'
    rb'"payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"(SHA256:[A-Za-z0-9+/]{43})","sig":"([A-Za-z0-9+/]{86}==)"\}\]\},'
    rb'"mediaType":"application/vnd\.dev\.sigstore\.bundle\.v0\.3\+json",'
    rb'"verificationMaterial":\{"publicKey":\{"hint":"\2"\}\}\}\n\Z'
)
_RESULT = re.compile(
    rb'\{"_type":"https://in-toto\.io/Statement/v1",'
    rb'"predicate":\{"by":"([a-z0-9/-]+)","registry":"([a-z0-9-]+)","runKey":"([0-9a-f]{64})"\},'
    rb'"predicateType":"https://medperf\.org/attestation/result/v1",'
    rb'"subject":\[\{"digest":\{"sha256":"([0-9a-f]{64})"\},"name":"([a-z0-9.-]+)"\}\]\}\Z'
)


def plain_bundle(data: bytes) -> tuple[str, bytes, bytes] | None:
    """The fingerprint, the payload and the signature in a bundle of this form."""
    match = _BUNDLE.match(data)
    if match is None:
        return None
    payload, named, signature = match.groups()
    try:
        return named.decode(), strict_base64(payload.decode()), strict_base64(signature.decode())
    except ValueError:
        return None


def plain_result(payload: bytes) -> tuple[str, ...] | None:
    """What a payload of this form says: by, registry, run key, sha256 and file name."""
    match = _RESULT.match(payload)
    return tuple(text.decode() for text in match.groups()) if match else None
