"""Mounts that only root can make: a namespace for them, and inputs with their owners mapped."""

import contextlib
import ctypes
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .kernel import checked, libc, syscall

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 1 << 18, 2
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, AT_RECURSIVE, AT_EMPTY_PATH = 1, 0x8000, 0x1000
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_RDONLY, MOUNT_NOSUID, MOUNT_NODEV, MOUNT_IDMAP = 1, 2, 4, 0x0010_0000


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def own_mounts() -> None:
    """Take a mount namespace in which nothing that we mount is seen from outside."""
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    checked(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make / private")


@contextlib.contextmanager
def _mapping(uid: tuple[int, int], gid: tuple[int, int]) -> Iterator[int]:
    """A user namespace that maps one uid and one gid (from on disk, to what the task is)."""
    ready_read, ready_write = os.pipe()
    held_read, held_write = os.pipe()
    child = os.fork()
    if child == 0:  # waits in a new user namespace until it has been opened
        try:
            os.close(held_write)
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            made = libc.unshare(CLONE_NEWUSER)
            os.write(ready_write, b"y" if made == 0 else b"n")
            os.read(held_read, 1)
        finally:
            os._exit(0)
    try:
        os.close(held_read)
        if os.read(ready_read, 1) != b"y":
            raise OSError("a user namespace is refused here")
        Path(f"/proc/{child}/uid_map").write_text(f"{uid[0]} {uid[1]} 1")
        Path(f"/proc/{child}/gid_map").write_text(f"{gid[0]} {gid[1]} 1")
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
        try:
            yield namespace
        finally:
            os.close(namespace)
    finally:
        os.close(held_write)
        os.close(ready_read)
        os.close(ready_write)
        os.waitpid(child, 0)


def bind_mapped(source: Path, target: Path, *, uid: int, gid: int) -> None:
    """Bind `source` read-only at `target`, with all below it; its owner appears as `uid`.

    So a run that is not root reads root's 0600 files, without a copy and without a chmod.
    """
    owner = source.stat()
    with _mapping((owner.st_uid, uid), (owner.st_gid, gid)) as namespace:
        tree = syscall(
            "open_tree", OPEN_TREE, -100, os.fsencode(source), OPEN_TREE_CLONE | AT_RECURSIVE
        )
        try:
            attributes = _MountAttributes(
                attr_set=MOUNT_RDONLY | MOUNT_NOSUID | MOUNT_NODEV | MOUNT_IDMAP,
                userns_fd=namespace,
            )
            syscall(
                "mount_setattr",
                MOUNT_SETATTR,
                tree,
                b"",
                AT_EMPTY_PATH | AT_RECURSIVE,
                ctypes.byref(attributes),
                ctypes.sizeof(attributes),
            )
            syscall(
                "move_mount",
                MOVE_MOUNT,
                tree,
                b"",
                -100,
                os.fsencode(target),
                MOVE_MOUNT_F_EMPTY_PATH,
            )
        finally:
            os.close(tree)


def unmount(folder: Path) -> None:
    """Take a mount away, now or as soon as its last user is gone."""
    checked(libc.umount2(os.fsencode(folder), MNT_DETACH), f"unmount {folder}")


def bind_input(bind: dict[str, Any]) -> None:
    """Bind one input with mapped owners; where this cannot be, plainly, if it can be read."""
    source, target = Path(bind["source"]), Path(bind["target"])
    try:
        bind_mapped(source, target, uid=bind["uid"], gid=bind["gid"])
    except OSError as error:
        closed = first_closed(source)
        if closed is not None:
            raise OSError(
                f"{closed} cannot be read by the run's own user, and owners cannot be mapped here "
                f"({error}): let others read it, or copy the data to another file system"
            ) from error
        bound = libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND | MS_REC, None)
        checked(bound, f"bind {source}")


def first_closed(root: Path) -> Path | None:
    """The first file or folder below `root` that others than its owner cannot read."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if mode & 0o5 != 0o5:
                return path
            waiting.extend(path.iterdir())
        elif stat.S_ISREG(mode) and not mode & 0o4:
            return path
    return None
