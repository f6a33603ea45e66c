"""What an engine promises: what it must hold, what it may limit, and what a check of that says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "not-enforced", "unknown"]

MUSTS = {
    "network": "no network, no names, no sockets of the host",
    "vsock": "no way to the virtual machine's host",
    "inputs": "inputs can be read and not changed",
    "host": "no files or devices of the host",
    "processes": "no processes and no memory of the host",
    "neighbours": "nothing of a task that runs beside it",
    "identity": "never root",
    "capabilities": "no capabilities",
    "privileges": "no new privileges, and a list of refused system calls",
    "root_file_system": "a root file system that is read-only",
    "kernel_settings": "no kernel settings to write",
    "keyring": "no keys of the caller",
    "temporary": "a private /tmp and /dev/shm of a fixed size",
    "environment": "a fixed environment",
    "hostname": "a fixed host name",
    "terminal": "no terminal and no core files",
    "output": "outputs that the caller can delete, without setuid bits",
    "timeout": "everything killed when the time is up",
}
LIMITS = {
    "memory": "a limit of memory for the whole task",
    "processes-limit": "a limit of processes",
    "cpus": "a limit of CPUs",
    "output-bytes": "a limit of bytes written",
    "output-files": "a limit of files written",
    "nested": "no user namespaces inside",
}


@dataclass(frozen=True)
class Check:
    """One requirement and whether it holds; `must`: without it the engine may not be used."""

    requirement: str
    state: State
    detail: str
    must: bool
