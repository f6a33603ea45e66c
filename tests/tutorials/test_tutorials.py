"""The tutorials' commands, in order, as a reader types them: so they cannot rot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TUTORIALS = CHECKOUT / "docs/tutorials"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = ("make tutorial", ". .venv/bin/activate")


def commands(role: str) -> list[str]:
    """Every line of the tutorial's shell blocks but those that set up the checkout."""
    text = (TUTORIALS / f"{role}.md").read_text("utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    assert lines[0] == f"make tutorial ROLE={role}"
    assert lines[1] == SET_UP[1]
    return lines[2:]


@pytest.mark.parametrize("role", ["committee", "model-owner", "data-owner"])
def test_a_tutorials_commands_work_in_order(role: str, tmp_path: Path) -> None:
    seeded = subprocess.run(
        [sys.executable, CHECKOUT / "examples/tutorial/seed.py", role],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert seeded.returncode == 0, seeded.stdout + seeded.stderr
    script = tmp_path / "all.sh"
    script.write_text("set -e\n" + "".join(f"echo '=== {n}'\n{c}\n" for n, c in numbered(role)))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    last = int(re.findall(r"^=== ([0-9]+)$", done.stdout, re.MULTILINE)[-1])
    tail = done.stdout.rpartition(f"=== {last}\n")[2]
    assert done.returncode == 0, f"{commands(role)[last]}\n{tail}"


def numbered(role: str) -> list[tuple[int, str]]:
    """The commands with their numbers."""
    return list(enumerate(commands(role)))


@pytest.mark.parametrize("role", ["committee", "model-owner", "data-owner"])
def test_a_tutorials_links_lead_somewhere(role: str) -> None:
    text = (TUTORIALS / f"{role}.md").read_text("utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (TUTORIALS / link).is_file(), link
