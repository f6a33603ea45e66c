"""The lock of a storage, and how a full disk is told."""

import errno
import os
from pathlib import Path

import pytest

from medperf.reconciler.lock import found_no_room, is_full, locked, worked_on
from medperf.schemas.errors import DataError, EngineError, WaitError


def test_one_at_a_time(tmp_path: Path) -> None:
    new = tmp_path / "new"
    with locked(new), pytest.raises(WaitError, match=f"process {os.getpid()}"), locked(new):
        pass
    with locked(new):
        pass


def test_nobody_works_where_nobody_was(tmp_path: Path) -> None:
    assert worked_on(tmp_path) == frozenset()
    with locked(tmp_path) as lock:
        lock.working_on("abc")
        assert worked_on(tmp_path) == frozenset()  # this process is no other one
    (tmp_path / "lock").write_text("1\nabc\n")
    assert worked_on(tmp_path) == frozenset()  # whoever wrote it does not hold it


def test_another_process_is_seen_at_its_runs(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path) as lock:
            lock.working_on("abc", "def")
            os.write(writing, b"x")
            os.close(writing)
            import time

            time.sleep(30)
        os._exit(0)
    try:
        os.read(reading, 1)
        assert worked_on(tmp_path) == {"abc", "def"}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert worked_on(tmp_path) == frozenset()


def test_a_full_disk_is_a_sentence_and_other_faults_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is full"), locked(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), locked(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    assert not is_full(tmp_path)


def test_a_full_disk_is_found_behind_other_errors() -> None:
    translated = EngineError("The outputs could not be stored.")
    translated.__cause__ = OSError(errno.EDQUOT, "over")
    assert found_no_room(translated)
    assert found_no_room(EngineError(f"It said: {os.strerror(errno.ENOSPC)}."))
    assert not found_no_room(EngineError("Something else."))
