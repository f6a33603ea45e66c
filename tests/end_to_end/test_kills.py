"""`medperf reconcile`, killed in the middle of each step, and started again."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medperf.reconciler.results import awaiting, decide

from ..reconciler.world import MEDPERF, Template, World, docker_images, singularity_images


class Pass:
    """A running `medperf reconcile` of the hospital, whose words are read line by line."""

    def __init__(self, world: World, *options: str, home: str = "hospital") -> None:
        self.world = world
        self.log = world.folder / f"reconcile-{secrets.token_hex(4)}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(MEDPERF), "reconcile", *options],
                env={**os.environ, "MEDPERF_HOME": str(world.folder / home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_for_task(self, name: str, seconds: float = 60) -> None:
        """Returns when the program of a cube runs for this pass, and not for another one here."""
        until(
            lambda: any(f"main.py {name}" in words for words in self.programs()),
            seconds,
            f"{name} runs; {self.log.read_text()}",
        )

    def programs(self) -> list[str]:
        """The commands below this pass, and those of its containers, which are Docker's."""
        below = [words for _, words in self.family()]
        place = self.world.hospital
        if place.engine.name != "docker":
            return below
        ours = ["--filter", f"name={place.label_prefix}", "--format", "{{.Command}}"]
        words = ["docker", "ps", "--no-trunc", *ours]
        listed = subprocess.run(words, check=True, capture_output=True, text=True)
        return [*below, *listed.stdout.splitlines()]

    def models(self) -> int:
        """How many models infer below the pass."""
        words = (command for _, command in self.family())
        return sum(one.startswith(sys.executable) and "main.py infer" in one for one in words)

    def family(self) -> set[tuple[int, str]]:
        """The processes below this one, with their commands."""
        return descendants(self.process.pid)

    def kill(self, number: signal.Signals) -> set[tuple[int, str]]:
        """Sends the signal and waits for the end; what had been running below it."""
        below = self.family()
        self.process.send_signal(number)
        self.process.wait(30)
        return below


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until something holds; fails with `what` if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def processes() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its command with arguments."""
    found = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            words = path.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            found[int(path.name)] = (parent, words)
    return found


def descendants(root: int) -> set[tuple[int, str]]:
    """The processes below `root`."""
    table = processes()
    below, news = set(), {root}
    while news:
        news = {pid for pid, (parent, _) in table.items() if parent in news}
        below |= news
    return {(pid, table[pid][1]) for pid in below}


def check_gone(below: set[tuple[int, str]], seconds: float = 10) -> None:
    """None of these processes is left."""

    def gone() -> bool:
        now = processes()
        left = {(pid, words) for pid, words in below if now.get(pid, (0, ""))[1] == words}
        return not {(pid, words) for pid, words in left if words}

    until(gone, seconds, f"gone: {sorted(below)}")


def finish(world: World) -> None:
    """The next pass does all that is left; each result is published once."""
    world.set("hospital", "policy.release=automatic")
    summary = world.reconcile()
    assert not summary.failed, summary
    world.accept("sites/hospital/ward")
    assert set(world.states().values()) == {"published"}
    assert len(world.results()) == len(world.states())
    assert world.hospital.view().notes == ()
    assert list((world.hospital.storage / "runs").glob("*/work/*")) == []
    assert world.hospital.engine.clean(world.hospital.label_prefix) == []


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("infer", signal.SIGKILL),
        ("infer", signal.SIGTERM),
        ("infer", signal.SIGINT),
        ("evaluate", signal.SIGKILL),
        ("evaluate", signal.SIGINT),
    ],
)
def test_a_pass_killed_in_a_task_is_finished_by_the_next(
    world: World, step: str, number: signal.Signals
) -> None:
    model = world.add_model("slow", {step: ["sleep", 2]})
    under_way = Pass(world, "--model", model)
    under_way.wait_for_task(step)
    below = under_way.kill(number)
    assert under_way.process.returncode == (-number if number == signal.SIGKILL else 130)
    check_gone(below)
    said = under_way.log.read_text()
    if number != signal.SIGKILL:
        assert "Nothing is lost" in said
        assert "Traceback" not in said
    finish(world)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pass_killed_with_two_jobs_running_is_finished_by_the_next(
    world: World, number: signal.Signals
) -> None:
    world.set("hospital", "limits.memory=256Mi")
    world.add_model("slow", {"infer": ["sleep", 3]})
    world.add_model("other", {"infer": ["sleep", 3]})
    world.change_settings(priorities={"modeler/slow": 9, "modeler/other": 8})
    under_way = Pass(world, "--jobs", "2")
    until(lambda: under_way.models() == 2, 60, "two models run at once")
    seen = world.medperf("status")
    assert seen.stdout.count("running") >= 2, seen.stdout
    below = under_way.kill(number)
    assert under_way.process.returncode == (-number if number == signal.SIGKILL else 130)
    check_gone(below)
    finish(world)


def ready_to_publish(world: World) -> None:
    """The reference model has run, and its result may leave."""
    world.reconcile()
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")


@contextlib.contextmanager
def gate(world: World) -> Iterator[Path]:
    """A hook of the registry that holds each push until the gate's file is removed."""
    hook = Path(world.url) / "hooks" / "pre-receive"
    closed = world.folder / "closed"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\ntouch {world.folder}/waiting\n"
        f"while [ -e {closed} ]; do sleep 0.05; done\nexit 0\n"
    )
    hook.chmod(0o755)
    closed.touch()
    yield closed
    closed.unlink(missing_ok=True)
    hook.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pass_told_to_end_while_publishing_ends_in_order(
    world: World, number: signal.Signals
) -> None:
    ready_to_publish(world)
    with gate(world) as closed:
        under_way = Pass(world)
        until((world.folder / "waiting").exists, 60, "the push is at the gate")
        below = under_way.family()
        under_way.process.send_signal(number)
        time.sleep(0.2)
        closed.unlink()
        assert under_way.process.wait(30) == 130
        check_gone(below)
    assert "Traceback" not in under_way.log.read_text()
    finish(world)


def test_a_pass_killed_while_publishing_publishes_once(world: World) -> None:
    ready_to_publish(world)
    with gate(world) as closed:
        under_way = Pass(world)
        until((world.folder / "waiting").exists, 60, "the push is at the gate")
        below = under_way.kill(signal.SIGKILL)
        closed.unlink()
        check_gone(below)
    finish(world)


def test_a_push_that_outlives_its_pass_and_the_next_pass_publish_once(world: World) -> None:
    ready_to_publish(world)
    with gate(world) as closed:
        under_way = Pass(world)
        until((world.folder / "waiting").exists, 60, "the push is at the gate")
        below = under_way.kill(signal.SIGKILL)
        (world.folder / "waiting").unlink()
        second = Pass(world)
        until((world.folder / "waiting").exists, 60, "the second push is at the gate too")
        below |= second.family()
        closed.unlink()
        assert second.process.wait(60) == 0, second.log.read_text()
        check_gone(below)
    finish(world)


def test_a_killed_trial_is_cleared_away_by_the_next(world: World) -> None:
    world.add_model("slow", {"infer": ["sleep", 2]}, approve=False)
    data = world.dataset().data
    words = ["mlcube", "run-test", "--mlcube", "modeler/slow", "--task", "infer"]
    words += ["--input", f"data_path={data}", "--output"]
    notes = world.modeler.storage / "engine"
    process = subprocess.Popen(
        [str(MEDPERF), *words, str(world.folder / "first")],
        env={**os.environ, "MEDPERF_HOME": str(world.folder / "modeler")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: bool(list(notes.glob("*.json"))), 60, "the task has begun")
    process.kill()
    process.wait(30)
    assert list(notes.glob("*.json"))
    done = world.medperf(*words, str(world.folder / "second"), by="modeler")
    assert done.returncode == 0, done.stderr
    assert list(notes.glob("*.json")) == []


def test_of_two_passes_at_once_one_does_the_work(world: World) -> None:
    world.add_model("slow", {"infer": ["sleep", 1]})
    first = Pass(world)
    first.wait_for_task("infer")
    done = world.medperf("reconcile")
    assert done.returncode == 4
    assert "Another pass is at work here" in done.stderr
    assert first.process.wait(60) == 0
    finish(world)


def test_a_restored_copy_of_a_machine_publishes_nothing_twice(world: World) -> None:
    ready_to_publish(world)
    world.close()
    shutil.copytree(world.folder / "hospital", world.folder / "twin")
    with gate(world) as closed:
        first = Pass(world)
        until((world.folder / "waiting").exists, 60, "the push is at the gate")
        (world.folder / "waiting").unlink()
        second = Pass(world, home="twin")
        until((world.folder / "waiting").exists, 60, "the twin's push is at the gate too")
        closed.unlink()
        assert first.process.wait(60) == 0, first.log.read_text()
        assert second.process.wait(60) == 0, second.log.read_text()
    finish(world)


ENGINES = [
    pytest.param(docker_images, id="docker", marks=pytest.mark.docker),
    pytest.param(
        singularity_images,
        id="singularity",
        marks=[pytest.mark.singularity, pytest.mark.docker],  # the image comes from docker
    ),
]


@pytest.fixture(scope="module", params=ENGINES)
def other_template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Template:
    return Template(tmp_path_factory.mktemp("other"), request.param)


@pytest.fixture
def other(other_template: Template, tmp_path: Path) -> Iterator[World]:
    """The toy world on another engine."""
    made = World(other_template, tmp_path / "world")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("step", "number"),
    [("infer", signal.SIGKILL), ("infer", signal.SIGINT), ("evaluate", signal.SIGKILL)],
)
def test_with_other_engines_a_killed_pass_is_finished_too(
    other: World, step: str, number: signal.Signals
) -> None:
    model = other.add_model("slow", {step: ["sleep", 4]})
    under_way = Pass(other, "--model", model)
    under_way.wait_for_task(step)
    below = under_way.kill(number)
    check_gone(below)
    if number == signal.SIGINT:
        assert other.hospital.engine.clean(other.hospital.label_prefix) == []
    finish(other)


def test_with_other_engines_a_pass_killed_while_publishing_publishes_once(other: World) -> None:
    ready_to_publish(other)
    with gate(other) as closed:
        under_way = Pass(other)
        until((other.folder / "waiting").exists, 60, "the push is at the gate")
        below = under_way.kill(signal.SIGKILL)
        closed.unlink()
        check_gone(below)
    finish(other)
