"""Where the canaries run: each as a task of its own, in fresh folders, within tight limits."""

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from . import breakers, canary
from .engines.protocol import MIB, Engine, Limits, LocalImage, Mount, Outcome, Task

TIGHT = Limits(
    timeout=60,
    memory=256 * MIB,
    processes=64,
    cpus=1,
    output_bytes=32 * MIB,
    output_files=500,
    shm=16 * MIB,
    tmp=32 * MIB,
)


@dataclass(frozen=True)
class Bench:
    """Where the canaries run: fresh folders for each task."""

    engine: Engine
    image: LocalImage
    python: str
    place: Path
    own: bool

    def run(
        self,
        mode: str,
        *words: str,
        limits: Limits = TIGHT,
        mounts: tuple[Mount, ...] = (),
        folder: Path | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[Outcome, Path]:
        """Run the canary in one mode; how it ended and its output folder."""
        folder = folder or self.place / f"{mode}-{secrets.token_hex(3)}"
        out = folder / "out"
        tries = mode in {one.__name__ for one in canary.MODES}
        source = Path(canary.__file__ if tries else breakers.__file__)
        task = Task(
            label=f"doctor-{os.getpid()}",
            name=mode,
            image=self.image,
            folder=folder / "engine",
            log=folder / "task.log",
            entrypoint=(self.python, "/canary/canary.py"),
            arguments=(mode, *words),
            mounts=(
                Mount(source, "/canary/canary.py", kind="file"),
                Mount(out, "/report", writable=True),
                *mounts,
            ),
            limits=limits,
            workdir="/tmp",  # noqa: S108 - the task's own
        )
        return self.engine.run(task, stop=stop), out


def living(word: str, *, first: bool = False) -> list[int]:
    """Processes of this machine with `word` on their command line (`first`: as its program)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if word.encode() in (words[1:2] if first else words):
                found.append(int(path.parent.name))
    return found
