"""Apptainer making images: it can be stopped, gives up by itself, and never outlives us."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medperf.runner.engines import ImageSource, keeper, open_engine, singularity_build
from medperf.schemas.errors import EngineError

pytestmark = pytest.mark.singularity
DIGEST = "sha256:" + "0" * 64


@contextmanager
def silent_registry() -> Iterator[tuple[str, threading.Event]]:
    """A registry that takes connections and never says a word; and whether one has come."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return
                came.set()

        thread = threading.Thread(target=take)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}/some/image@{DIGEST}", came
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


def working_in(store: Path) -> list[str]:
    """The command lines of all processes that name this store, but for Python's."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(bytes(store) in word for word in words) and b"python" not in words[0]:
            found.append(b" ".join(words).decode())
    return found


def pull(reference: str, store: Path, stop: threading.Event | None = None) -> None:
    source = ImageSource("singularity", reference, None, DIGEST)
    open_engine("singularity").ensure_image(source, store=store, stop=stop)


def test_a_pull_is_stopped_in_order(tmp_path: Path) -> None:
    stop = threading.Event()
    with silent_registry() as (reference, came):

        def stop_it() -> None:
            came.wait(60)
            assert working_in(tmp_path)
            stop.set()

        watcher = threading.Thread(target=stop_it)
        watcher.start()
        with pytest.raises(
            EngineError, match=r"cannot be pulled: it was stopped from outside\.$"
        ) as caught:
            pull(reference, tmp_path, stop)
        watcher.join()
    assert caught.value.transient
    assert working_in(tmp_path) == []
    assert list((tmp_path / "singularity").iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [("PATIENCE", "nothing has come for 0.5"), ("LONGEST", "not done after 0.5")],
)
def test_a_pull_from_which_nothing_comes_is_given_up(
    setting: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singularity_build, setting, 0.5)
    with (
        silent_registry() as (reference, _),
        pytest.raises(EngineError, match=f"{message} seconds, so it was ended") as caught,
    ):
        pull(reference, tmp_path)
    assert caught.value.transient
    assert working_in(tmp_path) == []


def test_a_pull_ends_when_we_are_killed(tmp_path: Path) -> None:
    with silent_registry() as (reference, came):
        code = (
            "from pathlib import Path; from tests.runner.engines.test_singularity_build import "
            f"pull; pull({reference!r}, Path({str(tmp_path)!r}))"
        )
        root = Path(__file__).parents[3]
        with subprocess.Popen([sys.executable, "-c", code], cwd=root) as child:
            assert came.wait(60)
            assert working_in(tmp_path)
            os.kill(child.pid, signal.SIGKILL)
        for _ in range(100):
            if not working_in(tmp_path):
                break
            time.sleep(0.05)
        assert working_in(tmp_path) == []


def test_a_build_whose_keeper_is_killed_may_be_tried_again(tmp_path: Path) -> None:
    """It is no task, so there are no outputs to speak of."""

    stop = threading.Event()

    def kill_it() -> None:
        for _ in range(200):
            for file in Path("/proc/self/task").glob("*/children"):
                for child in file.read_text().split():
                    words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                    if str(keeper.PROGRAM).encode() in words and (tmp_path / "started").exists():
                        os.kill(int(child), signal.SIGKILL)
                        return
            time.sleep(0.05)
        stop.set()

    killer = threading.Thread(target=kill_it)
    killer.start()
    with pytest.raises(EngineError, match="while converting: its process was killed") as caught:
        singularity_build.run_build(
            ["/bin/sh", "-c", f"touch {tmp_path}/started; sleep 7777"],
            {"PATH": "/usr/bin:/bin"},
            doing="converting",
            scratch=tmp_path,
            writes=tmp_path / "made",
            stop=stop,
        )
    killer.join()
    assert caught.value.transient
    assert "outputs" not in str(caught.value)


def test_what_is_written_counts_as_coming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singularity_build, "PATIENCE", 0.2)
    monkeypatch.setattr(singularity_build, "_LOOK", 0.0)
    look = singularity_build._Watch(tmp_path / "a", tmp_path / "b")
    for number in range(4):
        (tmp_path / "a" / f"{number}").mkdir(parents=True)
        time.sleep(0.1)
        assert look(1) is None
    (tmp_path / "a/link").symlink_to("/usr")  # is not followed
    assert look(1) is None
    time.sleep(0.3)
    (tmp_path / "a/0").chmod(0o700)  # as Apptainer does at the end, where files are many
    assert look(1) is None
    time.sleep(0.3)
    assert look(1) == "timeout"


@pytest.mark.docker
def test_a_conversion_that_unpacks_to_far_too_much_is_ended(
    docker_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singularity_build, "MOST", 1 << 20)
    monkeypatch.setattr(singularity_build, "_LOOK", 0.0)
    source = ImageSource("singularity", None, docker_archive, DIGEST)
    with pytest.raises(EngineError, match="unpacks to more than 1048576 bytes, so it was ended"):
        open_engine("singularity").ensure_image(source, store=tmp_path)
    assert working_in(tmp_path) == []
    assert list((tmp_path / "singularity").iterdir()) == []
