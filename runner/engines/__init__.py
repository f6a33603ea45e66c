"""Container engines behind one small protocol: sandbox, docker, singularity."""

from pathlib import Path

from ...schemas.errors import EngineError
from .protocol import (
    Engine,
    ImageSource,
    Limits,
    LocalImage,
    Mount,
    Outcome,
    Probe,
    Progress,
    Task,
)

ENGINES = ("sandbox", "docker", "singularity")

__all__ = [
    "ENGINES",
    "Engine",
    "ImageSource",
    "Limits",
    "LocalImage",
    "Mount",
    "Outcome",
    "Probe",
    "Progress",
    "Task",
    "open_engine",
]


def open_engine(name: str, *, state: Path | None = None) -> Engine:
    """The engine of this name; its libraries are imported only now.

    `state` is a folder of the site where the engine notes what runs, so that `clean` of a later
    process finds it; default: a private folder of this user below the temporary folder. Opening
    looks at nothing: `probe` says whether the engine can be used.
    """
    if name == "sandbox":
        from .sandbox import Sandbox

        return Sandbox(state=state)
    if name == "docker":
        from .docker import Docker

        return Docker(state=state)
    if name == "singularity":
        from .singularity import Singularity

        return Singularity(state=state)
    raise EngineError(f"There is no engine {name!r}: choose one of {', '.join(ENGINES)}.")
