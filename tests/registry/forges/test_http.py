"""Asking a forge over real HTTP: limits, pages, lost answers, refusals; and no token anywhere."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medperf.registry.forges.http import Api, MissingError, RefusedError
from medperf.registry.forges.tokens import find_token
from medperf.schemas.errors import ConflictError, RegistryError

TOKEN = "a-secret-token"  # noqa: S105


@dataclass
class Told:
    """What the server answers next, and what it was asked."""

    answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""
    slept: list[float] = field(default_factory=list)

    def api(self, token: str | None = TOKEN) -> Api:
        return Api(self.address, token, sleep=self.slept.append, now=lambda: 1000.0)


class Handler(BaseHTTPRequestHandler):
    told: Told

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.told.asked.append((self.command, self.path, self.headers.get("Authorization")))
        status, headers, body = self.told.answers.pop(0)
        if status == 0:  # the connection breaks before the answer
            self.close_connection = True
            return
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server looks for


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    handler = type("Asked", (Handler,), {"told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        told.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def test_the_token_is_in_one_header_only(told: Told) -> None:
    told.answers = [(200, {}, {"a": 1})]
    with told.api() as api:
        assert api.get("/x", q="1") == {"a": 1}
    assert told.asked == [("GET", "/x?q=1", f"Bearer {TOKEN}")]


def test_all_pages_are_read(told: Told) -> None:
    link = {"Link": f'<{told.address}/x?page=2>; rel="next", <{told.address}/x?page=9>; rel="last"'}
    told.answers = [(200, link, [1, 2]), (200, {}, [3])]
    with told.api() as api:
        assert list(api.pages("/x", state="open")) == [1, 2, 3]
    assert [path for _, path, _ in told.asked] == ["/x?per_page=100&state=open", "/x?page=2"]


@pytest.mark.parametrize(
    "headers", [{"Link": '<https://evil.example/x>; rel="next"'}, {"Location": "https://e.example"}]
)
def test_no_other_host_gets_the_token(told: Told, headers: dict[str, str]) -> None:
    told.answers = [(302 if "Location" in headers else 200, headers, [])]
    with told.api() as api, pytest.raises(RegistryError, match="not carried to another host"):
        list(api.pages("/x"))


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (403, {"Retry-After": "3"}, 3.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1030"}, 30.0),
        (429, {}, 60.0),
    ],
)
def test_a_short_limit_is_waited_for(
    told: Told, status: int, headers: dict[str, str], wait: float
) -> None:
    told.answers = [(status, headers, {}), (200, {}, {"ok": 1})]
    with told.api() as api:
        assert api.send("POST", "/x", {"a": 1}) == {"ok": 1}
    assert told.slept == [wait]


def test_a_long_limit_is_told_with_its_end(told: Told) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2800"}
    told.answers = [(403, headers, {"message": "API rate limit exceeded"})]
    with told.api() as api, pytest.raises(RegistryError, match="for 30 min"):
        api.get("/x")
    assert told.slept == []


def test_a_question_is_asked_again_and_a_change_is_not(told: Told) -> None:
    told.answers = [(0, {}, None), (502, {}, {}), (200, {}, {"ok": 1})]
    with told.api() as api:
        assert api.get("/x") == {"ok": 1}
    told.answers = [(0, {}, None), (200, {}, {})]
    with told.api() as api, pytest.raises(RegistryError, match="cannot be reached"):
        api.send("POST", "/x", {})
    assert len([one for one in told.asked if one[0] == "POST"]) == 1


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, RegistryError, "gh auth login"),
        (401, {"X-GitHub-OTP": "required; app"}, RegistryError, "second factor"),
        (403, {"X-GitHub-SSO": "required; url=…".encode().decode("latin-1")}, RefusedError, "SSO"),
        (
            403,
            {"X-Accepted-GitHub-Permissions": "pull_requests=write"},
            RefusedError,
            "pull_requests=write",
        ),
        (404, {}, MissingError, "does not show it to you"),
        (409, {}, ConflictError, "another state"),
        (422, {}, RefusedError, "Validation Failed; no commits"),
        (503, {}, RegistryError, "Try again later"),
    ],
)
def test_a_refusal_says_what_to_do(
    told: Told, status: int, headers: dict[str, str], kind: type[Exception], words: str
) -> None:
    body = {"message": "Validation Failed", "errors": [{"message": "no commits\n\x1b[31m"}]}
    told.answers = [(status, headers, body)]
    with told.api() as api, pytest.raises(kind, match=words) as caught:
        api.send("POST", "/x", {})
    assert TOKEN not in str(caught.value)
    assert str(caught.value).isprintable()


def test_plain_http_is_for_this_machine_only() -> None:
    with pytest.raises(RegistryError, match="https only"):
        Api("http://github.example", TOKEN)


# Tokens


@pytest.mark.parametrize(
    ("host", "environ", "token"),
    [
        ("github.com", {"GH_TOKEN": "a", "GITHUB_TOKEN": "b"}, "a"),
        ("github.com", {"GITHUB_TOKEN": "b"}, "b"),
        ("git.example", {"GH_TOKEN": "a"}, None),
        ("git.example", {"GH_TOKEN": "a", "GH_HOST": "git.example"}, "a"),
        ("git.example", {"GH_ENTERPRISE_TOKEN": "e", "GH_TOKEN": "a"}, "e"),
        ("github.com", {}, None),
    ],
)
def test_a_token_is_for_its_host(host: str, environ: dict[str, str], token: str | None) -> None:
    assert find_token(host, {"PATH": "/nowhere", **environ}) == token


def test_what_is_no_token_is_refused_without_being_shown() -> None:
    with pytest.raises(RegistryError, match="GH_TOKEN holds something") as caught:
        find_token("github.com", {"GH_TOKEN": "se cret"})
    assert "cret" not in str(caught.value)


def test_gh_is_asked_for_the_host(tmp_path: Any) -> None:
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\ntest "$*" = "auth token --hostname github.com" && echo of-gh\n')
    gh.chmod(0o755)
    import os

    path = f"{tmp_path}:{os.environ['PATH']}"
    old, os.environ["PATH"] = os.environ["PATH"], path
    try:
        assert find_token("github.com", {"PATH": path}) == "of-gh"
    finally:
        os.environ["PATH"] = old
