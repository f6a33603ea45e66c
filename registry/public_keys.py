"""Ed25519 public keys in OpenSSH form, what they have signed, and what can sign for one.

A public key is exactly `ssh-ed25519 <68 characters of base64>`, without a comment: one key has one
spelling, so keys can be compared as text. OpenSSL, and so `cryptography`, takes two kinds of key
that everybody can sign for: the points of small order, and a y coordinate of p or more, which is a
second spelling of another point. With the key `01 00 … 00` one and the same signature holds over
every message. Both kinds are refused here, and so nowhere else.
"""

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from ..schemas.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY_TYPE = b"ssh-ed25519"
_HEADER = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
_KEY = re.compile(r"ssh-ed25519 ([A-Za-z0-9+/]{68})\Z")
_SPKI = bytes.fromhex("302a300506032b6570032100")
_FIELD = 2**255 - 19
# y coordinates of the eight points whose order divides 8; the sign of x does not matter
_ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER = frozenset([0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8])


class Signer(Protocol):
    """What can sign for one public key: a key file, or a key that an ssh-agent holds."""

    @property
    def public_key(self) -> str:
        """The public key, `ssh-ed25519 AAAA…`."""

    @property
    def fingerprint(self) -> str:
        """The public key's fingerprint, `SHA256:…`."""

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the pure Ed25519 signature over `data`."""


def key_bytes(public_key: str) -> bytes:
    """The 32 bytes of a public key in its one strict form; else a SignatureError."""
    blob = key_blob(public_key)
    return blob[len(_HEADER) :]


@lru_cache(maxsize=4096)
def key_blob(public_key: str) -> bytes:
    """The 51 bytes that SSH calls the key (its type, then its 32 bytes); else a SignatureError."""
    match = _KEY.match(public_key)
    blob = base64.b64decode(match[1]) if match else b""
    if not blob.startswith(_HEADER):
        raise SignatureError(
            f"{public_key[:100]!r} is not an Ed25519 public key: write exactly "
            "`ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…`, without a comment."
        )
    _check_point(blob[len(_HEADER) :])
    return blob


def _check_point(key: bytes) -> None:
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _FIELD or y in _SMALL_ORDER:
        raise SignatureError(
            "A public key is a weak point of the curve, for which anybody can sign: "
            "make a new key with `medperf login` or `ssh-keygen -t ed25519`."
        )


def from_key_bytes(key: bytes) -> str:
    """A public key's OpenSSH form from its 32 bytes."""
    return from_key_blob(_HEADER + key)


def from_key_blob(blob: bytes) -> str:
    """A public key's OpenSSH form from SSH's 51 bytes; a SignatureError for any other key."""
    public_key = "ssh-ed25519 " + base64.b64encode(blob).decode()
    key_blob(public_key)
    return public_key


def strip_comment(line: str) -> str:
    """The strict form of a line as a `.pub` file has it, with or without a comment."""
    public_key = " ".join(line.split()[:2])
    key_blob(public_key)
    return public_key


@lru_cache(maxsize=4096)
def fingerprint(public_key: str) -> str:
    """OpenSSH's fingerprint of a public key: `SHA256:` and unpadded base64."""
    sha = hashlib.sha256(key_blob(public_key)).digest()
    return "SHA256:" + base64.b64encode(sha).decode().rstrip("=")


@lru_cache(maxsize=4096)
def _parsed(public_key: str) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(key_bytes(public_key))


def check_signature(public_key: str, signature: bytes, data: bytes) -> None:
    """Raise a SignatureError unless `signature` over `data` holds for the public key."""
    from cryptography.exceptions import InvalidSignature

    try:
        _parsed(public_key).verify(signature, data)
    except InvalidSignature:
        raise SignatureError(
            f"The signature does not hold for the key {fingerprint(public_key)}: "
            "the bytes or the signature were changed, or another key signed."
        ) from None


def verify(public_key: str, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` holds for the public key; never for a malformed key."""
    try:
        check_signature(public_key, signature, data)
    except SignatureError:
        return False
    return True


def to_pem(public_key: str) -> bytes:
    """The public key as PEM (SPKI), which openssl and cosign read and ssh-keygen cannot write."""
    body = base64.b64encode(_SPKI + key_bytes(public_key)).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n".encode()


def allowed_signers_line(principal: str, public_key: str) -> str:
    """The line of Git's and ssh-keygen's allowed-signers file that lets a key sign commits."""
    key_blob(public_key)
    return f'{principal} namespaces="git" {public_key}\n'


def strict_base64(text: str) -> bytes:
    """The bytes of standard base64, canonically padded; a ValueError for any other spelling.

    Python's decoder drops foreign characters and takes stray bits in the last one, so two texts
    would mean the same bytes; here one text does.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError("it is not standard base64") from error
    if binascii.b2a_base64(data, newline=False) != text.encode():
        raise ValueError("it is not canonical base64")
    return data
