"""Every request to GitHub, judged by a server we did not write from GitHub's own description."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medperf.registry.forges.addresses import Hosted
from medperf.registry.forges.github import GitHubForge
from medperf.registry.forges.http import Api
from medperf.registry.protect import check

from ..world import World

pytestmark = pytest.mark.prism
PACKAGES = ("@stoplight/prism-cli@5.14.2", "@octokit/openapi@23.0.2")
WHERE = Hosted("github.com", "octocat/Hello-World")
BRANCH = "proposals/octocat/new-topic"


def installed() -> Path:
    """A folder with the two packages: MEDPERF_PRISM, or one that is filled once and kept."""
    folder = Path(os.environ.get("MEDPERF_PRISM") or Path(tempfile.gettempdir()) / "medperf-prism")
    if not (folder / "node_modules" / ".bin" / "prism").exists():
        folder.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        assert npm is not None
        options = ["--no-audit", "--no-fund", "--prefix", str(folder)]
        subprocess.run([npm, "install", *options, *PACKAGES], check=True, capture_output=True)
    return folder / "node_modules"


@pytest.fixture(scope="module")
def prism() -> Iterator[str]:
    modules = installed()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    description = modules / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    command = [str(modules / ".bin" / "prism"), "mock", "-p", str(port), str(description)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{address}/zen", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.5)
        yield address
        process.terminate()


class Watched(Api):
    """The API, with every request and what prism had to say against it."""

    asked: list[str]
    wrong: list[Any]

    @classmethod
    def at(cls, address: str) -> "Watched":
        api = cls(address, "a-token", sleep=lambda _: None)
        api.asked, api.wrong = [], []
        api._client.event_hooks = {"response": [api._look]}
        return api

    def _look(self, answer: httpx.Response) -> None:
        self.asked.append(f"{answer.request.method} {answer.request.url.path}")
        # the description's own examples break its rules here and there; our requests must not
        found = json.loads(answer.headers.get("sl-violations", "[]"))
        self.wrong += [one for one in found if one["location"][0] == "request"]
        answer.headers.pop("Link", None)  # the example's next page is at GitHub itself
        if answer.status_code in (404, 422):
            answer.read()
            self.wrong.append(answer.text)


@pytest.fixture
def watched(prism: str) -> list[Watched]:
    return [Watched.at(prism)]


@pytest.fixture
def forge(world: World, watched: list[Watched], prism: str) -> GitHubForge:
    def opened() -> Api:
        watched.append(Watched.at(prism))
        return watched[-1]

    url = str(world.repository.folder)
    return GitHubForge(world.repository, url, WHERE, environ={}, api=opened)


REQUESTS: dict[str, tuple[Callable[[GitHubForge], Any], list[str]]] = {
    "open": (
        lambda forge: forge.open(BRANCH, head="0" * 40, title="Add a cube"),
        ["GET /pulls", "POST /pulls", "PATCH /pulls/1347"],
    ),
    "find": (lambda forge: forge.named("1347"), ["GET /pulls/1347"]),
    "update": (lambda forge: forge.update("pull/1347", title="x", body="y"), ["PATCH /pulls/1347"]),
    "comment": (lambda forge: forge.comment("pull/1347", "x"), ["POST /issues/1347/comments"]),
    "label": (lambda forge: forge.label("pull/1347", ["cube"]), ["POST /issues/1347/labels"]),
    "review": (
        lambda forge: forge.ask_for_reviews(1347, ["alice"]),
        ["POST /pulls/1347/requested_reviewers"],
    ),
    "merge": (
        lambda forge: forge.merge_number(1347, "6dcb09b5b57875f334f61aebed695e2e4193db5e"),
        ["GET /pulls/1347", "PUT /pulls/1347/merge"],
    ),
}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_each_request_is_one_that_github_describes(
    name: str, forge: GitHubForge, watched: list[Watched]
) -> None:
    act, wanted = REQUESTS[name]
    if name == "open":
        forge._targets[forge._url] = (forge._url, "octocat")  # the example may push
    act(forge)
    assert [one for api in watched for one in api.wrong] == []
    asked = [one.replace("/repos/octocat/Hello-World", "") for api in watched for one in api.asked]
    assert set(wanted) <= set(asked)


def test_the_open_pull_requests_are_asked_for_as_described(
    forge: GitHubForge, watched: list[Watched], prism: str
) -> None:
    with Watched.at(prism) as api:
        watched.append(api)
        assert forge._pulls(api)
        assert forge._was_closed(api, "proposals/a/b", "0" * 40) is False
        api.send("POST", "/repos/octocat/Hello-World/forks", {"default_branch_only": True})
        api.send("PATCH", "/repos/octocat/Hello-World/pulls/1347", {"state": "closed"})
    assert api.wrong == []
    assert len(api.asked) == 4


def test_the_closed_pull_requests_are_asked_for_as_described(
    forge: GitHubForge, watched: list[Watched]
) -> None:
    assert list(forge.closings()) == []  # the description's example is a merged one
    assert watched[-1].wrong == []
    assert len(watched[-1].asked) == 1


def test_the_protection_is_asked_for_as_described(prism: str) -> None:
    with Watched.at(prism) as api:
        found = check("github", api, "octocat/Hello-World")
    assert api.wrong == []
    assert {one.setting.name for one in found if one.found != "not said"} >= {
        "main: required status checks",
        "workflow permissions",
    }


def test_a_request_that_github_does_not_describe_is_noticed(prism: str) -> None:
    with Watched.at(prism) as api, pytest.raises(Exception, match="422"):
        api.send("POST", "/repos/octocat/Hello-World/pulls", {"head": 1})
    assert api.wrong
