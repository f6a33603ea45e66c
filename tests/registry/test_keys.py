"""Keys: one strict public form, private files that are looked after, and ssh-keygen's agreement."""

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.registry.keys import (
    FileSigner,
    allowed_signers_line,
    fingerprint,
    generate_key,
    load_signer,
    strip_comment,
    to_pem,
    verify,
)
from medperf.registry.public_keys import check_signature, from_key_blob, key_bytes, strict_base64
from medperf.schemas.errors import KeyFileError, SignatureError

HEADER = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
FIELD = 2**255 - 19
IDENTITY = b"\x01" + bytes(31)


def encode(blob: bytes) -> str:
    return "ssh-ed25519 " + base64.b64encode(blob).decode()


def keygen(*arguments: str | Path) -> str:
    command = ["ssh-keygen", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return answer.stdout


@pytest.fixture
def signer(make_signer: Callable[[str], FileSigner]) -> FileSigner:
    """Some key."""
    return make_signer("hospital/bob")


def test_the_golden_key_has_its_fingerprint_its_pem_and_its_line(vectors: Path) -> None:
    public_key = (vectors / "key.pub").read_text().strip()
    assert fingerprint(public_key) == "SHA256:lbmsoA0yIEcEiVDRnMWuzm+nV+3ZEEpVIURqFoeSspg"
    assert to_pem(public_key) == (vectors / "key.pem").read_bytes()
    line = allowed_signers_line("hospital/ward", public_key)
    assert line == (vectors / "allowed_signers").read_text()


def test_the_same_name_makes_the_same_test_key(make_signer: Callable[[str], FileSigner]) -> None:
    assert make_signer("a").public_key == make_signer("a").public_key
    assert make_signer("a").public_key != make_signer("b").public_key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519  " + base64.b64encode(HEADER + b"\x05" * 32).decode(),
        encode(HEADER + b"\x05" * 32) + " bob@ward",
        encode(HEADER + b"\x05" * 32) + "\n",
        encode(HEADER + b"\x05" * 31),
        encode(HEADER + b"\x05" * 33),
        encode(b"\0\0\0\x0bssh-ed25518\0\0\0\x20" + b"\x05" * 32),
        encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x21" + b"\x05" * 32),
        encode(HEADER + b"\xff" * 32).replace("/", "_"),
        "ssh-rsa " + base64.b64encode(HEADER + b"\x05" * 32).decode(),
    ],
)
def test_a_public_key_has_one_spelling(text: str) -> None:
    with pytest.raises(SignatureError, match="is not an Ed25519 public key"):
        key_bytes(text)
    assert not verify(text, bytes(64), b"")


def test_a_comment_is_dropped_where_a_person_hands_in_a_line(signer: FileSigner) -> None:
    assert strip_comment(f"{signer.public_key} bob at the ward\n") == signer.public_key


WEAK = [
    bytes(32),
    IDENTITY,
    IDENTITY[:-1] + b"\x80",
    (FIELD - 1).to_bytes(32, "little"),
    FIELD.to_bytes(32, "little"),
    (FIELD + 1).to_bytes(32, "little"),
    (2**255 - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]


@pytest.mark.parametrize("key", WEAK, ids=[key.hex()[:6] + key.hex()[-2:] for key in WEAK])
def test_a_key_for_which_anybody_can_sign_is_refused(key: bytes) -> None:
    with pytest.raises(SignatureError, match="weak point"):
        key_bytes(encode(HEADER + key))
    with pytest.raises(SignatureError, match="weak point"):
        from_key_blob(HEADER + key)


def test_the_library_beneath_takes_such_a_key_so_the_check_is_needed() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    forged = IDENTITY + bytes(32)
    Ed25519PublicKey.from_public_bytes(IDENTITY).verify(forged, b"any message at all")
    assert not verify(encode(HEADER + IDENTITY), forged, b"any message at all")


def test_a_signature_holds_for_its_key_and_its_bytes_only(
    signer: FileSigner, make_signer: Callable[[str], FileSigner]
) -> None:
    signature = signer.sign(b"data")
    assert verify(signer.public_key, signature, b"data")
    assert not verify(signer.public_key, signature, b"date")
    assert not verify(make_signer("mallory").public_key, signature, b"data")
    with pytest.raises(SignatureError, match="another key signed"):
        check_signature(signer.public_key, signature[:-1], b"data")


def test_a_second_spelling_of_a_signature_does_not_hold(signer: FileSigner) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = signer.sign(b"data")
    s = int.from_bytes(signature[32:], "little") + order
    assert not verify(signer.public_key, signature[:32] + s.to_bytes(32, "little"), b"data")


@pytest.mark.parametrize("text", ["AA", "AA=", "A===", "AB==", "AA==\n", "A-__", "=AAA", "é"])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is not .*base64"):
        strict_base64(text)


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_made_key_is_read_back_and_by_ssh_keygen(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "keys" / "bob"
    made = generate_key(path, passphrase, comment="bob")
    read = load_signer(path, passphrase=lambda: passphrase or "")
    assert read.public_key == made.public_key
    assert read.fingerprint == made.fingerprint
    assert verify(made.public_key, read.sign(b"data"), b"data")
    assert keygen("-y", "-P", passphrase or "", "-f", path).split()[:2] == made.public_key.split()
    public = path.with_name("bob.pub")
    assert public.read_text() == f"{made.public_key} bob\n"
    assert keygen("-l", "-f", public).split()[1] == made.fingerprint
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["bob", "bob.pub"]


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_a_key_of_ssh_keygen_is_read(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ed25519", "-N", passphrase, "-C", "someone", "-f", path)
    public = strip_comment(path.with_name("key.pub").read_text())
    assert load_signer(path, public, lambda: passphrase).public_key == public


def test_the_passphrase_is_asked_for_only_where_one_is_needed(tmp_path: Path) -> None:
    def never() -> str:
        raise AssertionError("asked for a passphrase")

    generate_key(tmp_path / "open")
    assert load_signer(tmp_path / "open", passphrase=never)


def test_a_locked_key_without_a_way_to_ask_says_so(tmp_path: Path) -> None:
    generate_key(tmp_path / "key", "secret")
    with pytest.raises(KeyFileError, match="locked with a passphrase"):
        load_signer(tmp_path / "key")


def test_a_wrong_passphrase_is_told(tmp_path: Path) -> None:
    generate_key(tmp_path / "key", "secret")
    with pytest.raises(KeyFileError, match="the passphrase is wrong"):
        load_signer(tmp_path / "key", passphrase=lambda: "guess")


def test_a_file_that_is_locked_in_a_way_nobody_here_opens_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ed25519", "-N", "secret", "-Z", "aes128-cbc", "-f", path)
    with pytest.raises(KeyFileError, match="cannot be opened: Unsupported cipher"):
        load_signer(path, passphrase=lambda: "secret")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="There is no key file"):
        load_signer(tmp_path / "none")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_signer(tmp_path)


def test_a_device_is_no_key() -> None:
    with pytest.raises(KeyFileError, match="is not a file"):
        load_signer("/dev/null")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    generate_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_signer(tmp_path / "key")


def test_the_public_half_or_another_file_is_no_private_key(tmp_path: Path) -> None:
    generate_key(tmp_path / "key")
    public = tmp_path / "key.pub"
    public.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a private key in OpenSSH's form"):
        load_signer(public)


@pytest.mark.parametrize("body", ["AAAA", "A", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU="])
def test_a_damaged_file_is_told(tmp_path: Path, body: str) -> None:
    path = tmp_path / "key"
    end = "-----END OPENSSH PRIVATE KEY-----"
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n{end}\n")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="cannot be opened"):
        load_signer(path, passphrase=lambda: "any")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", path)
    with pytest.raises(KeyFileError, match="only Ed25519"):
        load_signer(path)


def test_another_key_than_the_one_that_is_meant_is_refused(
    tmp_path: Path, signer: FileSigner
) -> None:
    made = generate_key(tmp_path / "key")
    with pytest.raises(KeyFileError, match=f"not {signer.fingerprint.replace('+', '.')}"):
        load_signer(tmp_path / "key", signer.public_key)
    assert load_signer(tmp_path / "key", f"{made.public_key} bob@ward").sign(b"")


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_an_existing_file_is_never_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(KeyFileError, match="exists already"):
        generate_key(tmp_path / "key")
    assert (tmp_path / taken).read_text() == "precious"
    assert {entry.name for entry in tmp_path.iterdir()} == {"home", taken}


def test_a_comment_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="one line"):
        generate_key(tmp_path / "key", comment="a\nssh-ed25519 AAAA")
    assert not (tmp_path / "key").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written"):
        generate_key(tmp_path / "file" / "key")
