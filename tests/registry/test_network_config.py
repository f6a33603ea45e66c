"""What of a user's Git configuration goes along to a remote, and what never becomes a file."""

import subprocess
from pathlib import Path

import pytest

from medperf.registry.git import Repository
from medperf.schemas.errors import RegistryError


def configure(home: Path, *settings: tuple[str, str]) -> None:
    for key, value in settings:
        subprocess.run(
            ["git", "config", "--file", str(home / ".gitconfig"), key, value], check=True
        )


def test_a_token_in_a_header_reaches_git_by_its_environment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    header = ("http.https://example.org/.extraheader", "Authorization: Basic c2VjcmV0")
    configure(tmp_path, header, ("http.sslCAInfo", "/etc/ca.pem"))
    Repository.create(tmp_path / "remote").close()
    with Repository.create(tmp_path / "ours") as ours:
        ours.remote_refs(str(tmp_path / "remote"))
        environment = ours._runner._environment(network=True)
    assert environment["GIT_CONFIG_COUNT"] == "1"
    assert (environment["GIT_CONFIG_KEY_0"], environment["GIT_CONFIG_VALUE_0"]) == header
    kept = [path.read_bytes() for path in (tmp_path / "ours").rglob("*") if path.is_file()]
    assert not any(b"c2VjcmV0" in data for data in kept)
    assert any(b"/etc/ca.pem" in data for data in kept)


def test_a_configuration_that_git_cannot_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[http\n")
    with (
        Repository.create(tmp_path / "ours") as ours,
        pytest.raises(RegistryError, match="your own configuration"),
    ):
        ours.remote_refs(str(tmp_path / "nowhere"))


def test_two_users_of_one_clone_do_not_lend_each_other_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever began first finds the other's authorities there: `verification failed`."""
    remote = tmp_path / "remote"
    Repository.create(remote).close()
    Repository.create(tmp_path / "ours").close()
    files = []
    for name in ("person", "cron"):
        (tmp_path / name).mkdir()
        configure(tmp_path / name, ("http.sslCAInfo", f"/etc/{name}.pem"))
    for name in ("person", "cron"):
        monkeypatch.setenv("HOME", str(tmp_path / name))
        with Repository.open(tmp_path / "ours") as ours:
            ours.remote_refs(str(remote))
            files.append(Path(ours._runner._environment(network=True)["GIT_CONFIG_GLOBAL"]))
    texts = [file.read_text() for file in files]
    assert ["/etc/person.pem" in one for one in texts] == [True, False]
    assert ["/etc/cron.pem" in one for one in texts] == [False, True]
