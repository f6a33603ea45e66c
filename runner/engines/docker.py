"""The engine `docker`, through docker-py: the usual site.

A run is one container that is made, attached to, started, waited for and removed by this process.
If this process is killed, the container stays: it carries the run's label and who started it, and
`clean` removes it before the next pass does anything else.

Membership of the group docker is as good as root: the flags protect the host from the task, not
from the caller. A root caller's task runs as an otherwise unused uid, as with every engine.
"""

import contextlib
import errno
import io
import json
import os
import secrets
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...schemas.errors import EngineError
from . import checks, docker_images, leftovers
from .bubblewrap import conclude
from .docker_daemon import INSTALL, connected
from .docker_options import LABEL, OWNER, container_options
from .docker_output import Follow, attached
from .keeper import mounts, sized_disk
from .keeper.plain_files import Refused
from .outputs import Staging, stage
from .protocol import LIMITS, ImageSource, LocalImage, Outcome, Probe, Progress, Reason, Task
from .supervise import BEGUN, POLL, Ended, StoreError, cannot_fill, too_large
from .tasklog import TaskLog

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_GRACE = 30.0
_MAPPING = threading.Lock()
"""Mapping owners forks: two forks at once would each hold open what the other one waits for."""


class Docker:
    """The engine `docker`."""

    name = "docker"

    def __init__(self, *, state: Path | None = None) -> None:
        self._state = state
        self._disk = True
        self._info: dict[str, Any] | None = None

    def probe(self) -> Probe:
        """The daemon's version and the limits that it can hold."""
        with connected() as client:
            version = client.version()
            info = self._checked_info(client)
        root = os.geteuid() == 0
        words = {"timeout", "shm", "tmp"}
        words |= {"memory"} if info.get("MemoryLimit") else set()
        words |= {"processes"} if info.get("PidsLimit") else set()
        words |= {"cpus"} if info.get("CpuCfsQuota") else set()
        words |= {"output-bytes", "output-files"} if root else set()
        problems = [f"Docker says: {text}" for text in info.get("Warnings") or [] if _matters(text)]
        if not root:
            problems.append("Outputs are limited by looking ten times a second.")
        held = frozenset(word for word in LIMITS if word in words)
        return Probe(
            f"Docker {version['Version']}", "root" if root else "user", held, tuple(problems)
        )

    def _checked_info(self, client: "DockerClient") -> dict[str, Any]:
        if self._info is None:
            info = client.info()
            options = " ".join(info.get("SecurityOptions") or [])
            if "name=rootless" in options:
                raise EngineError(
                    "This Docker is rootless: who owns a task's files there is not known to "
                    f"medperf yet. Use the system's daemon: {INSTALL}."
                )
            if "name=seccomp" not in options:
                raise EngineError(
                    "This Docker refuses no system calls (no seccomp), so tasks are not safe in "
                    "it: use a daemon built with seccomp, or choose another engine."
                )
            self._info = info
        return self._info

    def ensure_image(
        self,
        source: ImageSource,
        *,
        store: Path,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> LocalImage:
        """Load or pull the image, once; the answer is run by its id."""
        with connected() as client:
            return docker_images.ensure(client, source, store, progress, stop)

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        """Run the task in a container of its own."""
        checks.check_task(task, engine="docker")
        with connected() as client:
            info = self._checked_info(client)
            if self._disk and os.geteuid() == 0:
                try:
                    return _Run(client, info, task, self._state, disk=True).run(stop)
                except _NoDiskError:
                    self._disk = False  # no loop devices or no mkfs.ext4: outputs are watched
            return _Run(client, info, task, self._state, disk=False).run(stop)

    def clean(self, label_prefix: str) -> list[str]:
        """Remove containers whose process is gone, then the mounts that they used."""
        names = []
        with connected() as client:
            for found in client.api.containers(all=True, filters={"label": LABEL}):
                labels = found["Labels"]
                if not labels[LABEL].startswith(label_prefix) or _has_owner(labels):
                    continue
                _remove(client, found["Id"])
                names.append(f"{labels[LABEL]} {found['Names'][0].lstrip('/')}")
        for note in leftovers.orphans("docker", label_prefix, state=self._state):
            for folder in note.mounts:
                _unmount(folder)
            note.forget()
        return names


class _NoDiskError(EngineError):
    """No sized file system can be mounted here."""


class _Run:
    """One container from its creation to its removal."""

    def __init__(
        self,
        client: "DockerClient",
        info: dict[str, Any],
        task: Task,
        state: Path | None,
        *,
        disk: bool,
    ) -> None:
        self.client = client
        self.info = info
        self.task = task
        self.folder = checks.private_folder(task.folder)
        self._state = state
        self._disk = disk
        self._peak: int | None = None

    def run(self, stop: threading.Event | None) -> Outcome:
        task = self.task
        name = f"medperf-{task.label}-{secrets.token_hex(4)}"
        with contextlib.ExitStack() as stack:
            owner = stack.enter_context(leftovers.uid_for_task())
            staging = stage(task, owner=owner, disk=self._disk)
            stack.push(staging.leave)
            mounted: list[Path] = []
            planned = [self.folder / f"in{n}" for n in range(len(task.mounts))]
            planned += [staging.disk.folder] if staging.disk else []
            note = leftovers.note(
                "docker",
                state=self._state,
                label=task.label,
                name=task.name,
                mounts=tuple(planned) if owner else (),
            )
            stack.callback(note.forget)
            stack.callback(_unmount_all, mounted)
            if staging.disk is not None:
                self._mount_disk(staging, mounted)
            binds = self._binds(staging, owner, mounted)
            stack.push(_Removal(self.client, name))
            ended, warned = self._carry_out(name, owner, binds, staging, stop)
            if staging.disk is not None:
                ended = self._collect(staging, ended)
            return conclude(
                ended,
                staging,
                oom_kills=int(warned),
                peak=self._peak,
                held=self._held(staging),
                limits=task.limits,
            )

    # ---- mounts --------------------------------------------------------------------------------

    def _mount_disk(self, staging: Staging, mounted: list[Path]) -> None:
        disk = staging.disk
        if disk is None:
            return
        mounted.append(disk.folder)  # first: it may be mounted when making it fails
        try:
            sized_disk.make_disk(vars(disk))
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise too_large(disk) from error
            raise _NoDiskError(str(error)) from error
        problem = None
        try:
            sized_disk.fill_disk(vars(disk))
        except OSError as error:
            problem = str(error)
        if problem is not None:  # not from the OSError: it is the sized disk that is full
            raise cannot_fill(disk, problem)

    def _binds(
        self, staging: Staging, owner: tuple[int, int] | None, mounted: list[Path]
    ) -> list[Any]:
        from docker.types import Mount as Bound

        uid, gid = owner or (os.geteuid(), os.getegid())
        found = []
        for path, data in checks.account_files(uid, gid).items():
            if path == "/etc/hosts":
                continue  # docker's own
            file = self.folder / path.replace("/", "-").strip("-")
            file.write_bytes(data)
            file.chmod(0o644)
            found.append(Bound(path, str(file), "bind", read_only=True, propagation="rprivate"))
        for number, mount in enumerate(checks.ordered(self.task.mounts)):
            if mount.writable:
                staged = next(output for output in staging.outputs if output.mount is mount)
                found.append(Bound(mount.target, str(staged.bound), "bind", propagation="rprivate"))
                continue
            source = mount.source.resolve()
            mapped = owner and self._mapped(source, self.folder / f"in{number}", owner, mounted)
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

    def _mapped(
        self, source: Path, target: Path, owner: tuple[int, int], mounted: list[Path]
    ) -> Path | None:
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

    # ---- the container -------------------------------------------------------------------------

    def _carry_out(
        self,
        name: str,
        owner: tuple[int, int] | None,
        binds: list[Any],
        staging: Staging,
        stop: threading.Event | None,
    ) -> tuple[Ended, bool]:
        """Create, attach, start, follow, wait; how it ended, and whether memory ran out."""
        import docker.errors
        import requests.exceptions

        log = TaskLog(self.task.log)
        try:
            config = docker_images.inspect(self.client, str(self.task.image.identity))["Config"]
            options = container_options(
                self.task,
                name,
                user=owner or (os.geteuid(), os.getegid()),
                image=config,
                daemon=self.info,
                binds=binds,
            )
            container = self.client.containers.create(**options)
            if self.task.scratch_root:
                _open_folder(container, str(config.get("WorkingDir") or "/"))
            with attached(self.client, str(container.id)) as stream:
                self._start(container)
                started = time.monotonic()
                follow = Follow(container, stream, log, self._looks(container, staging))
                killed = follow.until_end(self.task.limits.timeout, stop)
            container.wait(timeout=_GRACE)
            seconds = time.monotonic() - started
            container.reload()
        except docker.errors.APIError as error:
            raise EngineError(
                f"Docker cannot run the task: {error.explanation or error}."
            ) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(f"Docker failed: {error}.", transient=True) from error
        finally:
            tail = log.close()
        state = container.attrs["State"]
        code = None if killed else int(state["ExitCode"])
        ended = Ended(code, killed, seconds, None, False, tail)
        return ended, bool(state["OOMKilled"])

    def _start(self, container: "Container") -> None:
        begun = self.folder / BEGUN
        begun.touch()
        try:
            container.start()
        except Exception:
            begun.unlink()  # what lies in its outputs is what they begin with
            raise

    def _looks(self, container: "Container", staging: Staging) -> Callable[[], Reason | None]:
        watchers = staging.watchers()
        files = _memory_files(str(container.id))
        state = {"next": 0.0, "layer": time.monotonic() + 1.0}

        def look() -> Reason | None:
            for file in files:
                with contextlib.suppress(OSError, ValueError):
                    self._peak = max(self._peak or 0, int(file.read_text()))
            now = time.monotonic()
            if now < state["next"]:
                return None
            for watcher in watchers:
                if reason := watcher(0):
                    return reason
            if self.task.scratch_root and now > state["layer"]:
                if self._layer(container) > self.task.limits.output_bytes:
                    return "output"
                state["layer"] = time.monotonic() + 1.0
            state["next"] = time.monotonic() + max(POLL, 10 * (time.monotonic() - now))
            return None

        return look

    def _layer(self, container: "Container") -> int:
        """How much the container wrote into its throw-away layer, which Docker does not bound."""
        for found in self.client.api.containers(size=True, filters={"id": container.id}):
            return int(found.get("SizeRw") or 0)
        return 0

    def _collect(self, staging: Staging, ended: Ended) -> Ended:
        """Copy plain files from the sized file system."""
        from dataclasses import replace

        disk = staging.disk
        if disk is None:
            return ended
        told: dict[str, Any] = {}
        try:
            sized_disk.collect(vars(disk), told)
        except Refused as error:
            told["refused"] = str(error)
        except OSError as error:
            raise StoreError(str(error), goes_on=staging.goes_on) from error
        return replace(ended, refused=told.get("refused"), full=bool(told.get("full")))

    def _held(self, staging: Staging) -> set[str]:
        limits, info = self.task.limits, self.info
        words = {"timeout", "shm", "tmp"}
        if limits.memory is not None and info.get("MemoryLimit"):
            words.add("memory")
        if info.get("PidsLimit"):
            words.add("processes")
        if limits.cpus is not None and info.get("CpuCfsQuota"):
            words.add("cpus")
        if not self.task.scratch_root and (staging.disk is not None or not staging.outputs):
            words |= {"output-bytes", "output-files"}
        return words


class _Removal:
    """Removes a container at the end; where that fails too, what failed first is told.

    The container is then removed by `clean`, once this process is gone.
    """

    def __init__(self, client: "DockerClient", name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            _remove(self._client, self._name)
        except EngineError:
            if kind is None:
                raise


def _remove(client: "DockerClient", name: str) -> None:
    import docker.errors
    import requests.exceptions

    try:
        client.api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409:  # else somebody removes it already
            raise EngineError(f"Docker cannot remove {name}: {error.explanation}.") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineError(f"Docker cannot remove {name}: {error}.", transient=True) from error


def _has_owner(labels: dict[str, str]) -> bool:
    try:
        return leftovers.is_alive(json.loads(labels[OWNER]))
    except (KeyError, ValueError, TypeError):
        return False


def _memory_files(identity: str) -> list[Path]:
    """Where the kernel counts a container's memory, by kind of host."""
    root = Path("/sys/fs/cgroup")
    candidates = [
        root / "memory/docker" / identity / "memory.max_usage_in_bytes",
        root / f"memory/system.slice/docker-{identity}.scope" / "memory.max_usage_in_bytes",
        root / "docker" / identity / "memory.peak",
        root / f"system.slice/docker-{identity}.scope" / "memory.peak",
    ]
    return [file for file in candidates if file.exists()]


def _refuse_mounts_below(source: Path) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = Path(line.split(" ")[4].encode().decode("unicode_escape"))
        if place != source and place.is_relative_to(source):
            raise EngineError(
                f"{place} is a file system of its own inside {source}: it would be missing in the "
                "task. Copy it there, or use the engine sandbox or singularity."
            )


def _unmount_all(folders: list[Path]) -> None:
    for folder in reversed(folders):
        _unmount(folder)


def _unmount(folder: Path) -> None:
    with contextlib.suppress(OSError):
        mounts.unmount(folder)


def _matters(warning: str) -> bool:
    return "No " in warning and "limit" in warning


def _open_folder(container: "Container", folder: str) -> None:
    """In its throw-away layer, let the task write in the image's working folder (root's)."""
    if not folder.startswith("/") or folder == "/":
        return
    entry = tarfile.TarInfo(folder.strip("/"))
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(entry)
    container.put_archive("/", archive.getvalue())
