"""`doctor`: what an engine promises, proved here and now by real, hostile tasks.

1. Plant canaries: files in the caller's home and in /tmp, listeners on the loopback and on this
   machine's own address, an abstract socket, a process, shared memory, a task that runs beside.
2. Run the canary task (`canary.py`), which tries everything that no task may do.
3. Break each limit with a task of its own (`breakers.py`), and look at how it ended.
4. Look at what is left: processes, setuid bits, files that the caller cannot delete.

A failed *must* refuses the engine (`refuse_if_unsafe`). A limit that does not hold is
`not-enforced`: the site's policy decides whether that matters.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..schemas.errors import EngineError
from . import breakers, canary
from .engines.checks import ENVIRONMENT, HOSTNAME, small_sizes
from .engines.protocol import MIB, Engine, Limits, LocalImage, Mount, Outcome, Progress, Task
from .engines.sandbox import python_folders

_SIOCGIFADDR = 0x8915

State = Literal["ok", "failed", "not-enforced", "unknown"]

MUSTS = {
    "network": "no network, no names, no sockets of the host",
    "vsock": "no way to the virtual machine's host",
    "inputs": "inputs can be read and not changed",
    "host": "no files or devices of the host",
    "processes": "no processes and no memory of the host",
    "neighbours": "nothing of a task that runs beside it",
    "identity": "never root",
    "capabilities": "no capabilities",
    "privileges": "no new privileges, and a list of refused system calls",
    "root_file_system": "a root file system that is read-only",
    "kernel_settings": "no kernel settings to write",
    "keyring": "no keys of the caller",
    "temporary": "a private /tmp and /dev/shm of a fixed size",
    "environment": "a fixed environment",
    "hostname": "a fixed host name",
    "terminal": "no terminal and no core files",
    "output": "outputs that the caller can delete, without setuid bits",
    "timeout": "everything killed when the time is up",
}
LIMITS = {
    "memory": "a limit of memory for the whole task",
    "processes-limit": "a limit of processes",
    "cpus": "a limit of CPUs",
    "output-bytes": "a limit of bytes written",
    "output-files": "a limit of files written",
    "nested": "no user namespaces inside",
}

_VARIABLES = (
    "PATH",
    "LANG",
    "HOME",
    "PWD",
    "HOSTNAME",
    "LC_CTYPE",
    "SHLVL",
    "_",
    "LD_LIBRARY_PATH",
    "NVIDIA_VISIBLE_DEVICES",
)
_TIGHT = Limits(
    timeout=60,
    memory=256 * MIB,
    processes=64,
    cpus=1,
    output_bytes=32 * MIB,
    output_files=500,
    shm=16 * MIB,
    tmp=32 * MIB,
)


@dataclass(frozen=True)
class Check:
    """One requirement and whether it holds; `must`: without it the engine may not be used."""

    requirement: str
    state: State
    detail: str
    must: bool


def doctor(
    engine: Engine,
    *,
    image: LocalImage | None = None,
    python: str = "python3",
    store: Path | None = None,
    limits: bool = True,
    progress: Progress | None = None,
) -> list[Check]:
    """Run every canary with this engine; `image` is any image with a Python 3, called `python`.

    Without an image one is made from this machine's own Python, in `store`. `limits=False` breaks
    none but the time limit, and takes two seconds. Raises EngineError where the engine cannot be
    used at all.
    """
    probe = engine.probe()
    say = progress or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="medperf-doctor-") as temporary:
        place = Path(temporary)
        own = False
        if image is None:
            from .engines.rootfs import python_image

            image, python = python_image(engine, store or place / "store", progress=progress)
            own = True
        bench = _Bench(engine, image, python, place, own)
        say("trying what no task may do")
        checks = _musts(bench)
        for name, trial in _TRIALS.items() if limits else [("time", _timeout)]:
            say(f"breaking the limit: {name}")
            checks.append(trial(bench))
    checks += [Check(problem, "not-enforced", "", must=False) for problem in probe.problems]
    return checks


def refuse_if_unsafe(checks: Iterable[Check]) -> None:
    """Raise EngineError if a must does not hold, with what got through."""
    failed = [check for check in checks if check.must and check.state != "ok"]
    if failed:
        reasons = "; ".join(f"{check.requirement}: {check.detail}" for check in failed)
        raise EngineError(
            f"This engine is refused, since it does not hold what it must: {reasons}. "
            "Choose another engine, or let its administrator look at these points."
        )


@dataclass(frozen=True)
class _Bench:
    """Where the canaries run: fresh folders for each task."""

    engine: Engine
    image: LocalImage
    python: str
    place: Path
    own: bool

    def run(
        self,
        mode: str,
        *words: str,
        limits: Limits = _TIGHT,
        mounts: tuple[Mount, ...] = (),
        folder: Path | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[Outcome, Path]:
        """Run the canary in one mode; how it ended and its output folder."""
        folder = folder or self.place / f"{mode}-{secrets.token_hex(3)}"
        out = folder / "out"
        tries = mode in {one.__name__ for one in canary.MODES}
        source = Path(canary.__file__ if tries else breakers.__file__)
        task = Task(
            label=f"doctor-{os.getpid()}",
            name=mode,
            image=self.image,
            folder=folder / "engine",
            log=folder / "task.log",
            entrypoint=(self.python, "/canary/canary.py"),
            arguments=(mode, *words),
            mounts=(
                Mount(source, "/canary/canary.py", kind="file"),
                Mount(out, "/report", writable=True),
                *mounts,
            ),
            limits=limits,
            workdir="/tmp",  # noqa: S108 - the task's own
        )
        return self.engine.run(task, stop=stop), out


def _musts(bench: _Bench) -> list[Check]:
    """Run the report and turn what got through into checks."""
    inputs = bench.place / "in"
    inputs.mkdir()
    (inputs / "file").write_text("input")
    (inputs / "private").write_text("private")
    (inputs / "private").chmod(0o600)
    program = shutil.which("id")
    if os.geteuid() == 0 and program is not None:
        shutil.copyfile(program, inputs / "setuid-id")
        (inputs / "setuid-id").chmod(0o4755)
    with _planted(bench) as expect:
        file = bench.place / "expect.json"
        file.write_text(json.dumps(expect))
        mounts = (
            Mount(inputs, "/canary/in"),
            Mount(file, "/canary/expect.json", kind="file"),
        )
        outcome, out = bench.run("report", mounts=mounts)
    report = out / "report.json"
    if not report.is_file():
        detail = f"the canary did not report: {outcome.detail} {outcome.log_tail[-500:]}".strip()
        return [Check(text, "unknown", detail, must=True) for text in MUSTS.values()]
    found = json.loads(report.read_text())
    checks = [_judge(name, text, found, out, must=True) for name, text in MUSTS.items()
              if name != "timeout"]  # fmt: skip
    return [*checks, _judge("nested", LIMITS["nested"], found, out, must=False)]


def _judge(name: str, text: str, found: list[list[str]], out: Path, *, must: bool) -> Check:
    attempts = [entry for entry in found if entry[0] == name]
    through = [f"{attempt}: {what}" for _, attempt, what in attempts if what is not None]
    if name == "output":
        through += _odd_outputs(out)
    if not attempts:
        return Check(text, "unknown", "it was not tried", must)
    if through:
        return Check(text, "failed" if must else "not-enforced", "; ".join(through), must)
    return Check(text, "ok", f"{len(attempts)} attempts", must)


def _odd_outputs(out: Path) -> list[str]:
    odd = []
    for path in (out, *out.rglob("*")):
        status = path.lstat()
        if status.st_mode & 0o6000:
            odd.append("a setuid file reached the outputs")
        if status.st_uid != os.geteuid():
            odd.append("an output belongs to somebody else")
    if not (out / "folder" / "file").is_file():
        odd.append("an output is missing")
    return odd


@contextlib.contextmanager
def _planted(bench: _Bench) -> Iterator[dict[str, Any]]:
    """Canaries that a task must not find; what the task needs to look for them."""
    mark = secrets.token_hex(8)
    with contextlib.ExitStack() as stack:
        canaries = []
        for folder in (Path.home(), Path(tempfile.gettempdir()), bench.place):
            path = folder / f".medperf-canary-{mark}"
            with contextlib.suppress(OSError):
                path.write_text("secret of the host")
                stack.callback(path.unlink, missing_ok=True)
                canaries.append(str(path))
        listeners = [stack.enter_context(_listener(host)) for host in ("127.0.0.1", _address())]
        os.environ["MEDPERF_CANARY"] = mark
        stack.callback(os.environ.pop, "MEDPERF_CANARY", None)
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0medperf-canary-" + mark)
        abstract.listen()
        stack.enter_context(_process(mark))
        tmp, shm = small_sizes(_TIGHT)
        on_host = bench.engine.name == "sandbox"
        yield {
            "listeners": [server.getsockname() for server in listeners],
            "abstract": "medperf-canary-" + mark,
            "canaries": canaries,
            "mark": mark,
            "memory": stack.enter_context(_shared_memory()),
            "neighbour": stack.enter_context(_neighbour(bench)),
            "variables": list(_VARIABLES),
            "strict": bench.own,  # another image has variables of its own
            "values": {"HOME": ENVIRONMENT["HOME"], "LANG": ENVIRONMENT["LANG"]},
            "hostname": HOSTNAME,
            "tmp": tmp,
            "shm": shm,
            # a checkout below /tmp has its interpreter there, read-only
            "bound": [str(path) for path in python_folders()] if on_host else [],
            "scratch": False,
            "dev": bench.engine.name != "singularity",  # a user's /dev there is a small tmpfs
        }


@contextlib.contextmanager
def _process(mark: str) -> Iterator[None]:
    """A process of the host with the mark among its arguments and its variables."""
    words = [sys.executable, "-I", "-S", "-c", "print(flush=True); input()", mark]
    with subprocess.Popen(  # noqa: S603
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"MARK": mark}
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            process.stdout.readline()  # its arguments are to be seen a moment after Popen returns
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def _shared_memory() -> Iterator[int]:
    """The number of a piece of System V memory of the host that anybody may read; or -1."""
    libc = ctypes.CDLL(None, use_errno=True)
    identity: int = libc.shmget(0, 4096, 0o1666)  # IPC_PRIVATE, IPC_CREAT
    try:
        yield identity
    finally:
        if identity >= 0:
            libc.shmctl(identity, 0, None)  # IPC_RMID


@contextlib.contextmanager
def _neighbour(bench: _Bench) -> Iterator[dict[str, Any]]:
    """A task that runs beside, and where somebody outside would find what is its own."""
    mark = "medperf-neighbour-" + secrets.token_hex(8)
    folder = bench.place / mark
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.run, "neighbour", mark, folder=folder, stop=stop)
        try:
            until = time.monotonic() + 20
            there = False
            while not there and not running.done() and time.monotonic() < until:
                time.sleep(0.02)
                there = bool(set(living(mark)) & set(living("/canary/canary.py", first=True)))
            folders = [str(folder), str(folder / "engine")]
            yield {"mark": mark, "folders": folders, "there": there}
        finally:
            stop.set()


def _listener(host: str) -> socket.socket:
    return socket.create_server((host, 0))


def _address() -> str:
    """This machine's own address, as others see it; the loopback where it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
                address = socket.inet_ntoa(answer[20:24])
                if not address.startswith("127."):
                    return address
    return "127.0.0.1"


def _memory(bench: _Bench) -> Check:
    one, _ = bench.run("memory")
    many, _ = bench.run("family")
    text = LIMITS["memory"]
    if one.reason == "memory" and "memory" in many.held and many.exit != 0:
        return Check(text, "ok", f"killed at {one.peak_memory} bytes", must=False)
    if one.exit == 0:
        return Check(text, "not-enforced", "8 GiB were given", must=False)
    if many.reason == "memory":
        return Check(text, "not-enforced", "for each process, and by looking", must=False)
    return Check(text, "not-enforced", "only for each process", must=False)


def _processes(bench: _Bench) -> Check:
    text = LIMITS["processes-limit"]
    outcome, out = bench.run("forks")
    count = out / "count"
    if not count.is_file():
        return Check(text, "unknown", outcome.detail, must=False)
    made = int(count.read_text())
    if made <= _TIGHT.processes:
        return Check(text, "ok", f"{made} of {_TIGHT.processes} were made", must=False)
    # Singularity's own threads count among the task's, so it gets room for them beside the limit
    state: State = "ok" if made <= _TIGHT.processes + 40 else "not-enforced"
    detail = f"stopped at {made}: {_TIGHT.processes}, and room for the engine's own threads"
    return Check(text, state, detail if state == "ok" else f"{made} were made", must=False)


def _cpus(bench: _Bench) -> Check:
    text = LIMITS["cpus"]
    if len(os.sched_getaffinity(0)) < 2:
        return Check(text, "unknown", "this machine has one CPU", must=False)
    _, out = bench.run("spin")
    used = float((out / "cpu").read_text()) if (out / "cpu").is_file() else None
    if used is None:
        return Check(text, "unknown", "the canary did not report", must=False)
    state: State = "ok" if used < 2.6 else "not-enforced"
    return Check(text, state, f"{used:.1f} s of CPU time in 2 s, with one CPU", must=False)


def _output(name: str, mode: str) -> Callable[[_Bench], Check]:
    def trial(bench: _Bench) -> Check:
        outcome, _ = bench.run(mode)
        if outcome.reason != "output":
            return Check(LIMITS[name], "not-enforced", outcome.detail, must=False)
        if name not in outcome.held:
            return Check(LIMITS[name], "not-enforced", "stopped by looking, so late", must=False)
        return Check(LIMITS[name], "ok", outcome.detail, must=False)

    return trial


def _timeout(bench: _Bench) -> Check:
    text = MUSTS["timeout"]
    users: set[int] = set()
    with _sampled(users):
        outcome, _ = bench.run("stay", limits=replace(_TIGHT, timeout=1.0))
    if 0 in users:
        return Check(MUSTS["identity"], "failed", "seen from outside it runs as uid 0", must=True)
    if outcome.reason != "timeout" or outcome.seconds > 10:
        return Check(text, "failed", f"it ended otherwise: {outcome.detail}", must=True)
    alive = living("/canary/canary.py")
    if alive:
        return Check(text, "failed", f"{len(alive)} processes are alive", must=True)
    return Check(text, "ok", f"dead after {outcome.seconds:.1f} s", must=True)


@contextlib.contextmanager
def _sampled(users: set[int]) -> Iterator[None]:
    """Add the real uids of running canaries, as seen from outside: inside, a name may lie."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            for pid in living("/canary/canary.py", first=True):
                with contextlib.suppress(OSError):
                    users.add(Path(f"/proc/{pid}").stat().st_uid)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def living(word: str, *, first: bool = False) -> list[int]:
    """Processes of this machine with `word` on their command line (`first`: as its program)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if word.encode() in (words[1:2] if first else words):
                found.append(int(path.parent.name))
    return found


_TRIALS: dict[str, Callable[[_Bench], Check]] = {
    "time": _timeout,
    "memory": _memory,
    "processes": _processes,
    "CPUs": _cpus,
    "bytes written": _output("output-bytes", "volume"),
    "files written": _output("output-files", "files"),
}
