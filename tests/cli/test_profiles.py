"""Several registries or roles on one machine: looked at, chosen between, forgotten."""

import json

import pytest

from medperf.cli.app import run
from medperf.reconciler.settings import Home, Profile
from medperf.schemas.errors import UsageError

from .conftest import Desks

PROFILE = {
    "registry": {
        "url": "https://example.org/r.git",
        "id": "3f6c1f0e-0000-4000-8000-000000000000",
        "root": "0" * 40,
        "admins": ["SHA256:x"],
        "approval": "signed",
    },
    "me": {"owner": "hospital"},
    "engine": "sandbox",
}


@pytest.fixture
def profiles() -> Home:
    """Two profiles, of which `second` is active."""
    from medperf.cli.desk import home

    where = home()
    for name in ("first", "second"):
        where.save(name, Profile.model_validate({**PROFILE, "storage": name}), activate=True)
    return where


@pytest.mark.usefixtures("profiles")
def test_a_profile_is_shown_with_all_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "view", "first", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["storage"]) == ("first", "first")
    assert run(["profile", "view"]) == 0
    assert "# second\n" in capsys.readouterr().out
    assert run(["profile", "view", "third"]) == 2
    assert "there are: first, second" in capsys.readouterr().err


def test_a_profile_is_forgotten_but_not_the_active_one(
    profiles: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", "delete", "second", "-y"]) == 2
    assert "is the active profile" in capsys.readouterr().err
    assert run(["profile", "delete", "first"]) == 2, "a yes is needed"
    assert run(["profile", "delete", "first", "-y"]) == 0
    config = profiles.read()
    assert config is not None
    assert list(config.profiles) == ["second"]
    assert run(["profile", "delete", "second", "-y"]) == 0
    assert profiles.read() is None
    with pytest.raises(UsageError, match="There is no profile"):
        profiles.forget("second")


def test_a_setting_of_another_profile_does_not_make_it_the_active_one(profiles: Home) -> None:
    assert run(["--profile", "first", "profile", "set", "limits.jobs=2"]) == 0
    config = profiles.read()
    assert config is not None
    assert config.active == "second"
    assert config.profiles["first"].limits.jobs == 2
    assert config.profiles["second"].limits.jobs == 1
    assert run(["profile", "activate", "first"]) == 0
    config = profiles.read()
    assert config is not None
    assert config.active == "first"


@pytest.mark.usefixtures("profiles")
def test_the_active_profile_is_marked_in_a_column_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["profile", "ls"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["*", "second"] in lines
    assert ["first", "hospital"] in lines


@pytest.mark.usefixtures("profiles")
def test_a_storage_that_is_said_anew_leaves_what_is_stored_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["profile", "set", "storage=elsewhere"]) == 0
    assert "stays in" in capsys.readouterr().err


def test_two_registries_do_not_share_a_storage(desks: Desks) -> None:
    other = desks.types(
        "registry", "init", "second.git", "--name=x", "--owner=uni", "--member=carol", "-y",
        home=desks.world.folder / "carol",
    )  # fmt: skip
    assert other.code == 0, other.err
    words = ("login", "second.git", "--owner=hospital", "--member=bob", "--name=second", "-y")
    storage = str(desks.world.hospital.storage)
    refused = desks.hospital(*words, "--storage", storage)
    assert refused.code == 2
    assert "is the storage of the profile" in refused.said
    assert desks.hospital(*words).code == 0
    assert desks.hospital("profile", "activate", desks.world.hospital.name).code == 0
    assert desks.hospital("dataset", "ls", "--local").code == 0
    assert "second" in desks.hospital("profile", "ls").out
