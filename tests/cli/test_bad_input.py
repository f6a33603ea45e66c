"""Bad proposals, refused by `validate` and by `proposal merge`: where, what, and the remedy.

Each is pushed as a branch, as anybody who can push may; main never moves.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medperf.registry.paths import association_path, cube_path

from ..reconciler.world import World, git
from .conftest import Desks

Files = dict[str, bytes]


@dataclass(frozen=True)
class Bad:
    """One bad proposal: its files from a good cube's bytes, and what the answer must name."""

    files: Callable[[World, bytes], Files]
    said: tuple[str, ...]


PATH = cube_path("modeler/mine")


def cube(change: Callable[[bytes], bytes]) -> Callable[[World, bytes], Files]:
    return lambda _, good: {PATH: change(good)}


def wrong_digest(world: World, good: bytes) -> Files:
    """A new model whose association pins other bytes than it has."""
    view = world.modeler.view()
    path = association_path("committee/toy", "models", "committee/ref")
    known = view.snapshot.associations[path].data
    digest = view.cube("committee/ref").digest.encode()
    data = known.replace(b"committee/ref", b"modeler/mine").replace(digest, b"sha256:" + b"0" * 64)
    assert data != known
    return {PATH: good, association_path("committee/toy", "models", "modeler/mine"): data}


BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
CASES = {
    "a misspelt field": Bad(
        cube(lambda good: good.replace(b"role:", b"rolle:")),
        (f"{PATH}:", "rolle", "role"),
    ),
    "a duplicate key": Bad(
        cube(lambda good: good.replace(b"  role:", b"  role: model\n  role:")),
        (f"{PATH}:", "role", "second time"),
    ),
    "an anchor bomb": Bad(cube(lambda good: good + BOMB), (f"{PATH}:", "anchor")),
    "a control character": Bad(
        cube(lambda good: good.replace(b"The mine.", b"The \x07mine.")),
        (f"{PATH}:", "U+0007"),
    ),
    "a wrong digest": Bad(wrong_digest, ("modeler__mine.yaml:", "spec.model.digest", "sha256:")),
    "somebody else's path": Bad(
        lambda _, good: {cube_path("hospital/mine"): good.replace(b"modeler", b"hospital")},
        ("hospital",),
    ),
    "another owner in the file than in the path": Bad(
        cube(lambda good: good.replace(b"owner: modeler", b"owner: hospital")),
        (f"{PATH}", "owner", "hospital"),
    ),
}


@pytest.fixture
def good(desks: Desks) -> bytes:
    return desks.world.cube("mine", "modeler", "model", desks.world.images)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_proposal_is_refused_everywhere_and_changes_nothing(
    desks: Desks, good: bytes, tmp_path: Path, name: str
) -> None:
    world, bad = desks.world, CASES[name]
    proposal = world.modeler.propose("bad", bad.files(world, good), "Add something")
    tip = world.tip()

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", world.url, str(clone)], check=True)
    head = f"origin/{proposal.branch}"
    judged = desks.types("validate", str(clone), "--base", "origin/main", "--head", head)
    merged = desks.modeler("proposal", "merge", proposal.id, "-y")
    seen = desks.modeler("proposal", "view", proposal.id)

    for answer in (judged, merged, seen):
        told = answer.out + answer.err
        assert answer.code != 3
        assert "Traceback" not in told
        for words in bad.said:
            assert words in told, told
        assert "\x07" not in told
    assert judged.code in (1, 4)
    assert merged.code in (1, 4)
    assert judged.code == merged.code
    assert seen.code == 0
    assert world.tip() == tip
    as_json = desks.types("validate", str(clone), "--base=origin/main", f"--head={head}", "--json")
    assert as_json.json["answer"] == ("failed" if judged.code == 1 else "waits")


def test_a_folder_of_files_is_validated_with_line_and_remedy(
    desks: Desks, good: bytes, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", desks.world.url, str(clone)], check=True)
    assert desks.types("validate", str(clone)).code == 0
    assert desks.types("validate", str(clone), "--json").json == []
    file = clone / PATH
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(good.replace(b"role:", b"rolle:"))
    answer = desks.types("validate", str(clone))
    assert answer.code == 1
    assert f"{PATH}:" in answer.out
    assert "rolle" in answer.out
    assert desks.types("validate", str(clone), "--json").json[0]["line"]
    assert desks.types("validate", str(tmp_path)).code == 2
    assert desks.types("validate", str(clone), "--base", "nowhere").code == 2


def test_others_commits_on_main_are_shown_and_ignored(desks: Desks, good: bytes) -> None:
    desks.world.push({PATH: good.replace(b"role:", b"rolle:")}, by="modeler")
    assert desks.hospital("plan").code == 0
    assert PATH in desks.hospital("status").out
    verified = desks.committee("registry", "verify")
    assert verified.code in (0, 1)
    assert PATH in verified.out


def test_a_history_that_was_rewritten_stops_the_site(desks: Desks) -> None:
    desks.hospital("plan")
    root = git(desks.world.url, "rev-list", "--max-parents=0", "main")
    git(desks.world.url, "update-ref", "refs/heads/main", root)
    answer = desks.hospital("plan")
    assert answer.code == 1
    assert "medperf: " in answer.err
    assert desks.hospital("reconcile").code == 1
