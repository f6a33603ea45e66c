"""A small process that stands between this one and a task, so that nothing outlives either.

It is run as a script of its own (`python -I -S keeper.py FD`), with a plan as JSON behind FD:

1. die when the process that started it dies; become the reaper of everything that the task starts;
2. root only: take a private mount namespace, so that every mount below goes when it goes;
3. root only: bind the inputs with mapped owners, and mount a sized file system for the outputs;
4. take the lock that says "something lives", join the cgroups, start bubblewrap;
5. wait until bubblewrap and all that it started are gone; SIGTERM kills them;
6. root only: copy plain files from the sized file system to the caller's folder;
7. say how it ended, as one line of JSON on the plan's event descriptor.

It imports the standard library alone: it starts in 20 ms and never sees the caller's environment.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 1 << 18, 2
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, AT_RECURSIVE, AT_EMPTY_PATH = 1, 0x8000, 0x1000
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_RDONLY, MOUNT_NOSUID, MOUNT_NODEV, MOUNT_IDMAP = 1, 2, 4, 0x0010_0000
KEYCTL_JOIN_SESSION = 1
KEYCTL = {"x86_64": 250, "aarch64": 219}

MOST_DEPTH = 64
MOST_DISK = 14 << 40


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: Any) -> int:
    return _checked(_libc.syscall(number, *arguments), what)


# ---- mounts (root) -----------------------------------------------------------------------------


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def own_mounts() -> None:
    """Take a mount namespace in which nothing that we mount is seen from outside."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")
    _checked(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make / private")


@contextlib.contextmanager
def _mapping(uid: tuple[int, int], gid: tuple[int, int]) -> Iterator[int]:
    """A user namespace that maps one uid and one gid (from on disk, to what the task is)."""
    ready_read, ready_write = os.pipe()
    held_read, held_write = os.pipe()
    child = os.fork()
    if child == 0:  # waits in a new user namespace until it has been opened
        try:
            os.close(held_write)
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            made = _libc.unshare(CLONE_NEWUSER)
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
        tree = _syscall(
            "open_tree", OPEN_TREE, -100, os.fsencode(source), OPEN_TREE_CLONE | AT_RECURSIVE
        )
        try:
            attributes = _MountAttributes(
                attr_set=MOUNT_RDONLY | MOUNT_NOSUID | MOUNT_NODEV | MOUNT_IDMAP,
                userns_fd=namespace,
            )
            _syscall(
                "mount_setattr",
                MOUNT_SETATTR,
                tree,
                b"",
                AT_EMPTY_PATH | AT_RECURSIVE,
                ctypes.byref(attributes),
                ctypes.sizeof(attributes),
            )
            _syscall(
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


def unmount(folder: Path) -> None:
    """Take a mount away, now or as soon as its last user is gone."""
    _checked(_libc.umount2(os.fsencode(folder), MNT_DETACH), f"unmount {folder}")


def sync(folder: Path) -> None:
    """Write a sized file system to its image file, as long as there is room for it to be whole.

    A copy that fills the disk would else leave no room for what the kernel has not written yet.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _checked(_libc.syncfs(handle), f"write {folder} to its image")
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


# ---- what a task wrote -------------------------------------------------------------------------


class Refused(Exception):  # noqa: N818 - not an error of the project: it becomes reason "output"
    """A task's output is not plain files and folders, or is too much."""


def plain_tree(root: Path, *, most_bytes: int, most_files: int) -> list[tuple[Path, bool]]:
    """Everything below `root` as (relative path, is it a folder), looked at without following.

    Raises Refused for links, devices, FIFOs and sockets, and beyond the bounds. Sizes are counted
    as files pretend them to be, so that a sparse file of terabytes is not read later.
    """
    entries: list[tuple[Path, bool]] = []
    total = 0
    waiting = [(root, Path())]
    while waiting:
        folder, relative = waiting.pop()
        if len(relative.parts) > MOST_DEPTH:
            raise Refused(f"its output has folders nested deeper than {MOST_DEPTH}")
        with os.scandir(folder) as found:
            for entry in found:
                status = entry.stat(follow_symlinks=False)
                inner = relative / entry.name
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((Path(entry.path), inner))
                elif not stat.S_ISREG(status.st_mode):
                    raise Refused(f"its output holds {_kind(status.st_mode)}, not only plain files")
                else:
                    total += status.st_size
                entries.append((inner, stat.S_ISDIR(status.st_mode)))
                if len(entries) > most_files:
                    raise Refused(f"its output holds more than {most_files} files and folders")
                if total >= most_bytes:  # a file cut off by RLIMIT_FSIZE is exactly as large
                    raise Refused(f"its output is larger than {most_bytes} bytes")
    return entries


def _kind(mode: int) -> str:
    kinds = [
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    ]
    return next((word for test, word in kinds if test(mode)), "something strange")


def copy_tree(source: Path, target: Path, *, most_bytes: int, most_files: int) -> None:
    """Write plain files anew below `target`: the owner is the caller, modes are 0700 and 0600."""
    entries = plain_tree(source, most_bytes=most_bytes, most_files=most_files)
    for relative, is_folder in entries:
        if is_folder:
            (target / relative).mkdir(mode=0o700, parents=True, exist_ok=True)
    for relative, is_folder in entries:
        if not is_folder:
            copy_file(source / relative, target / relative)


def copy_file(source: Path, target: Path) -> None:
    """Write one plain file anew; its time is kept, since it tells whether it was written."""
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("its output changed while it was read")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        written = os.open(target, flags, 0o600)
        try:
            while os.sendfile(written, handle, None, 1 << 24):
                pass
            os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(written)
    finally:
        os.close(handle)


# ---- the process itself ------------------------------------------------------------------------


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out the plan; how it ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != plan["parent"]:
        return {"error": "the process that wanted this run is gone"}
    with contextlib.suppress(OSError, KeyError):
        _syscall("keyctl", KEYCTL[os.uname().machine], KEYCTL_JOIN_SESSION, None)
    if "rescue" in plan:
        return rescue(plan["rescue"])
    try:
        if plan["binds"] or plan["disk"]:
            own_mounts()
        for bind in plan["binds"]:
            _bind(bind)
    except OSError as error:
        return {"error": f"the run could not be prepared: {error}"}
    step = "disk"
    try:
        if plan["disk"]:
            make_disk(plan["disk"])
            step = "fill"
            fill_disk(plan["disk"])
    except OSError as error:
        return {"error": str(error), "step": "size" if error.errno == errno.EFBIG else step}
    ended = _run_task(plan)
    try:
        if plan["disk"]:
            collect(plan["disk"], ended)
    except Refused as error:
        ended["refused"] = str(error)
    except OSError as error:
        ended |= {"error": str(error), "step": "store"}
    return ended


def _bind(bind: dict[str, Any]) -> None:
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
        bound = _libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND | MS_REC, None)
        _checked(bound, f"bind {source}")


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


def _run_task(plan: dict[str, Any]) -> dict[str, Any]:
    """Start bubblewrap, wait until nothing of it lives, read what it says about the exit."""
    lock = os.open(plan["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(os.open(plan["begun"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    fcntl.flock(lock, fcntl.LOCK_EX)
    status_read, status_write = os.pipe()
    bwrap, *rest = plan["argv"]
    argv = [bwrap, "--sync-fd", str(lock), "--json-status-fd", str(status_write), *rest]
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _become(plan, argv, keeper, keep=(lock, status_write))
    os.close(status_write)
    killed = False

    def kill(number: int, frame: object) -> None:  # noqa: ARG001
        nonlocal killed
        killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    _say(plan, {"child": child})
    status = _note_first_process(status_read, lock, lambda: killed)
    _, waited = os.waitpid(child, 0)
    kill_children()
    os.set_blocking(status_read, False)
    while piece := _read(status_read):
        status += piece
    code = None
    for line in status.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            code = json.loads(line).get("exit-code", code)
    if code is None and os.WIFEXITED(waited):  # it gave up while it still made the sandbox
        with contextlib.suppress(FileNotFoundError):
            os.unlink(plan["begun"])  # noqa: PTH108
    return {"exit": code, "killed": killed}


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def kill_children() -> None:
    """End and reap whatever is left, until there is nothing.

    Bubblewrap killed while it still mounts leaves a first process that never hears of its death.
    """
    while True:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                for word in Path(f"/proc/self/task/{task}/children").read_text().split():
                    os.kill(int(word), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return


def _note_first_process(status_read: int, lock: int, killed: Callable[[], bool]) -> bytes:
    """Write the first process of the sandbox into the lock file; a later pass waits for its end."""
    status = b""
    while b"\n" not in status and not killed():
        if not select.select([status_read], [], [], 0.1)[0]:
            continue
        piece = os.read(status_read, 4096)
        if not piece:
            return status
        status += piece
    with contextlib.suppress(OSError, ValueError, TypeError, IndexError):
        first = json.loads(status.split(b"\n")[0]).get("child-pid")
        started = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[19]
        os.pwrite(lock, f"{first} {started}\n".encode(), 0)
    return status


def _become(
    plan: dict[str, Any], argv: list[str], keeper: int, *, keep: tuple[int, ...]
) -> NoReturn:
    """In the child: join the cgroups, set the limits, become bubblewrap."""
    import resource

    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # until bubblewrap has seen to it itself
        if os.getppid() != keeper:
            os._exit(1)
        # counted from its first page on; the keeper itself is not counted
        for path in plan["cgroups"]:
            Path(path).write_text(str(os.getpid()))
        for name, value in plan["rlimits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        if plan["cpus"]:
            os.sched_setaffinity(0, plan["cpus"])
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python's habit, not the task's
            signal.signal(ignored, signal.SIG_DFL)
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.umask(0o077)
        os.execve(argv[0], argv, plan["environment"])  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - a forked child must end here, whatever happens
        os.write(2, f"starting {argv[0]} failed: {error}\n".encode())
    os._exit(1)


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


def _say(plan: dict[str, Any], event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(plan["events"], json.dumps(event).encode() + b"\n")


def _script() -> None:
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        plan = json.load(file)
    os.set_inheritable(plan["events"], False)
    started = time.monotonic()
    ended = main(plan)
    ended["seconds"] = time.monotonic() - started
    _say(plan, {"ended": ended})


if __name__ == "__main__":
    _script()
