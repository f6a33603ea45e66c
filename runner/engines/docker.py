"""The engine `docker`, through docker-py: the usual site.

A run is one container that is made, attached to, started, waited for and removed by this process.
If this process is killed, the container stays: it carries the run's label and who started it, and
`clean` removes it before the next pass does anything else.

Membership of the group docker is as good as root: the flags protect the host from the task, not
from the caller. A root caller's task runs as an otherwise unused uid, as with every engine.
"""

import contextlib
import json
import os
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...schemas.errors import EngineError
from . import checks, docker_images, keeper, leftovers, seccomp
from .bubblewrap import conclude
from .outputs import Staging, stage
from .protocol import LIMITS, ImageSource, LocalImage, Outcome, Probe, Progress, Reason, Task
from .supervise import POLL, Ended
from .tasklog import TaskLog

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL, OWNER = "medperf.run", "medperf.owner"
_SOCKET = "/var/run/docker.sock"
_GRACE = 30.0
_MAPPING = threading.Lock()
"""Mapping owners forks: two forks at once would each hold open what the other one waits for."""

_INSTALL = "start the Docker daemon, or choose the engine singularity or sandbox"


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
                    f"medperf yet. Use the system's daemon: {_INSTALL}."
                )
            if "name=seccomp" not in options:
                raise EngineError(
                    "This Docker refuses no system calls (no seccomp), so tasks are not safe in "
                    "it: use a daemon built with seccomp, or choose another engine."
                )
            self._info = info
        return self._info

    def ensure_image(
        self, source: ImageSource, *, store: Path, progress: Progress | None = None
    ) -> LocalImage:
        """Load or pull the image, once; the answer is run by its id."""
        with connected() as client:
            return docker_images.ensure(client, source, store, progress)

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
            stack.callback(staging.remove)
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
            stack.callback(_remove, self.client, name)
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
        try:
            keeper.prepare_disk({**vars(disk), "copies": {}})
        except OSError as error:
            raise _NoDiskError(str(error)) from error
        mounted.append(disk.folder)

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
                keeper.bind_mapped(source, target, uid=owner[0], gid=owner[1])
        except OSError as error:
            closed = keeper.first_closed(source)
            if closed is None:
                return None
            raise EngineError(
                f"{closed} cannot be read by the run's own user, and owners cannot be mapped "
                f"here ({error}): let others read it, or copy the data to another file system."
            ) from error
        mounted.append(target)
        return target

    # ---- the container -------------------------------------------------------------------------

    def _options(
        self, name: str, owner: tuple[int, int] | None, binds: list[Any]
    ) -> dict[str, Any]:
        from docker.types import DeviceRequest, LogConfig, Ulimit

        task, limits = self.task, self.task.limits
        uid, gid = owner or (os.geteuid(), os.getegid())
        image = docker_images.inspect(self.client, str(task.image.identity))["Config"]
        tmp, shm = checks.small_sizes(limits)
        targets = {mount.target for mount in task.mounts}
        covered = dict.fromkeys(image.get("Volumes") or {}, "ro,size=4k")
        tmpfs = {place: how for place, how in covered.items() if place not in targets}
        tmpfs["/tmp"] = f"rw,nosuid,nodev,size={tmp},mode=1777"  # noqa: S108
        options: dict[str, Any] = {
            "image": str(task.image.identity),
            "command": list(task.arguments),
            "name": name,
            "labels": {LABEL: task.label, OWNER: json.dumps(leftovers.me())},
            "user": f"{uid}:{gid}",
            # nothing but lo; without dns the host's resolver is in /etc/resolv.conf even so
            "network_mode": "none",
            "dns": ["127.0.0.1"],
            "dns_search": ["."],
            "read_only": not task.scratch_root,
            # a VOLUME is a writable, unlimited folder on the host in spite of read_only: covered
            "tmpfs": tmpfs,
            "shm_size": shm,
            "ipc_mode": "private",
            "cgroupns": "private",
            "hostname": checks.HOSTNAME,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true", f"seccomp={seccomp.oci()}"],
            "environment": self._environment(image),
            "use_config_proxy": False,  # proxies of the caller's own configuration
            "pids_limit": limits.processes,
            # a core limit of 1, not 0: 0 does not stop a pattern that pipes into a program
            "ulimits": [
                Ulimit(name="core", soft=1, hard=1),
                Ulimit(name="nofile", soft=1024, hard=1024),
                Ulimit(name="fsize", soft=limits.output_bytes, hard=limits.output_bytes),
            ],
            "init": bool(self.info.get("InitBinary")),
            "healthcheck": {"test": ["NONE"]},  # the image's would run too
            "log_config": LogConfig(type="none"),  # read from the attached stream, bounded
            "mounts": binds,
        }
        if task.entrypoint is not None:
            options["entrypoint"] = list(task.entrypoint)
        if task.workdir is not None:
            options["working_dir"] = task.workdir
        if limits.memory is not None:
            options |= {"mem_limit": limits.memory, "memswap_limit": limits.memory}
        if limits.cpus is not None:
            options["nano_cpus"] = round(limits.cpus * 1e9)
        if "name=userns" in " ".join(self.info.get("SecurityOptions") or []):
            options["userns_mode"] = "host"  # the caller's uid is meant, not a mapped one
        if limits.gpus:
            every = limits.gpus == ("all",)
            wanted = {"count": -1} if every else {"device_ids": list(limits.gpus)}
            options["device_requests"] = [DeviceRequest(capabilities=[["gpu"]], **wanted)]
        return options

    def _environment(self, image: dict[str, Any]) -> list[str]:
        """The image's own variables, which are pinned with it, then ours; nothing of the host's."""
        values = {**checks.ENVIRONMENT}
        unset = ["HOSTNAME"]  # a bare name removes a variable
        for entry in image.get("Env") or []:
            name, _, value = entry.partition("=")
            if name.startswith("NVIDIA_") and not self.task.limits.gpus:
                unset.append(name)  # some daemons would give GPUs for it
            elif name != "HOME":
                values[name] = value
        values.update(self.task.environment)
        return [*(f"{name}={value}" for name, value in values.items()), *unset]

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
            container = self.client.containers.create(**self._options(name, owner, binds))
            with _attached(self.client, str(container.id)) as stream:
                container.start()
                started = time.monotonic()
                follow = _Follow(container, stream, log, self._looks(container, staging))
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
            keeper.collect(vars(disk), told)
        except keeper.Refused as error:
            told["refused"] = str(error)
        except OSError as error:
            raise EngineError(f"The outputs could not be stored: {error.strerror}.") from error
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


@dataclass
class _Follow:
    """Reads a container's output while it lives and looks at clock, stop and watchers."""

    container: "Container"
    stream: int
    log: TaskLog
    look: Callable[[], Reason | None]

    def until_end(self, timeout: float, stop: threading.Event | None) -> Reason | None:
        """Return when the container has ended; why we killed it, if we did."""
        started = time.monotonic()
        killed: Reason | None = None
        frames = _Frames(self.log)
        asked = started
        with selectors.DefaultSelector() as selector:
            os.set_blocking(self.stream, False)
            selector.register(self.stream, selectors.EVENT_READ)
            while True:
                if selector.select(POLL):
                    try:
                        piece = os.read(self.stream, 1 << 18)
                    except BlockingIOError:
                        continue
                    if not piece:
                        return killed
                    frames.take(piece)
                now = time.monotonic()
                if killed is None:
                    if stop is not None and stop.is_set():
                        killed = "interrupted"
                    elif now - started > timeout:
                        killed = "timeout"
                    else:
                        killed = self.look()
                    if killed is not None:
                        _kill(self.container)
                if now - asked > 2.0:  # the stream's end is how we know; this is for lost ones
                    asked = now
                    self.container.reload()
                    if self.container.status in ("exited", "dead"):
                        return killed


class _Frames:
    """Docker's stream: eight bytes of header, then that many bytes of stdout or stderr."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log
        self._header = b""
        self._left = 0

    def take(self, piece: bytes) -> None:
        while piece:
            if self._left:
                data, piece = piece[: self._left], piece[self._left :]
                self._left -= len(data)
                self._log.write(data)
                continue
            need = 8 - len(self._header)
            self._header, piece = self._header + piece[:need], piece[need:]
            if len(self._header) == 8:
                self._left = struct.unpack(">4xI", self._header)[0]
                self._header = b""


@contextlib.contextmanager
def _attached(client: "DockerClient", identity: str) -> Iterator[int]:
    """The descriptor of a container's output, from its first byte on."""
    stream = client.api.attach_socket(
        identity, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
    )
    try:
        yield stream.fileno()
    finally:
        response = stream._response
        response.close()
        stream.close()


def _kill(container: "Container") -> None:
    import docker.errors

    with contextlib.suppress(docker.errors.APIError):  # 409: it has just ended by itself
        container.kill()


def _remove(client: "DockerClient", name: str) -> None:
    import docker.errors

    try:
        client.api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409:  # else somebody removes it already
            raise EngineError(f"Docker cannot remove {name}: {error.explanation}.") from error


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
        keeper.unmount(folder)


def _matters(warning: str) -> bool:
    return "No " in warning and "limit" in warning


@contextlib.contextmanager
def connected() -> Iterator["DockerClient"]:
    """A connection to the daemon; an EngineError says what to do where there is none."""
    address = os.environ.get("DOCKER_HOST", f"unix://{_SOCKET}")
    kind, _, path = address.partition("://")
    if kind != "unix":
        raise EngineError(
            f"DOCKER_HOST is {address}: only a daemon of this machine can see its folders. "
            f"Unset DOCKER_HOST, or {_INSTALL}."
        )
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    except FileNotFoundError as error:
        raise EngineError(
            f"There is no Docker here: {path} does not exist. Install Docker and {_INSTALL}."
        ) from error
    except PermissionError as error:
        raise EngineError(
            f"This user may not use Docker: {path} refuses. Join the group docker "
            f"(`sudo usermod -aG docker $USER`, then log in again), or {_INSTALL}."
        ) from error
    except OSError as error:
        raise EngineError(
            f"Docker does not answer at {path} ({error.strerror}): {_INSTALL}.", transient=True
        ) from error
    import docker
    import docker.errors

    try:
        connection = docker.DockerClient(base_url=address, version="auto", timeout=120)
    except docker.errors.DockerException as error:
        raise EngineError(f"Docker does not answer: {error}. Try again, or {_INSTALL}.") from error
    try:
        yield connection
    finally:
        connection.close()
