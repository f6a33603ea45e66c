"""What a container of Docker's is shown: binds, and the mounts that only root can make for them.

A mount that is made here stands in `mounted` from then on: whoever asked for it takes it away.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any

from ...schemas.errors import EngineError
from . import checks
from .keeper import mounts, sized_disk
from .outputs import Staging
from .protocol import Task
from .supervise import NoDiskError, cannot_fill, too_large

_MAPPING = threading.Lock()
"""Mapping owners forks: two forks at once would each hold open what the other one waits for."""


def mount_disk(staging: Staging, mounted: list[Path]) -> None:
    """Mount the sized file system that is staged, filled; NoDiskError where none can be here."""
    disk = staging.disk
    if disk is None:
        return
    mounted.append(disk.folder)  # first: it may be mounted when making it fails
    try:
        sized_disk.make_disk(vars(disk))
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise too_large(disk) from error
        raise NoDiskError(str(error)) from error
    problem = None
    try:
        sized_disk.fill_disk(vars(disk))
    except OSError as error:
        problem = str(error)
    if problem is not None:  # not from the OSError: it is the sized disk that is full
        raise cannot_fill(disk, problem)


def make_binds(
    task: Task, folder: Path, staging: Staging, owner: tuple[int, int] | None, mounted: list[Path]
) -> list[Any]:
    """A task's binds in docker-py's form; `folder` is the run's own, `owner` not the caller."""
    from docker.types import Mount as Bound

    uid, gid = owner or (os.geteuid(), os.getegid())
    found = []
    for path, data in checks.account_files(uid, gid).items():
        if path == "/etc/hosts":
            continue  # docker's own
        file = folder / path.replace("/", "-").strip("-")
        file.write_bytes(data)
        file.chmod(0o644)
        found.append(Bound(path, str(file), "bind", read_only=True, propagation="rprivate"))
    for number, mount in enumerate(checks.ordered(task.mounts)):
        if mount.writable:
            staged = next(output for output in staging.outputs if output.mount is mount)
            found.append(Bound(mount.target, str(staged.bound), "bind", propagation="rprivate"))
            continue
        source = mount.source.resolve()
        mapped = owner and _mapped(source, folder / f"in{number}", owner, mounted)
        bound = Bound(
            mount.target,
            str(mapped or source),
            "bind",
            read_only=True,
            propagation="rprivate",
        )
        if not mapped:
            _refuse_mounts_below(source)
            bound["BindOptions"]["NonRecursive"] = True  # a mount below stays writable else
        found.append(bound)
    return found


def _mapped(source: Path, target: Path, owner: tuple[int, int], mounted: list[Path]) -> Path | None:
    """Root's inputs with their owner shown as the task's uid; None if that cannot be here."""
    if source.is_dir():
        target.mkdir(mode=0o700, exist_ok=True)
    else:
        target.touch(mode=0o600)
    try:
        with _MAPPING:
            mounts.bind_mapped(source, target, uid=owner[0], gid=owner[1])
    except OSError as error:
        closed = mounts.first_closed(source)
        if closed is None:
            return None
        raise EngineError(
            f"{closed} cannot be read by the run's own user, and owners cannot be mapped "
            f"here ({error}): let others read it, or copy the data to another file system."
        ) from error
    mounted.append(target)
    return target


def _refuse_mounts_below(source: Path) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = Path(line.split(" ")[4].encode().decode("unicode_escape"))
        if place != source and place.is_relative_to(source):
            raise EngineError(
                f"{place} is a file system of its own inside {source}: it would be missing in the "
                "task. Copy it there, or use the engine sandbox or singularity."
            )


def unmount_all(folders: list[Path]) -> None:
    """Take mounts away, the last one first."""
    for folder in reversed(folders):
        unmount(folder)


def unmount(folder: Path) -> None:
    """Take a mount away, if there is one."""
    with contextlib.suppress(OSError):
        mounts.unmount(folder)
