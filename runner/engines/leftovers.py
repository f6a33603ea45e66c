"""What runs now, noted so that a later process finds it when this one was killed.

A note is one small file per run in the state folder; it names the process that wrote it (pid,
start time and boot id, so that a pid that was given to somebody else is not taken for it).
`orphans` gives the notes whose writer is dead. The other shared thing is here too: real uids, one
per parallel run.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schemas.errors import EngineError

UIDS = range(60600, 61000)
"""Real uids for root's tasks, from a range that systemd's table keeps free of everybody."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def check_label(label: str) -> str:
    """`label`, if it can be part of a file's and a container's name."""
    if not _LABEL.match(label):
        raise EngineError(f"{label!r} cannot label a run: use letters, digits, '.', '_' and '-'.")
    return label


def state_folder(state: Path | None) -> Path:
    """The private folder for notes; made if need be, refused if it is somebody else's."""
    folder = state or Path(tempfile.gettempdir()) / f"medperf-{os.geteuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise EngineError(f"{folder} is not a folder of this user: remove it, then try again.")
    return folder


def boot_id() -> str:
    """What tells this start of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> str | None:
    """When a process started (clock ticks since boot), or None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def me() -> dict[str, Any]:
    """This process, in a form that `is_alive` understands later."""
    return {"pid": os.getpid(), "start": start_time(os.getpid()), "boot": boot_id()}


def is_alive(owner: dict[str, Any]) -> bool:
    """Whether the very process that wrote a note still runs."""
    same: bool = owner["boot"] == boot_id() and start_time(owner["pid"]) == owner["start"]
    return same


@dataclass(frozen=True)
class Note:
    """One run that was started: what to look for and what to take away."""

    path: Path
    label: str
    name: str
    owner: dict[str, Any]
    lock: Path | None
    cgroups: tuple[Path, ...]
    mounts: tuple[Path, ...]

    def forget(self) -> None:
        """The run is over and nothing of it is left."""
        self.path.unlink(missing_ok=True)


def note(
    engine: str,
    *,
    state: Path | None,
    label: str,
    name: str,
    lock: Path | None = None,
    cgroups: tuple[Path, ...] = (),
    mounts: tuple[Path, ...] = (),
) -> Note:
    """Write down that a run begins, before anything of it does."""
    folder = state_folder(state)
    path = folder / f"{engine}.{check_label(label)}.{secrets.token_hex(6)}.json"
    made = Note(path, label, name, me(), lock, cgroups, mounts)
    text = {
        "label": label,
        "name": name,
        "owner": made.owner,
        "lock": str(lock) if lock else None,
        "cgroups": [str(item) for item in cgroups],
        "mounts": [str(item) for item in mounts],
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(text))
    temporary.replace(path)
    return made


def orphans(engine: str, label_prefix: str, *, state: Path | None) -> Iterator[Note]:
    """The notes of this engine and prefix whose writer is dead."""
    for path in sorted(state_folder(state).glob(f"{engine}.*.json")):
        try:
            text = json.loads(path.read_text())
            found = Note(
                path,
                text["label"],
                text["name"],
                text["owner"],
                Path(text["lock"]) if text["lock"] else None,
                tuple(Path(item) for item in text["cgroups"]),
                tuple(Path(item) for item in text["mounts"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or just removed by its own process
        if found.label.startswith(label_prefix) and not is_alive(found.owner):
            yield found


def wait_gone(lock: Path, *, patience: float = 15.0) -> None:
    """Return when nothing of a run lives any more: its lock is free, its first process reaped."""
    until = time.monotonic() + patience
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        soon = time.monotonic() + 0.5
        while not _locked(handle):
            if time.monotonic() > soon:
                _kill_holders(lock)
            _check_patience(until, lock)
        first, _, started = os.pread(handle, 200, 0).decode().partition(" ")
        # the kernel closes the first process's files before it has killed the last one's
        while first and start_time(int(first)) == started.strip():
            _check_patience(until, lock)
    finally:
        os.close(handle)


def _kill_holders(lock: Path) -> None:
    """End who holds a dead process's lock: bubblewrap, if it was still mounting at that moment."""
    ours = str(lock.resolve())
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            pid = int(link.parts[2])
            if pid != os.getpid() and str(link.readlink()) == ours:
                os.kill(pid, signal.SIGKILL)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_patience(until: float, lock: Path) -> None:
    if time.monotonic() > until:
        raise EngineError(
            f"A task of an earlier pass still lives (it holds {lock}): look for it with "
            f"`fuser {lock}`, end it, and try again."
        )
    time.sleep(0.005)


@contextlib.contextmanager
def uid_for_task() -> Iterator[tuple[int, int] | None]:
    """For root, a real uid and gid that nobody else has until the block ends; else None."""
    if os.geteuid() != 0:
        yield None
        return
    folder = _lease_folder()
    busy = _uids_in_use()
    for uid in UIDS:
        if uid in busy or _is_account(uid):
            continue
        handle = os.open(folder / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locked(handle):
                yield uid, uid
                return
        finally:
            os.close(handle)
    raise EngineError("Every user id that tasks may use is taken: run fewer at once.")


def _lease_folder() -> Path:
    run = Path("/run")
    return state_folder(run / "medperf-uids" if os.access(run, os.W_OK) else None)


def _is_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _uids_in_use() -> set[int]:
    uids = set()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    uids.add(entry.stat().st_uid)
    return uids
