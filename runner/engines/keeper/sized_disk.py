"""A file system of a fixed size for what a task writes (root): made, filled, copied out of.

The kernel keeps its bounds. What is copied out is looked at by `plain_files`.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any

from .kernel import checked, libc
from .mounts import own_mounts
from .plain_files import Refused, copy_file, copy_tree

MOST_DISK = 14 << 40


def make_disk(disk: dict[str, Any]) -> None:
    """Make and mount the sized file system: an OSError where that cannot be here, for any task.

    EFBIG alone is of this size: ext4 has no more here, and the host's file system may have less.
    """
    size, files = disk["bytes"] + disk["extra_bytes"], disk["files"] + disk["extra_files"]
    if size + files * 256 > MOST_DISK:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    owner = {"uid": disk["uid"], "gid": disk["gid"]}
    mount_disk(Path(disk["image"]), Path(disk["folder"]), size=size, files=files, **owner)


def fill_disk(disk: dict[str, Any]) -> None:
    """Make a place for each output in it, empty or a copy: an OSError is of this task alone."""
    folder, uid, gid = Path(disk["folder"]), disk["uid"], disk["gid"]
    copied = disk["copies"].keys()
    for name in disk["folders"]:
        if name not in copied:
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, uid, gid)
    for name in set(disk["blanks"]) - copied:
        (folder / name).touch(mode=0o600)
        os.chown(folder / name, uid, gid)
        os.utime(folder / name, ns=(0, 0))
    for name, origin in disk["copies"].items():
        _copy_in(Path(origin), folder / name, uid, gid)
    for name, places in disk["places"].items():
        for place, is_folder in places:  # where something is mounted below an output: see nested.py
            path = folder / name / place
            path.mkdir(mode=0o700, exist_ok=True) if is_folder else path.touch(mode=0o600)
            os.chown(path, uid, gid)


def _copy_in(origin: Path, target: Path, uid: int, gid: int) -> None:
    _run(["cp", "-a", "--", str(origin), str(target)])
    os.chown(target, uid, gid, follow_symlinks=False)
    for folder, _, files in os.walk(target):
        for name in [folder, *(os.path.join(folder, file) for file in files)]:  # noqa: PTH118
            os.chown(name, uid, gid, follow_symlinks=False)


def mount_disk(image: Path, folder: Path, *, size: int, files: int, uid: int, gid: int) -> None:
    """Mount a file system of this size at `folder`, owned by `uid`: the kernel keeps the bounds."""
    with image.open("wb") as file:
        file.truncate(size + size // 20 + (files + 1024) * 256 + (8 << 20))
    options = f"root_owner={uid}:{gid},lazy_itable_init=1,nodiscard"
    shape = ["-m0", "-O", "^has_journal,^resize_inode", "-N", str(files + 1024), "-E", options]
    _run(["mkfs.ext4", "-q", "-F", *shape, str(image)])
    mount = "loop,nosuid,nodev,noexec,noinit_itable"
    _run(["mount", "-t", "ext4", "-o", mount, str(image), str(folder)])
    with contextlib.suppress(OSError):
        (folder / "lost+found").rmdir()
    os.chmod(folder, 0o700)  # noqa: PTH101


def sync(folder: Path) -> None:
    """Write a sized file system to its image file, as long as there is room for it to be whole.

    A copy that fills the disk would else leave no room for what the kernel has not written yet.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        checked(libc.syncfs(handle), f"write {folder} to its image")
    finally:
        os.close(handle)


def is_full(folder: Path) -> bool:
    """Whether a sized file system has no room left, in bytes or in files."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_bsize < 64 << 10 or status.f_ffree < 2


def _run(argv: list[str]) -> None:
    import subprocess  # costs every run some milliseconds that needs no mount

    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        subprocess.run(  # noqa: S603
            argv,
            env={"PATH": path},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except subprocess.CalledProcessError as error:
        told = (
            error.stderr.decode(errors="replace").strip().splitlines()
        )  # cp: a line for each file
        raise OSError(told[0][:500] if told else f"{argv[0]}: status {error.returncode}") from error


def collect(disk: dict[str, Any], ended: dict[str, Any]) -> None:
    """Copy the outputs to the caller's folder; raises Refused if they are not plain files."""
    folder, target = Path(disk["folder"]), Path(disk["collect"])
    ended["full"] = is_full(folder)
    if disk.get("sync"):
        sync(folder)
    bounds = {"most_bytes": disk["bytes"], "most_files": disk["files"]}
    for name in disk["folders"]:
        copy_tree(folder / name, target / name, **bounds)
    for name in disk["blanks"]:
        status = os.lstat(folder / name)
        if not stat.S_ISREG(status.st_mode) or status.st_size >= disk["bytes"]:
            raise Refused("its output is not one plain file of a size that is allowed")
        copy_file(folder / name, target / name)


def rescue(disk: dict[str, Any]) -> dict[str, Any]:
    """Copy what a killed task left in its sized file system, which nobody has mounted any more."""
    folder, target = Path(disk["folder"]), Path(disk["collect"])
    ended: dict[str, Any] = {}
    try:
        own_mounts()
        _run(
            ["mount", "-t", "ext4", "-o", "loop,ro,nosuid,nodev,noexec", disk["image"], str(folder)]
        )
        kinds = {entry.name: entry for entry in os.scandir(folder) if entry.name.isdigit()}
        disk["folders"] = [n for n, e in kinds.items() if e.is_dir(follow_symlinks=False)]
        disk["blanks"] = [name for name in kinds if name not in disk["folders"]]
        for name in disk["folders"]:
            (target / name).mkdir(mode=0o700)
        collect(disk, ended)
    except Refused as error:
        ended["refused"] = str(error)
    except OSError as error:
        ended["error"] = str(error)
    return ended
