"""Keys that an ssh-agent holds: which they are, and signing with one (draft-ietf-sshm-ssh-agent).

The private key never comes into this process. An agent may ask its owner before it signs, so an
answer may take as long as a person does.
"""

import os
import socket
from pathlib import Path

from ..schemas.errors import KeyFileError, SignatureError
from .public_keys import check_signature, fingerprint, from_key_blob, key_blob
from .sshsig import SshReader, read_signature, ssh_string

_REQUEST_IDENTITIES = 11
_IDENTITIES_ANSWER = 12
_SIGN_REQUEST = 13
_SIGN_RESPONSE = 14
_ANSWER_LIMIT = 256 * 1024
_SECONDS = 120.0
_MOST_KEYS = 1000
_START_IT = "Start one with `eval $(ssh-agent)` and add the key with `ssh-add`."


class AgentSigner:
    """Signs with a key that the ssh-agent at `address` holds."""

    def __init__(self, public_key: str, address: Path) -> None:
        self.public_key = public_key
        self.fingerprint = fingerprint(public_key)
        self._address = address

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature; a KeyFileError where the agent does not give one."""
        request = ssh_string(key_blob(self.public_key)) + ssh_string(data) + bytes(4)
        try:
            reader = _ask(self._address, _SIGN_REQUEST, request, _SIGN_RESPONSE)
            signature = read_signature(reader.string())
            reader.finish()
            check_signature(self.public_key, signature, data)
        except SignatureError as error:
            raise KeyFileError(f"The ssh-agent's answer is no signature: {error}") from error
        return signature


def agent_address() -> Path:
    """Where the user's ssh-agent listens; a KeyFileError if there is none."""
    address = os.environ.get("SSH_AUTH_SOCK")
    if not address:
        raise KeyFileError(f"No ssh-agent runs here: SSH_AUTH_SOCK is not set. {_START_IT}")
    return Path(address)


def agent_keys(address: Path | None = None) -> list[str]:
    """The Ed25519 public keys that the agent holds; its other keys are passed over."""
    try:
        reader = _ask(address or agent_address(), _REQUEST_IDENTITIES, b"", _IDENTITIES_ANSWER)
        count = reader.number()
        if count > _MOST_KEYS:
            raise SignatureError(f"it claims to hold {count} keys.")
        blobs = [(reader.string(), reader.string())[0] for _ in range(count)]
        reader.finish()
    except SignatureError as error:
        raise KeyFileError(f"The ssh-agent's answer cannot be read: {error}") from error
    return [key for blob in blobs if (key := _strict_key(blob)) is not None]


def open_agent(public_key: str | None = None) -> AgentSigner:
    """A signer for the agent's key `public_key`, or for its only Ed25519 key."""
    address = agent_address()
    held = agent_keys(address)
    if public_key is None and len(held) == 1:
        public_key = held[0]
    if public_key in held:
        return AgentSigner(public_key, address)
    names = ", ".join(map(fingerprint, held)) or "none"
    wanted = "exactly one Ed25519 key" if public_key is None else f"{fingerprint(public_key)}"
    raise KeyFileError(
        f"The ssh-agent does not hold {wanted} (its Ed25519 keys: {names}): "
        "add it with `ssh-add`, or name the key that is meant."
    )


def _strict_key(blob: bytes) -> str | None:
    try:
        return from_key_blob(blob)
    except SignatureError:
        return None


def _ask(address: Path, kind: int, body: bytes, expected: int) -> SshReader:
    """Send one message to the agent; its answer, after the byte that says what it is."""
    request = ssh_string(bytes([kind]) + body)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(_SECONDS)
            agent.connect(str(address))
            agent.sendall(request)
            length = int.from_bytes(_receive(agent, 4), "big")
            if not 1 <= length <= _ANSWER_LIMIT:
                raise KeyFileError(
                    f"The ssh-agent answers with {length} bytes, which is no answer."
                )
            answer = _receive(agent, length)
    except OSError as error:
        raise KeyFileError(
            f"The ssh-agent at {address} does not answer: {error}. {_START_IT}"
        ) from (error)
    if answer[0] != expected:
        raise KeyFileError(
            "The ssh-agent refused: it is locked, its owner said no, or it lost the key. "
            "Look with `ssh-add -l`."
        )
    return SshReader(answer[1:])


def _receive(agent: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = agent.recv(count - len(data))
        if not piece:
            raise KeyFileError("The ssh-agent hung up before it had answered.")
        data += piece
    return bytes(data)
