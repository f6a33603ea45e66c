"""A pull by Docker's daemon that can be stopped while nothing comes.

docker-py waits for the next piece of an answer however long a registry takes. Here the connection
is our own, so it can be shut from outside the thread that reads it. The daemon ends the pull then,
as it does when `docker pull` is interrupted: at once while something comes; a registry that has
stalled keeps its connection, over which nothing more is asked, until it goes on or ends.
"""

import contextlib
import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .docker_daemon import socket_path
from .supervise import POLL

if TYPE_CHECKING:
    from docker import DockerClient

_PIECE = 1 << 16
_LINE = 1 << 20


class StoppedError(Exception):
    """`stop` was set before the pull was done."""


class Pull:
    """One pull: `status` is the daemon's, `problem` what it or the connection said last of one."""

    def __init__(
        self, client: "DockerClient", name: str, digest: str, platform: str | None
    ) -> None:
        import docker.auth
        import docker.utils

        name, _ = docker.utils.parse_repository_tag(name)
        registry, _ = docker.auth.resolve_repository_name(name)
        login = docker.auth.get_config_header(client.api, registry)
        self._headers = {"X-Registry-Auth": login} if login else {}
        words = {"fromImage": name, "tag": digest, **({"platform": platform} if platform else {})}
        self._path = f"/v{client.api.api_version}/images/create?{urlencode(words)}"
        self.status: int | None = None
        self.problem: str | None = None

    def run(self, stop: threading.Event | None) -> None:
        """Pull; returns when the daemon is done with it, or raises StoppedError."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(socket_path())
            reader = threading.Thread(target=self._read, args=(line,), daemon=True)
            reader.start()
            try:
                while reader.is_alive():
                    if stop is not None and stop.is_set():
                        raise StoppedError
                    reader.join(POLL)
            finally:  # Ctrl-C too
                with contextlib.suppress(OSError):  # it has ended by itself
                    line.shutdown(socket.SHUT_RDWR)
                reader.join()

    def _read(self, line: socket.socket) -> None:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = line
        try:
            connection.request("POST", self._path, headers=self._headers)
            answer = connection.getresponse()
            self.status = answer.status
            rest = b""
            while piece := answer.read1(_PIECE):
                *whole, rest = (rest + piece).split(b"\n")
                for text in whole:
                    self._take(text)
                rest = rest[-_LINE:]
            self._take(rest)
        except (OSError, http.client.HTTPException) as error:
            self.problem = str(error) or type(error).__name__

    def _take(self, text: bytes) -> None:
        with contextlib.suppress(ValueError, AttributeError):
            told = json.loads(text)
            problem = told.get("error") or (told.get("message") if self.status != 200 else None)
            self.problem = str(problem).strip() if problem else self.problem
