"""The house itself: what is shipped, what is named, what is documented."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from medperf.reconciler.plan import State
from medperf.reconciler.settings import Policy, Profile, SiteLimits

ROOT = Path(__file__).resolve().parents[1]
PLACES = re.compile(re.escape(str(ROOT)) + r"\b")  # where this checkout happens to lie


def tracked() -> list[Path]:
    """Every text file that Git knows."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    text = (".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".json", "Makefile", "Dockerfile")
    return [ROOT / name for name in listed.split("\0") if name.endswith(text)]


def test_every_room_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = set(project["tool"]["setuptools"]["packages"])
    for room in ("cli", "reconciler", "registry", "runner", "schemas"):
        for file in (ROOT / room).rglob("__init__.py"):
            if "templates" in file.parts:
                continue
            name = ".".join(("medperf", *file.parent.relative_to(ROOT).parts))
            assert name in shipped


def test_no_file_names_a_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone")
    for file in tracked():
        if file.exists() and file != Path(__file__):
            found = PLACES.search(file.read_text(errors="replace"))
            assert found is None, f"{file.relative_to(ROOT)}: {found}"


def test_links_between_the_documents_hold() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", file.read_text()):
            assert link.startswith("https://") or (file.parent / link).exists(), (file, link)


def test_the_documents_know_every_state_and_setting() -> None:
    text = (ROOT / "docs/site.md").read_text()
    for state in State:
        assert state in text
    for prefix, part in (("policy", Policy), ("limits", SiteLimits)):
        for name, field in part.model_fields.items():
            assert f"`{prefix}.{field.alias or name}`" in text
    assert {"engine", "storage", "policy", "limits"} <= set(Profile.model_fields)


def test_commands_live_in_modules_of_their_names() -> None:
    from medperf.cli.app import COMMANDS

    for name in COMMANDS:
        assert (ROOT / "cli" / f"{name.replace('-', '_')}.py").exists()


def test_lower_rooms_do_not_print_or_know_the_command_line() -> None:
    for room in ("reconciler", "registry", "runner", "schemas"):
        for file in (ROOT / room).rglob("*.py"):
            if "templates" in file.parts:
                continue
            text = file.read_text()
            assert not re.search(r"^\s*(import click|from click)", text, re.MULTILINE), file
