"""The sandbox: bubblewrap around the cube's own files, on this machine's Python. No image needed.

The unpacked archive is /cube, read-only, and the working folder. A leading `python3` is the
interpreter that runs this; its base and environment and the host's /usr are bound read-only. Inside
there is no /home, /root, /run, /var, /sys, and an /etc of six files. See the comments at the flags.
"""

import contextlib
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ...schemas.errors import EngineError
from . import cgroups, checks, leftovers, seccomp
from .bubblewrap import MemoryWatch, bwrap, conclude, cpu_mask, held, rlimits, tool, watchers
from .outputs import Staging, stage
from .protocol import LIMITS, ImageSource, Limits, LocalImage, Mount, Outcome, Probe, Progress, Task
from .supervise import Bind, Command, NoDiskError, memory_file, supervise

HOME = "/cube"
_USER_UID = 1000  # what an ordinary caller's task sees; its real uid is the caller's


class Sandbox:
    """The engine `sandbox`."""

    name = "sandbox"

    def __init__(self, *, state: Path | None = None) -> None:
        self._state = state
        self._disk = True

    def probe(self) -> Probe:
        """Whose rights it runs with and which limits hold; EngineError where it cannot work."""
        if sys.platform != "linux":
            raise EngineError("The sandbox needs Linux: choose the engine docker.")
        bwrap()
        tool("prlimit")
        seccomp.bpf()
        root = os.geteuid() == 0
        if root:
            tool("setpriv")
        words = {"timeout", "processes", "shm", "tmp", "cpus"}
        problems = []
        group = cgroups.create(f"probe-{secrets.token_hex(4)}", Limits()) if root else None
        if group is not None:
            group.remove()
            words.add("memory")
        else:
            problems.append("Memory is limited per process and by looking, not by the kernel.")
        if root:
            words |= {"output-bytes", "output-files"}
        else:
            problems.append("Outputs are limited by looking ten times a second.")
        ordered = frozenset(word for word in LIMITS if word in words)
        return Probe(
            f"bubblewrap at {bwrap()}", "root" if root else "user", ordered, tuple(problems)
        )

    def ensure_image(
        self, source: ImageSource, *, store: Path, progress: Progress | None = None
    ) -> LocalImage:
        """The cube's archive, unpacked in `store` and compared with what was unpacked."""
        if source.archive is None or source.command is None:
            raise EngineError("A sandbox image needs an archive and a command.")
        from .. import archives

        if progress is not None:
            progress("looking at the cube's files")
        folder = archives.unpacked(
            source.archive, source.digest, store / "sandbox", what="The sandbox image"
        )
        return LocalImage("sandbox", folder, source.digest, source.command)

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        """Run the task to its end."""
        checks.check_task(task, engine="sandbox")
        if task.limits.gpus:
            raise EngineError("The sandbox gives no GPUs to a task: choose docker or singularity.")
        if self._disk and os.geteuid() == 0:
            try:
                return self._run(task, stop, disk=True)
            except NoDiskError:
                self._disk = False  # no loop devices or no mkfs.ext4: outputs are watched instead
        return self._run(task, stop, disk=False)

    def _run(self, task: Task, stop: threading.Event | None, *, disk: bool) -> Outcome:
        folder = checks.private_folder(task.folder)
        limits = task.limits
        with contextlib.ExitStack() as stack:
            owner = stack.enter_context(leftovers.uid_for_task())
            key = f"{task.label}-{secrets.token_hex(4)}"
            group = cgroups.create(key, limits, extra_processes=4)
            if group is not None:
                stack.callback(group.remove)
            lock = folder / "lock"
            noted = leftovers.note(
                "sandbox",
                state=self._state,
                label=task.label,
                name=task.name,
                lock=lock,
                cgroups=group.paths if group else (),
            )
            stack.callback(noted.forget)
            scratch = Path(task.image.identity) if task.scratch_root else None
            staging = stage(task, owner=owner, disk=disk, scratch=scratch)
            stack.callback(staging.remove)
            layout = _Layout(task, folder, staging, owner)
            mask = cpu_mask(limits) if group is None else ()
            descriptors = stack.enter_context(_descriptors(layout, pinned=bool(mask)))
            memory = MemoryWatch(limits.memory) if group is None else None
            command = Command(
                argv=[bwrap(), "--args", str(descriptors[0]), "--", *layout.program()],
                environment=layout.environment(),
                lock=lock,
                descriptors=descriptors,
                rlimits=rlimits(limits, memory=limits.memory if group is None else None),
                cgroups=group.procs if group else (),
                cpus=mask,
                binds=layout.binds,
                disk=staging.disk,
            )
            ended = supervise(
                command,
                log=task.log,
                timeout=limits.timeout,
                stop=stop,
                watchers=watchers(staging, memory),
            )
            return conclude(
                ended,
                staging,
                oom_kills=group.oom_kills() if group else 0,
                peak=group.peak() if group else memory.peak if memory else None,
                held=held(limits, staging, group, pinned=bool(mask)),
                limits=limits,
            )

    def clean(self, label_prefix: str) -> list[str]:
        """What an earlier pass left; all died with it, so this waits and removes control groups."""
        names = []
        for note in leftovers.orphans("sandbox", label_prefix, state=self._state):
            cgroups.remove(note.cgroups)
            if note.lock is not None:
                leftovers.wait_gone(note.lock)
            note.forget()
            names.append(f"{note.label} {note.name}")
        return names


class _Layout:
    """What the task sees: arguments of bubblewrap, in the order in which it carries them out."""

    def __init__(
        self, task: Task, folder: Path, staging: Staging, owner: tuple[int, int] | None
    ) -> None:
        self.task = task
        self.folder = folder
        self.staging = staging
        self.owner = owner
        self.uid, self.gid = owner or (_USER_UID, _USER_UID)
        self.binds: list[Bind] = []
        self._arguments: list[str] = []

    def _add(self, *words: str | Path) -> None:
        self._arguments.extend(str(word) for word in words)

    def _readable(self, source: Path) -> Path:
        """Where to bind `source` from: for root, a place where its owner is the task's uid."""
        source = source.resolve()
        if self.owner is None:
            return source
        target = self.folder / f"in{len(self.binds)}"
        if source.is_dir():
            target.mkdir(mode=0o700, exist_ok=True)
        else:
            target.touch(mode=0o600)
        self.binds.append(Bind(source, target, *self.owner))
        return target

    def arguments(self, files: dict[str, int], filter_: int) -> list[str]:
        """All arguments; `files` and `filter_` are descriptors of small files and of the filter."""
        self._namespaces()
        self._host()
        tmp, shm = checks.small_sizes(self.task.limits)
        # bwrap's own /dev and /dev/shm are else tmpfs of half the memory
        self._add("--proc", "/proc", "--dev", "/dev", "--size", str(shm), "--perms", "1777")
        self._add("--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108
        # before the binds: an environment below /tmp is else hidden by it
        self._add("--size", str(tmp), "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108
        for prefix in python_folders():
            self._parents(prefix)
            self._add("--ro-bind", self._readable(prefix), prefix)
        for path, descriptor in files.items():
            self._add("--perms", "0444", "--ro-bind-data", str(descriptor), path)
        self._cube()
        for mount in checks.ordered(self.task.mounts):
            self._mount(mount)
        self._add("--chdir", self.task.workdir or HOME)
        self._add("--remount-ro", "/")  # bwrap's own root is else a writable tmpfs without a limit
        self._add("--seccomp", str(filter_))
        return self._arguments

    def _namespaces(self) -> None:
        self._add("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")
        self._add("--unshare-cgroup-try", "--die-with-parent", "--new-session")
        self._add("--hostname", checks.HOSTNAME, "--cap-drop", "ALL")
        if self.owner is None:
            self._add("--unshare-user", "--disable-userns")
            self._add("--uid", str(self.uid), "--gid", str(self.gid))
        else:  # only for setpriv, which takes them away; a user namespace would keep real uid 0
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
                self._add("--cap-add", capability)

    def _host(self) -> None:
        self._add("--perms", "0755", "--dir", "/etc", "--ro-bind", "/usr", "/usr")
        for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
            path = Path("/", name)
            if path.is_symlink():
                self._add("--symlink", path.readlink(), path)
            elif path.is_dir():
                self._add("--ro-bind", path, path)
        # Debian's BLAS is found through alternatives
        for file in ("/etc/ld.so.cache", "/etc/alternatives"):
            self._add("--ro-bind-try", file, file)

    def _parents(self, path: Path) -> None:
        """Parents that bubblewrap makes by itself are 0700: the task could not go through them."""
        for parent in reversed(path.parents[:-1]):
            self._add("--perms", "0755", "--dir", parent)

    def _cube(self) -> None:
        source = self.staging.scratch
        if source is not None:
            self._add("--bind", source, HOME)
        else:
            self._add("--ro-bind", self._readable(Path(self.task.image.identity)), HOME)

    def _mount(self, mount: Mount) -> None:
        target = Path(mount.target)
        self._parents(target)
        if not mount.writable:
            self._add("--ro-bind", self._readable(mount.source), target)
            return
        staged = next(output for output in self.staging.outputs if output.mount is mount)
        self._add("--bind", staged.bound, target)

    def program(self) -> list[str]:
        """The command line inside: limits, then (root) the real uid, then the cube's own."""
        limit = [tool("prlimit"), f"--nproc={self.task.limits.processes}", "--"]
        if self.owner is not None:
            limit += [
                tool("setpriv"),
                f"--reuid={self.uid}",
                f"--regid={self.gid}",
                *("--clear-groups", "--inh-caps=-all", "--ambient-caps=-all"),
                *("--bounding-set=-all", "--no-new-privs", "--"),
            ]
        words = list(self.task.entrypoint or self.task.image.command or ())
        if not words:
            raise EngineError("The cube does not say what to run in the sandbox.")
        if words[0] in ("python", "python3"):
            words[0] = sys.executable
        return [*limit, *words, *self.task.arguments]

    def environment(self) -> dict[str, str]:
        """The whole environment: fixed words, the interpreter's folder first, the cube's own."""
        path = f"{Path(sys.executable).parent}:{checks.ENVIRONMENT['PATH']}"
        return {**checks.ENVIRONMENT, **self.task.environment, "PATH": path}


def python_folders() -> list[Path]:
    """The folders of this interpreter and its environment that are not below /usr, outer first."""
    real = Path(sys.executable).resolve()
    named = [sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix]
    folders = {Path(name) for name in named} | {Path(name).resolve() for name in named}
    folders.add(real.parent.parent)
    kept: list[Path] = []
    for folder in sorted(folders, key=lambda path: path.parts):
        if folder.is_relative_to("/usr") or folder == Path("/"):
            continue
        if not any(folder.is_relative_to(outer) for outer in kept):
            kept.append(folder)
    return kept


@contextlib.contextmanager
def _descriptors(layout: _Layout, *, pinned: bool) -> Iterator[list[int]]:
    """The files that bubblewrap reads from memory; the first holds its arguments.

    They are not on its command line, so that paths are not in /proc/1/cmdline of the task.
    """
    opened: list[int] = []
    try:
        files = {}
        for path, data in checks.account_files(layout.uid, layout.gid).items():
            files[path] = memory_file(data)
            opened.append(files[path])
        filter_ = memory_file(seccomp.bpf(pin_cpus=pinned))
        opened.append(filter_)
        words = [os.fsencode(word) + b"\0" for word in layout.arguments(files, filter_)]
        opened.insert(0, memory_file(b"".join(words)))
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
