"""What every container engine promises, and the plain values that it takes and gives.

A task runs with no network, with its inputs read-only, never as the real uid 0, without
capabilities or new privileges, on a read-only root, and it sees nothing else of the host. When the
time is up, `stop` is set, or this process dies, everything that it started dies too (docker: at the
latest in `clean`). What beyond that was truly limited, `Outcome.held` says.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

MIB = 1 << 20
GIB = 1 << 30

Reason = Literal["done", "exit", "timeout", "memory", "output", "interrupted"]
Progress = Callable[[str], None]
"""Called with one short sentence when a slow step (load, pull, convert) begins."""

LIMITS = ("timeout", "memory", "processes", "cpus", "output-bytes", "output-files", "shm", "tmp")
"""The machine words of `Outcome.held` and `Probe.held`, in the order in which people see them."""


@dataclass(frozen=True)
class Mount:
    """A host file or folder and where the task sees it; a writable one is an output.

    A writable mount of kind `file` need not exist before: afterwards it exists at `source` if the
    task wrote it. A writable folder must be empty or absent: what the task wrote is moved there
    when it has ended and been looked at, and is the caller's (folders 0700, files 0600). `seed` is
    what an output begins with, a file or a folder that is copied in: else it begins empty.
    """

    source: Path
    target: str
    writable: bool = False
    kind: Literal["directory", "file"] = "directory"
    seed: Path | None = None


@dataclass(frozen=True)
class Limits:
    """What a task may use: seconds and bytes. None: no limit of ours."""

    timeout: float = 3600.0
    memory: int | None = None
    processes: int = 512
    cpus: float | None = None
    output_bytes: int = 10 * GIB
    output_files: int = 200_000
    shm: int = 64 * MIB
    tmp: int = 1 * GIB
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSource:
    """Where an image comes from: a repository by digest, or an archive that is already verified.

    `digest` is the archive's sha256 or the repository digest, `sha256:…` in both cases. `command`
    is the sandbox's own: what to run in the unpacked archive.
    """

    engine: str
    reference: str | None
    archive: Path | None
    digest: str
    platform: str | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LocalImage:
    """An image that is ready to run here: `identity` is docker's image id, or a file or folder."""

    engine: str
    identity: str | Path
    digest: str
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """One task of a cube, fully decided.

    `label` finds leftovers again (a run's id: letters, digits, `.`, `_`, `-`), `name` tells the
    tasks of one run apart. `entrypoint` None means the image's own (sandbox: its command).
    `folder` is a private folder of this task alone (0700), made if it is not there, for the
    engine's own files; `log` is written anew. `goes_on`: what it wrote is wanted though we fail
    ourselves, and is left in `folder` for `rescue` then.
    """

    label: str
    name: str
    image: LocalImage
    folder: Path
    log: Path
    entrypoint: tuple[str, ...] | None = None
    arguments: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    limits: Limits = field(default_factory=Limits)
    scratch_root: bool = False
    goes_on: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    `exit` is None if it was killed by us. `reason`: `done` (exit 0), `exit` (another status),
    `timeout`, `memory`, `output` (too much, or not plain files), `interrupted` (`stop` was set).
    `detail` is a sentence for a person, without anything of the task's own words. `log_tail` is
    private: it stays at the site.
    """

    exit: int | None
    reason: Reason
    seconds: float
    peak_memory: int | None
    held: frozenset[str]
    log_tail: str
    detail: str = ""


@dataclass(frozen=True)
class Probe:
    """What an engine is here and now: version, whose rights it runs with, which limits hold.

    `problems` are sentences about what does not hold; they do not stop a run.
    """

    version: str
    caller: Literal["root", "user"]
    held: frozenset[str]
    problems: tuple[str, ...] = ()


class Engine(Protocol):
    """A container engine. Every method may be called again, and from any thread that waits."""

    name: str

    def probe(self) -> Probe:
        """What the engine is; raises EngineError, with what to do, where it cannot be used."""

    def ensure_image(
        self,
        source: ImageSource,
        *,
        store: Path,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> LocalImage:
        """The image, loaded, pulled or unpacked once and found again in `store` later.

        Where it takes long, `stop` ends it in order: an EngineError then.
        """

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        """Run the task to its end; nothing of it is alive afterwards, and outputs are the caller's.

        Raises EngineError if the engine itself failed; how the task did is in the Outcome.
        """

    def clean(self, label_prefix: str) -> list[str]:
        """Kill and remove what an earlier, killed pass left under these labels; their names."""
