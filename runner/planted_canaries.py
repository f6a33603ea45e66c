"""Canaries that no task may find: planted on the host for the time of one report.

Files in the caller's home and in /tmp, listeners on the loopback and on this machine's own address,
an abstract socket, a process, shared memory, a task that runs beside.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .canary_bench import TIGHT, Bench, living
from .engines.checks import ENVIRONMENT, HOSTNAME, small_sizes
from .engines.sandbox import python_folders

_SIOCGIFADDR = 0x8915

VARIABLES = (
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


@contextlib.contextmanager
def planted(bench: Bench) -> Iterator[dict[str, Any]]:
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
        tmp, shm = small_sizes(TIGHT)
        on_host = bench.engine.name == "sandbox"
        yield {
            "listeners": [server.getsockname() for server in listeners],
            "abstract": "medperf-canary-" + mark,
            "canaries": canaries,
            "mark": mark,
            "memory": stack.enter_context(_shared_memory()),
            "neighbour": stack.enter_context(_neighbour(bench)),
            "variables": list(VARIABLES),
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
def _neighbour(bench: Bench) -> Iterator[dict[str, Any]]:
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
