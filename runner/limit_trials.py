"""Each limit broken by a task of its own (`breakers.py`), and how that ended."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from .canary_bench import TIGHT, Bench, living
from .musts import LIMITS, MUSTS, Check, State


def _memory(bench: Bench) -> Check:
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


def _processes(bench: Bench) -> Check:
    text = LIMITS["processes-limit"]
    outcome, out = bench.run("forks")
    count = out / "count"
    if not count.is_file():
        return Check(text, "unknown", outcome.detail, must=False)
    made = int(count.read_text())
    if made <= TIGHT.processes:
        return Check(text, "ok", f"{made} of {TIGHT.processes} were made", must=False)
    # Singularity's own threads count among the task's, so it gets room for them beside the limit
    state: State = "ok" if made <= TIGHT.processes + 40 else "not-enforced"
    detail = f"stopped at {made}: {TIGHT.processes}, and room for the engine's own threads"
    return Check(text, state, detail if state == "ok" else f"{made} were made", must=False)


def _cpus(bench: Bench) -> Check:
    text = LIMITS["cpus"]
    if len(os.sched_getaffinity(0)) < 2:
        return Check(text, "unknown", "this machine has one CPU", must=False)
    _, out = bench.run("spin")
    used = float((out / "cpu").read_text()) if (out / "cpu").is_file() else None
    if used is None:
        return Check(text, "unknown", "the canary did not report", must=False)
    state: State = "ok" if used < 2.6 else "not-enforced"
    return Check(text, state, f"{used:.1f} s of CPU time in 2 s, with one CPU", must=False)


def _output(name: str, mode: str) -> Callable[[Bench], Check]:
    def trial(bench: Bench) -> Check:
        outcome, _ = bench.run(mode)
        if outcome.reason != "output":
            return Check(LIMITS[name], "not-enforced", outcome.detail, must=False)
        if name not in outcome.held:
            return Check(LIMITS[name], "not-enforced", "stopped by looking, so late", must=False)
        return Check(LIMITS[name], "ok", outcome.detail, must=False)

    return trial


def timeout(bench: Bench) -> Check:
    """Whether everything of a task is dead when its time is up, and was never root."""
    text = MUSTS["timeout"]
    users: set[int] = set()
    with _sampled(users):
        outcome, _ = bench.run("stay", limits=replace(TIGHT, timeout=1.0))
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


TRIALS: dict[str, Callable[[Bench], Check]] = {
    "time": timeout,
    "memory": _memory,
    "processes": _processes,
    "CPUs": _cpus,
    "bytes written": _output("output-bytes", "volume"),
    "files written": _output("output-files", "files"),
}
