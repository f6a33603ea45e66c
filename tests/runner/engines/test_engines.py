"""What every engine must do, tried with real tasks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from medperf.runner.canary_bench import living
from medperf.runner.engines import Engine, Limits, LocalImage, Mount, Outcome
from medperf.schemas.errors import EngineError


class Bench(Protocol):
    """One engine and a way to run programs in it: see conftest."""

    engine: Engine
    image: LocalImage
    python: str
    folder: Path

    def run(self, program: str, *arguments: str, **fields: Any) -> tuple[Outcome, Path]:
        """Run a program of tests/hostile, or a mode of `breakers.py`."""


BOUNDED = (64 << 10) + (128 << 10) + 1024


def order(**words: object) -> str:
    return json.dumps(words)


def seen(out: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads((out / "seen.json").read_text())
    return answer


def test_a_task_reads_inputs_and_writes_outputs_at_hard_names(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / 'with space, comma:colon "quote" ünï'
    (source / "below").mkdir(parents=True)
    (source / "private").write_text("private")
    (source / "private").chmod(0o600)
    result = tmp_path / "results, of: all" / "results.yaml"
    never = tmp_path / "never.yaml"
    outcome, out = bench.run(
        "plain",
        order(read=["/in put", "/in put/private"], write={"/io/results.yaml": "fine"}),
        mounts=(
            Mount(source, "/in put"),
            Mount(result, "/io/results.yaml", writable=True, kind="file"),
            Mount(never, "/io/never.yaml", writable=True, kind="file"),
        ),
        environment={"ASKED_FOR": "a b=c"},
    )
    assert (outcome.reason, outcome.exit) == ("done", 0), outcome
    told = seen(out)
    assert told["/in put"] == ["below", "private"]
    assert told["/in put/private"] == "private"
    assert told["environment"]["ASKED_FOR"] == "a b=c"  # type: ignore[index]
    assert told["uid"] != 0
    assert result.read_text() == "fine"
    assert not never.exists()
    for path in (out, out / "seen.json", result):
        assert path.stat().st_uid == os.geteuid()
    assert (outcome.peak_memory or 0) > 0 or bench.engine.name == "docker"


def test_the_exit_status_is_told_apart_from_kills(bench: Bench) -> None:
    outcome, out = bench.run("plain", order(exit=3))
    assert (outcome.reason, outcome.exit) == ("exit", 3)
    assert (out / "seen.json").exists()  # a failed task's plain output is kept
    outcome, _ = bench.run("plain", order(signal="SIGKILL"))
    assert (outcome.reason, outcome.exit) == ("exit", 137)


def test_time_is_up_for_children_that_ignore_signals(bench: Bench, quick: Limits) -> None:
    outcome, _ = bench.run("stay", limits=quick)
    assert (outcome.reason, outcome.exit) == ("timeout", None)
    assert 0.9 < outcome.seconds < 10
    assert living("/task/main.py") == []


def test_stop_ends_a_task_soon(bench: Bench) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.7, stop.set)
    timer.start()
    begun = time.monotonic()
    outcome, _ = bench.run("stay", stop=stop)
    timer.join()
    assert outcome.reason == "interrupted"
    assert time.monotonic() - begun < 10
    assert living("/task/main.py") == []


def test_a_flood_of_log_lines_is_bounded(bench: Bench) -> None:
    begun = time.monotonic()
    outcome, out = bench.run("chatter")
    assert outcome.reason == "done"
    assert time.monotonic() - begun < 60
    log = out.parent / "task.log"
    text = log.read_bytes()
    assert len(text) <= BOUNDED
    assert text.startswith(b"first words\n")
    assert text.endswith(b"last words\n")
    assert b"bytes of the log were left out here" in text
    assert outcome.log_tail.endswith("last words\n")
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "what", ["link", "folder-link", "fifo", "socket", "whiteout", "deep", "sparse"]
)
def test_outputs_that_are_not_plain_are_refused(bench: Bench, what: str) -> None:
    outcome, out = bench.run("odd", what)
    assert outcome.reason == "output", outcome
    assert not (out / "good.txt").exists()
    assert not any((out.parent / "engine").glob("out/*"))


def test_closed_folders_and_odd_modes_are_made_the_callers(bench: Bench) -> None:
    outcome, out = bench.run("odd", "closed")
    assert outcome.reason == "done", outcome
    assert (out / "folder" / "file").read_text() == "inside"
    assert (out / "folder").stat().st_mode & 0o7777 == 0o700
    assert (out / "good.txt").stat().st_mode & 0o7777 == 0o600


def test_hard_links_and_odd_names_arrive_as_plain_files(bench: Bench) -> None:
    outcome, out = bench.run("odd", "hard")
    assert outcome.reason == "done", outcome
    assert (out / "again.txt").read_text() == (out / "good.txt").read_text() == "good"
    outcome, out = bench.run("odd", "names")
    assert outcome.reason == "done", outcome
    assert sorted(os.fsencode(path.name) for path in out.iterdir()) == sorted(
        [b"good.txt", b"new\nline", b"\xff\xfe", b"\x1b[31m", b" ", b"-rf", b"n" * 255]
    )


@pytest.mark.parametrize("mode", ["volume", "large", "files"])
def test_floods_of_output_are_stopped(bench: Bench, mode: str) -> None:
    outcome, out = bench.run(mode)
    assert outcome.reason == "output", outcome
    assert not out.exists() or not any(out.iterdir())


def test_a_hog_of_memory_is_told_from_a_failure(bench: Bench) -> None:
    outcome, _ = bench.run("memory")
    if "memory" in outcome.held:
        assert outcome.reason == "memory", outcome
        assert outcome.detail
    else:
        assert outcome.exit != 0


def test_a_fork_bomb_finds_its_limit(bench: Bench) -> None:
    outcome, out = bench.run("forks")
    assert outcome.reason == "done"
    assert int((out / "count").read_text()) <= 64 + 40
    assert "processes" in outcome.held


@pytest.mark.usefixtures("as_root")
def test_root_has_every_limit_held_by_the_kernel(bench: Bench) -> None:
    outcome, _ = bench.run("plain")
    assert outcome.held == {
        *("timeout", "memory", "processes", "cpus", "output-bytes", "output-files", "shm", "tmp"),
    }
    assert bench.engine.probe().caller == "root"


@pytest.mark.usefixtures("as_root")
def test_file_systems_below_an_input_cannot_be_written_either(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "in"
    below = source / "below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", below], check=True)
    try:
        (below / "file").write_text("kept")
        words = order(write={"/in/below/file": "changed", "/in/below/new": "new"})
        outcome, _ = bench.run("plain", words, mounts=(Mount(source, "/in"),))
        assert outcome.reason == "done", outcome
        assert (below / "file").read_text() == "kept"
        assert not (below / "new").exists()
    finally:
        subprocess.run(["umount", below], check=True)


def test_tasks_run_beside_each_other(bench: Bench) -> None:
    def run(number: int) -> tuple[Outcome, Path]:
        mount = Mount(bench.folder / f"r{number}", "/r", writable=True, kind="file")
        words = order(write={"/r": str(number)}, sleep=0.2)
        return bench.run("plain", words, mounts=(mount,), label=f"test-{number}")

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(run, range(3)))
    assert [outcome.reason for outcome, _ in answers] == ["done"] * 3
    assert [(bench.folder / f"r{n}").read_text() for n in range(3)] == ["0", "1", "2"]
    if os.geteuid() == 0:
        assert len({seen(out)["uid"] for _, out in answers}) == 3


def test_nothing_of_a_run_is_left_in_its_folder_or_mounted(bench: Bench) -> None:
    _, out = bench.run("plain")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(bench.folder) not in mounts
    engine = out.parent / "engine"
    assert not (engine / "disk.img").exists()
    assert not (engine / "out").exists()
    assert not list((bench.folder / "state").glob("*.json"))


DRIVER = """
import sys
from pathlib import Path
from medperf.runner.engines import Limits, LocalImage, Mount, Task, open_engine
name, identity, python, folder, program = sys.argv[1:]
folder = Path(folder)
task = Task("killed-1", "stay", LocalImage(name, identity, "sha256:0"), folder / "engine",
    folder / "task.log", entrypoint=(python, "/task/main.py"), arguments=("stay", str(folder)),
    mounts=(Mount(Path(program), "/task/main.py", kind="file"),
            Mount(folder / "out", "/report", writable=True)))
open_engine(name, state=folder / "state").run(task)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_task_does_not_outlive_the_process_that_runs_it(
    bench: Bench, tmp_path: Path, how: signal.Signals
) -> None:
    from medperf.runner import breakers

    mark = str(tmp_path)
    earlier = _control_groups()  # what another, killed test run may have left on this machine
    words = [bench.engine.name, str(bench.image.identity), bench.python, mark, breakers.__file__]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", DRIVER, *words], **quiet) as process:  # type: ignore[call-overload]
        _wait_for(lambda: len(_inside(mark)) >= 5)
        process.send_signal(how)
        process.wait(30)
    docker = bench.engine.name == "docker"
    if how == signal.SIGKILL and docker:
        assert _inside(mark)  # the container stays until somebody cleans
    else:
        _wait_for(lambda: not _inside(mark))
    names = bench.engine.clean("other-")
    assert names == []
    names = bench.engine.clean("killed-")
    assert len(names) == (1 if how == signal.SIGKILL else 0)
    assert not _inside(mark)
    assert bench.engine.clean("killed-") == []
    assert mark not in Path("/proc/self/mountinfo").read_text()
    assert _control_groups() <= earlier


def test_clean_leaves_the_runs_of_living_processes(bench: Bench) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.run, "stay", label="alive-1", stop=stop)
        try:
            _wait_for(lambda: len(living("/task/main.py")) >= 1)
            assert bench.engine.clean("alive-") == []
        finally:
            stop.set()
        assert running.result()[0].reason == "interrupted"


def _control_groups() -> set[Path]:
    return set(Path("/sys/fs/cgroup").glob("*/**/medperf-killed-1*"))


def _inside(mark: str) -> list[int]:
    """Processes of the task itself, not of the driver."""
    found = []
    for pid in living(mark):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"/task/main.py" in words:
                found.append(pid)
    return found


def _wait_for(condition: object, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_output_folder_with_something_in_it_is_refused(bench: Bench, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "old").write_text("old")
    with pytest.raises(EngineError, match="not an empty folder"):
        bench.run("plain", mounts=(Mount(full, "/full", writable=True),))
    assert (full / "old").read_text() == "old"


def test_a_throw_away_layer_is_thrown_away(bench: Bench) -> None:
    place = "/cube/new" if bench.engine.name == "sandbox" else "/tmp/new"  # noqa: S108
    outcome, out = bench.run("plain", order(write={place: "new"}), scratch_root=True)
    assert outcome.reason == "done", outcome
    assert place not in seen(out)  # it could be written
    outcome, out = bench.run("plain", order(write={"/cube/new": "new"}))
    assert "/cube/new" in seen(out)  # without the layer it cannot
    assert not list(Path(bench.image.identity).glob("new"))


def test_cpus_are_limited(bench: Bench, tight: Limits) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one CPU")
    outcome, out = bench.run("spin", limits=replace(tight, cpus=0.5))
    if "cpus" in outcome.held and os.geteuid() == 0:
        assert float((out / "cpu").read_text()) < 1.6
