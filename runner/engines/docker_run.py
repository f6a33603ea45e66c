"""One container of Docker's, from its creation to its removal.

It is made, attached to, started, waited for and removed by this process.
"""

import contextlib
import io
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
from .docker_mounts import make_binds, mount_disk, unmount_all
from .docker_options import container_options
from .docker_output import Follow, attached
from .keeper import sized_disk
from .keeper.plain_files import Refused
from .outputs import Staging, stage
from .protocol import Outcome, Reason, Task
from .supervise import BEGUN, POLL, Ended, StoreError
from .tasklog import TaskLog

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_GRACE = 30.0


class Run:
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
        """Run the task to its end; NoDiskError before it if its sized disk cannot be mounted."""
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
            stack.callback(unmount_all, mounted)
            if staging.disk is not None:
                mount_disk(staging, mounted)
            binds = make_binds(task, self.folder, staging, owner, mounted)
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
            remove(self._client, self._name)
        except EngineError:
            if kind is None:
                raise


def remove(client: "DockerClient", name: str) -> None:
    """Remove a container, running or not; that it is gone already is fine."""
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
