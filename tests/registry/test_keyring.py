"""The keys of owners as files that openssl, ssh-keygen and Git read."""

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.registry.keyring import Format, key_files
from medperf.registry.keys import FileSigner, sshsig_sign
from medperf.schemas.manifests import Key, Member, Metadata, Owner, OwnerSpec, Site

Make = Callable[[str], FileSigner]


def owner(name: str, members: dict[str, list[Key]], sites: dict[str, list[Key]]) -> Owner:
    """An owner with these people and machines."""
    return Owner(
        api_version="medperf/v1alpha1",
        kind="Owner",
        metadata=Metadata(name=name, description=""),
        spec=OwnerSpec(
            serial=1,
            members=tuple(Member(name=who, keys=tuple(keys)) for who, keys in members.items()),
            sites=tuple(Site(name=where, keys=tuple(keys)) for where, keys in sites.items()),
        ),
    )


@pytest.fixture
def owners(make_signer: Make) -> list[Owner]:
    """Two owners: bob has keys in every state, committee one person."""

    def key(name: str, state: str = "active") -> Key:
        return Key.model_validate({"publicKey": make_signer(name).public_key, "state": state})

    bob = [key("stolen", "compromised"), key("old", "retired"), key("bob"), key("bob-2")]
    return [
        owner("hospital", {"bob": bob}, {"ward": [key("ward")]}),
        owner("committee", {"alice": [key("alice")]}, {}),
    ]


STEMS = [
    "committee.alice",
    "hospital.bob",
    "hospital.bob.2",
    "hospital.bob.3",
    "hospital.bob.compromised",
    "hospital.ward",
]


@pytest.mark.parametrize(("format_", "suffix"), [("pem", ".pem"), ("ssh", ".pub")])
def test_every_key_has_a_file_and_active_ones_come_first(
    owners: list[Owner], format_: Format, suffix: str
) -> None:
    assert list(key_files(owners, format_)) == [stem + suffix for stem in STEMS]


def test_the_files_hold_the_keys_in_this_order(owners: list[Owner], make_signer: Make) -> None:
    files = key_files(owners, "ssh")
    signers = ["alice", "bob", "bob-2", "old", "stolen", "ward"]
    held = [data.decode().rsplit(" ", 1)[0] for data in files.values()]
    assert held == [make_signer(name).public_key for name in signers]
    assert files["hospital.bob.2.pub"].endswith(b" hospital/bob\n")


def test_openssl_and_ssh_keygen_read_the_files(
    owners: list[Owner], make_signer: Make, tmp_path: Path
) -> None:
    for name, data in (key_files(owners, "pem") | key_files(owners, "ssh")).items():
        (tmp_path / name).write_bytes(data)
    ward = make_signer("ward")
    pem = ["openssl", "pkey", "-pubin", "-in", "hospital.ward.pem", "-outform", "DER"]
    der = subprocess.run(pem, cwd=tmp_path, capture_output=True, check=True).stdout
    assert der[-32:] == base64.b64decode(ward.public_key.split()[1])[-32:]
    listing = ["ssh-keygen", "-l", "-f", "hospital.ward.pub"]
    told = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.split()[1:3] == [ward.fingerprint, "hospital/ward"]


@pytest.mark.parametrize(
    ("name", "principal"),
    [
        ("ward", "hospital/ward"),
        ("alice", "committee/alice"),
        ("old", "hospital/bob"),
        ("stolen", ""),
        ("mallory", ""),
    ],
)
def test_ssh_keygen_finds_who_signed_but_not_with_a_stolen_key(
    owners: list[Owner], make_signer: Make, tmp_path: Path, name: str, principal: str
) -> None:
    for file, data in key_files(owners, "allowed-signers").items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / "sig").write_text(sshsig_sign(make_signer(name), b"data", "git"))
    command = ["ssh-keygen", "-Y", "find-principals", "-f", "allowed_signers", "-s", "sig"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == principal


def test_a_key_that_anybody_can_sign_for_is_left_out() -> None:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20\x01" + bytes(31)
    weak = Key(public_key="ssh-ed25519 " + base64.b64encode(blob).decode(), state="active")
    weak_owner = owner("hospital", {"bob": [weak]}, {})
    assert key_files([weak_owner], "pem") == {}
    assert key_files([weak_owner], "allowed-signers") == {"allowed_signers": b""}
