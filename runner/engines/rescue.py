"""What a task had written when it was killed together with the process that ran it.

Nothing of it has been looked at then: it lies in the folder of the task, or in the image file of
its sized file system. It is taken out as the end of a task takes it: plain files and folders alone,
within the limits, written anew. For cubes that go on with their own outputs; others begin anew.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from . import keeper
from .outputs import make_callers, remove_tree
from .protocol import Limits
from .supervise import BEGUN, memory_file

_PATIENCE = 3600.0
_RELEASE = 10.0
"""How long the kernel may take to let go of the image file, once its last user is gone."""


def rescue(folder: Path, limits: Limits) -> dict[int, Path]:
    """What lies there of the outputs of the task of this `folder`, by their number.

    Empty if there is nothing, or nothing that may be taken. Whatever ran there must have ended (see
    `Engine.clean`). It stays until a task is run in this folder again.
    """
    out, image = folder / "out", folder / "disk.img"
    if not out.is_dir() or not (folder / BEGUN).exists():
        return {}  # or it is half a copy of what the task was to begin with
    bounds = {"most_bytes": limits.output_bytes, "most_files": limits.output_files}
    try:
        if image.exists() and not _collected(folder, image, out, limits):
            return {}
        make_callers(out)
        keeper.plain_tree(out, **bounds)
    except (keeper.Refused, OSError):
        return {}
    return {int(path.name): path for path in out.iterdir() if path.name.isdigit()}


def _collected(folder: Path, image: Path, out: Path, limits: Limits) -> bool:
    """Copy the files of a sized file system to `out`, in a process whose mounts go with it."""
    _wait_until_free(image)
    for path in out.iterdir():
        remove_tree(path)
    told, tell = os.pipe()
    plan = {
        "parent": os.getpid(),
        "events": tell,
        "rescue": {
            "image": str(image),
            "folder": str(folder / "disk"),
            "collect": str(out),
            "bytes": limits.output_bytes,
            "files": limits.output_files,
        },
    }
    handed = memory_file(json.dumps(plan).encode())
    try:
        subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-I", "-S", "-B", keeper.__file__, str(handed)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(handed, tell),
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.close(handed)
        os.close(tell)
        with os.fdopen(told, "rb") as reader:
            lines = reader.read().splitlines()
    try:
        ended = json.loads(lines[-1])["ended"]
    except (IndexError, ValueError, KeyError):  # it was killed
        return False
    return not (ended.get("error") or ended.get("refused"))


def _wait_until_free(image: Path) -> None:
    """Return when no loop device has the file any more: what it still holds is written then."""
    end = time.monotonic() + _RELEASE
    while time.monotonic() < end:
        backed = Path("/sys/block").glob("loop*/loop/backing_file")
        if str(image.resolve()) not in {_read(path) for path in backed}:
            return
        time.sleep(0.02)


def _read(path: Path) -> str:
    try:
        return path.read_text().rstrip("\n")
    except OSError:  # gone in the meantime
        return ""
