"""How a repository should be protected, compared with what its forge says of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from medperf.registry import protection_answers as answers
from medperf.registry.forges.addresses import Hosted
from medperf.registry.forges.http import Api
from medperf.registry.forges.tokens import find_token_for
from medperf.registry.protect import CHECKS, SETTINGS, check, compare, kind_of
from medperf.schemas.errors import UsageError

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
    found = answers.github(repository, protection, workflow)
    return [one.setting.name for one in compare("github", found) if not one.ok]


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
    for kind, said in (
        ("github", answers.github({}, None, None)),
        ("gitlab", answers.gitlab({}, None)),
        ("gitea", answers.gitea({}, None)),
    ):
        found = compare(kind, said)  # type: ignore[arg-type]
        assert len(found) == len(SETTINGS[kind])  # type: ignore[index]
        assert {(one.found, one.ok) for one in found} == {("not said", False)}


@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"])
def test_each_forge_is_told_about_main_and_merges(forge: Any) -> None:
    names = " ".join(one.name for one in SETTINGS[forge])
    assert "main: " in names
    assert "merg" in names
    assert all(one.why for one in SETTINGS[forge])


GITLAB: dict[str, Any] = {
    "/projects/lab%2Fteam%2Fchest": {
        "merge_method": "merge",
        "squash_option": "never",
        "remove_source_branch_after_merge": True,
        "only_allow_merge_if_pipeline_succeeds": True,
        "allow_merge_on_skipped_pipeline": False,
    },
    "/projects/lab%2Fteam%2Fchest/protected_branches/main": {
        "name": "main",
        "push_access_levels": [{"access_level": 0, "access_level_description": "No one"}],
        "merge_access_levels": [{"access_level": 30}, {"access_level": 40}],
        "allow_force_push": False,
    },
}
GITEA: dict[str, Any] = {
    "/repos/lab/chest": {
        "allow_merge_commits": True,
        "allow_rebase": False,
        "allow_rebase_explicit": False,
        "allow_squash_merge": False,
        "default_delete_branch_after_merge": True,
    },
    "/repos/lab/chest/branch_protections/main": {
        "enable_push": False,
        "enable_status_check": True,
        "status_check_contexts": [f"{name} (pull_request)" for name in CHECKS],
        "enable_force_push": False,
        "block_on_rejected_reviews": False,
        "block_on_outdated_branch": False,
    },
}
FORGES: dict[str, tuple[str, dict[str, Any]]] = {
    "gitlab": ("lab/team/chest", GITLAB),
    "gitea": ("lab/chest", GITEA),
}


@contextmanager
def serving(said: dict[str, Any]) -> Iterator[Api]:
    """A forge's API on loopback that answers these paths, to one token."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Bearer secret"
            found = said.get(self.path) if known else None
            data = json.dumps(found or {"message": "404 Not found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with Api(f"http://127.0.0.1:{server.server_port}", "secret") as api:
            yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", FORGES)
def test_the_other_forges_are_asked_and_compared(kind: Any) -> None:
    path, said = FORGES[kind]
    with serving(said) as api:
        assert [one for one in check(kind, api, path) if not one.ok] == []
    project = {name: one for name, one in said.items() if name.count("main") == 0}
    with serving(project) as api:  # main is not protected, or the token may not see it
        wrong = {(one.setting.name[:5], one.found) for one in check(kind, api, path) if not one.ok}
    assert wrong == {("main:", "not said")}


@pytest.mark.parametrize(
    ("kind", "change", "name"),
    [
        ("gitlab", {"merge_method": "ff"}, "merge method"),
        ("gitlab", {"squash_option": "default_off"}, "squash commits when merging"),
        (
            "gitlab",
            {"allow_merge_on_skipped_pipeline": True},
            "skipped pipelines are considered successful",
        ),
        ("gitlab", {"allow_force_push": True}, "main: allowed to force push"),
        (
            "gitlab",
            {"push_access_levels": [{"access_level": 40}]},
            "main: allowed to push and merge",
        ),
        (
            "gitlab",
            {"push_access_levels": [{"access_level": 0}, {"access_level": 40, "user_id": 7}]},
            "main: allowed to push and merge",
        ),
        ("gitlab", {"merge_access_levels": []}, "main: allowed to merge"),
        ("gitea", {"enable_push": True}, "main: disable push"),
        ("gitea", {"enable_status_check": False}, "main: enable status check"),
        ("gitea", {"status_check_contexts": [CHECKS[0]]}, "main: enable status check"),
        ("gitea", {"enable_force_push": True}, "main: force push"),
        (
            "gitea",
            {"allow_squash_merge": True},
            "allow rebasing, rebasing with merge commit, squashing",
        ),
        (
            "gitea",
            {"block_on_outdated_branch": True},
            "main: block merge on outdated or rejected reviews",
        ),
    ],
)
def test_each_loose_setting_of_the_others_is_found(kind: Any, change: Any, name: str) -> None:
    repository, branch = FORGES[kind][1].values()
    changed = [{**one, **change} if set(change) & set(one) else one for one in (repository, branch)]
    read = answers.gitlab if kind == "gitlab" else answers.gitea
    assert [one.setting.name for one in compare(kind, read(*changed)) if not one.ok] == [name]


def test_which_forge_it_is_is_told_by_its_host_or_by_the_caller() -> None:
    def kind(host: str, **environ: str) -> str:
        return kind_of(Hosted(host, "lab/chest"), environ)

    assert kind("github.com") == "github"
    assert kind("git.lab.example", GH_HOST="git.lab.example") == "github"
    assert kind("gitlab.lab.example") == "gitlab"
    assert kind("git.lab.example", GITLAB_HOST="git.lab.example") == "gitlab"
    assert kind("codeberg.org") == "gitea"
    with pytest.raises(UsageError, match="--forge"):
        kind("git.lab.example")


def test_a_token_goes_to_its_own_host_only() -> None:
    environ = {"GITLAB_TOKEN": "a", "GITEA_TOKEN": "b", "GITEA_HOST": "git.lab.example"}
    assert find_token_for("gitlab.com", "GITLAB", environ) == "a"
    assert find_token_for("gitlab.evil.example", "GITLAB", environ) is None
    assert find_token_for("git.lab.example", "GITEA", environ) == "b"
    assert find_token_for("gitea.evil.example", "GITEA", environ) is None
    there = {**environ, "GITLAB_HOST": "gitlab.lab.example"}
    assert find_token_for("gitlab.com", "GITLAB", there) is None
