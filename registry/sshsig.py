"""SSH signatures over messages (OpenSSH's PROTOCOL.sshsig), and over Git commits with them.

What is written is byte for byte what `ssh-keygen -Y sign` writes; what is read must be in that one
form. Verifying here takes a fortieth of the time of a call of `git verify-commit`, and does not
judge by the committer's date, which the committer chooses.
"""

import base64
import hashlib
import re
import struct

from ..schemas.errors import SignatureError
from .public_keys import (
    KEY_TYPE,
    Signer,
    check_signature,
    from_key_blob,
    key_blob,
    strict_base64,
)

_MAGIC = b"SSHSIG"
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_ARMOR = re.compile(rf"{_BEGIN}\n((?:[A-Za-z0-9+/=]{{1,76}}\n){{1,20}}){_END}\n?\Z")
_HASHES = {b"sha512": hashlib.sha512, b"sha256": hashlib.sha256}
_WIDTH = 70
GIT_NAMESPACE = "git"
_SIGNATURE_HEADER = b"gpgsig"


def ssh_string(data: bytes) -> bytes:
    """`data` as SSH writes a string: its length in four bytes, then itself."""
    return struct.pack(">I", len(data)) + data


class SshReader:
    """Reads SSH's wire format piece by piece; a SignatureError where a piece is missing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise SignatureError("An SSH message or signature ends too early: it was cut short.")
        self._at += count
        return piece

    def number(self) -> int:
        """The next four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """The next string."""
        return self.take(self.number())

    def finish(self) -> None:
        """Raise unless everything was read."""
        if self._at != len(self._data):
            raise SignatureError("An SSH message or signature has bytes after its end.")


def read_signature(blob: bytes) -> bytes:
    """The 64 bytes of a signature in SSH's own packing (its type, then the bytes)."""
    reader = SshReader(blob)
    kind, signature = reader.string(), reader.string()
    reader.finish()
    if kind != KEY_TYPE or len(signature) != 64:
        raise SignatureError(
            f"An SSH signature is of the type {kind[:40]!r}: only ssh-ed25519 counts here."
        )
    return signature


def _signed_bytes(data: bytes, namespace: str, hash_name: bytes) -> bytes:
    hashed = _HASHES[hash_name](data).digest()
    parts = (namespace.encode(), b"", hash_name, hashed)
    return _MAGIC + b"".join(map(ssh_string, parts))


def sshsig_sign(signer: Signer, data: bytes, namespace: str) -> str:
    """The armoured SSH signature over `data`, as `ssh-keygen -Y sign -n <namespace>` writes it."""
    signature = signer.sign(_signed_bytes(data, namespace, b"sha512"))
    parts = (
        key_blob(signer.public_key),
        namespace.encode(),
        b"",
        b"sha512",
        ssh_string(KEY_TYPE) + ssh_string(signature),
    )
    blob = _MAGIC + struct.pack(">I", 1) + b"".join(map(ssh_string, parts))
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def sshsig_verify(armored: str, data: bytes, namespace: str) -> str:
    """The public key whose SSH signature over `data` holds; a SignatureError if none does."""
    match = _ARMOR.match(armored)
    if match is None:
        raise SignatureError("This is no SSH signature in OpenSSH's armour.")
    try:
        blob = strict_base64(match[1].replace("\n", ""))
    except ValueError as error:
        raise SignatureError(f"An SSH signature cannot be read: {error}.") from None
    reader = SshReader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
        raise SignatureError("An SSH signature is not of version 1.")
    key, name, reserved, hash_name, packed = (reader.string() for _ in range(5))
    reader.finish()
    if name != namespace.encode() or reserved:
        raise SignatureError(
            f"An SSH signature was made for the namespace {name[:40]!r}, not for {namespace!r}."
        )
    if hash_name not in _HASHES:
        raise SignatureError(f"An SSH signature uses the unknown hash {hash_name[:40]!r}.")
    public_key = from_key_blob(key)
    check_signature(public_key, read_signature(packed), _signed_bytes(data, namespace, hash_name))
    return public_key


def sign_commit(raw: bytes, signer: Signer) -> bytes:
    """An unsigned commit object with a `gpgsig` header by `signer`, placed as Git places it."""
    head, blank, message = raw.partition(b"\n\n")
    if not blank:
        raise ValueError("a commit object has a blank line after its headers")
    armored = sshsig_sign(signer, raw, GIT_NAMESPACE).rstrip("\n")
    folded = armored.replace("\n", "\n ").encode()
    return head + b"\n" + _SIGNATURE_HEADER + b" " + folded + blank + message


def check_commit(raw: bytes) -> str:
    """The public key whose SSH signature over a raw commit object holds; else a SignatureError.

    A commit with two signatures, or with one of another object format (`gpgsig-sha256`), is
    refused: Git leaves either out of what it verifies, so two readers could see two signers.
    """
    payload, armored = _split_commit(raw)
    try:
        text = armored.decode("ascii")
    except UnicodeDecodeError:
        raise SignatureError("A commit's signature is not ASCII text.") from None
    if not text.startswith(_BEGIN):
        raise SignatureError("A commit is signed, but not with an SSH key.")
    return sshsig_verify(text, payload, GIT_NAMESPACE)


def commit_signer(raw: bytes) -> str | None:
    """The public key that signed a raw commit object; None if it is unsigned or does not hold."""
    try:
        return check_commit(raw)
    except SignatureError:
        return None


def _split_commit(raw: bytes) -> tuple[bytes, bytes]:
    """A commit as what was signed, and the signature unfolded."""
    head, blank, message = raw.partition(b"\n\n")
    if not blank:  # a commit without a message ends with its headers' last line
        head = head.removesuffix(b"\n")
        blank = b"\n"
    kept: list[bytes] = []
    signature: list[bytes] = []
    into = kept
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            into.append(line if into is kept else line[1:])
        elif not line.startswith(_SIGNATURE_HEADER):
            into = kept
            kept.append(line)
        elif signature or not line.startswith(_SIGNATURE_HEADER + b" "):
            raise SignatureError(
                "A commit carries more than one signature, or one of another kind."
            )
        else:
            into = signature
            signature.append(line.removeprefix(_SIGNATURE_HEADER + b" "))
    if not signature:
        raise SignatureError("A commit is not signed.")
    return b"\n".join(kept) + blank + message, b"\n".join(signature)
