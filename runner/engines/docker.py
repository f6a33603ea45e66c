"""The engine `docker`, through docker-py: the usual site.

If this process is killed, its containers stay: each carries the run's label and who started it, and
`clean` removes it before the next pass does anything else.

Membership of the group docker is as good as root: the flags protect the host from the task, not
from the caller. A root caller's task runs as an otherwise unused uid, as with every engine.
"""

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...schemas.errors import EngineError
from . import checks, docker_images, leftovers
from .docker_daemon import INSTALL, connected
from .docker_mounts import unmount
from .docker_options import LABEL, OWNER
from .docker_run import Run, remove
from .protocol import LIMITS, ImageSource, LocalImage, Outcome, Probe, Progress, Task
from .supervise import NoDiskError

if TYPE_CHECKING:
    from docker import DockerClient


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
                    return Run(client, info, task, self._state, disk=True).run(stop)
                except NoDiskError:
                    self._disk = False  # no loop devices or no mkfs.ext4: outputs are watched
            return Run(client, info, task, self._state, disk=False).run(stop)

    def clean(self, label_prefix: str) -> list[str]:
        """Remove containers whose process is gone, then the mounts that they used."""
        names = []
        with connected() as client:
            for found in client.api.containers(all=True, filters={"label": LABEL}):
                labels = found["Labels"]
                if not labels[LABEL].startswith(label_prefix) or _has_owner(labels):
                    continue
                remove(client, found["Id"])
                names.append(f"{labels[LABEL]} {found['Names'][0].lstrip('/')}")
        for note in leftovers.orphans("docker", label_prefix, state=self._state):
            for folder in note.mounts:
                unmount(folder)
            note.forget()
        return names


def _has_owner(labels: dict[str, str]) -> bool:
    try:
        return leftovers.is_alive(json.loads(labels[OWNER]))
    except (KeyError, ValueError, TypeError):
        return False


def _matters(warning: str) -> bool:
    return "No " in warning and "limit" in warning
