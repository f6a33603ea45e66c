"""What a task had written when it was killed, or could not be stored when it ended.

It lies in the folder of the task, in the image file of its sized file system, or, looked at
already, where it was being delivered to. It is taken out as the end of a task takes it: plain files
and folders alone, within the limits, written anew. For cubes that go on with their own outputs;
others begin anew. What cannot be taken out stays where it is, and that is told.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...schemas import progress
from ...schemas.errors import EngineError
from . import keeper
from .keeper.plain_files import Refused, plain_tree
from .outputs import DELIVERED, make_callers, remove_tree
from .protocol import Limits
from .supervise import BEGUN, POLL, memory_file

_PATIENCE = 3600.0
_RELEASE = 10.0
"""How long the kernel may take to let go of the image file, once its last user is gone."""


class RescueError(EngineError):
    """What a killed task had written cannot be taken over; all of it lies where it was."""


def rescue(
    folder: Path,
    limits: Limits,
    *,
    delivered: Sequence[Path] = (),
    stop: threading.Event | None = None,
) -> dict[int, Path]:
    """What the task of this `folder` had written, by the number of the output.

    `delivered`: where each output goes when the task has ended. Whatever ran there must have ended
    too (see `Engine.clean`). Empty if the task had not begun, or ended in order and was dealt with:
    call `forget` when that is so. RescueError if something is there that cannot be taken: nothing
    is removed then, and the next call finds it again.
    """
    begun = (folder / BEGUN).exists()  # else it is half a copy of what the task was to begin with
    found: dict[int, Path] = {}
    if begun:
        found = _staged(folder, limits, stop)
    elif not (folder / DELIVERED).exists():
        return {}
    there = {number: path for number, path in enumerate(delivered) if os.path.lexists(path)}
    return {**there, **found}


def forget(folder: Path) -> None:
    """What the task of this `folder` had written has been taken, or is not wanted."""
    for mark in (BEGUN, DELIVERED):
        (folder / mark).unlink(missing_ok=True)


def _staged(folder: Path, limits: Limits, stop: threading.Event | None) -> dict[int, Path]:
    out, image = folder / "out", folder / "disk.img"
    bounds = {"most_bytes": limits.output_bytes, "most_files": limits.output_files}
    try:
        if image.exists():
            _collect(folder, image, out, limits, stop)
            image.unlink()  # from here on it is like a task without a sized file system
        if not out.is_dir():
            return {}
        make_callers(out)
        plain_tree(out, **bounds)
    except (Refused, OSError) as error:
        if image.exists():
            remove_tree(out)  # half a copy, which takes room
        raise _kept(folder, image, str(error)) from error
    return {int(path.name): path for path in out.iterdir() if path.name.isdigit()}


def _kept(folder: Path, image: Path, why: str) -> RescueError:
    place, look = folder / "out", ""
    if image.exists():
        place, look = image, f" (`mount -o loop,ro {image} FOLDER` shows it)"
    return RescueError(
        f"What the last call of the task had written cannot be taken over: {why}. All of it is "
        f"still in {place}{look}, and nothing was begun. Mend that and give the same command "
        f"again; to go on without it, move {folder} elsewhere first."
    )


def _collect(
    folder: Path, image: Path, out: Path, limits: Limits, stop: threading.Event | None
) -> None:
    """Copy the files of a sized file system to `out`, in a process whose mounts go with it."""
    _wait_until_free(image)
    remove_tree(out)  # half a copy at most, of one that was killed
    for path in (out, folder / "disk"):
        path.mkdir(mode=0o700, exist_ok=True)
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
        with (
            progress.work("Taking over what the last call of the task had written"),
            subprocess.Popen(  # noqa: S603 - our own interpreter and script
                keeper.command(handed),
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(handed, tell),
                start_new_session=True,  # Ctrl-C is ours to pass on
            ) as process,
        ):
            try:
                _wait(process, stop)
            finally:
                process.kill()
    finally:
        os.close(handed)
        os.close(tell)
        with os.fdopen(told, "rb") as reader:
            answer = reader.read()
    problem = problem_in(answer)
    if problem is not None:
        raise Refused(problem)


def _wait(process: subprocess.Popen[bytes], stop: threading.Event | None) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None:
        if stop is not None and stop.is_set():
            raise Refused("it was stopped from outside")
        if time.monotonic() > end:
            raise Refused(f"copying it took longer than {_PATIENCE:g} seconds")
        time.sleep(POLL)


def problem_in(answer: bytes) -> str | None:
    """Why a copy is not whole, by what its process has said; None if it is."""
    try:
        ended: dict[str, Any] = json.loads(answer.splitlines()[-1])["ended"]
        problem = ended.get("error") or ended.get("refused")
    except (IndexError, ValueError, KeyError, TypeError, AttributeError):
        return "the process that copies it was killed"
    return None if problem is None else str(problem)


def _wait_until_free(image: Path) -> None:
    """Return when no loop device has the file any more: what it still holds is written then."""
    end = time.monotonic() + _RELEASE
    while True:
        backed = Path("/sys/block").glob("loop*/loop/backing_file")
        if str(image.resolve()) not in {_read(path) for path in backed}:
            return
        if time.monotonic() > end:
            raise Refused("it is still mounted somewhere (see `losetup --list`)")
        time.sleep(0.02)


def _read(path: Path) -> str:
    try:
        return path.read_text().rstrip("\n")
    except OSError:  # gone in the meantime
        return ""
