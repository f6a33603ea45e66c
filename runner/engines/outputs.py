"""A task's outputs: staged in the task's own folder, looked at, then moved to where they belong.

The task never writes into the caller's folder. With a sized disk (root) the kernel keeps the bounds
and the keeper copies plain files out; else the task writes into a folder that a watcher measures.
Links, devices, FIFOs and sockets refuse the whole output. What is delivered is the caller's.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...schemas.errors import EngineError
from .keeper.plain_files import Refused, plain_tree
from .nested import Made, made_below, make, unmake
from .protocol import Limits, Mount, Reason, Task
from .supervise import BEGUN, RAISE, SCRATCH, Disk, Watcher

_STAGED = ("out", "disk", "disk.img")
DELIVERED = "delivered"
"""The file that says: the task has ended in order, and all it wrote is where it belongs."""


@dataclass(frozen=True)
class Staged:
    """One output: what is bound into the task, and where the looked-at copy lies afterwards.

    `places` are made in it for what is mounted below it, and go once it is known to hold no link.
    """

    mount: Mount
    name: str
    bound: Path
    kept: Path
    places: tuple[Made, ...] = ()


@dataclass(frozen=True)
class Staging:
    """All outputs of one task, and the scratch folder, if it has one."""

    folder: Path
    limits: Limits
    outputs: tuple[Staged, ...]
    disk: Disk | None
    scratch: Path | None
    goes_on: bool = False

    def watchers(self) -> tuple[Watcher, ...]:
        """What must look at the outputs while the task runs: nothing if the kernel does."""
        if self.disk is not None or not (self.outputs or self.scratch):
            return ()

        def watch(_: int) -> Reason | None:
            return "output" if _too_much(self.folder / "out", self.limits) else None

        return (watch,)

    def deliver(self) -> None:
        """Move what the task wrote to its place; raises Refused if it is not plain, or too much."""
        make_callers(self.folder / "out")
        bounds = {
            "most_bytes": self.limits.output_bytes,
            "most_files": self.limits.output_files,
        }
        for output in self.outputs:
            if output.mount.kind == "directory":
                plain_tree(output.kept, **bounds)
                unmake(output.kept, output.places)  # there is no link now that could lead elsewhere
            else:
                _check_file(output.kept, self.limits)
        for output in self.outputs:
            _deliver(output)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / BEGUN).rename(self.folder / DELIVERED)

    def leave(self, kind: type[BaseException] | None, *_: object) -> None:
        """For `ExitStack.push`: remove what is staged, or leave it to `rescue` if it is wanted.

        That is so where anything failed once the task was started: storing it, the engine's
        daemon, a person's patience. Not where the task could not be started, since what lies there
        then is older than what a person may do now.
        """
        wanted = kind is not None and (self.folder / BEGUN).exists()
        if not (wanted and self.goes_on):
            self.remove()
        elif self.disk is not None:
            remove_tree(self.folder / "out")  # half a copy, which takes room: the disk has it all

    def remove(self) -> None:
        """Take away everything that is not delivered; half of it is nothing to go on from."""
        (self.folder / BEGUN).unlink(missing_ok=True)
        for name in _STAGED:
            remove_tree(self.folder / name)


def check_outputs(task: Task) -> None:
    """Refuse output folders that hold something already: it would be mixed with the task's."""
    for mount in task.mounts:
        if not (mount.writable and mount.kind == "directory" and mount.source.exists()):
            continue
        if not mount.source.is_dir() or any(mount.source.iterdir()):
            raise EngineError(
                f"{mount.source} is to take a task's output but is not an empty folder: "
                "empty it or name another."
            )


def stage(
    task: Task, *, owner: tuple[int, int] | None, disk: bool, scratch: Path | None = None
) -> Staging:
    """Lay out the staging of a task in its folder.

    `owner` is the uid and gid the task runs as, if not the caller's; `disk`: a sized file system is
    wanted; `scratch`: a folder of which the task gets a writable throw-away copy.
    """
    check_outputs(task)
    _check_seeds(task)
    for mark in (BEGUN, DELIVERED):
        (task.folder / mark).unlink(missing_ok=True)
    try:
        return _stage(task, owner=owner, disk=disk, scratch=scratch)
    except BaseException as error:
        for name in _STAGED:  # half a copy of what an output begins with is nothing to go on from
            remove_tree(task.folder / name)
        if isinstance(error, OSError):
            raise EngineError(
                f"The task's outputs cannot be laid out in {task.folder}: {error}."
            ) from error
        raise


def _check_seeds(task: Task) -> None:
    """Refuse to begin with more than outputs may hold: the task could never end well."""
    limits = task.limits
    seeds = [mount.seed for mount in task.mounts if mount.seed is not None]
    sizes = [_size(seed) for seed in seeds]
    used, files = (sum(column) for column in zip((0, 0), *sizes, strict=True))
    if used < limits.output_bytes and files <= limits.output_files:
        return
    largest = max(zip(sizes, seeds, strict=True))[1]
    raise EngineError(
        f"What the task's outputs begin with holds {used} bytes in {files} files and folders, most "
        f"of it in {largest}; all outputs of a task may hold less than {limits.output_bytes} bytes "
        f"in at most {limits.output_files}. {RAISE}"
    )


def _size(seed: Path) -> tuple[int, int]:
    """Bytes, as files pretend them to be, and entries."""
    if not seed.is_dir():
        return seed.lstat().st_size, 1
    found = [path.lstat() for path in seed.rglob("*")]
    return sum(one.st_size for one in found if not stat.S_ISDIR(one.st_mode)), len(found)


def _stage(
    task: Task, *, owner: tuple[int, int] | None, disk: bool, scratch: Path | None
) -> Staging:
    out, mounted = task.folder / "out", task.folder / "disk"
    for folder in (out, mounted):
        remove_tree(folder)
        folder.mkdir(mode=0o700, parents=True)
    outputs = []
    for number, mount in enumerate(mount for mount in task.mounts if mount.writable):
        name = f"{number}"
        places = tuple(made_below(mount, task.mounts))
        bound = (mounted if disk else out) / name
        outputs.append(Staged(mount, name, bound, out / name, places))
    for output in outputs:
        if output.mount.kind == "directory":
            output.kept.mkdir(mode=0o700)
        else:
            output.kept.touch(mode=0o600)
            os.utime(output.kept, ns=(0, 0))
        if owner is not None and not disk:
            os.chown(output.kept, *owner)
        if output.mount.seed is not None and not disk:
            _copy_seed(output.mount.seed, output.kept, owner)
        if not disk:
            make(output.kept, output.places, owner)
    copy = (mounted if disk else out) / SCRATCH if scratch else None
    if scratch and copy and not disk:
        _copy_scratch(scratch, copy, owner)
    sized = None
    if disk and owner is not None and (outputs or scratch):
        room = _measure(scratch) if scratch else (0, 0)
        seeds = {output.name: seed for output in outputs if (seed := output.mount.seed) is not None}
        sized = Disk(
            image=task.folder / "disk.img",
            folder=mounted,
            collect=out,
            bytes=task.limits.output_bytes,
            files=task.limits.output_files,
            uid=owner[0],
            gid=owner[1],
            folders=tuple(o.name for o in outputs if o.mount.kind == "directory"),
            blanks=tuple(o.name for o in outputs if o.mount.kind == "file"),
            copies={**seeds, **({SCRATCH: scratch} if scratch else {})},
            places={
                output.name: [[str(place.path), place.is_folder] for place in output.places]
                for output in outputs
            },
            extra_bytes=room[0],
            extra_files=room[1],
            sync=task.goes_on,
        )
    return Staging(task.folder, task.limits, tuple(outputs), sized, copy, task.goes_on)


def _measure(folder: Path) -> tuple[int, int]:
    """Bytes, in whole blocks, and entries of a tree that is to be copied."""
    sizes = [path.lstat().st_size + 4096 for path in folder.rglob("*")]
    return sum(sizes), len(sizes)


def _copy_scratch(source: Path, target: Path, owner: tuple[int, int] | None) -> None:
    shutil.copytree(source, target, symlinks=True)
    for folder, _, files in os.walk(target):
        for path in [Path(folder), *(Path(folder, name) for name in files)]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o600)
            if owner is not None:
                os.chown(path, *owner, follow_symlinks=False)


def _copy_seed(seed: Path, target: Path, owner: tuple[int, int] | None) -> None:
    if seed.is_dir():
        target.rmdir()
        _copy_scratch(seed, target, owner)
        return
    shutil.copy2(seed, target)
    if owner is not None:
        os.chown(target, *owner)


def _check_file(path: Path, limits: Limits) -> None:
    if path.is_symlink() or not path.is_file():
        raise Refused("its output is not one plain file")
    if path.stat().st_size >= limits.output_bytes:
        raise Refused(f"its output is larger than {limits.output_bytes} bytes")


def _deliver(output: Staged) -> None:
    target = output.mount.source
    target.parent.mkdir(parents=True, exist_ok=True)
    if output.mount.kind == "file":
        if output.kept.stat().st_mtime_ns == 0:
            return  # never written
        _move(output.kept, target)
        return
    if target.is_dir():
        target.rmdir()
    _move(output.kept, target)


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError:  # another file system
        temporary = target.with_name(target.name + ".new")
        remove_tree(temporary)
        shutil.move(source, temporary)
        temporary.replace(target)


def make_callers(root: Path) -> None:
    """Make all of it the caller's, folders 0700 and files 0600; links are left for the refusal."""
    caller = os.geteuid(), os.getegid()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        _take(folder, 0o700, caller)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise Refused(f"its output cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                _take(Path(entry.path), 0o600, caller)


def _take(path: Path, mode: int, caller: tuple[int, int]) -> None:
    status = path.lstat()
    if (status.st_uid, status.st_gid) != caller:
        with contextlib.suppress(PermissionError):
            os.chown(path, *caller, follow_symlinks=False)
    if status.st_mode & 0o7777 != mode:
        path.chmod(mode)


def _too_much(root: Path, limits: Limits) -> bool:
    """Whether a tree that somebody is writing is beyond the bounds: blocks on disk, and entries."""
    used = files = 0
    waiting = [os.fspath(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        used += entry.stat(follow_symlinks=False).st_blocks * 512
                    files += 1
                    if files > limits.output_files or used > limits.output_bytes:
                        return True
        except OSError:
            continue  # gone, or closed by the task: the look at the end decides
    return False


def remove_tree(path: Path) -> None:
    """Remove a tree that a task may have made deep or unreadable; nothing there is fine."""
    if not path.is_symlink() and path.is_file():
        path.unlink()
        return
    with contextlib.suppress(FileNotFoundError):
        try:
            shutil.rmtree(path)
        except (OSError, RecursionError):
            if not path.exists():
                return
            for words in (["/bin/chmod", "-R", "u+rwx"], ["/bin/rm", "-rf"]):
                subprocess.run(  # noqa: S603 - rm goes deeper than any path is long
                    [*words, "--", str(path)],
                    check=False,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
