"""Signing keys: making one, opening one from a file or an ssh-agent, and signing with it.

A private key is a file in OpenSSH's form with mode 0600, with or without a passphrase, as
`ssh-keygen -t ed25519` writes it; its public half lies beside it with `.pub`. What can be said of
a public key alone is in `public_keys.py`, signatures over commits are in `sshsig.py`; both are
offered here too.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..schemas.errors import KeyFileError
from .agent import AgentSigner, agent_keys, open_agent
from .public_keys import (
    Signer,
    allowed_signers_line,
    check_signature,
    fingerprint,
    from_key_bytes,
    key_bytes,
    strip_comment,
    to_pem,
    verify,
)
from .sshsig import check_commit, commit_signer, sign_commit, sshsig_sign, sshsig_verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "AgentSigner",
    "FileSigner",
    "Signer",
    "agent_keys",
    "allowed_signers_line",
    "check_commit",
    "check_signature",
    "commit_signer",
    "fingerprint",
    "generate_key",
    "key_bytes",
    "load_signer",
    "sign_commit",
    "sshsig_sign",
    "sshsig_verify",
    "strip_comment",
    "to_pem",
    "verify",
]

AGENT = "agent"
_FILE_LIMIT = 64 * 1024
_MARK = b"-----BEGIN OPENSSH PRIVATE KEY-----"
Passphrase = Callable[[], str]


class FileSigner:
    """Signs with a private key that this process holds."""

    def __init__(self, private_key: "Ed25519PrivateKey") -> None:
        self._private_key = private_key
        self.public_key = from_key_bytes(private_key.public_key().public_bytes_raw())
        self.fingerprint = fingerprint(self.public_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> "FileSigner":
        """The signer whose private key is these 32 bytes: for tests and vectors."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the pure Ed25519 signature over `data`."""
        return self._private_key.sign(data)


def generate_key(path: Path, passphrase: str | None = None, comment: str = "") -> FileSigner:
    """Make a key: the private half at `path`, mode 0600, the public half beside it with `.pub`.

    An existing file is never overwritten: a lost key cannot be made again. The comment stands in
    the public file only; it is empty unless given, since user and host names are nobody's business.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not comment.isprintable():
        raise KeyFileError("A key's comment is one line of printable text.")
    public_path = path.with_name(path.name + ".pub")
    for taken in (path, public_path):
        if os.path.lexists(taken):
            raise KeyFileError(f"{taken} exists already: choose another file for the new key.")
    private_key = Ed25519PrivateKey.generate()
    signer = FileSigner(private_key)
    line = f"{signer.public_key} {comment}".rstrip() + "\n"
    _write_new(path, _private_bytes(private_key, passphrase), 0o600)
    _write_new(public_path, line.encode(), 0o644)
    return signer


def load_signer(
    source: Path | str,
    public_key: str | None = None,
    passphrase: Passphrase | None = None,
) -> Signer:
    """The signer for a private key file, or for a key of the ssh-agent where `source` is `agent`.

    `public_key` is the key that is meant: another one in the file is refused, and of an agent's
    keys it picks one. `passphrase` is called only if the file is locked with one.
    """
    wanted = None if public_key is None else strip_comment(public_key)
    if source == AGENT:
        return open_agent(wanted)
    path = Path(source)
    signer = FileSigner(_parse(path, _read_private(path), passphrase))
    if wanted is not None and wanted != signer.public_key:
        raise KeyFileError(
            f"{path} holds the key {signer.fingerprint}, not {fingerprint(wanted)}: "
            "name the file of the right key."
        )
    return signer


def _private_bytes(private_key: "Ed25519PrivateKey", passphrase: str | None) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    lock: form.KeySerializationEncryption = form.NoEncryption()
    if passphrase:
        lock = form.BestAvailableEncryption(passphrase.encode())
    try:
        return private_key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, lock)
    except UnsupportedAlgorithm as error:
        raise KeyFileError(
            f"A passphrase cannot be set here ({error}): install the Python package bcrypt."
        ) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _place(draft, path)
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _place(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)  # unlike os.replace, it never overwrites
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        draft.replace(path)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _check_mode(path, status)
            return file.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        raise KeyFileError(
            f"There is no key file {path}: name the right one, or make a key with `medperf login`."
        ) from None
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error


def _check_mode(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a file, so it holds no key.")
    if os.name == "posix" and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(
            f"Others may use the key file {path} (mode {mode:04o}): run `chmod 600 {path}`; "
            "if others can have read it, retire the key."
        )


def _parse(path: Path, data: bytes, passphrase: Passphrase | None) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    if not data.startswith(_MARK) or len(data) > _FILE_LIMIT:
        raise KeyFileError(
            f"{path} is not a private key in OpenSSH's form: use a file that "
            "`medperf login` or `ssh-keygen -t ed25519` wrote, without `.pub`."
        )
    locked = _is_locked(path, data)
    if locked and passphrase is None:
        raise KeyFileError(
            f"The key file {path} is locked with a passphrase: run this where it can be asked for, "
            "or add the key to an ssh-agent and set `key: agent`."
        )
    word = passphrase().encode() if locked and passphrase else None
    try:
        key = load_ssh_private_key(data, word)
    except UnsupportedAlgorithm as error:
        raise KeyFileError(f"The key file {path} cannot be opened: {error}.") from error
    except (ValueError, TypeError) as error:
        cause = "the passphrase is wrong, or the file is damaged" if locked else "it is damaged"
        raise KeyFileError(f"The key file {path} cannot be opened: {cause}.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(
            f"{path} holds a key of another kind: only Ed25519 keys sign here; make one with "
            "`medperf login` or `ssh-keygen -t ed25519`."
        )
    return key


def _is_locked(path: Path, data: bytes) -> bool:
    """Whether the key is encrypted: the file's first string names the cipher, or `none`."""
    import base64
    import binascii

    body = data.removeprefix(_MARK).partition(b"-----END")[0]
    try:
        blob = base64.b64decode(body)
    except binascii.Error as error:
        raise KeyFileError(f"The key file {path} cannot be opened: it is damaged.") from error
    return not blob.startswith(b"openssh-key-v1\0\0\0\0\x04none")
