"""The keeper itself: from its plan to how the task ended. See the package for the steps."""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .kernel import libc, syscall
from .mounts import bind_input, own_mounts
from .plain_files import Refused
from .sized_disk import collect, fill_disk, make_disk, rescue

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KEYCTL_JOIN_SESSION = 1
KEYCTL = {"x86_64": 250, "aarch64": 219}


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out the plan; how it ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != plan["parent"]:
        return {"error": "the process that wanted this run is gone"}
    with contextlib.suppress(OSError, KeyError):
        syscall("keyctl", KEYCTL[os.uname().machine], KEYCTL_JOIN_SESSION, None)
    if "rescue" in plan:
        return rescue(plan["rescue"])
    try:
        if plan["binds"] or plan["disk"]:
            own_mounts()
        for bind in plan["binds"]:
            bind_input(bind)
    except OSError as error:
        return {"error": f"the run could not be prepared: {error}"}
    step = "disk"
    try:
        if plan["disk"]:
            make_disk(plan["disk"])
            step = "fill"
            fill_disk(plan["disk"])
    except OSError as error:
        return {"error": str(error), "step": "size" if error.errno == errno.EFBIG else step}
    ended = _run_task(plan)
    try:
        if plan["disk"]:
            collect(plan["disk"], ended)
    except Refused as error:
        ended["refused"] = str(error)
    except OSError as error:
        ended |= {"error": str(error), "step": "store"}
    return ended


def _run_task(plan: dict[str, Any]) -> dict[str, Any]:
    """Start bubblewrap, wait until nothing of it lives, read what it says about the exit."""
    lock = os.open(plan["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(os.open(plan["begun"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    fcntl.flock(lock, fcntl.LOCK_EX)
    status_read, status_write = os.pipe()
    bwrap, *rest = plan["argv"]
    argv = [bwrap, "--sync-fd", str(lock), "--json-status-fd", str(status_write), *rest]
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _become(plan, argv, keeper, keep=(lock, status_write))
    os.close(status_write)
    killed = False

    def kill(number: int, frame: object) -> None:  # noqa: ARG001
        nonlocal killed
        killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    _say(plan, {"child": child})
    status = _note_first_process(status_read, lock, lambda: killed)
    _, waited = os.waitpid(child, 0)
    kill_children()
    os.set_blocking(status_read, False)
    while piece := _read(status_read):
        status += piece
    code = None
    for line in status.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            code = json.loads(line).get("exit-code", code)
    if code is None and os.WIFEXITED(waited):  # it gave up while it still made the sandbox
        with contextlib.suppress(FileNotFoundError):
            os.unlink(plan["begun"])  # noqa: PTH108
    return {"exit": code, "killed": killed}


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def kill_children() -> None:
    """End and reap whatever is left, until there is nothing.

    Bubblewrap killed while it still mounts leaves a first process that never hears of its death.
    """
    while True:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                for word in Path(f"/proc/self/task/{task}/children").read_text().split():
                    os.kill(int(word), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return


def _note_first_process(status_read: int, lock: int, killed: Callable[[], bool]) -> bytes:
    """Write the first process of the sandbox into the lock file; a later pass waits for its end."""
    status = b""
    while b"\n" not in status and not killed():
        if not select.select([status_read], [], [], 0.1)[0]:
            continue
        piece = os.read(status_read, 4096)
        if not piece:
            return status
        status += piece
    with contextlib.suppress(OSError, ValueError, TypeError, IndexError):
        first = json.loads(status.split(b"\n")[0]).get("child-pid")
        started = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[19]
        os.pwrite(lock, f"{first} {started}\n".encode(), 0)
    return status


def _become(
    plan: dict[str, Any], argv: list[str], keeper: int, *, keep: tuple[int, ...]
) -> NoReturn:
    """In the child: join the cgroups, set the limits, become bubblewrap."""
    import resource

    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # until bubblewrap has seen to it itself
        if os.getppid() != keeper:
            os._exit(1)
        # counted from its first page on; the keeper itself is not counted
        for path in plan["cgroups"]:
            Path(path).write_text(str(os.getpid()))
        for name, value in plan["rlimits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        if plan["cpus"]:
            os.sched_setaffinity(0, plan["cpus"])
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python's habit, not the task's
            signal.signal(ignored, signal.SIG_DFL)
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.umask(0o077)
        os.execve(argv[0], argv, plan["environment"])  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - a forked child must end here, whatever happens
        os.write(2, f"starting {argv[0]} failed: {error}\n".encode())
    os._exit(1)


def _say(plan: dict[str, Any], event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(plan["events"], json.dumps(event).encode() + b"\n")


def script(descriptor: int) -> None:
    """Carry out the plan behind this descriptor, and say how it ended."""
    with os.fdopen(descriptor, "rb") as file:
        plan = json.load(file)
    os.set_inheritable(plan["events"], False)
    started = time.monotonic()
    ended = main(plan)
    ended["seconds"] = time.monotonic() - started
    _say(plan, {"ended": ended})
