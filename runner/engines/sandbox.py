"""The sandbox: bubblewrap around the cube's own files, on this machine's Python. No image needed.

The unpacked archive is /cube, read-only, and the working folder. A leading `python3` is the
interpreter that runs this; its base and environment and the host's /usr are bound read-only. Inside
there is no /home, /root, /run, /var, /sys, and an /etc of six files. See the comments at the flags.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ...schemas.errors import EngineError
from . import checks, seccomp
from .bubblewrap import bwrap, tool, version
from .kept import Built, KeptEngine, Place
from .protocol import ImageSource, LocalImage, Mount, Probe, Progress, Task
from .supervise import memory_file

HOME = "/cube"
_USER_UID = 1000  # what an ordinary caller's task sees; its real uid is the caller's


class Sandbox(KeptEngine):
    """The engine `sandbox`."""

    name = "sandbox"
    pins_cpus = True

    def probe(self) -> Probe:
        """Whose rights it runs with and which limits hold; EngineError where it cannot work."""
        if sys.platform != "linux":
            raise EngineError("The sandbox needs Linux: choose the engine docker.")
        bwrap()
        tool("prlimit")
        tool("env")
        seccomp.bpf()
        root = os.geteuid() == 0
        if root:
            tool("setpriv")
        held, problems = self.probe_limits()
        return Probe(f"bubblewrap {version()}", "root" if root else "user", held, problems)

    def ensure_image(
        self,
        source: ImageSource,
        *,
        store: Path,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> LocalImage:
        """The cube's archive, unpacked in `store` and compared with what was unpacked."""
        del stop  # only files are unpacked, within bounds
        if source.archive is None or source.command is None:
            raise EngineError("A sandbox image needs an archive and a command.")
        from .. import archives

        if progress is not None:
            progress("looking at the cube's files")
        folder = archives.unpacked(
            source.archive, source.digest, store / "sandbox", what="The sandbox image"
        )
        return LocalImage("sandbox", folder, source.digest, source.command)

    def scratch(self, task: Task) -> Path | None:
        """The cube's own folder, if it must write beside its outputs."""
        return Path(task.image.identity) if task.scratch_root else None

    def build(self, place: Place, stack: contextlib.ExitStack) -> Built:
        """Bubblewrap's arguments, in a file that only it reads."""
        if place.task.limits.gpus:
            raise EngineError("The sandbox gives no GPUs to a task: choose docker or singularity.")
        layout = _Layout(place)
        descriptors = stack.enter_context(_descriptors(layout))
        argv = [bwrap(), "--args", str(descriptors[0]), "--", *layout.program()]
        return Built(argv, checks.ENVIRONMENT, descriptors)


class _Layout:
    """What the task sees: arguments of bubblewrap, in the order in which it carries them out."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.task = place.task
        self.owner = place.owner
        self.uid, self.gid = place.owner or (_USER_UID, _USER_UID)
        self._arguments: list[str] = []

    def _add(self, *words: str | Path) -> None:
        self._arguments.extend(str(word) for word in words)

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
            self._add("--ro-bind", self.place.readable(prefix), prefix)
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
        source = self.place.staging.scratch
        if source is not None:
            self._add("--bind", source, HOME)
        else:
            self._add("--ro-bind", self.place.readable(Path(self.task.image.identity)), HOME)

    def _mount(self, mount: Mount) -> None:
        target = Path(mount.target)
        self._parents(target)
        if not mount.writable:
            self._add("--ro-bind", self.place.readable(mount.source), target)
            return
        self._add("--bind", self.place.staged(mount), target)

    def program(self) -> list[str]:
        """The command line inside: limits, (root) the real uid, the variables, the cube's own.

        The variables come last: with `LD_PRELOAD` among them, what comes before would run the
        cube's code as a uid that it may not have, or on the host.
        """
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
        checks.check_program(words)
        variables = [f"{name}={value}" for name, value in self.environment().items()]
        return [*limit, tool("env"), "-i", *variables, *words, *self.task.arguments]

    def environment(self) -> dict[str, str]:
        """The whole environment: fixed words, the interpreter's folder first, the cube's own."""
        path = f"{Path(sys.executable).parent}:{checks.ENVIRONMENT['PATH']}"
        return {**checks.ENVIRONMENT, "PATH": path, **self.task.environment}


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
def _descriptors(layout: _Layout) -> Iterator[list[int]]:
    """The files that bubblewrap reads from memory; the first holds its arguments.

    They are not on its command line, so that paths are not in /proc/1/cmdline of the task.
    """
    opened: list[int] = []
    try:
        files = {}
        for path, data in checks.account_files(layout.uid, layout.gid).items():
            files[path] = memory_file(data)
            opened.append(files[path])
        filter_ = memory_file(seccomp.bpf(pin_cpus=layout.place.pinned))
        opened.append(filter_)
        words = [os.fsencode(word) + b"\0" for word in layout.arguments(files, filter_)]
        opened.insert(0, memory_file(b"".join(words)))
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
