"""Several registries or roles on one machine: looked at, chosen between, forgotten."""

import json

import pytest

from medperf.cli.app import run
from medperf.reconciler.settings import Home, Profile
from medperf.schemas.errors import UsageError

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
        where.save(name, Profile.model_validate({**PROFILE, "storage": name}))
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
