"""The workflows that registries get: linted by others' tools, and run for real with act."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from medperf.registry.init import template_files
from medperf.registry.release import ACTION, ACTION_COMMIT
from medperf.tests.registry.world import World, everything

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
WORKFLOWS = {
    path: data for path, data in template_files({}).items() if path.startswith(".github/workflows/")
}


@pytest.fixture
def workflows(tmp_path: Path) -> list[Path]:
    """The workflows of a registry as files."""
    for path, data in WORKFLOWS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return sorted((tmp_path / ".github" / "workflows").iterdir())


def our_own() -> list[Path]:
    return sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))


# Linted


def test_zizmor_finds_nothing(workflows: list[Path]) -> None:
    files = [*workflows, *our_own(), CHECKOUT / "action.yml"]
    done = subprocess.run(
        [str(PROGRAMS / "zizmor"), "--offline", "--no-progress", *map(str, files)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_of_githubs_own_schemas(workflows: list[Path]) -> None:
    check = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema"]
    for schema, files in {
        "vendor.github-workflows": [*workflows, *our_own()],
        "vendor.github-actions": [CHECKOUT / "action.yml"],
    }.items():
        done = subprocess.run([*check, schema, *map(str, files)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(WORKFLOWS))
def test_each_has_least_rights_a_limit_in_time_and_pinned_actions(path: str) -> None:
    flow = yaml.safe_load(WORKFLOWS[path])
    assert flow["permissions"] == {}
    assert flow["concurrency"]
    for job in flow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert "permissions" in job
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            action, _, commit = step.get("uses", "x@" + "0" * 40).partition("@")
            assert action in ("x", "actions/checkout", ACTION)
            assert len(commit) == 40


def test_only_the_merging_workflow_has_a_token_and_it_runs_nothing_of_the_proposal() -> None:
    for path, data in WORKFLOWS.items():
        text = data.decode()
        flow = yaml.safe_load(text)
        triggers = set(flow[True])  # YAML 1.1 reads `on` so
        if "pull_request" in triggers:
            assert triggers == {"pull_request"}
            assert "token" not in text
            assert "secrets." not in text
        if "pull_request_target" in triggers:
            assert path.endswith("medperf-merge.yml")
            (job,) = flow["jobs"].values()
            checkout = job["steps"][0]
            assert "ref" not in checkout["with"]  # the base, which is the default there
            assert checkout["with"]["persist-credentials"] is False
            assert "vars.MEDPERF_MERGE == 'on'" in job["if"]


def test_the_actions_requirements_are_pinned_by_hash() -> None:
    text = (CHECKOUT / ".github" / "action" / "requirements.txt").read_text()
    entries = [one for one in text.replace("\\\n", " ").splitlines() if one and one[0] != "#"]
    names = {entry.partition("==")[0].strip().lower() for entry in entries}
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"]:
        name = wanted.split(">")[0].split("[")[0].split(";")[0].strip().lower()
        assert name.replace(".", "-") in names


# Run


@dataclass
class Played:
    """A registry with three proposals, a clone of each, and the action as act gets it."""

    root: Path
    world: World
    action: Path
    heads: dict[str, str]

    def run(self, name: str, event: str = "pull_request", **environ: str) -> tuple[int, str]:
        """What act says of an event about a proposal, in a clone of its own."""
        number = sorted(self.heads).index(name) + 1
        clone = self.root / f"{event}-{name}"
        remote = self.root / "registry.git"
        subprocess.run(["git", "clone", "-q", remote, clone], check=True)
        if event == "pull_request":  # what a checkout of the pull request has
            fetch = [
                "git",
                "-C",
                str(clone),
                "fetch",
                "-q",
                "origin",
                f"refs/pull/{number}/head:pr",
            ]
            subprocess.run(fetch, check=True)
            subprocess.run(["git", "-C", str(clone), "checkout", "-q", "pr"], check=True)
        about = {
            "number": number,
            "pull_request": {
                "number": number,
                "draft": False,
                "base": {"sha": self.world.tip, "ref": "main"},
                "head": {"sha": self.heads[name], "ref": "proposals/modeler/next"},
            },
        }
        (self.root / "event.json").write_text(json.dumps(about))
        command = ["act", event, "-P", "ubuntu-24.04=-self-hosted", "--pull=false"]
        command += ["-e", str(self.root / "event.json"), "--var", "MEDPERF_MERGE=on"]
        command += ["-s", "GITHUB_TOKEN=token-of-the-job"]
        command += ["--local-repository", f"{ACTION}@{ACTION_COMMIT}={self.action}"]
        for key, value in environ.items():
            command += ["--env", f"{key}={value}"]
        surroundings = {**os.environ, **WHEELS}
        done = subprocess.run(
            command, cwd=clone, capture_output=True, text=True, timeout=600, env=surroundings
        )
        return done.returncode, done.stdout + done.stderr


# An index of one's own may be named by the surroundings; nothing else of them matters to pip here.
WHEELS = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    root = tmp_path_factory.mktemp("act")
    world = everything(World(root))
    world.commit(WORKFLOWS)
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    both = world.approval(path, "modeler/max", "committee/alice", data=data)
    one = world.approval(path, "modeler/max", data=data)
    evil = b"kind: Cub\nx: 1 # \n'::error::y': '##[error]z'\n"
    heads = {
        "failed": world.propose({"cubes/modeler/bad.yaml": evil}, by="modeler/max"),
        "valid": world.propose({path: data, **both}, by="modeler/max"),
        "waits": world.propose({path: data, **one}, by="modeler/max"),
        "workflow": world.propose(
            {path: data, **both, ".github/workflows/own.yml": b"on: push\n"}, by="committee/alice"
        ),
    }
    for number, name in enumerate(sorted(heads), 1):
        world.repository.set_ref(f"refs/pull/{number}/head", heads[name])
    yield Played(root, world, action(root), heads)
    world.close()


def action(root: Path) -> Path:
    """The files of this checkout, as a runner has those of the action."""
    folder = root / "action"
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "-co", "--exclude-standard", "-z"]
    files = subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0")
    for name in files:
        source = CHECKOUT / name
        if name and source.is_file() and not name.startswith(("tests/", "examples/", "bench/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    return folder


@pytest.mark.act
def test_a_valid_proposal_has_two_green_checks(played: Played) -> None:
    code, log = played.run("valid")
    assert code == 0, log
    assert "## Valid (association)" in log
    assert log.count("Job succeeded") == 2


@pytest.mark.act
def test_a_waiting_proposal_is_valid_and_not_approved(played: Played) -> None:
    code, log = played.run("waits")
    assert code != 0
    assert "[medperf/medperf / valid] 🏁  Job succeeded" in log
    assert "[medperf/medperf / approved] 🏁  Job failed" in log
    assert "The answer is: waits" in log
    assert "a member of the committee of committee/cxr" in log


@pytest.mark.act
def test_a_failed_proposal_is_red_and_its_text_commands_nothing(played: Played) -> None:
    code, log = played.run("failed")
    assert code != 0
    assert "[medperf/medperf / valid] 🏁  Job failed" in log
    assert "[medperf/medperf / approved] 🏁  Job failed" in log
    assert "file=cubes/modeler/bad.yaml" in log
    assert "##[error]z" not in log


class _Api(BaseHTTPRequestHandler):
    """The part of GitHub's API that the merging workflow needs."""

    asked: list[tuple[str, str, Any]]
    head: str

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PUT(self) -> None:
        self._answer(self._body())

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: Any) -> None:
        self.asked.append((self.command, self.path, body))
        number = int(self.path.split("/pulls/")[1].split("/")[0])
        about = {
            "number": number,
            "sha": "f" * 40,
            "html_url": "https://github.com/o/r/pull/1",
            "head": {"sha": self.head, "ref": "x", "repo": None},
        }
        data = json.dumps(about).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def api() -> Iterator[tuple[str, type[_Api]]]:
    handler = type("Handler", (_Api,), {"asked": [], "head": ""})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def merging(played: Played, name: str, api: tuple[str, type[_Api]]) -> tuple[int, str]:
    address, handler = api
    handler.head = played.heads[name]
    return played.run(
        name,
        "pull_request_target",
        GITHUB_API_URL=address,
        GITHUB_REPOSITORY="o/r",
    )


@pytest.mark.act
def test_what_waits_for_nobody_is_merged_by_its_id(
    played: Played, api: tuple[str, type[_Api]]
) -> None:
    code, log = merging(played, "valid", api)
    assert code == 0, log
    merge = [one for one in api[1].asked if one[0] == "PUT"]
    assert [path for _, path, _ in merge] == ["/repos/o/r/pulls/2/merge"]
    assert merge[0][2]["sha"] == played.heads["valid"]
    assert merge[0][2]["merge_method"] == "merge"


@pytest.mark.act
@pytest.mark.parametrize("name", ["waits", "workflow"])
def test_nothing_else_is_merged(played: Played, name: str, api: tuple[str, type[_Api]]) -> None:
    code, log = merging(played, name, api)
    assert not [one for one in api[1].asked if one[0] == "PUT"], log
    assert "Not merged" in log
    assert (code == 0) is (name == "waits"), log
