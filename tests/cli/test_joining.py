"""Making a registry, joining one: what is shown, what is asked, what is kept."""

import stat
import sys
from pathlib import Path

import click
import pytest

from medperf.registry.keys import generate_key
from medperf.schemas.yaml_subset import parse

from .conftest import Desks, Types

INIT = ("registry", "init", "chest.git", "--name", "chest", "--owner", "uni", "--member", "carol")


def made(types: Types, home: Path, *more: str) -> str:
    answer = types(*INIT, "--engine", "sandbox", "-y", *more, home=home)
    assert answer.code == 0, answer.err
    return answer.out


def test_a_registry_is_made_with_key_and_profile(types: Types, tmp_path: Path) -> None:
    home = tmp_path / "carol"
    out = made(types, home)
    for words in ("id  ", "first commit  ", "admin's key   SHA256:"):
        assert words in out
    key = home / "keys/uni.carol"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert types("owner", "ls", "--json").json[0]["metadata"]["name"] == "uni"
    assert types("registry", "verify").out.startswith("Verified: 1 commit")
    assert types("registry", "verify", "--clone", "chest.git", "--json").json["tip"]
    assert "uni" in types("owner", "view", "uni").out
    assert types("owner", "view", "uni", "--json").json["kind"] == "Owner"
    assert "registry.yaml" in types("registry", "log").out
    assert len(types("registry", "log", "--json").json) == 1


def test_a_storage_is_said_from_where_one_stands(types: Types, tmp_path: Path) -> None:
    made(types, tmp_path / "carol", "--storage", "data")
    assert f"storage: {tmp_path}/data\n" in (tmp_path / "carol/config.yaml").read_text()


def test_nothing_is_made_without_a_yes(types: Types, tmp_path: Path) -> None:
    answer = types(*INIT, home=tmp_path / "carol")
    assert answer.code == 2
    assert "say -y" in answer.err
    assert not (tmp_path / "chest.git").exists()


@pytest.mark.parametrize(
    ("more", "taken"),
    [(("--set", "policy.k=1"), False), (("--set", "policy.kk=10"), False), ((), True)],
)
def test_nothing_is_made_where_a_setting_is_wrong_or_the_place_is_taken(
    types: Types, tmp_path: Path, more: tuple[str, ...], taken: bool
) -> None:
    if taken:
        (tmp_path / "chest.git").mkdir()
        (tmp_path / "chest.git/thesis.doc").touch()
    answer = types(*INIT, "--engine", "sandbox", "-y", *more, home=tmp_path / "carol")
    assert answer.code in (1, 2)
    assert ("is not empty" if taken else "policy.k") in answer.said
    assert not (tmp_path / "carol/keys").exists()
    assert (tmp_path / "chest.git").exists() is taken
    assert not (tmp_path / "chest.git/HEAD").exists()


def test_a_second_registry_needs_a_second_profile(types: Types, tmp_path: Path) -> None:
    made(types, tmp_path / "carol")
    again = types(*INIT, "-y")
    assert again.code == 2
    assert "--profile-name" in again.err
    other = types(
        *INIT[:2], "two.git", *INIT[3:], "--profile-name", "two", "--engine=sandbox", "-y"
    )
    assert other.code == 0
    assert "*       two" in types("profile", "ls").out
    assert types("profile", "activate", "default").code == 0
    assert types("profile", "ls", "--json").json["active"] == "default"
    assert types("--profile", "two", "owner", "ls").code == 0
    unknown = types("--profile", "three", "owner", "ls")
    assert unknown.code == 2
    assert "default, two" in unknown.err


def test_login_shows_what_is_trusted_and_does_not_trust_by_itself(
    desks: Desks, tmp_path: Path
) -> None:
    home = tmp_path / "dora"
    login = ("login", desks.world.url, "--owner", "clinic", "--member", "dora", "--engine=sandbox")
    answer = desks.types(*login, home=home)
    assert answer.code == 2
    enrolment = desks.world.committee.profile.registry
    for words in (enrolment.id, enrolment.root, *enrolment.admins, "signed", desks.world.url):
        assert words in answer.err
    assert not (home / "config.yaml").exists()
    assert not (home / "keys").exists()

    answer = desks.types(*login, "--site", "ward", "-y")
    assert answer.code == 0
    assert "owner join" in answer.out
    for name in ("dora", "ward"):
        assert stat.S_IMODE((home / f"keys/clinic.{name}").stat().st_mode) == 0o600


def test_login_asks_for_what_is_missing_only_at_a_terminal(desks: Desks, tmp_path: Path) -> None:
    answer = desks.types("login", desks.world.url, home=tmp_path / "dora")
    assert answer.code == 2
    assert "--owner NAME" in answer.err
    assert answer.out == ""
    answer = desks.types("login", desks.world.url, "--owner", "clinic", home=tmp_path / "dora")
    assert "--member NAME" in answer.err


def test_a_profile_never_moves_to_another_registry(desks: Desks, tmp_path: Path) -> None:
    made(desks.types, tmp_path / "carol")
    desks.modeler("plan")
    answer = desks.modeler("login", "chest.git", "--owner", "modeler", "--member", "max", "-y")
    assert answer.code == 2
    assert "already trusts another registry" in answer.err
    assert desks.world.url in desks.modeler("profile", "ls", "--json").out
    other = desks.modeler(
        "login", "chest.git", "--name", "chest", "--owner", "modeler", "--member", "max",
        "--engine=sandbox", "-y",
    )  # fmt: skip
    assert other.code == 0


def test_a_folder_that_is_no_registry_is_told(types: Types, tmp_path: Path) -> None:
    answer = types("login", "nowhere", "--owner=a", "--member=b", "-y", home=tmp_path / "x")
    assert answer.code == 1
    assert "nowhere" in answer.err
    assert "Traceback" not in answer.err


def test_a_key_of_ones_own_is_used_and_asks_for_its_passphrase(
    desks: Desks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = generate_key(tmp_path / "mine", "open sesame")
    login = (
        "login", desks.world.url, "--owner=clinic", "--member=dora", "--key", "mine",
        "--engine=sandbox", "-y",
    )  # fmt: skip
    home = tmp_path / "dora"
    refused = desks.types(*login, home=home)
    assert refused.code == 2
    assert "--key agent" in refused.err
    asked = []

    def prompt(question: str, **_: object) -> str:
        asked.append(question)
        return "open sesame"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", prompt)
    assert desks.types(*login).code == 0
    joined = desks.types("owner", "join", "--description", "A clinic", "-y")
    assert joined.code == 0
    assert len(asked) == 2  # once a command
    assert signer.public_key in desks.committee("proposal", "view", "clinic/join").out
    assert not (home / "keys/clinic.dora").exists()


def test_a_persons_new_key_may_have_a_passphrase(
    types: Types, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: "open sesame")
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    answer = types(*INIT, "--engine", "sandbox", home=tmp_path / "carol")
    assert answer.code == 0, answer.err
    assert types("mlcube", "ls").code == 0


def test_the_agent_signs_where_there_is_one(types: Types, tmp_path: Path) -> None:
    answer = types(*INIT, "--key", "agent", "-y", home=tmp_path / "carol")
    assert answer.code == 1
    assert "SSH_AUTH_SOCK" in answer.err
    assert not (tmp_path / "carol/config.yaml").exists()


def test_an_owner_joins_by_a_proposal_that_an_admin_merges(desks: Desks, tmp_path: Path) -> None:
    home = tmp_path / "dora"
    login = ("login", desks.world.url, "--owner=clinic", "--member=dora", "--engine=sandbox", "-y")
    assert desks.types(*login, home=home).code == 0
    asked = desks.types("owner", "join")
    assert asked.code == 2
    assert "ssh-ed25519" in asked.err
    assert desks.types("proposal", "ls").out == ""
    joined = desks.types("owner", "join", "--forge", "dora-gh", "-y")
    assert joined.out.strip().endswith("medperf proposal merge clinic/join")
    own = desks.types("proposal", "merge", "clinic/join", "-y")
    assert own.code == 4
    assert "waits for" in own.err
    assert desks.committee("proposal", "merge", "clinic/join", "-y").code == 0
    assert "clinic" in desks.committee("owner", "ls").out
    again = desks.types("owner", "join", "-y", home=home)
    assert again.code == 2


def test_settings_are_changed_by_name_and_wrong_ones_are_refused(desks: Desks) -> None:
    config = desks.world.folder / "hospital/config.yaml"
    config.write_text("# our own words\n" + config.read_text())
    assert desks.hospital("profile", "set", "policy.k=20", "limits.memory=4Gi").code == 0
    text = config.read_text()
    assert text.startswith("# our own words")
    value = parse(text.encode(), file="config.yaml").value
    assert isinstance(value, dict)
    assert value["profiles"]["default"]["policy"]["k"] == 20
    for wrong in ("policy.k=2", "policy.kk=20", "policy", "policy.k.x=1", "engine=podman"):
        answer = desks.hospital("profile", "set", wrong)
        assert answer.code == 2, wrong
        assert config.read_text() == text


def test_no_profile_at_all_is_shown_as_none(types: Types, tmp_path: Path) -> None:
    answer = types("profile", "ls", home=tmp_path / "nobody")
    assert answer.code == 0
    assert "medperf login" in answer.err
