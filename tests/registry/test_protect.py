"""How a repository should be protected, compared with what GitHub says of it."""

from typing import Any

import pytest

from medperf.registry.protect import CHECKS, SETTINGS, compare

REPOSITORY = {
    "allow_merge_commit": True,
    "allow_squash_merge": False,
    "allow_rebase_merge": False,
    "delete_branch_on_merge": True,
}
PROTECTION: dict[str, Any] = {
    "required_pull_request_reviews": {},
    "required_status_checks": {"contexts": list(CHECKS)},
    "enforce_admins": {"enabled": True},
    "allow_force_pushes": {"enabled": False},
    "allow_deletions": {"enabled": False},
    "required_linear_history": {"enabled": False},
}
WORKFLOW = {"default_workflow_permissions": "read"}


def wrong(repository: Any, protection: Any, workflow: Any) -> list[str]:
    return [one.setting.name for one in compare(repository, protection, workflow) if not one.ok]


def test_what_is_as_it_should_be_is_ok() -> None:
    assert wrong(REPOSITORY, PROTECTION, WORKFLOW) == []


def test_more_checks_than_ours_are_ok() -> None:
    checks = {"checks": [{"context": name} for name in (*CHECKS, "own")]}
    assert wrong(REPOSITORY, {**PROTECTION, "required_status_checks": checks}, WORKFLOW) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"required_status_checks": {"contexts": [CHECKS[0]]}}, "main: required status checks"),
        ({"enforce_admins": {"enabled": False}}, "main: do not allow bypassing"),
        ({"allow_force_pushes": {"enabled": True}}, "main: allow force pushes"),
        ({"allow_deletions": {"enabled": True}}, "main: allow deletions"),
        ({"required_linear_history": {"enabled": True}}, "main: require linear history"),
    ],
)
def test_each_loose_protection_is_found(change: Any, name: str) -> None:
    assert wrong(REPOSITORY, {**PROTECTION, **change}, WORKFLOW) == [name]


def test_squashing_is_found() -> None:
    loose = {**REPOSITORY, "allow_squash_merge": True}
    assert wrong(loose, PROTECTION, WORKFLOW) == ["allow squash merging"]


def test_what_is_not_said_is_never_ok() -> None:
    found = compare({}, None, None)
    assert len(found) == len(SETTINGS["github"])
    assert {(one.found, one.ok) for one in found} == {("not said", False)}


@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"])
def test_each_forge_is_told_about_main_and_merges(forge: Any) -> None:
    names = " ".join(one.name for one in SETTINGS[forge])
    assert "main: " in names
    assert "merg" in names
    assert all(one.why for one in SETTINGS[forge])
