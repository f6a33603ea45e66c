"""Several runs of one pass side by side."""

import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from medperf.reconciler import due_runs, execute, observe
from medperf.reconciler.due_runs import Ran
from medperf.reconciler.execute import Made, Order
from medperf.reconciler.plan import Plan, State
from medperf.reconciler.workplace import Workplace
from medperf.registry.view import View
from medperf.runner import machine
from medperf.runner.engines.protocol import GIB
from medperf.schemas.errors import RegistryError, WithheldError

from .world import World

REF = "committee/ref"


@pytest.fixture
def pair(world: World) -> World:
    """A site where two slow models are due, and memory for both."""
    world.set("hospital", "limits.memory=256Mi")
    world.add_model("a", {"infer": ["sleep", 1]})
    world.add_model("b", {"infer": ["sleep", 1]})
    return world


def beginnings(said: list[str]) -> list[str]:
    """Which models' tasks began and which runs ended, in order."""
    words = (line.partition(";")[0] for line in said)
    return [line for line in words if line.endswith((": infer", ": done", ": failed"))]


def test_two_at_once_and_each_has_its_result(pair: World) -> None:
    said: list[str] = []
    summary = pair.reconcile(say=said.append, jobs=2, wanted=lambda one: one.model != REF)
    assert [run.outcome for run in summary.ran] == ["done", "done"]
    assert pair.states() == {
        "modeler/a": "awaiting-release",
        "modeler/b": "awaiting-release",
        REF: "due",
    }
    first, second, *_ = beginnings(said)
    assert {first, second} == {"modeler/a: infer", "modeler/b: infer"}
    assert any("1 at work, 0 due" in line for line in said)


def test_the_sites_setting_is_the_default(pair: World) -> None:
    pair.set("hospital", "limits.jobs=2")
    said: list[str] = []
    pair.reconcile(say=said.append, wanted=lambda one: one.model != REF)
    first, second, *_ = beginnings(said)
    assert {first, second} == {"modeler/a: infer", "modeler/b: infer"}


def test_runs_begin_by_priority_whatever_runs_beside_them(pair: World) -> None:
    pair.change_settings(priorities={"modeler/b": 10})
    said: list[str] = []
    pair.reconcile(say=said.append, jobs=2)
    began = [line.rpartition(": ")[2] for line in said if " on hospital/chest: " in line]
    assert began == ["modeler/b", REF, "modeler/a"]


def test_a_run_waits_for_memory_that_another_has(
    pair: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: GIB)
    pair.set("hospital", "limits.memory=768Mi")
    said: list[str] = []
    summary = pair.reconcile(say=said.append, jobs=3)
    assert [run.outcome for run in summary.ran] == ["done"] * 3
    assert any("waits: it may use 768 MiB of memory; of this machine's 1024" in s for s in said)
    for before, after in pairwise(beginnings(said)):  # never a second one before the first's end
        assert before.partition(":")[2] != after.partition(":")[2]


def test_a_model_that_fails_stops_none_beside_it(pair: World) -> None:
    pair.add_model("c", {"infer": ["fail"]})
    summary = pair.reconcile(jobs=4)
    outcomes = {run.pair.model: run.outcome for run in summary.ran}
    assert outcomes == {
        "modeler/a": "done",
        "modeler/b": "done",
        "modeler/c": "failed",
        REF: "done",
    }
    assert summary.failed


def test_a_run_that_is_revoked_ends_and_the_other_goes_on(pair: World) -> None:
    def say(line: str) -> None:
        if line.endswith(" on hospital/chest: modeler/b"):  # the other one has begun
            pair.revoke("modeler/a")

    summary = pair.reconcile(say=say, jobs=2, wanted=lambda one: one.model != REF)
    outcomes = {run.pair.model: run.outcome for run in summary.ran}
    assert outcomes == {"modeler/a": "stopped", "modeler/b": "done"}


def test_a_partial_run_never_goes_beside_its_whole_one(pair: World) -> None:
    pair.add_model("half", {"infer": ["half"]})
    summary = pair.reconcile(
        jobs=3, keep_partial=True, wanted=lambda one: one.model == "modeler/half"
    )
    assert [(run.pair.partial, run.outcome) for run in summary.ran] == [
        (False, "partial"),
        (True, "done"),
    ]


def test_what_the_registry_breaks_off_lets_others_end(
    pair: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that cannot be read any more ends the pass, not what runs beside."""
    real = due_runs.look

    def look(place: Workplace) -> tuple[View, Plan]:
        if any(record.done for _, record in place.runs.all()):
            raise RegistryError("gone")
        return real(place)

    pair.add_model("quick")
    monkeypatch.setattr(due_runs, "look", look)
    with pytest.raises(RegistryError, match="gone"):
        pair.reconcile(jobs=2, wanted=lambda one: one.model in ("modeler/a", "modeler/quick"))
    monkeypatch.undo()
    folder = pair.hospital.runs.folder(pair.run("modeler/a").pair)
    assert folder.predictions.is_dir()  # it was not killed in its task


def test_an_interrupt_ends_all_and_the_next_pass_goes_on(pair: World) -> None:
    stop = threading.Event()
    begun: list[str] = []
    known = set(threading.enumerate())  # other tests' servers among them

    def say(line: str) -> None:
        if line.endswith(": infer"):
            begun.append(line)
            if len(begun) == 2:
                stop.set()

    with pytest.raises(KeyboardInterrupt):
        pair.reconcile(say=say, stop=stop, jobs=2, wanted=lambda one: one.model != REF)
    assert set(threading.enumerate()) <= known
    states = {run.pair.model: run.state for run in pair.plan().runs}
    assert states["modeler/a"] == states["modeler/b"] == State.DUE
    assert [run.outcome for run in pair.reconcile(jobs=2).ran] == ["done"] * 3


def test_a_full_disk_is_told_once(pair: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> Ran:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execute, "make_run", no_room)
    summary = pair.reconcile(jobs=2)
    assert summary.problem.count("is full") == 1
    assert {run.outcome for run in summary.ran} == {"failed"}


@pytest.mark.docker
def test_each_run_has_gpus_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are none here, so what a run is given is looked at where it would begin."""
    world.set("hospital", "engine=docker", "limits.gpus=['0', '1', '2']", "limits.memory=256Mi")
    wishes = {"a": 2, "b": 1, "c": 1, "d": 0}
    for name, gpus in wishes.items():
        world.add_model(name, resources={"gpus": gpus})
    world.change_settings(priorities={"modeler/a": 9, "modeler/b": 8})
    busy: list[str] = []
    given: dict[str, Sequence[str]] = {}

    def look(_: Workplace, order: Order, **__: object) -> Made:
        gpus = order.gpus or ()
        assert not set(gpus) & set(busy)
        busy.extend(gpus)
        given[order.pair.model] = gpus
        time.sleep(0.3)
        for gpu in gpus:
            busy.remove(gpu)
        raise WithheldError(["it was only looked at"])

    monkeypatch.setattr(execute, "make_run", look)
    monkeypatch.setattr(observe, "cube_obstacle", lambda *_: ("", ""))  # toys have no such image
    said: list[str] = []
    summary = world.reconcile(say=said.append, jobs=4)
    assert {run.outcome for run in summary.ran} == {"withheld"}
    assert (given["modeler/a"], given["modeler/b"]) == (("0", "1"), ("2",))
    assert {name: len(given[f"modeler/{name}"]) for name in wishes} == wishes
    assert any("asks for GPUs (1), of which 0 are free" in line for line in said)
