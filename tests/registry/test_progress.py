"""Fetching and judging a registry say how far they are, and the same is fetched and judged."""

from pathlib import Path

import pytest

from medperf.registry.git import MAIN, Repository
from medperf.registry.view import open_view
from medperf.schemas.errors import RegistryError
from medperf.schemas.progress import listening
from tests.recorder import Recorder

from .world import World


def test_a_fetch_tells_its_objects_and_a_look_its_commits(world: World, tmp_path: Path) -> None:
    recorder = Recorder()
    url = f"file://{world.repository.folder}"
    with Repository.create(tmp_path / "clone.git") as clone, listening(recorder):
        clone.fetch(url, [f"+{MAIN}:{MAIN}"])
        tip = clone.resolve(MAIN) or ""
        view = open_view(clone, tip)
    assert tip == world.tip
    [(done, total, unit)] = recorder.told("Fetching the registry")
    assert done == total
    assert total
    assert unit == "objects"
    commits = len(view.ledger.commits)
    assert recorder.told("Judging the registry's history") == [(commits, commits, "commits")]


def test_a_failed_fetch_says_the_same_whether_somebody_watches_or_not(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    with Repository.create(tmp_path / "clone.git") as clone:
        with pytest.raises(RegistryError) as alone:
            clone.fetch(nowhere, [f"+{MAIN}:{MAIN}"])
        with listening(Recorder()), pytest.raises(RegistryError) as watched:
            clone.fetch(nowhere, [f"+{MAIN}:{MAIN}"])
    assert str(alone.value) == str(watched.value)
