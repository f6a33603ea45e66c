"""What strangers' tools say of a registry that was made by these commands."""

import subprocess
from pathlib import Path

import pytest

from .conftest import Desks

RESULT = "https://medperf.org/attestation/result/v1"
APPROVAL = "https://medperf.org/attestation/approval/v1"


@pytest.fixture
def clone(published: Desks, tmp_path: Path) -> Path:
    """A stranger's clone, with the keys exported beside it."""
    folder = tmp_path / "stranger"
    subprocess.run(["git", "clone", "--quiet", published.world.url, str(folder)], check=True)
    for form in ("pem", "ssh", "allowed-signers"):
        answer = published.committee("registry", "keys", "--format", form, "-o", "keys")
        assert answer.code == 0
    return folder


def cosign(bundle: Path, key: Path, kind: str, file: Path) -> subprocess.CompletedProcess[str]:
    """The command of the documentation."""
    return subprocess.run(
        [
            "cosign", "verify-blob-attestation", "--bundle", str(bundle), "--key", str(key),
            "--insecure-ignore-tlog=true", "--type", kind, str(file),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.cosign
def test_cosign_verifies_every_result_and_refuses_one_changed_byte(
    clone: Path, tmp_path: Path
) -> None:
    key = tmp_path / "keys/hospital.ward.pem"
    results = list((clone / "results").rglob("*.yaml"))
    assert results
    for file in results:
        bundle = file.with_suffix(".sigstore.json")
        done = cosign(bundle, key, RESULT, file)
        assert done.returncode == 0, done.stderr
        assert "Verified OK" in done.stdout + done.stderr
        file.write_bytes(file.read_bytes().replace(b"0.913", b"0.914"))
        assert cosign(bundle, key, RESULT, file).returncode != 0


@pytest.mark.cosign
def test_cosign_verifies_every_approval_and_refuses_one_changed_byte(
    clone: Path, tmp_path: Path
) -> None:
    bundles = [path for path in clone.rglob("*.sigstore.json") if "results" not in path.parts]
    assert len(bundles) > 8
    for bundle in bundles:
        stem, _, owner, member = bundle.name.removesuffix(".sigstore.json").rsplit(".", 3)
        file = bundle.with_name(f"{stem}.yaml")
        key = tmp_path / f"keys/{owner}.{member}.pem"
        done = cosign(bundle, key, APPROVAL, file)
        assert done.returncode == 0, f"{bundle}: {done.stderr}"
        other = tmp_path / "changed.yaml"
        other.write_bytes(file.read_bytes() + b"\n")
        assert cosign(bundle, key, APPROVAL, other).returncode != 0


def test_git_accepts_every_commit_with_the_exported_signers(clone: Path, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        allowed = f"gpg.ssh.allowedSignersFile={tmp_path / 'keys/allowed_signers'}"
        done = subprocess.run(
            ["git", "-C", str(clone), "-c", allowed, *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    commits = git("rev-list", "HEAD").split()
    assert len(commits) > 5
    for commit in commits:
        assert 'Good "git" signature' in git("verify-commit", commit)


def test_the_keys_are_the_owners(clone: Path, tmp_path: Path) -> None:
    assert clone.is_dir()
    names = {path.name for path in (tmp_path / "keys").glob("*.pem")}
    assert {"committee.alice.pem", "hospital.ward.pem", "modeler.max.pem"} <= names
    assert (tmp_path / "keys/hospital.ward.pem").read_text().startswith("-----BEGIN PUBLIC KEY")
