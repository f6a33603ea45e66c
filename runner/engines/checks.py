"""What a task may ask of any engine, checked before anything is started."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...schemas.errors import EngineError
from .leftovers import check_label
from .nested import check_nested
from .protocol import MIB, Limits, Mount, Task

HOSTNAME = "sandbox"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}  # noqa: S108
"""What every task's environment starts from; nothing of the caller's is in it.

The task's own variables are put over it *behind the lock*: by the last program before the task's
(`env`, under the task's uid, limits and filter), or by Docker, none of whose programs runs with
them. So `LD_PRELOAD` acts on what the task starts and on nothing of ours.
"""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_STARTER = ("APPTAINER", "SINGULARITY")  # they steer Apptainer's own scripts inside an image
_KEPT = ("/", "/proc", "/dev", "/sys", "/etc", "/usr", "/bin", "/lib", "/lib64", "/sbin")
_DEVICES = re.compile(r"(/var)?/run/nvidia-container-devices(/|\Z)")
"""What is mounted there asks NVIDIA's runtime for devices, where it is configured so."""


def check_task(task: Task, *, engine: str) -> None:
    """Refuse what cannot be meant; an EngineError says which part of the task it is."""
    check_label(task.label)
    if task.image.engine != engine:
        raise EngineError(f"The image is for the engine {task.image.engine}, not for {engine}.")
    targets = [_check_mount(mount) for mount in task.mounts]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise EngineError(f"Two mounts have the same place {sorted(twice)[0]}.")
    check_nested(task.mounts)
    for name, value in task.environment.items():
        if not _VARIABLE.match(name) or name.startswith(_STARTER):
            raise EngineError(f"The environment variable {name!r} cannot be set for a task.")
        if "\0" in value:
            raise EngineError(f"The environment variable {name} holds a NUL.")
    for word in (*(task.entrypoint or ()), *task.arguments):
        if "\0" in word:
            raise EngineError("An argument of the task holds a NUL.")
    if task.workdir is not None:
        _check_target(task.workdir)
    _check_limits(task.limits)


def _check_limits(limits: Limits) -> None:
    if not (limits.timeout > 0 and limits.processes > 0 and limits.output_files > 0):
        raise EngineError("Time, processes and output files of a task must be more than nothing.")
    if limits.memory is not None and limits.memory < 16 * MIB:
        raise EngineError(f"{limits.memory} bytes of memory are too few: give 16 MiB or more.")
    if min(limits.tmp, limits.shm, limits.output_bytes) < 64 << 10:
        raise EngineError("The sizes of tmp, shm and outputs need to be 64 KiB or more each.")


def _check_mount(mount: Mount) -> str:
    target = _check_target(mount.target)
    within = target.startswith(("/proc/", "/dev/", "/sys/")) or _DEVICES.match(target)
    if target in _KEPT or within:
        raise EngineError(f"Nothing can be mounted at {target}: choose a place of its own.")
    if not mount.writable:
        if not mount.source.exists():
            raise EngineError(f"{mount.source} is to be mounted but does not exist.")
        if mount.source.is_dir() != (mount.kind == "directory"):
            raise EngineError(f"{mount.source} is to be mounted as a {mount.kind} but is not one.")
    return target


def _check_target(target: str) -> str:
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts or not target.isprintable():
        raise EngineError(f"{target!r} is not a place in a container: write an absolute path.")
    return str(path).replace("//", "/")


def check_program(words: Sequence[str]) -> None:
    """Refuse a program that `env`, which starts it, would take for a variable."""
    if words and "=" in words[0]:
        raise EngineError(
            f"The program {words[0]!r} has a = in its name: rename it, or choose the engine docker."
        )


def ordered(mounts: tuple[Mount, ...]) -> list[Mount]:
    """Outer places before the ones inside them."""
    return sorted(mounts, key=lambda mount: PurePosixPath(mount.target).parts)


def small_sizes(limits: Limits) -> tuple[int, int]:
    """Sizes of /tmp and /dev/shm: together at most half of the memory, since they live in it.

    A tmpfs beyond the memory limit lets the kernel spin, or kill the engine instead of the task.
    """
    if limits.memory is None:
        return limits.tmp, limits.shm
    most = limits.memory // 4
    return min(limits.tmp, most), min(limits.shm, most)


def private_folder(folder: Path) -> Path:
    """The task's folder, made if need be and closed to everybody else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder.resolve()


def account_files(uid: int, gid: int) -> dict[str, bytes]:
    """/etc/passwd, /etc/group and /etc/hosts that tell nothing of the host."""
    return {
        "/etc/passwd": f"user:x:{uid}:{gid}:user:/tmp:/bin/sh\n".encode(),
        "/etc/group": f"user:x:{gid}:\n".encode(),
        "/etc/hosts": b"127.0.0.1 localhost sandbox\n::1 localhost\n",
    }
