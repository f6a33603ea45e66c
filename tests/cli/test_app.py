"""The frame around every command: help, names, options, streams and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from medperf import __version__
from medperf.cli import plan
from medperf.cli.app import COMMANDS, cli
from medperf.cli.groups import NearGroup

from .conftest import Desks, Types

MEDPERF = Path(sys.executable).with_name("medperf")


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


TREE = {path: command for path, command in walk(cli) if path}
LEAVES = {path: one for path, one in TREE.items() if not isinstance(one, click.Group)}


@pytest.mark.parametrize("path", TREE)
def test_every_command_has_a_line_and_an_example_of_itself(path: str) -> None:
    help_ = TREE[path].help or ""
    first = help_.partition("\n\n")[0]
    assert first.strip().endswith((".", ":"))
    assert "Example" in help_ or path == "profile"
    assert f"medperf {path.split()[0]}" in help_


@pytest.mark.parametrize("path", TREE)
def test_every_command_prints_its_help(types: Types, path: str) -> None:
    answer = types(*path.split(), "--help")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out.startswith(f"Usage: medperf {path}")
    assert types(*path.split(), "-h").out == answer.out


@pytest.mark.parametrize("path", LEAVES)
def test_every_listing_and_view_speaks_json(path: str) -> None:
    options = {name for parameter in LEAVES[path].params for name in parameter.opts}
    if path.split()[-1] in ("ls", "view", "plan", "status", "reconcile", "verify", "doctor"):
        assert "--json" in options


@pytest.mark.parametrize("path", [path for path in TREE if path not in LEAVES])
def test_every_group_answers_a_misspelt_command_with_the_nearest(types: Types, path: str) -> None:
    group = TREE[path]
    assert isinstance(group, NearGroup)
    name = group.list_commands(click.Context(group))[0]
    answer = types(path, name[:-1] + "xx"[: 1 + (len(name) < 3)])
    assert answer.code == 2
    assert name in answer.err
    assert answer.out == ""


def test_a_misspelt_command_is_answered_with_the_nearest(types: Types) -> None:
    answer = types("reconcille")
    assert answer.code == 2
    assert "Did you mean reconcile?" in answer.err
    assert "There are login, registry" in types("qqqq").err
    assert "Did you mean mlcube?" in types("MLCube").err


@pytest.mark.parametrize(
    "words",
    [
        ("dataset", "submit", "--data-uid", "chest"),
        ("dataset", "submit", "--data_uid", "chest"),
        ("mlcube", "submit", "--name", "x", "--mlcube_file", "none", "--image_file", "y"),
        ("approve_run", "x"),
        ("plan", "--detailed_exitcode"),
    ],
)
def test_options_and_commands_take_both_kinds_of_dash(types: Types, words: tuple[str, ...]) -> None:
    assert "No such option" not in types(*words).err
    assert "no command" not in types(*words).err


def test_what_is_missing_or_wrong_ends_with_2_and_the_usage(types: Types) -> None:
    for words in (("dataset", "submit"), ("reconcile", "--every", "soon"), ("validate", "nowhere")):
        answer = types(*words)
        assert answer.code == 2
        assert answer.err.startswith(f"Usage: medperf {words[0]}")
        assert "\nmedperf: " in answer.err
        assert answer.out == ""


def test_a_group_alone_shows_its_commands_as_a_wrong_use(types: Types) -> None:
    answer = types("mlcube")
    assert answer.code == 2
    assert "submit" in answer.err
    assert answer.out == ""


def test_without_settings_every_command_says_how_to_get_them(types: Types) -> None:
    answer = types("plan")
    assert answer.code == 2
    assert "medperf login REGISTRY" in answer.err


def test_a_bug_is_told_with_a_file_that_can_be_pasted(
    types: Types, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def planted(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(plan.command, "callback", planted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = types("plan", "--json")
    assert answer.code == 3
    assert answer.out == ""
    assert "Traceback" not in answer.err
    (log,) = tmp_path.glob("medperf-bug-*.log")
    assert str(log) in answer.err
    text = log.read_text()
    assert "planted" in text
    assert f"medperf {__version__}" in text
    assert "command: medperf plan" in text
    assert log.stat().st_mode & 0o077 == 0


def test_a_bug_is_told_even_where_no_file_can_be_written(
    types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(plan.command, "callback", planted)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    answer = types("plan")
    assert answer.code == 3
    assert "planted" in answer.err


def test_a_full_disk_is_no_bug(types: Types, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/srv/runs")

    monkeypatch.setattr(plan.command, "callback", planted)
    answer = types("plan")
    assert answer.code == 1
    assert answer.err.startswith("medperf: No space left on device (/srv/runs). The disk is full")


def test_an_interrupt_ends_with_130(types: Types, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan.command, "callback", planted)
    answer = types("plan")
    assert answer.code == 130
    assert "Interrupted" in answer.err


def test_an_interrupted_site_ends_with_130_and_leaves_nothing_running(desks: Desks) -> None:
    desks.world.add_model("slow", {"infer": ["sleep", 60]})
    process = subprocess.Popen(
        [str(MEDPERF), "reconcile", "--model", "slow"],
        env={**os.environ, "MEDPERF_HOME": str(desks.world.folder / "hospital")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "slow: infer" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopping" in err


def test_a_reader_that_goes_away_is_no_error(desks: Desks) -> None:
    process = subprocess.Popen(
        [str(MEDPERF), "owner", "ls", "--json"],
        env={**os.environ, "MEDPERF_HOME": str(desks.world.folder / "hospital")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as said:
        err = said.read()
    process.wait(timeout=30)
    assert err == ""


def test_the_first_answers_import_no_heavy_room() -> None:
    for words in (["--help"], ["--version"], ["mlcube", "submit", "--help"]):
        script = (
            "import sys; from medperf.cli.app import run; run(sys.argv[1:]);"
            "heavy = {'pydantic', 'git', 'docker', 'jsonschema', 'cryptography', 'httpx'};"
            "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_help_starts_nearly_as_fast_as_click_itself() -> None:
    def median(*words: str) -> float:
        times = []
        for _ in range(7):
            before = os.times()
            subprocess.run(words, capture_output=True, check=True)
            after = os.times()
            times.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
        return sorted(times)[3]

    assert median(str(MEDPERF), "--help") <= 2.5 * median(sys.executable, "-c", "import click")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(types: Types, shell: str) -> None:
    answer = types("completion", shell)
    assert answer.code == 0
    assert "_MEDPERF_COMPLETE" in answer.out


def test_completion_knows_commands_and_their_options() -> None:
    def complete(words: str, at: int) -> str:
        environ = {"COMP_WORDS": words, "COMP_CWORD": str(at)}
        environ["_MEDPERF_COMPLETE"] = "bash_complete"
        return subprocess.run(
            [str(MEDPERF)],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "reconcile" in complete("medperf re", 1)
    assert "--profile" in complete("medperf --", 1)
    assert "submit" in complete("medperf mlcube s", 2)


def test_every_command_of_the_table_is_there() -> None:
    assert {path.split()[0] for path in TREE} == set(COMMANDS)


def test_a_terminal_without_a_sign_sees_its_number(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text("kind: Registry\n")
    (tmp_path / "cubes").mkdir()
    (tmp_path / "cubes" / "\u2192.yaml").write_text("")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    words = [str(MEDPERF), "validate", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert b"cubes/\\u2192.yaml: is no path of an object" in done.stdout
    words.append("--json")
    done = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert "cubes/\u2192.yaml" in {one["file"] for one in json.loads(done.stdout)}


@pytest.mark.parametrize("engine", ["docker", "singularity"])
def test_listings_and_plans_start_no_engine_and_no_other_program(
    desks: Desks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """MedPerf's client ran `docker info`, `nvidia-smi` and a recursive `ls` before every answer."""
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    for name in ("docker", "nvidia-smi", "apptainer", "singularity", "bwrap", "ls", "tar", "ip"):
        (programs / name).write_text(f'#!/bin/sh\necho "$0" >> "{log}"\nexit 1\n')
        (programs / name).chmod(0o755)
    desks.world.set("hospital", f"engine={engine}")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    for words in ("benchmark ls", "plan", "status", "result ls --local", "storage ls", "explain"):
        answer = desks.hospital(*words.split())
        assert answer.code == 0, answer.err
    assert not log.exists(), log.read_text()


@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [
        ("<&-", "benchmark settings toy --inactive", 2),
        (">&-", "benchmark ls", 0),
        ("2>&-", "benchmark lss", 2),
        ("<&- >&- 2>&-", "plan", 0),
    ],
)
def test_a_closed_stream_is_no_bug(desks: Desks, closed: str, words: str, code: int) -> None:
    medperf = Path(sys.executable).with_name("medperf")
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" {words} {closed}', medperf],
        env={**os.environ, "MEDPERF_HOME": str(desks.world.folder / "committee")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "this is a bug" not in done.stderr
