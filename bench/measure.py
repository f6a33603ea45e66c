"""Measuring whole commands: wall-clock time, processor time and peak memory of a child process."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Sample:
    """Medians over several runs: seconds of wall clock, of processor, and MiB at the peak."""

    seconds: float
    processor: float
    memory: float

    def __str__(self) -> str:
        # on a machine with other work the processor's seconds say more than the clock's
        clock, busy = f"{self.seconds:.2f} s", f"{self.processor:.2f} s of processor"
        return f"{clock} ({busy}), {self.memory:.0f} MB"


def command(
    words: Sequence[str | Path],
    *,
    runs: int = 5,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Sample:
    """What a command costs; `before` puts things back before each run. It must end well."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    found = []
    for _ in range(runs):
        if before:
            before()
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", _LAUNCHER, *map(str, words)],
            cwd=ROOT,
            env=surroundings,
            capture_output=True,
            text=True,
            check=True,
        )
        status, *figures = json.loads(done.stdout)
        if status:
            raise RuntimeError(f"{words} ended with {status}: {done.stderr[-2000:]}")
        found.append(figures)
    return Sample(*(statistics.median(column) for column in zip(*found, strict=True)))


# A child's peak memory counts what its parent had when it was made, so a small process makes it.
_LAUNCHER = """
import os, sys, time
start = time.perf_counter()
child = os.fork()
if not child:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
processor = usage.ru_utime + usage.ru_stime
print([os.waitstatus_to_exitcode(status), seconds, processor, usage.ru_maxrss / 1024])
"""


def call(name: str, *arguments: object, runs: int = 3, **options: object) -> Sample:
    """What a call of `bench/calls.py` costs in a process of its own, imports included."""
    words = [sys.executable, "-m", "bench.calls", name, *map(str, arguments)]
    return command(words, runs=runs, **options)  # type: ignore[arg-type]


def timed(function: Callable[[], object], *, runs: int = 3) -> float:
    """The median of a function's seconds, in this process."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def in_turn(*functions: Callable[[], object], runs: int = 3) -> tuple[float, ...]:
    """The medians of functions called turn and turn about, so that all meet the same load."""
    rounds = [[timed(one, runs=1) for one in functions] for _ in range(runs)]
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))
