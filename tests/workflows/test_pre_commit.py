"""The pre-commit hook, run by pre-commit itself in a real clone of a registry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medperf.schemas import documents
from medperf.tests.registry.world import World, cube_manifest, everything

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with our hook, as it is written in this checkout, by this very medperf."""
    world = everything(World(tmp_path))
    world.close()
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(tmp_path / "registry.git"), str(folder))
    hook = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())[0]
    entry = f"{PROGRAMS / 'medperf'} {hook['entry'].partition(' ')[2]}"
    # `system` instead of `python`: what is tried is the hook, not the making of an environment
    config = {
        "repos": [{"repo": "local", "hooks": [{**hook, "entry": entry, "language": "system"}]}]
    }
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git(folder, "add", ".pre-commit-config.yaml")
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "pre-commit"), "run", *words]
    environ = {**os.environ, "PRE_COMMIT_COLOR": "never"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environ)


def test_a_good_manifest_may_be_committed(clone: Path) -> None:
    path = clone / "cubes" / "modeler" / "next.yaml"
    path.write_bytes(documents.dump(cube_manifest("modeler/next", "model")))
    git(clone, "add", "-A")
    done = run(clone)
    assert done.returncode == 0, done.stdout
    assert "Passed" in done.stdout


def test_a_broken_one_may_not_and_the_line_is_told(clone: Path) -> None:
    path = clone / "cubes" / "modeler" / "next.yaml"
    text = documents.dump(cube_manifest("modeler/next", "model"))
    text = text.replace(b"role: model", b"role: modle")
    path.write_bytes(text)
    git(clone, "add", "-A")
    done = run(clone)
    assert done.returncode == 1
    line = text[: text.index(b"role:")].count(b"\n") + 1
    assert f"cubes/modeler/next.yaml:{line}" in done.stdout


def test_other_files_do_not_start_it(clone: Path) -> None:
    (clone / "notes.txt").write_text("x")
    git(clone, "add", "notes.txt")
    git(clone, "reset", "-q", ".pre-commit-config.yaml")
    done = run(clone)
    assert "Skipped" in done.stdout or "unstaged" in done.stdout + done.stderr


def test_the_hooks_file_is_one_that_pre_commit_accepts() -> None:
    command = [
        str(PROGRAMS / "pre-commit"),
        "validate-manifest",
        str(CHECKOUT / ".pre-commit-hooks.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
