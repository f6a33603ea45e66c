"""Apptainer making an image: a process that can be stopped, and that ends when this one does.

By itself `apptainer build` outlives whoever started it, and waits for a registry for ever. It runs
under the keeper, in an outer bubblewrap with a process space of its own, as tasks do; unlike tasks
it has the network, the caller's rights and the caller's files. It is ended when it is stopped, when
nothing new has come for a while (as a download is), after a time in which any image is made, and
when it has written more than any archive may hold: layers are packed, and nobody knows what they
unpack to.
"""

import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...schemas import progress
from ...schemas.errors import EngineError
from ..archives import DEFAULT_LIMITS
from .bubblewrap import bwrap
from .protocol import Reason
from .supervise import Command, KilledError, supervise

LONGEST = 6 * 3600.0
MOST = DEFAULT_LIMITS.size
PATIENCE = 300.0
"""Seconds in which something must be changed: packing and unpacking write all the time."""
_LOOK = 5.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class BuildError(EngineError):
    """Apptainer could not make an image: `reason` is a sentence.

    `ended`: somebody ended it, for a reason that no registry has given.
    """

    def __init__(
        self, doing: str, reason: str, *, transient: bool = False, ended: bool = False
    ) -> None:
        super().__init__(f"Apptainer failed while {doing}: {reason}", transient=transient)
        self.ended = ended
        self.reason = f"{reason.rstrip('.')}."


def run_build(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    doing: str,
    scratch: Path,
    writes: Path,
    stop: threading.Event | None,
) -> None:
    """Run it to its end; nothing of it is alive afterwards. BuildError if there is no image.

    `scratch` is its own private folder for what is unfinished, `writes` what it makes.
    """
    user = ["--cap-add", "ALL"] if os.geteuid() == 0 else ["--unshare-user"]
    outer = [bwrap(), "--die-with-parent", "--unshare-pid", *user, "--dev-bind", "/", "/"]
    with progress.work(f"Apptainer: {doing}"):
        try:
            ended = supervise(
                Command(
                    argv=[*outer, "--proc", "/proc", "--", *argv],
                    environment=environment,
                    lock=scratch / "lock",
                ),
                log=scratch / "log",
                timeout=LONGEST,
                stop=stop,
                watchers=[_Watch(scratch, writes)],
            )
        except KilledError as error:
            raise BuildError(
                doing, "its process was killed from outside", transient=True
            ) from error
    if ended.killed == "interrupted":
        raise BuildError(doing, "it was stopped from outside", transient=True, ended=True)
    if ended.killed == "output":
        raise BuildError(
            doing, f"it unpacks to more than {MOST} bytes, so it was ended", ended=True
        )
    if ended.killed is not None:
        why = f"nothing has come for {PATIENCE:g} seconds"
        if ended.seconds > LONGEST:
            why = f"it was not done after {LONGEST:g} seconds"
        raise BuildError(doing, f"{why}, so it was ended", transient=True)
    if ended.exit != 0:
        told = _COLOURS.sub("", ended.log_tail).strip().splitlines()
        raise BuildError(doing, told[-1] if told else f"status {ended.exit}")


class _Watch:
    """Ends a build that has changed nothing for a while, or written too much."""

    def __init__(self, *places: Path) -> None:
        self._places = places
        self._seen = (0, 0, 0)
        self._since = time.monotonic()
        self._next = 0.0

    def __call__(self, child: int) -> Reason | None:
        del child
        now = time.monotonic()
        if now < self._next:
            return None
        seen = _written(self._places)
        now = time.monotonic()
        self._next = now + min(_LOOK, PATIENCE / 4)
        if seen[0] > MOST:
            return "output"
        if seen != self._seen:
            self._seen, self._since = seen, now
        return "timeout" if now - self._since > PATIENCE else None


def _written(places: Sequence[Path]) -> tuple[int, int, int]:
    """Bytes on disk and entries below these places, and when anything there was last changed."""
    used = count = newest = 0
    waiting = [os.fspath(place) for place in places]
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            used += status.st_blocks * 512
            count += 1
            newest = max(newest, status.st_ctime_ns)  # modes too: they are set at the end
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                waiting.extend(os.path.join(path, name) for name in os.listdir(path))  # noqa: PTH118, PTH208
        except OSError:
            continue  # gone in the meantime
    return used, count, newest
