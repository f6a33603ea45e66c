"""SSH signatures: ours are ssh-keygen's and Git's, theirs are ours, and tricks are refused."""

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.registry.keys import FileSigner, generate_key
from medperf.registry.public_keys import allowed_signers_line
from medperf.registry.sshsig import (
    check_commit,
    commit_signer,
    sign_commit,
    sshsig_sign,
    sshsig_verify,
)
from medperf.schemas.errors import SignatureError

WHEN = "bob <bob@hospital.invalid> 1790000000 +0000"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
COMMIT = f"tree {TREE}\nauthor {WHEN}\ncommitter {WHEN}\n\nAdd chest\n\nMore words.\n".encode()


def run(*command: str | Path, cwd: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=cwd, input=data, capture_output=True, check=False)


def git(cwd: Path, *arguments: str, data: bytes = b"") -> bytes:
    answer = run("git", *arguments, cwd=cwd, data=data)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    """A key that lies at `key` in the test's folder."""
    return generate_key(tmp_path / "key")


@pytest.fixture
def repo(tmp_path: Path, signer: FileSigner) -> Path:
    """A Git repository that signs with the key, and believes it."""
    folder = tmp_path / "repo"
    folder.mkdir()
    signers = tmp_path / "allowed_signers"
    signers.write_text(allowed_signers_line("hospital/bob", signer.public_key))
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, value in {
        "user.name": "bob",
        "user.email": "bob@hospital.invalid",
        "gpg.format": "ssh",
        "user.signingKey": str(tmp_path / "key"),
        "gpg.ssh.allowedSignersFile": str(signers),
    }.items():
        git(folder, "config", name, value)
    return folder


@pytest.mark.parametrize("data", [b"", b"hello\n", bytes(range(256)) * 400])
def test_our_signature_is_byte_for_byte_that_of_ssh_keygen(
    tmp_path: Path, signer: FileSigner, data: bytes
) -> None:
    (tmp_path / "data").write_bytes(data)
    run("ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", "key", "data", cwd=tmp_path)
    theirs = (tmp_path / "data.sig").read_text()
    assert sshsig_sign(signer, data, "git") == theirs
    assert sshsig_verify(theirs, data, "git") == signer.public_key


@pytest.mark.parametrize(("data", "status"), [(b"hello\n", 0), (b"hullo\n", 255)])
def test_ssh_keygen_verifies_ours_and_refuses_other_bytes(
    tmp_path: Path, signer: FileSigner, data: bytes, status: int
) -> None:
    (tmp_path / "sig").write_text(sshsig_sign(signer, b"hello\n", "git"))
    (tmp_path / "who").write_text(allowed_signers_line("hospital/bob", signer.public_key))
    command = ["ssh-keygen", "-Y", "verify", "-n", "git", "-f", "who"]
    answer = run(*command, "-I", "hospital/bob", "-s", "sig", cwd=tmp_path, data=data)
    assert answer.returncode == status, answer.stderr


def test_a_signature_with_the_shorter_hash_of_ssh_keygen_holds(
    tmp_path: Path, signer: FileSigner
) -> None:
    (tmp_path / "data").write_bytes(b"hello")
    command = ["ssh-keygen", "-Y", "sign", "-q", "-O", "hashalg=sha256", "-n", "git"]
    run(*command, "-f", "key", "data", cwd=tmp_path)
    assert sshsig_verify((tmp_path / "data.sig").read_text(), b"hello", "git") == signer.public_key


def test_a_signature_for_another_namespace_or_other_bytes_does_not_hold(
    signer: FileSigner,
) -> None:
    armored = sshsig_sign(signer, b"hello", "file")
    with pytest.raises(SignatureError, match="namespace b'file', not for 'git'"):
        sshsig_verify(armored, b"hello", "git")
    with pytest.raises(SignatureError, match="does not hold"):
        sshsig_verify(armored, b"hullo", "file")


def rearm(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    return f"-----BEGIN SSH SIGNATURE-----\n{_lines(text)}-----END SSH SIGNATURE-----\n"


def _lines(text: str) -> str:
    return "".join(text[at : at + 70] + "\n" for at in range(0, len(text), 70))


def dearm(armored: str) -> bytes:
    return base64.b64decode("".join(armored.splitlines()[1:-1]))


BLOBS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "version 2": (lambda b: b.replace(b"SSHSIG\0\0\0\x01", b"SSHSIG\0\0\0\x02"), "version 1"),
    "another magic": (lambda b: b.replace(b"SSHSIG", b"SSHSOG"), "version 1"),
    "cut short": (lambda b: b[:-1], "cut short"),
    "bytes behind it": (lambda b: b + b"\0", "after its end"),
    "a reserved field": (
        lambda b: b.replace(b"git\0\0\0\0", b"git\0\0\0\x01x"),
        "was made for the namespace",
    ),
    "an unknown hash": (lambda b: b.replace(b"sha512", b"sha500"), "unknown hash"),
    "another hash": (lambda b: b.replace(b"sha512", b"sha256"), "does not hold"),
    "a signature of another type": (
        lambda b: b.replace(b"\x0bssh-ed25519\0\0\0\x40", b"\x0bssh-ed25518\0\0\0\x40"),
        "only ssh-ed25519",
    ),
    "a key of another type": (
        lambda b: b.replace(b"\x0bssh-ed25519\0\0\0\x20", b"\x0bssh-ed25518\0\0\0\x20"),
        "not an Ed25519 public key",
    ),
    "a length without end": (lambda b: b[:10] + b"\xff\xff\xff\xff" + b[14:], "cut short"),
}


@pytest.mark.parametrize("name", BLOBS)
def test_a_signature_of_another_form_is_refused(name: str, signer: FileSigner) -> None:
    change, reason = BLOBS[name]
    blob = dearm(sshsig_sign(signer, b"hello", "git"))
    assert sshsig_verify(rearm(blob), b"hello", "git") == signer.public_key
    assert change(blob) != blob
    with pytest.raises(SignatureError, match=reason):
        sshsig_verify(rearm(change(blob)), b"hello", "git")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "x" + text,
        lambda text: text + "x",
        lambda text: text.replace("SSH", "PGP"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n", 1),
        lambda _: "",
    ],
)
def test_armour_has_one_form(change: Callable[[str], str], signer: FileSigner) -> None:
    with pytest.raises(SignatureError, match="no SSH signature in OpenSSH's armour"):
        sshsig_verify(change(sshsig_sign(signer, b"hello", "git")), b"hello", "git")


def test_padding_inside_the_armour_is_refused(signer: FileSigner) -> None:
    armored = sshsig_sign(signer, b"hello", "git").replace("\nU1NI", "\n=1NI")
    with pytest.raises(SignatureError, match="cannot be read"):
        sshsig_verify(armored, b"hello", "git")


def test_git_verifies_a_commit_that_we_signed(repo: Path, signer: FileSigner) -> None:
    raw = sign_commit(COMMIT, signer)
    git(repo, "hash-object", "-t", "tree", "-w", "--stdin")
    oid = git(repo, "hash-object", "-t", "commit", "-w", "--stdin", data=raw).decode().strip()
    answer = run("git", "verify-commit", "-v", oid, cwd=repo)
    assert answer.returncode == 0, answer.stderr
    assert b'Good "git" signature for hospital/bob' in answer.stderr
    assert answer.stdout == COMMIT
    assert commit_signer(raw) == signer.public_key


@pytest.mark.parametrize("message", ["one line", "subject\n\nbody\n\n gpgsig of a poem\n", ""])
def test_we_verify_a_commit_that_git_signed(repo: Path, signer: FileSigner, message: str) -> None:
    git(repo, "commit", "-S", "--allow-empty", "--allow-empty-message", "-m", message)
    raw = git(repo, "cat-file", "commit", "HEAD")
    assert check_commit(raw) == signer.public_key
    assert commit_signer(raw.replace(b"author bob", b"author rob")) is None


def test_ours_and_gits_signature_over_one_commit_are_the_same_object(
    repo: Path, signer: FileSigner
) -> None:
    git(repo, "commit", "-S", "--allow-empty", "-m", "one")
    raw = git(repo, "cat-file", "commit", "HEAD")
    head, _, rest = raw.partition(b"gpgsig ")
    unsigned = head + b"\n" + rest.partition(b"\n\n")[2]
    assert sign_commit(unsigned, signer) == raw


def test_a_merge_of_a_signed_tag_keeps_its_inner_signature_apart(
    repo: Path, signer: FileSigner
) -> None:
    git(repo, "commit", "--allow-empty", "-m", "one")
    git(repo, "checkout", "--quiet", "-b", "side")
    git(repo, "commit", "--allow-empty", "-m", "two")
    git(repo, "tag", "-s", "-m", "gpgsig", "v1")
    git(repo, "checkout", "--quiet", "main")
    git(repo, "merge", "--quiet", "-S", "--no-ff", "-m", "merge", "v1")
    raw = git(repo, "cat-file", "commit", "HEAD")
    assert b"\nmergetag " in raw
    assert check_commit(raw) == signer.public_key


def test_an_unsigned_commit_has_no_signer() -> None:
    assert commit_signer(COMMIT) is None
    with pytest.raises(SignatureError, match="not signed"):
        check_commit(COMMIT)


def test_a_signature_in_the_message_is_no_signature(signer: FileSigner) -> None:
    armored = sshsig_sign(signer, COMMIT, "git").replace("\n", "\n ").encode()
    assert commit_signer(COMMIT + b"\ngpgsig " + armored) is None


def test_two_signatures_are_refused(signer: FileSigner) -> None:
    twice = sign_commit(sign_commit(COMMIT, signer), signer)
    with pytest.raises(SignatureError, match="more than one"):
        check_commit(twice)


@pytest.mark.parametrize("header", [b"gpgsig-sha256", b"gpgsigx", b"gpgsig\t"])
def test_a_second_signature_under_another_name_is_refused(
    signer: FileSigner, header: bytes
) -> None:
    raw = sign_commit(COMMIT, signer)
    other = raw.replace(b"\ngpgsig ", b"\n" + header + b" other\n more\ngpgsig ", 1)
    with pytest.raises(SignatureError, match="of another kind"):
        check_commit(other)


def test_a_commit_signed_with_another_program_is_told(signer: FileSigner) -> None:
    raw = sign_commit(COMMIT, signer).replace(b"SSH SIGNATURE", b"PGP SIGNATURE")
    with pytest.raises(SignatureError, match="not with an SSH key"):
        check_commit(raw)
    with pytest.raises(SignatureError, match="not ASCII"):
        check_commit(sign_commit(COMMIT, signer).replace(b"gpgsig -", b"gpgsig \xff"))


def test_a_changed_commit_has_no_signer(signer: FileSigner) -> None:
    raw = sign_commit(COMMIT, signer)
    for before, after in ((b"chest", b"chess"), (TREE.encode(), b"0" * 40), (b"+0000", b"+0100")):
        assert commit_signer(raw.replace(before, after)) is None


def test_a_commit_without_a_message_is_judged_too(signer: FileSigner) -> None:
    bare = COMMIT.partition(b"\n\n")[0] + b"\n"
    with pytest.raises(SignatureError, match="not signed"):
        check_commit(bare)
    with pytest.raises(ValueError, match="blank line"):
        sign_commit(bare, signer)
