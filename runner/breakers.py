"""Hostile tasks that break one limit each, for `doctor` and the tests of engines.

A script of its own, standard library only, run as `python3 breakers.py MODE`; it writes below
/report.
"""

import os
import signal
import sys
import time
from pathlib import Path

_OUTPUT = Path("/report")


def memory() -> None:
    """Eight children that take 64 MiB each, and one that takes it all."""
    held = []
    for _ in range(512):
        held.append(bytearray(os.urandom(1 << 20) * 16))
    print(len(held))  # noqa: T201


def family() -> None:
    """Children that stay below the limit one by one, and break it together."""
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            held = bytearray(os.urandom(1 << 20) * 64)
            time.sleep(1.5)
            os._exit(len(held) & 1)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(1 if any(statuses) else 0)


def forks() -> None:
    """A fork bomb that says how far it came."""
    count = 0
    children = []
    try:
        for _ in range(3000):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
            count += 1
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    (_OUTPUT / "count").write_text(str(count))


def volume() -> None:
    """Many files that are each below the limit for one."""
    piece = os.urandom(1 << 20)
    for number in range(4000):
        (_OUTPUT / f"{number}").write_bytes(piece)


def large() -> None:
    """One file that grows without an end."""
    piece = os.urandom(1 << 20)
    with (_OUTPUT / "large").open("wb") as file:
        for _ in range(4000):
            file.write(piece)


def files() -> None:
    """Many empty files."""
    for number in range(200_000):
        (_OUTPUT / f"{number}").touch()


def stay() -> None:
    """Children and grandchildren in sessions of their own that ignore signals, for ever."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            os.fork()
    while True:
        time.sleep(1)


def spin() -> None:
    """Use every CPU for two seconds; writes how many seconds of CPU it got."""
    until = time.monotonic() + 2
    for _ in range(3):
        if os.fork() == 0:
            while time.monotonic() < until:
                pass
            os._exit(0)
    for _ in range(3):
        os.wait()
    times = os.times()
    (_OUTPUT / "cpu").write_text(str(times.children_user + times.children_system))


MODES = (memory, family, forks, volume, large, files, stay, spin)

if __name__ == "__main__":
    {mode.__name__: mode for mode in MODES}[sys.argv[1]]()
