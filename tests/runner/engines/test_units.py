"""The pure parts of the engines: the call list, the log, checks, groups, notes, outputs."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.engines import (
    Limits,
    LocalImage,
    Mount,
    Task,
    bubblewrap,
    cgroups,
    checks,
    leftovers,
    open_engine,
    outputs,
    seccomp,
    supervise,
)
from medperf.runner.engines.keeper.plain_files import Refused
from medperf.runner.engines.tasklog import HEAD, TAIL, TaskLog
from medperf.schemas.errors import EngineError


def task(tmp_path: Path, **fields: Any) -> Task:
    image = LocalImage("sandbox", tmp_path, "sha256:0", ("true",))
    return replace(Task("run", "x", image, tmp_path / "engine", tmp_path / "log"), **fields)


# ---- the list of system calls ------------------------------------------------------------------


def evaluate(program: bytes, *, number: int, argument: int = 0, audit: int = 0xC000003E) -> int:
    """What the kernel would answer: a small machine for the instructions that we use."""
    data = {0: number, 4: audit, 16: argument & 0xFFFFFFFF}
    steps = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, jump, skip, value = steps[at]
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return int(value)
        else:
            met = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
            }[code]
            at += jump if met else skip


ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000


@pytest.mark.parametrize(
    ("number", "argument", "answer"),
    [
        (0, 0, ALLOW),  # read
        (165, 0, REFUSE | errno.EPERM),  # mount
        (272, 0, REFUSE | errno.EPERM),  # unshare
        (435, 0, REFUSE | errno.ENOSYS),  # clone3
        (56, 0x1200011, ALLOW),  # clone of a thread or fork
        (56, 0x10000011, REFUSE | errno.EPERM),  # clone into a user namespace
        (41, 1, ALLOW),  # socket(AF_UNIX)
        (41, 16, ALLOW),  # AF_NETLINK
        (41, 17, REFUSE | errno.EAFNOSUPPORT),  # AF_PACKET
        (41, 40, REFUSE | errno.EAFNOSUPPORT),  # AF_VSOCK
        (41, 0x100000028, REFUSE | errno.EAFNOSUPPORT),  # the same, wide
        (0x40000000, 0, REFUSE | errno.EPERM),  # x32
        (203, 0, ALLOW),  # sched_setaffinity
    ],
)
def test_the_filter_answers_each_call(number: int, argument: int, answer: int) -> None:
    assert evaluate(seccomp.bpf("x86_64"), number=number, argument=argument) == answer


def test_the_filter_kills_calls_of_another_architecture() -> None:
    assert evaluate(seccomp.bpf("x86_64"), number=20, audit=0x40000003) == KILL
    arm = seccomp.bpf("aarch64")
    assert evaluate(arm, number=40, audit=0xC00000B7) == REFUSE | errno.EPERM


def test_the_filter_pins_cpus_where_asked() -> None:
    pinned = seccomp.bpf("x86_64", pin_cpus=True)
    assert evaluate(pinned, number=203) == REFUSE | errno.EPERM


def test_both_forms_refuse_the_same_calls() -> None:
    profile = json.loads(seccomp.oci("x86_64"))
    names = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert names == {*seccomp.DENIED, "clone", "clone3", "socket"}
    without = json.loads(seccomp.oci("x86_64", errno=False))
    assert "clone3" not in {name for rule in without["syscalls"] for name in rule["names"]}


def test_a_machine_without_a_list_runs_nothing() -> None:
    with pytest.raises(EngineError, match="riscv64"):
        seccomp.bpf("riscv64")


# ---- the log -----------------------------------------------------------------------------------


def test_a_short_log_is_kept_whole(tmp_path: Path) -> None:
    log = TaskLog(tmp_path / "logs" / "task.log")
    log.write(b"one\n")
    log.write(b"two \xff\n")
    assert log.close() == "one\ntwo \ufffd\n"
    assert log.close().endswith("\n")
    assert (tmp_path / "logs" / "task.log").read_bytes() == b"one\ntwo \xff\n"


@pytest.mark.parametrize("piece", [100, 70_000, 1_000_000])
def test_a_long_log_keeps_head_and_tail(tmp_path: Path, piece: int) -> None:
    log = TaskLog(tmp_path / "task.log")
    written = 0
    while written < 2_000_000:
        log.write(bytes([65 + written // 100_000 % 26]) * piece)
        written += piece
    log.write(b"END")
    assert log.close().endswith("END")
    data = (tmp_path / "task.log").read_bytes()
    assert HEAD + TAIL <= len(data) <= HEAD + TAIL + 200
    assert data.endswith(b"END")
    left_out = written + 3 - HEAD - TAIL
    assert f"[{left_out} bytes of the log were left out here]".encode() in data


# ---- what a task may ask -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": "../x"}, "cannot label"),
        ({"label": ""}, "cannot label"),
        ({"environment": {"APPTAINER_BIND": "/:/x"}}, "cannot be set"),
        ({"environment": {"A=B": "x"}}, "cannot be set"),
        ({"environment": {"SINGULARITYENV_A": "x"}}, "cannot be set"),
        ({"environment": {"A": "\0"}}, "NUL"),
        ({"arguments": ("a\0b",)}, "NUL"),
        ({"workdir": "relative"}, "absolute path"),
        ({"workdir": "/a/../b"}, "absolute path"),
        ({"limits": Limits(timeout=0)}, "more than nothing"),
        ({"limits": Limits(memory=1)}, "16 MiB"),
        ({"limits": Limits(tmp=1)}, "64 KiB"),
        ({"image": LocalImage("docker", "x", "y")}, "not for sandbox"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        checks.check_task(task(tmp_path, **fields), engine="sandbox")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/", "place of its own"),
        ("/proc/x", "place of its own"),
        ("/dev/here", "place of its own"),
        ("/usr", "place of its own"),
        ("/var/run/nvidia-container-devices/all", "place of its own"),
        ("/run/./nvidia-container-devices", "place of its own"),
        ("x", "absolute"),
        ("/a\nb", "absolute"),
    ],
)
def test_mounts_have_places_of_their_own(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        checks.check_task(task(tmp_path, mounts=(Mount(tmp_path, target),)), engine="sandbox")


def test_mounts_must_be_there_once_and_of_their_kind(tmp_path: Path) -> None:
    for mounts, message in (
        ((Mount(tmp_path / "absent", "/in"),), "does not exist"),
        ((Mount(tmp_path, "/in", kind="file"),), "as a file"),
        ((Mount(tmp_path, "/in"), Mount(tmp_path, "/in/")), "same place"),
    ):
        with pytest.raises(EngineError, match=message):
            checks.check_task(task(tmp_path, mounts=mounts), engine="sandbox")


def test_sizes_in_memory_stay_below_its_limit() -> None:
    assert checks.small_sizes(Limits(memory=1 << 30, tmp=1 << 40, shm=1 << 20)) == (
        1 << 28,
        1 << 20,
    )
    assert checks.small_sizes(Limits(tmp=5 << 30)) == (5 << 30, 64 << 20)


def test_outer_mounts_come_before_inner_ones(tmp_path: Path) -> None:
    mounts = tuple(Mount(tmp_path, place) for place in ("/a/b/c", "/a", "/a/b", "/z"))
    assert [m.target for m in checks.ordered(mounts)] == ["/a", "/a/b", "/a/b/c", "/z"]


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match="sandbox, docker, singularity"):
        open_engine("podman")


def test_the_sandbox_gives_no_gpus(tmp_path: Path) -> None:
    engine = open_engine("sandbox", state=tmp_path / "state")
    with pytest.raises(EngineError, match="no GPUs"):
        engine.run(task(tmp_path, limits=Limits(gpus=("0",))))


# ---- control groups ----------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes control groups")
def test_a_group_holds_limits_and_is_removed_with_what_is_inside() -> None:
    group = cgroups.create("unit-test", Limits(memory=64 << 20, processes=5, cpus=0.5))
    if group is None:
        pytest.skip("no control groups can be made here")
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        for file in group.procs:
            file.write_text(str(sleeper.pid))
        assert group.peak() is not None
        assert group.oom_kills() == 0
        group.remove()
        assert sleeper.wait(10) != 0
    assert not any(path.exists() for path in group.paths)
    assert group.peak() is None
    assert group.oom_kills() == 0
    group.remove()


# ---- how a supervised command ended -------------------------------------------------------------


@pytest.mark.parametrize("goes_on", [True, False])
def test_half_stored_outputs_are_never_taken_for_whole_ones(goes_on: bool, tmp_path: Path) -> None:
    """The keeper was killed in the middle: by somebody, or by us, since it took too long."""
    command = supervise.Command(("bwrap",), {}, tmp_path / "lock", goes_on=goes_on)
    run = supervise._Run(command, tmp_path / "log", 1.0, None, ())
    run._log.close()
    run._take_events(b'{"child": 7}\n')
    again = "give the same command again"
    with pytest.raises(supervise.KilledError, match="killed from outside") as killed:
        run._ended("")
    assert killed.value.transient
    run._killed, run._given_up = "timeout", True
    with pytest.raises(supervise.StoreError, match=r"be stored: .*took over 60 sec") as late:
        run._ended("")
    run._take_events(b'{"ended": {"error": "No space left", "step": "store"}}\n')
    with pytest.raises(supervise.StoreError, match="not be stored: No space left") as full:
        run._ended("")
    for caught in (killed, late, full):  # it would not be true of a run that begins anew
        assert (again in str(caught.value)) == goes_on


# ---- notes and uids ----------------------------------------------------------------------------


def test_notes_of_dead_processes_are_orphans(tmp_path: Path) -> None:
    mine = leftovers.note("sandbox", state=tmp_path, label="run-1", name="infer")
    assert list(leftovers.orphans("sandbox", "run-", state=tmp_path)) == []
    text = json.loads(mine.path.read_text())
    text["owner"]["start"] = "1"  # the same pid, another process
    mine.path.write_text(json.dumps(text))
    (tmp_path / "sandbox.broken.json").write_text("{")
    found = list(leftovers.orphans("sandbox", "run-", state=tmp_path))
    assert [note.name for note in found] == ["infer"]
    assert list(leftovers.orphans("sandbox", "other-", state=tmp_path)) == []
    assert list(leftovers.orphans("docker", "run-", state=tmp_path)) == []
    found[0].forget()
    found[0].forget()
    assert list(leftovers.orphans("sandbox", "run-", state=tmp_path)) == []


def test_a_state_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(EngineError, match="not a folder of this user"):
        leftovers.state_folder(tmp_path / "link")


def test_a_held_lock_means_that_something_lives(tmp_path: Path) -> None:
    import fcntl

    lock = tmp_path / "lock"
    leftovers.wait_gone(lock)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match="still lives"):
            leftovers.wait_gone(lock, patience=0.05)
    leftovers.wait_gone(lock)
    lock.write_text(f"{os.getpid()} {leftovers.start_time(os.getpid())}\n")
    with pytest.raises(EngineError, match="still lives"):
        leftovers.wait_gone(lock, patience=0.05)
    lock.write_text(f"{os.getpid()} 1\n")
    leftovers.wait_gone(lock)


def test_uids_of_tasks_differ_while_they_are_held() -> None:
    with leftovers.uid_for_task() as first, leftovers.uid_for_task() as second:
        if os.geteuid() == 0:
            assert first != second
            assert first is not None
            assert first[0] in leftovers.UIDS
        else:
            assert first is second is None


# ---- outputs -----------------------------------------------------------------------------------


def test_a_running_tasks_outputs_are_measured(tmp_path: Path) -> None:
    limits = Limits(output_bytes=1 << 20, output_files=5)
    out = tmp_path / "out"
    spec = task(tmp_path, mounts=(Mount(out, "/out", writable=True),), limits=limits)
    staging = outputs.stage(spec, owner=None, disk=False)
    (watch,) = staging.watchers()
    assert watch(0) is None
    (staging.outputs[0].bound / "big").write_bytes(b"x" * (2 << 20))
    assert watch(0) == "output"
    with pytest.raises(Refused):
        staging.deliver()
    (staging.outputs[0].bound / "big").write_bytes(b"x")
    staging.deliver()
    assert (out / "big").read_bytes() == b"x"
    staging.remove()
    staging.remove()
    assert list((tmp_path / "engine").iterdir()) == []


def test_deep_and_closed_trees_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    here = Path.cwd()
    os.chdir(tree)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    outputs.remove_tree(tree)
    assert not tree.exists()
    outputs.remove_tree(tree)
    file = tmp_path / "file"
    file.touch()
    outputs.remove_tree(file)
    assert not file.exists()


# ---- running under the keeper ------------------------------------------------------------------


def bwrap_words(*words: str) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--unshare-user"]
    return [bubblewrap.bwrap(), *user, "--unshare-pid", "--die-with-parent", *words]


def run(tmp_path: Path, argv: list[str], **fields: Any) -> supervise.Ended:
    command = supervise.Command(
        argv=argv, environment={"PATH": "/usr/bin:/bin"}, lock=tmp_path / "lock", **fields
    )
    return supervise.supervise(command, log=tmp_path / "log", timeout=20, stop=None)


def test_a_sandbox_that_cannot_be_made_is_the_engines_fault(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not be made"):
        run(tmp_path, bwrap_words("--ro-bind", "/absent-here", "/", "true"))
    with pytest.raises(EngineError, match="could not be made"):
        run(tmp_path, ["/absent/bwrap"])


def test_a_sandbox_killed_in_the_middle_was_begun_one_that_cannot_be_made_was_not(
    tmp_path: Path,
) -> None:
    """What is kept of a task that had begun, of a sandbox that was not made is nothing of it."""
    with pytest.raises(EngineError, match="could not be made"):
        run(tmp_path, bwrap_words("--no-such-option"))
    assert not (tmp_path / supervise.BEGUN).exists()

    command = supervise.Command(
        argv=bwrap_words("--ro-bind", "/", "/", "sleep", "60"),
        environment={"PATH": "/usr/bin:/bin"},
        lock=tmp_path / "lock",
    )

    def kill(child: int) -> None:
        if Path(f"/proc/{child}/comm").read_text().strip() == "bwrap":
            os.kill(child, signal.SIGKILL)

    with pytest.raises(EngineError, match="it was killed"):
        supervise.supervise(command, log=tmp_path / "log", timeout=20, stop=None, watchers=[kill])
    assert (tmp_path / supervise.BEGUN).exists()


def test_a_watcher_kills_and_says_why(tmp_path: Path) -> None:
    command = supervise.Command(
        argv=bwrap_words("--ro-bind", "/", "/", "sleep", "60"),
        environment={"PATH": "/usr/bin:/bin"},
        lock=tmp_path / "lock",
    )
    ended = supervise.supervise(
        command, log=tmp_path / "log", timeout=20, stop=None, watchers=[lambda _: "memory"]
    )
    assert (ended.exit, ended.killed) == (None, "memory")
    assert ended.seconds < 10
    reason, detail = bubblewrap.judge(ended, None, 0, Limits(memory=5))
    assert (reason, detail) == ("memory", "The task needed more than 5 bytes of memory.")


@pytest.mark.parametrize(
    ("ended", "refused", "kills", "reason"),
    [
        ({}, None, 0, "done"),
        ({}, None, 2, "done"),
        ({"exit": 4}, None, 0, "exit"),
        ({"exit": 137}, None, 1, "memory"),
        ({"exit": 153}, None, 0, "output"),
        ({"full": True}, None, 0, "output"),
        ({}, "a link", 0, "output"),
        ({"exit": None, "killed": "output"}, None, 0, "output"),
        ({"exit": None, "killed": "timeout"}, "a link", 1, "timeout"),
        ({"exit": None, "killed": "interrupted"}, None, 0, "interrupted"),
    ],
)
def test_what_we_did_outranks_what_the_task_says(
    ended: dict[str, Any], refused: str | None, kills: int, reason: str
) -> None:
    base = supervise.Ended(0, None, 1.0, None, False, "")
    assert bubblewrap.judge(replace(base, **ended), refused, kills, Limits())[0] == reason


def test_memory_of_a_whole_tree_is_added_up() -> None:
    code = "import os,time; os.fork(); x = bytearray(os.urandom(1 << 20) * 30); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            watch = bubblewrap.MemoryWatch(40 << 20)
            until = time.monotonic() + 10
            while watch(process.pid) is None:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert (watch.peak or 0) > 40 << 20
            free = bubblewrap.MemoryWatch(None)
            assert free(process.pid) is None
        finally:
            for pid in bubblewrap._descendants(process.pid):
                os.kill(pid, 9)


def test_as_many_cpus_as_asked_for_are_named() -> None:
    assert bubblewrap.cpu_mask(Limits()) == ()
    assert len(bubblewrap.cpu_mask(Limits(cpus=0.5))) == 1


def test_tools_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="util-linux"):
        bubblewrap.tool("no-such-tool")
    monkeypatch.setattr(bubblewrap, "_candidates", lambda: ["/bin/false"])
    bubblewrap.bwrap.cache_clear()
    with pytest.raises(EngineError, match="No bubblewrap works here"):
        bubblewrap.bwrap()
    bubblewrap.bwrap.cache_clear()


def test_a_stop_that_is_set_before_the_start_is_obeyed(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    command = supervise.Command(
        argv=bwrap_words("--ro-bind", "/", "/", "sleep", "60"),
        environment={"PATH": "/usr/bin:/bin"},
        lock=tmp_path / "lock",
    )
    ended = supervise.supervise(command, log=tmp_path / "log", timeout=20, stop=stop)
    assert ended.killed == "interrupted"
