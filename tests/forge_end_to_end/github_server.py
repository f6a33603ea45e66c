"""A small GitHub over real HTTPS: pull requests with a life, on real bare repositories.

What it does is read from GitHub's documentation of the same paths: a pull request follows its
branch, is merged when its head is reachable from main, and is closed when its branch goes; a merge
asks for the head that was looked at and for green checks; lists come in pages; limits are told by
headers. Git is served at /<owner>/<name>.git by Git's own http-backend. Everybody has a token, and
`rights` says who may push where. The check of a pull request is `medperf validate` itself.
"""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MEDPERF = Path(sys.executable).with_name("medperf")
HOME = "lab/chest"


@dataclass
class Pull:
    """A pull request: the repository and branch that it follows, and what people made of it."""

    number: int
    repository: str
    ref: str
    title: str
    by: str
    head: str
    body: str = ""
    state: str = "open"
    merged: bool = False
    comments: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


@dataclass
class Lab:
    """The server's state. `limits` are refusals that the next requests get.

    `unopened` are those that the next requests for a new pull request get.
    """

    folder: Path
    tokens: dict[str, str]  # token → login
    pushers: set[str]
    page: int = 100
    pulls: dict[int, Pull] = field(default_factory=dict)
    limits: list[Refusal] = field(default_factory=list)
    unopened: list[Refusal] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    address: str = ""

    def git(self, repository: str, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder / f"{repository}.git"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refusal(422, done.stderr or done.stdout)
        return done.stdout.strip()

    def tip(self, repository: str, ref: str) -> str | None:
        try:
            return self.git(repository, "rev-parse", "--verify", "--quiet", f"refs/heads/{ref}")
        except Refusal:
            return None

    def may_push(self, login: str, repository: str) -> bool:
        return repository.split("/")[0] == login or (repository == HOME and login in self.pushers)

    # ------------------------------------------------------------------ the life of a pull request

    def look(self) -> None:
        """Let every open pull request follow its branch."""
        for pull in self.pulls.values():
            if pull.state != "open":
                continue
            tip = self.tip(pull.repository, pull.ref)
            head = tip or pull.head
            source = str(self.folder / f"{pull.repository}.git")
            self.git(HOME, "fetch", "-q", source, f"+{head}:refs/pull/{pull.number}/head")
            pull.head = head
            if self._reachable(head):
                pull.merged, pull.state = True, "closed"
            elif tip is None:
                pull.state = "closed"

    def _reachable(self, head: str) -> bool:
        try:
            self.git(HOME, "merge-base", "--is-ancestor", head, "refs/heads/main")
        except Refusal:
            return False
        return True

    def open(self, login: str, body: dict[str, Any]) -> Pull:
        owner, colon, ref = body["head"].rpartition(":")
        repository = f"{owner}/chest" if colon else HOME
        head = self.tip(repository, ref)
        if head is None or body["base"] != "main":
            raise Refusal(422, "Validation Failed")
        if any(one.ref == ref and one.repository == repository for one in self._open()):
            raise Refusal(422, f"A pull request already exists for {body['head']}.")
        if self._reachable(head):
            raise Refusal(422, "No commits between main and it")
        number = len(self.pulls) + 1
        pull = Pull(number, repository, ref, body["title"], login, head)
        self.pulls[number] = pull
        self.look()
        return pull

    def _open(self) -> list[Pull]:
        self.look()
        return [one for one in self.pulls.values() if one.state == "open"]

    def merge(self, login: str, pull: Pull, body: dict[str, Any]) -> str:
        if not self.may_push(login, HOME):
            raise Refusal(403, "Resource not accessible by personal access token")
        if pull.state != "open":
            raise Refusal(405, "Pull Request is not mergeable")
        if body.get("sha") != pull.head:
            raise Refusal(409, "Head branch was modified. Review and try the merge again.")
        assert body["merge_method"] == "merge"
        if self.check(pull) != 0:
            raise Refusal(405, 'Required status check "medperf / approved" is expected.')
        main = self.git(HOME, "rev-parse", "refs/heads/main")
        tree = self.git(HOME, "merge-tree", "--write-tree", main, pull.head)
        who = ["-c", "user.name=GitHub", "-c", "user.email=noreply@github.invalid"]
        commit = self.git(
            HOME, *who, "commit-tree", tree, "-p", main, "-p", pull.head, "-m", body["commit_title"]
        )
        self.git(HOME, "update-ref", "refs/heads/main", commit, main)
        self.look()
        return commit

    def check(self, pull: Pull) -> int:
        """The check `medperf / approved`: 0 green, 4 waits, 1 red."""
        folder = self.folder / f"{HOME}.git"
        command = [
            str(MEDPERF),
            "validate",
            str(folder),
            "--base",
            "refs/heads/main",
            "--head",
            pull.head,
        ]
        return subprocess.run(command, capture_output=True, check=False).returncode

    # ---------------------------------------------------------------------------------- answers

    def told(self, pull: Pull) -> dict[str, Any]:
        base = self.git(HOME, "rev-parse", "refs/heads/main")
        return {
            "number": pull.number,
            "state": pull.state,
            "title": pull.title,
            "body": pull.body,
            "merged": pull.merged,
            "merged_at": "2026-11-21T00:00:00Z" if pull.merged else None,
            "html_url": f"{self.address}/{HOME}/pull/{pull.number}",
            "head": {"ref": pull.ref, "sha": pull.head, "repo": {"full_name": pull.repository}},
            "base": {"ref": "main", "sha": base},
        }

    def answer(
        self, login: str | None, method: str, path: str, query: dict[str, str], body: Any
    ) -> Any:
        """The JSON of one request of the API."""
        if self.limits:
            raise self.limits.pop(0)
        if login is None:
            raise Refusal(401, "Bad credentials")
        rest = path.removeprefix(f"/repos/{HOME}")
        if rest == path:
            raise Refusal(404, "Not Found")
        if rest == "":
            rights = {"pull": True, "push": self.may_push(login, HOME)}
            return {"full_name": HOME, "permissions": rights}
        if (method, rest) == ("POST", "/forks"):
            return self.fork(login)
        if (method, rest) == ("GET", "/pulls"):
            return self.listed(query)
        if (method, rest) == ("POST", "/pulls"):
            if self.unopened:
                raise self.unopened.pop(0)
            return self.told(self.open(login, body))
        found = re.fullmatch(r"/(?:pulls|issues)/(\d+)(/\w+)?", rest)
        if not found or int(found[1]) not in self.pulls:
            raise Refusal(404, "Not Found")
        self.look()
        return self.about(login, method, self.pulls[int(found[1])], found[2] or "", body)

    def about(self, login: str, method: str, pull: Pull, part: str, body: Any) -> Any:
        may = self.may_push(login, HOME)
        if (method, part) == ("PUT", "/merge"):
            return {"sha": self.merge(login, pull, body), "merged": True}
        if (method, part) == ("POST", "/comments"):
            pull.comments.append(body["body"])
            return {}
        if method != "GET" and not may and login != pull.by:
            raise Refusal(403, "Must have push access to repository")
        if (method, part) == ("POST", "/labels"):
            pull.labels += body["labels"]
            return pull.labels
        if (method, part) == ("POST", "/requested_reviewers"):
            pull.reviewers += body["reviewers"]
        if (method, part) == ("PATCH", ""):
            for name in ("title", "body", "state"):
                setattr(pull, name, body.get(name, getattr(pull, name)))
        return self.told(pull)

    def listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        self.look()
        found = [one for one in self.pulls.values() if one.state == query.get("state", "open")]
        if "head" in query:
            owner, _, ref = query["head"].partition(":")
            found = [
                one for one in found if one.ref == ref and one.repository.split("/")[0] == owner
            ]
        return [self.told(one) for one in sorted(found, key=lambda one: -one.number)]

    def fork(self, login: str) -> dict[str, Any]:
        copy = self.folder / login / "chest.git"
        if not copy.exists():
            copy.parent.mkdir()
            source = str(self.folder / f"{HOME}.git")
            command = ["git", "clone", "-q", "--bare", "--single-branch", source, str(copy)]
            subprocess.run(command, check=True)
        return {"full_name": f"{login}/chest"}


class Handler(BaseHTTPRequestHandler):
    """One request: of the API below /api/v3, of Git otherwise."""

    lab: Lab
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(length)
        with self.lab.lock:
            self.lab.asked.append(f"{self.command} {self.path}")
            if self.path.startswith("/api/v3/"):
                self._api(body)
            else:
                self._git(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _api(self, body: bytes) -> None:
        parts = urlsplit(self.path.removeprefix("/api/v3"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        headers = {"Content-Type": "application/json"}
        try:
            sent = json.loads(body) if body else None
            found = self.lab.answer(
                self.lab.tokens.get(token), self.command, parts.path, query, sent
            )
        except Refusal as refusal:
            data = json.dumps({"message": str(refusal)}).encode()
            named = {name.replace("_", "-"): one for name, one in refusal.headers.items()}
            self._send(refusal.status, data, {**headers, **named})
            return
        if isinstance(found, list) and parts.path.endswith("/pulls"):
            page = int(query.get("page", "1"))
            size = min(self.lab.page, int(query.get("per_page", "30")))
            if len(found) > page * size:
                others = "&".join(f"{one}={v}" for one, v in query.items() if one != "page")
                where = f"{self.lab.address}/api/v3{parts.path}?{others}&page={page + 1}"
                headers["Link"] = f'<{where}>; rel="next"'
            found = found[(page - 1) * size : page * size]
        self._send(200, json.dumps(found).encode(), headers)

    def _git(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        secret = self.headers.get("Authorization", "").removeprefix("Basic ")
        token = base64.b64decode(secret).decode().partition(":")[2]
        login = self.lab.tokens.get(token)
        if login is None:
            self._send(401, b"", {"WWW-Authenticate": 'Basic realm="GitHub"'})
            return
        repository = "/".join(parts.path.split("/")[1:3]).removesuffix(".git")
        if "receive-pack" in self.path and not self.lab.may_push(login, repository):
            self._send(403, b"Permission denied", {})
            return
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.lab.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(self.lab.folder),
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": login,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=environ, check=False
        )
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        headers = {name: value for name, value in lines if name != "Status"}
        status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
        self._send(status, data, headers)


class Server(ThreadingHTTPServer):
    """A server whose broken connections are nobody's business."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing."""


def serve(lab: Lab, chain: Path) -> Server:
    """The lab at an https address of this machine; `lab.address` says which."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"lab": lab}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    lab.address = f"https://127.0.0.1:{server.server_port}"
    return server
