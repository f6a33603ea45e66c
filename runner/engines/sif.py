"""SIF files, as far as their headers tell: whether it is one, and where its image wants to start.

An image that was made from a Docker image carries that image's configuration as one of the file's
objects (`oci-config.json`). Apptainer itself does not use it, but Docker's `WORKDIR` is in it, and
entrypoints with relative paths (`bash infer.sh`) need it. Everything is read within bounds: the
file is a stranger's.
"""

import json
import struct
from pathlib import Path

_MAGIC = b"SIF_MAGIC"
_HEADER = struct.Struct("<88xqq24x")  # after the launch script, the magic and the times
_OBJECT = struct.Struct("<i?3I7q128s384x")
_MOST_OBJECTS = 256
_MOST_BYTES = 1 << 20
_CONFIG = b"oci-config"


def is_sif(path: Path) -> bool:
    """Whether a file is a Singularity image, by its magic."""
    try:
        with path.open("rb") as file:
            return file.read(64)[32:41] == _MAGIC
    except OSError:
        return False


def working_folder(path: Path) -> str | None:
    """The working folder that the image's Docker configuration names; None if it names none."""
    try:
        config = json.loads(_configuration(path) or b"{}")
    except (OSError, ValueError, struct.error):
        return None
    found = config.get("WorkingDir") if isinstance(config, dict) else None
    if not isinstance(found, str) or not found.startswith("/") or ".." in found.split("/"):
        return None
    return found if found.isprintable() and len(found) <= 500 else None


def _configuration(path: Path) -> bytes | None:
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if header[32:41] != _MAGIC:
            return None
        count, offset = _HEADER.unpack(header)
        file.seek(max(0, offset))
        for _ in range(min(count, _MOST_OBJECTS)):
            _, used, _, _, _, start, size, *_, name = _OBJECT.unpack(file.read(_OBJECT.size))
            if used and name.startswith(_CONFIG) and 0 < size <= _MOST_BYTES:
                file.seek(start)
                return file.read(size)
    return None
