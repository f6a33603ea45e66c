"""A site whose own files are damaged: what is broken is named, what can be made anew is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Desks


def _garbage(file: Path) -> None:
    file.chmod(0o600)
    file.write_bytes(b"[x")


def _objects(clone: Path) -> None:
    for file in clone.joinpath("objects").rglob("*"):
        if file.is_file():
            _garbage(file)


def _references(clone: Path) -> None:
    for file in (clone / "packed-refs", *clone.joinpath("refs").rglob("*")):
        if file.is_file():
            _garbage(file)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "HEAD": lambda clone: _garbage(clone / "HEAD"),
    "its configuration": lambda clone: _garbage(clone / "config"),
    "no objects": lambda clone: shutil.rmtree(clone / "objects"),
    "objects": _objects,
    "references": _references,
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_clone_is_named_and_made_anew_once_it_is_away(desks: Desks, what: str) -> None:
    assert desks.hospital("plan").code == 0
    desks.world.hospital.close()
    clone = desks.world.hospital.storage / "registry.git"
    DAMAGES[what](clone)
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert f"own clone {clone} is damaged. Move that folder away" in answer.said
    clone.rename(clone.with_name("away"))
    assert desks.hospital("plan").code == 0


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0", b""])
def test_a_damaged_index_is_made_anew(desks: Desks, content: bytes) -> None:
    told = desks.hospital("plan").out
    desks.world.hospital.close()
    (desks.world.hospital.storage / "index.sqlite").write_bytes(content)
    answer = desks.hospital("plan")
    assert (answer.code, answer.out) == (0, told)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"profiles: [", ":2: is not YAML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"profiles:\n  default:\n    enginee: docker\n", "enginee: is not a setting"),
    ],
)
def test_damaged_settings_are_named_with_their_line(
    desks: Desks, content: bytes, words: str
) -> None:
    file = desks.world.hospital.home.file
    file.write_bytes(content)
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert f"{file}:" in answer.err
    assert words in answer.err
    assert file.read_bytes() == content


def test_a_folder_in_a_files_place_is_named(desks: Desks) -> None:
    file = desks.world.hospital.home.file
    file.unlink()
    file.mkdir()
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert f"({file}). A folder lies where a file belongs" in answer.said


def test_a_file_where_answers_should_go_is_named(desks: Desks, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    answer = desks.hospital("registry", "keys", "--format", "pem", "-o", str(taken))
    assert answer.code == 2
    assert f"Nothing can be written to '{taken}': a file is there. Name a folder" in answer.said
    assert taken.read_text() == "mine"


def test_a_home_of_nobody_is_told(desks: Desks) -> None:
    file = desks.world.hospital.home.file
    text = file.read_text()
    assert desks.hospital("profile", "set", "storage=~nobody-of-that-name/x").code == 2
    assert file.read_text() == text
    file.write_text(text.replace("storage: default", "storage: ~nobody-of-that-name/x"))
    answer = desks.hospital("plan")
    assert answer.code == 2
    assert "A path begins with ~ and a name that is no user's here: write the" in answer.said


def test_a_registry_that_was_emptied_is_told_from_one_that_is_away(desks: Desks) -> None:
    registry = Path(desks.world.url)
    away = registry.with_name("away.git")
    registry.rename(away)
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert "there is no repository that you may read" in answer.said
    shutil.copytree(away, registry)
    shutil.rmtree(registry / "refs/heads")
    (registry / "refs/heads").mkdir()
    (registry / "packed-refs").unlink(missing_ok=True)
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert "has no branch main: it is empty, or no MedPerf registry" in answer.said


def test_nobody_signs_with_a_key_that_would_not_count(desks: Desks) -> None:
    keys = {name: next(iter(sorted((desks.world.place(name).home.path / "keys").iterdir())))
            for name in ("committee", "modeler")}  # fmt: skip
    keys["committee"].write_bytes(keys["modeler"].read_bytes())
    answer = desks.committee("registry", "checkpoint")
    assert answer.code == 1
    assert "would not count: the registry knows other keys as active" in answer.said
    revoked = desks.committee(
        *("association", "revoke", "--benchmark", "toy"), "--model_uid", "committee/ref", "-y"
    )
    assert revoked.code == 1
    assert "would not count" in revoked.said
