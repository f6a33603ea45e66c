"""With what flags Docker runs a task: pure, from the task, its image's and the daemon's own words.

The reason of each flag stands beside it; what they hold is proved by `doctor`.
"""

import json
import posixpath
import re
from typing import Any

from ...schemas.errors import EngineError
from . import checks, leftovers, seccomp
from .docker_devices import VISIBLE, gives_devices, may_hook, runtime_for
from .protocol import Task

LABEL, OWNER = "medperf.run", "medperf.owner"


def container_options(
    task: Task,
    name: str,
    *,
    user: tuple[int, int],
    image: dict[str, Any],
    daemon: dict[str, Any],
    binds: list[Any],
) -> dict[str, Any]:
    """What `containers.create` gets for a task.

    `image`: the image's own configuration; `daemon`: what it says of itself; `binds`: the mounts.
    """
    from docker.types import DeviceRequest, LogConfig, Ulimit

    limits = task.limits
    uid, gid = user
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
        "environment": environment(task, image, daemon),
        "use_config_proxy": False,  # proxies of the caller's own configuration
        "pids_limit": limits.processes,
        # a core limit of 1, not 0: 0 does not stop a pattern that pipes into a program
        "ulimits": [
            Ulimit(name="core", soft=1, hard=1),
            Ulimit(name="nofile", soft=1024, hard=1024),
            Ulimit(name="fsize", soft=limits.output_bytes, hard=limits.output_bytes),
        ],
        "init": bool(daemon.get("InitBinary")),
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
    if "name=userns" in " ".join(daemon.get("SecurityOptions") or []):
        options["userns_mode"] = "host"  # the caller's uid is meant, not a mapped one
    if (runtime := runtime_for(daemon, gpus=bool(limits.gpus))) is not None:
        options["runtime"] = runtime  # not a vendor's, which would give devices by itself
    if limits.gpus:
        every = limits.gpus == ("all",)
        wanted = {"count": -1} if every else {"device_ids": list(limits.gpus)}
        options["device_requests"] = [DeviceRequest(capabilities=[["gpu"]], **wanted)]
    return options


def environment(task: Task, image: dict[str, Any], daemon: dict[str, Any]) -> list[str]:
    """The image's own variables, which are pinned with it, then the task's; nothing of the host's.

    No program of ours or of Docker's runs with them, but for a hook of NVIDIA's: see `_plain`.
    """
    gpus = bool(task.limits.gpus)
    own = dict(entry.partition("=")[::2] for entry in image.get("Env") or [])
    every = {**checks.ENVIRONMENT, **own, "HOME": checks.ENVIRONMENT["HOME"], **task.environment}
    values = {name: text for name, text in every.items() if not gives_devices(name, gpus=gpus)}
    if not gpus:  # unset, it means all GPUs to NVIDIA's runtime where an image has CUDA_VERSION
        values[VISIBLE] = "void"
    unset = [name for name in own if name not in values]
    if may_hook(daemon, gpus=gpus):
        values = {name: _plain(name, text) for name, text in values.items()}
    if "HOSTNAME" not in task.environment:
        unset.append("HOSTNAME")  # a bare name removes a variable
        values.pop("HOSTNAME", None)
    return [*(f"{name}={value}" for name, value in values.items()), *unset]


_LOADED = ("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD")
_LOADERS = ("LD_", "GLIBC_", "GCONV_")
_HOSTS_OWN = ("/usr/", "/lib/", "/lib64/", "/opt/")


def _plain(name: str, text: str) -> str:
    """A variable's text; the loader's without what could lead a hook outside into the image.

    Old hooks of NVIDIA's toolkit run on the host with the image's variables, as root, in the
    image's root folder: a library by a path from there, or through /proc, is then the stranger's
    code (CVE-2025-23266). Empty entries mean that folder too. What is below /usr and the like is
    the host's own file there. White space separates too, by musl's loader.
    """
    if not name.startswith(_LOADERS):
        return text
    if name not in _LOADED:
        raise EngineError(
            f"{name}={text}: with NVIDIA's runtime, Docker cannot be given {name} safely. Of the "
            f"loader's variables, write {', '.join(_LOADED)} alone."
        )
    kept = []
    for entry in re.split(r"[:;\s]" if name == "LD_PRELOAD" else r"[:;\n]", text):
        path = posixpath.normpath(entry) if entry else ""
        led = "/" in entry and not f"{path}/".startswith(_HOSTS_OWN)
        if led or ".." in entry.split("/") or "$" in entry:
            raise EngineError(
                f"{name}={text}: with NVIDIA's runtime, Docker cannot be given {entry!r} safely. "
                "Write a whole path below /usr, /lib, /lib64 or /opt, without .. and $."
            )
        if path and (name != "LD_LIBRARY_PATH" or path[0] == "/"):
            kept.append(entry)
    return ":".join(kept)
