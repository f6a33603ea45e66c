"""What the runs of a pass may use together: the machine's memory, the site's GPUs.

A run is given what its tasks may use at most (its two tasks run one after the other), or it waits:
the sum of all runs' memory stays within the machine's, and a GPU is given to one run at a time. A
run that is alone gets what it asks for in any case: then the limit on a single task decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runner.engines.protocol import MIB, Limits
from ..schemas.errors import CubeError
from ..schemas.manifests import Cube


@dataclass(frozen=True)
class Need:
    """What a run may use at most: bytes of memory, and how many GPUs."""

    memory: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class Lease:
    """What a run was given: bytes of memory, and these GPUs, which are nobody else's meanwhile."""

    memory: int
    gpus: tuple[str, ...]


def need_of(tasks: Iterable[tuple[Cube, str]], site: Limits, *, engine: str) -> Need:
    """What a run of these tasks (a cube and the name of its task) needs at this site.

    A cube that asks for more than there is needs nothing: it fails by itself, with the reason.
    """
    from ..runner.cubes import read_cube
    from ..runner.task_limits import task_limits

    memory, gpus = 0, 0
    for cube, name in tasks:
        try:
            spec = read_cube(cube).tasks[name]
            limits = task_limits(cube, spec, site, engine=engine)
        except (CubeError, KeyError):
            continue
        memory = max(memory, limits.memory or 0)
        gpus = max(gpus, len(limits.gpus))
    return Need(memory, gpus)


class Capacity:
    """What there is, and what of it is given to whom."""

    def __init__(self, memory: int, gpus: Sequence[str]) -> None:
        self._memory = memory
        self._free = list(dict.fromkeys(gpus))
        self._leases: list[Lease] = []

    def take(self, need: Need) -> Lease | None:
        """What a run needs, or None while others have it."""
        if self._leases and self.lacks(need):
            return None
        gpus = tuple(self._free[: need.gpus])
        del self._free[: need.gpus]
        lease = Lease(need.memory, gpus)
        self._leases.append(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """The run is over."""
        self._leases.remove(lease)
        self._free = [*lease.gpus, *self._free]

    def lacks(self, need: Need) -> str:
        """What a run has to wait for, in words; nothing if it may start."""
        used = sum(lease.memory for lease in self._leases)
        if used + need.memory > self._memory:
            return (
                f"it may use {need.memory // MIB} MiB of memory; of this machine's "
                f"{self._memory // MIB} MiB, {used // MIB} MiB are given to other runs"
            )
        if need.gpus > len(self._free):
            return f"it asks for GPUs ({need.gpus}), of which {len(self._free)} are free"
        return ""
