"""The daemon goes away in the middle of a task: it is told as what it is, and nothing is lost."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medperf.runner.engines import Mount, Task, docker_run, outputs
from medperf.runner.engines.docker_daemon import connected
from medperf.runner.engines.docker_options import LABEL
from medperf.runner.engines.rescue import rescue
from medperf.runner.engines.supervise import BEGUN
from medperf.schemas.errors import EngineError

from .conftest import Bench

pytestmark = pytest.mark.docker
DAEMON = "/var/run/docker.sock"
WRITES = """\
import time
open("/data/case.txt", "w").write("took hours")
print("written", flush=True)
time.sleep(120)
"""


class Line:
    """A daemon's socket that can be cut, with all that goes through it."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._is_cut = False
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._take)]
        self._threads[0].start()

    def _take(self) -> None:
        while True:
            try:
                here = self._listener.accept()[0]
            except OSError:
                return
            if self._is_cut:  # docker-py leaks its socket where it cannot connect
                here.close()
                continue
            there = socket.socket(socket.AF_UNIX)
            there.connect(DAEMON)
            self._ends += [here, there]
            for ends in ((here, there), (there, here)):
                self._threads.append(threading.Thread(target=_pump, args=ends))
                self._threads[-1].start()

    def cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            with contextlib.suppress(OSError):  # it has ended already
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was cut
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """What medperf takes for the daemon."""
    path = tmp_path / "d.sock"
    made = Line(path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    yield made
    made.close()


@pytest.fixture
def task(bench_of: Callable[[str], Bench], tmp_path: Path) -> Iterator[Task]:
    """A preparation that goes on with its own outputs; its container goes in any case."""
    bench = bench_of("docker")
    data = Mount(tmp_path / "data", "/data", writable=True)
    made = bench.task("plain", label=f"lost-{os.getpid()}", mounts=(data,), goes_on=True)
    yield replace(made, entrypoint=(bench.python, "-c", WRITES), arguments=(), mounts=(data,))
    remove(made.label)


def remove(label: str) -> int:
    """Remove the containers of this label, as `clean` does when their process is gone."""
    docker = ["docker", "-H", f"unix://{DAEMON}"]
    words = [*docker, "ps", "-aq", "--filter", f"label={LABEL}={label}"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    if found:
        subprocess.run([*docker, "rm", "-f", *found], check=True, capture_output=True)
    return len(found)


@pytest.mark.parametrize("impatient", [False, True], ids=["lost", "ctrl-c"])
def test_what_a_task_had_written_when_the_daemon_went_away_is_there_again(
    impatient: bool,
    line: Line,
    task: Task,
    bench_of: Callable[[str], Bench],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself, or while a person who does not wait presses Ctrl-C again."""

    def look() -> None:
        if task.log.exists() and "written" in task.log.read_text():
            line.cut()
            if impatient:
                raise KeyboardInterrupt

    monkeypatch.setattr(docker_run.Run, "_looks", lambda *_: look)
    with pytest.raises(KeyboardInterrupt if impatient else EngineError) as caught:
        bench_of("docker").engine.run(task)
    if isinstance(caught.value, EngineError):
        assert caught.value.transient
        assert "Docker failed" in str(caught.value)
    assert remove(task.label) == 1, "there was nobody who could remove it"
    found = rescue(task.folder, task.limits)
    assert (found[0] / "case.txt").read_text() == "took hours"


def test_a_task_that_could_not_be_started_leaves_nothing(
    task: Task, bench_of: Callable[[str], Bench]
) -> None:
    """What lies in its outputs is what they begin with, so it is nothing to go on from."""
    absent = replace(task, limits=replace(task.limits, gpus=("no-such-gpu",)))
    with pytest.raises(EngineError, match="cannot run the task"):
        bench_of("docker").engine.run(absent)
    assert not (task.folder / BEGUN).exists()
    assert not any((task.folder / name).exists() for name in outputs._STAGED)
    assert remove(task.label) == 0


def test_a_daemon_that_is_gone_is_no_broken_file(line: Line) -> None:
    """What `requests` raises is an OSError, which sites are told of as a file of theirs."""

    def ask() -> None:
        with connected() as client:
            line.cut()
            client.version()

    with pytest.raises(EngineError, match="Docker went away") as caught:
        ask()
    assert caught.value.transient
