"""Following a container: its output, bounded, as it comes; its end; why we ended it, if we did."""

import contextlib
import os
import selectors
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .protocol import Reason
from .supervise import POLL
from .tasklog import TaskLog

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container


@dataclass
class Follow:
    """Reads a container's output while it lives and looks at clock, stop and watchers."""

    container: "Container"
    stream: int
    log: TaskLog
    look: Callable[[], Reason | None]

    def until_end(self, timeout: float, stop: threading.Event | None) -> Reason | None:
        """Return when the container has ended; why we killed it, if we did."""
        started = time.monotonic()
        killed: Reason | None = None
        frames = _Frames(self.log)
        asked = started
        with selectors.DefaultSelector() as selector:
            os.set_blocking(self.stream, False)
            selector.register(self.stream, selectors.EVENT_READ)
            while True:
                if selector.select(POLL):
                    try:
                        piece = os.read(self.stream, 1 << 18)
                    except BlockingIOError:
                        continue
                    except ConnectionError:  # the daemon went away: `wait` tells it
                        return killed
                    if not piece:
                        return killed
                    frames.take(piece)
                now = time.monotonic()
                if killed is None:
                    if stop is not None and stop.is_set():
                        killed = "interrupted"
                    elif now - started > timeout:
                        killed = "timeout"
                    else:
                        killed = self.look()
                    if killed is not None:
                        kill(self.container)
                if now - asked > 2.0:  # the stream's end is how we know; this is for lost ones
                    asked = now
                    self.container.reload()
                    if self.container.status in ("exited", "dead"):
                        return killed


class _Frames:
    """Docker's stream: eight bytes of header, then that many bytes of stdout or stderr."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log
        self._header = b""
        self._left = 0

    def take(self, piece: bytes) -> None:
        while piece:
            if self._left:
                data, piece = piece[: self._left], piece[self._left :]
                self._left -= len(data)
                self._log.write(data)
                continue
            need = 8 - len(self._header)
            self._header, piece = self._header + piece[:need], piece[need:]
            if len(self._header) == 8:
                self._left = struct.unpack(">4xI", self._header)[0]
                self._header = b""


@contextlib.contextmanager
def attached(client: "DockerClient", identity: str) -> Iterator[int]:
    """The descriptor of a container's output, from its first byte on."""
    stream = client.api.attach_socket(
        identity, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
    )
    try:
        yield stream.fileno()
    finally:
        response = stream._response
        response.close()
        stream.close()


def kill(container: "Container") -> None:
    import docker.errors

    with contextlib.suppress(docker.errors.APIError):  # 409: it has just ended by itself
        container.kill()
