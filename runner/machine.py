"""What this machine has for tasks: its memory, as far as this process may use it."""

import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory() -> int:
    """Bytes of memory: the machine's, or what a batch system or container leaves us of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError):
        found += group_limits(Path("/proc/self/cgroup").read_text(), _CGROUPS)
    return min(found)


def group_limits(groups: str, root: Path) -> list[int]:
    """The memory limits of these control groups (`/proc/self/cgroup`) and of those above them."""
    limits = []
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        if names and "memory" not in names.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if names else (root, "memory.max")
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(top):
                break
            with suppress(OSError, ValueError):  # `max`, or a group that is not shown in here
                limits.append(int((group / name).read_text()))
    return limits
