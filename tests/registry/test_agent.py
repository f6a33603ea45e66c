"""A real ssh-agent: its keys are listed, sign like files, and its refusals are explained."""

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.registry.agent import AgentSigner, agent_keys
from medperf.registry.keys import FileSigner, generate_key, load_signer, sshsig_sign, verify
from medperf.schemas.errors import KeyFileError


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A running ssh-agent without keys."""
    address = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()  # it names its address once it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
    yield address
    process.terminate()
    process.communicate(timeout=10)


def add(path: Path, *options: str) -> FileSigner:
    """Make a key and hand it to the agent."""
    signer = generate_key(path)
    subprocess.run(["ssh-add", "-q", *options, path], check=True, capture_output=True)
    return signer


@pytest.mark.usefixtures("agent")
def test_a_key_of_the_agent_signs_as_its_file_does(tmp_path: Path) -> None:
    file = add(tmp_path / "key")
    held = load_signer("agent")
    assert (held.public_key, held.fingerprint) == (file.public_key, file.fingerprint)
    assert held.sign(b"data") == file.sign(b"data")
    assert sshsig_sign(held, b"data", "git") == sshsig_sign(file, b"data", "git")


@pytest.mark.usefixtures("agent")
def test_one_of_several_keys_is_picked_by_name(tmp_path: Path) -> None:
    first, second = add(tmp_path / "first"), add(tmp_path / "second")
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", other], check=True)
    subprocess.run(["ssh-add", "-q", other], check=True, capture_output=True)
    assert agent_keys() == [first.public_key, second.public_key]
    signature = load_signer("agent", f"{second.public_key} comment").sign(b"data")
    assert verify(second.public_key, signature, b"data")
    with pytest.raises(KeyFileError, match="exactly one Ed25519 key") as caught:
        load_signer("agent")
    assert first.fingerprint in str(caught.value)


@pytest.mark.usefixtures("agent")
def test_a_key_that_the_agent_does_not_hold_is_told(tmp_path: Path) -> None:
    missing = generate_key(tmp_path / "key")
    with pytest.raises(KeyFileError, match=f"not hold {re.escape(missing.fingerprint)}.*none"):
        load_signer("agent", missing.public_key)


@pytest.mark.usefixtures("agent")
def test_a_key_that_the_agent_lost_or_locked_away_does_not_sign(tmp_path: Path) -> None:
    add(tmp_path / "key")
    signer = load_signer("agent")
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(KeyFileError, match="The ssh-agent refused"):
        signer.sign(b"data")


def test_no_agent_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="SSH_AUTH_SOCK is not set"):
        load_signer("agent")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    with pytest.raises(KeyFileError, match="does not answer"):
        load_signer("agent")


ANSWERS = {
    b"\0\0\0\0": "answers with 0 bytes",
    b"\xff\xff\xff\xff": "answers with 4294967295 bytes",
    b"\0\0\0\x05\x0c\0\0": "hung up",
    b"\0\0\0\x01\x05": "refused",
    b"\0\0\0\x03\x0c\0\0": "cut short",
    b"\0\0\0\x05\x0c\xff\xff\xff\xff": "claims to hold",
    b"\0\0\0\x06\x0c\0\0\0\0x": "after its end",
}


@pytest.mark.parametrize("answer", ANSWERS, ids=list(ANSWERS.values()))
def test_an_agent_that_speaks_nonsense_is_told(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyFileError, match=ANSWERS[answer]):
        _ask_one_that_says(answer, tmp_path, monkeypatch)


def _ask_one_that_says(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "odd"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "odd"))
        server.listen()
        thread = threading.Thread(target=_answer_once, args=(server, answer))
        thread.start()
        try:
            agent_keys()
        finally:
            thread.join(timeout=10)


def _answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(answer)


def test_an_agent_whose_signature_does_not_hold_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = AgentSigner(generate_key(tmp_path / "key").public_key, tmp_path / "odd")
    packed = b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(64)
    body = b"\x0e" + len(packed).to_bytes(4, "big") + packed
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("odd")
        server.listen()
        answer = len(body).to_bytes(4, "big") + body
        thread = threading.Thread(target=_answer_once, args=(server, answer))
        thread.start()
        with pytest.raises(KeyFileError, match="is no signature"):
            signer.sign(b"data")
        thread.join(timeout=10)
