"""What one task may use: what its cube asks for, within what the site gives.

What the manifest's `resources` name is needed: CubeError if the site gives a task less memory,
shared memory or GPUs. What the cube's own file says (`--shm-size 64g`, `accelerator_count`) was
written for one machine, so it is met as far as the site goes. The sandbox has no GPUs to give.
"""

from dataclasses import replace

from ..schemas.errors import CubeError
from ..schemas.manifests import Cube
from .engines.protocol import Limits
from .task_spec import ALL_GPUS, TaskSpec

UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def task_limits(
    cube: Cube, spec: TaskSpec, site: Limits, *, engine: str, timeout: float | None = None
) -> Limits:
    """The limits of one task; `timeout` is the site's own for this task, in seconds."""
    wish = cube.spec.resources
    timeout = site.timeout if timeout is None else timeout
    memory, shm = site.memory, site.shm
    have = () if engine == "sandbox" else site.gpus
    gpus = len(have) if spec.gpus == ALL_GPUS else min(spec.gpus, len(have))
    if wish is not None:
        asked = {str(task): seconds for task, seconds in (wish.timeout or {}).items()}
        timeout = min(timeout, asked.get(spec.name, timeout))
        if wish.memory is not None:
            need = read_bytes(wish.memory)
            if memory is not None and need > memory:
                raise _too_much(cube, "memory", wish.memory, f"{memory} bytes")
            memory = need
        if wish.gpus is not None:
            if wish.gpus > len(have):
                raise _too_much(cube, "GPUs", str(wish.gpus), str(len(have)))
            gpus = wish.gpus
    if wish is not None and wish.shm is not None:
        shm = read_bytes(wish.shm)
        if memory is not None and shm > memory:
            raise _too_much(cube, "shared memory", wish.shm, f"{memory} bytes of memory")
    elif spec.shm is not None:
        shm = spec.shm if memory is None else min(spec.shm, memory // 2)
    return replace(site, timeout=timeout, memory=memory, shm=shm, gpus=have[:gpus])


def read_bytes(text: str) -> int:
    """Bytes of `4Gi`, `512Mi`, `64Ki`."""
    return int(text[:-2]) * UNITS[text[-2:]]


def _too_much(cube: Cube, what: str, asked: str, given: str) -> CubeError:
    name = f"{cube.metadata.owner}/{cube.metadata.name}"
    return CubeError(
        f"{name} asks for {asked} of {what}; this site gives a task {given}. Raise the site's "
        "limits if the machine has more."
    )
