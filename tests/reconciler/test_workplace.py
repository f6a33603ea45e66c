"""The second reader that is started while a first fetch is waited for."""

import os
import subprocess
from collections.abc import Callable

import pytest

from medperf.reconciler.workplace import Workplace
from medperf.registry import ahead, history
from medperf.runner.engines import leftovers
from tests.registry.test_index import everything_of

from .world import World

FETCH = Workplace._get_ready


@pytest.fixture
def hospital(world: World, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The hospital before its first look, for which this registry is a large one."""
    monkeypatch.setattr(ahead, "LEAST", 1)
    monkeypatch.setattr(history, "_PORTION", 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    world.close("hospital")
    world.hospital._index_file.unlink(missing_ok=True)
    return world.hospital


def waiting(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    """Whether Git is still at it when everything else is loaded."""

    def get_ready(self: Workplace, _: Callable[[], bool]) -> None:
        FETCH(self, lambda: answer)

    monkeypatch.setattr(Workplace, "_get_ready", get_ready)


def test_a_first_fetch_that_takes_long_starts_the_second_reader(
    hospital: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ahead.Reader] = []
    processes: list[subprocess.Popen[bytes]] = []
    begin, take = ahead.Reader.__init__, ahead.Reader.take
    taken: list[int] = []

    def noted(self: ahead.Reader, folder: os.PathLike[str]) -> None:
        begin(self, folder)  # type: ignore[arg-type]
        started.append(self)
        assert self._process is not None
        processes.append(self._process)

    def counted(self: ahead.Reader) -> ahead._Found:
        found = take(self)
        taken.append(len(found[0]))
        return found

    monkeypatch.setattr(ahead.Reader, "__init__", noted)
    monkeypatch.setattr(ahead.Reader, "take", counted)
    waiting(monkeypatch, True)
    found = everything_of(hospital.view().ledger)
    assert len(started) == 1
    assert sum(taken) > 0
    assert processes[0].poll() is not None
    hospital.close()
    hospital._index_file.unlink()
    monkeypatch.setattr(ahead, "LEAST", 1_000_000)
    waiting(monkeypatch, False)
    assert everything_of(hospital.view().ledger) == found
    assert len(started) == 1


def test_what_was_fetched_at_once_or_judged_before_starts_none(
    hospital: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PORTION", 1_000_000)  # so that the walk needs none
    started: list[object] = []
    monkeypatch.setattr(ahead, "Reader", started.append)
    waiting(monkeypatch, False)
    hospital.view()
    hospital.close()
    waiting(monkeypatch, True)
    hospital.view()
    assert started == []


def test_an_interrupted_fetch_leaves_no_reader_behind(
    hospital: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[subprocess.Popen[bytes]] = []

    def interrupted(self: Workplace, _: Callable[[], bool]) -> None:
        FETCH(self, lambda: True)
        assert self._ahead is not None
        assert self._ahead._process is not None
        readers.append(self._ahead._process)
        raise KeyboardInterrupt

    monkeypatch.setattr(Workplace, "_get_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hospital.view()
    hospital.close()
    assert readers[0].poll() is not None
    assert not hospital._index_file.exists()


def test_an_engine_is_not_opened_where_no_run_was_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world.hospital
    cleaned: list[str] = []
    monkeypatch.setattr(place.engine, "clean", cleaned.append)
    place.end_leftovers()
    assert cleaned == []
    state = place.storage / "engine"
    mine = leftovers.note("sandbox", state=state, label=place.label("run"), name="run")
    place.end_leftovers()  # its process, this one, lives
    assert cleaned == []
    text = mine.path.read_text()
    mine.path.write_text(text.replace(f'"boot": "{leftovers.boot_id()}"', '"boot": "another"'))
    place.end_leftovers()
    assert cleaned == [place.label_prefix]
