"""Limits over a whole tree of processes, by control groups made by hand. Root only.

Version 1 and version 2 are both served, without systemd. Nothing here is needed for isolation:
where no group can be made, `create` gives None and the engines fall back to weaker limits.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .protocol import Limits

CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD = 100_000


@dataclass(frozen=True)
class Cgroup:
    """One run's groups: a folder per controller (version 2: the same one three times)."""

    folders: Mapping[str, Path]
    unified: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """Each folder once."""
        return tuple(dict.fromkeys(self.folders.values()))

    @property
    def procs(self) -> tuple[Path, ...]:
        """The files into which a process writes its id to join."""
        return tuple(path / "cgroup.procs" for path in self.paths)

    def peak(self) -> int | None:
        """The most memory, in bytes, that the tree had at once."""
        name = "memory.peak" if self.unified else "memory.max_usage_in_bytes"
        return _number(self.folders.get("memory"), name)

    def oom_kills(self) -> int:
        """How many processes of the tree the kernel killed for memory."""
        folder = self.folders.get("memory")
        if folder is None:
            return 0
        file = folder / ("memory.events" if self.unified else "memory.oom_control")
        with contextlib.suppress(OSError):
            for line in file.read_text().splitlines():
                word, _, value = line.partition(" ")
                if word == "oom_kill":
                    return int(value)
        return 0

    def remove(self) -> None:
        """Kill what is still inside and take the groups away."""
        remove(self.paths)


def create(key: str, limits: Limits, *, extra_processes: int = 0) -> Cgroup | None:
    """Groups named `key` with these limits, or None where this caller cannot make any."""
    if os.geteuid() != 0:
        return None
    parents = _parents_v2() or _parents_v1()
    if "memory" not in parents or "pids" not in parents:
        return None
    unified = len(set(parents.values())) == 1
    folders = {name: parent / f"medperf-{key}" for name, parent in parents.items()}
    group = Cgroup(folders, unified)
    try:
        for folder in group.paths:
            folder.mkdir(exist_ok=True)
        _limit(group, limits, extra_processes)
    except OSError:
        group.remove()
        return None
    return group


def remove(paths: Iterable[Path], *, patience: float = 10.0) -> None:
    """Kill every process in these groups and remove them; groups that are gone are fine."""
    until = time.monotonic() + patience
    for folder in paths:
        while folder.exists():
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            _kill(folder)
            if time.monotonic() > until:
                break
            time.sleep(0.002)


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
        return
    with contextlib.suppress(OSError):
        (folder / "pids.max").write_text("0")
    with contextlib.suppress(OSError):
        for line in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(line), signal.SIGKILL)


def _limit(group: Cgroup, limits: Limits, extra_processes: int) -> None:
    memory, cpu = group.folders["memory"], group.folders.get("cpu")
    (group.folders["pids"] / "pids.max").write_text(str(limits.processes + extra_processes))
    if limits.memory is not None:
        if group.unified:
            (memory / "memory.max").write_text(str(limits.memory))
            _write_if_there(memory / "memory.swap.max", "0")
        else:
            (memory / "memory.limit_in_bytes").write_text(str(limits.memory))
            _write_if_there(memory / "memory.memsw.limit_in_bytes", str(limits.memory))
    if limits.cpus is not None and cpu is not None:
        quota = max(1000, round(limits.cpus * _PERIOD))
        if group.unified:
            (cpu / "cpu.max").write_text(f"{quota} {_PERIOD}")
        else:
            (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (cpu / "cpu.cfs_quota_us").write_text(str(quota))


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _parents_v1() -> dict[str, Path]:
    """Our own group of each controller: limits that others have set on us go on holding."""
    mounts: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            for option in options.split(","):
                mounts[option] = Path(before.split(" ")[4])
    parents: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in set(names.split(",")) & set(CONTROLLERS) & mounts.keys():
            own = mounts[name] / path.lstrip("/")
            parents[name] = own if own.is_dir() else mounts[name]
    return parents


def _parents_v2() -> dict[str, Path]:
    """One folder of ours below the root of the unified tree, with the controllers switched on."""
    root = Path("/sys/fs/cgroup")
    try:
        offered = (root / "cgroup.controllers").read_text().split()
        if not {"memory", "pids"} <= set(offered):
            return {}
        wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in offered)
        parent = root / "medperf"
        (root / "cgroup.subtree_control").write_text(wanted)
        parent.mkdir(exist_ok=True)
        (parent / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        return {}
    return {name: parent for name in CONTROLLERS if name in offered}


def _number(folder: Path | None, name: str) -> int | None:
    if folder is None:
        return None
    try:
        return int((folder / name).read_text())
    except (OSError, ValueError):
        return None
