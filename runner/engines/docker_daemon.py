"""A connection to the Docker daemon of this machine, or what to do where there is none."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...schemas.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

INSTALL = "start the Docker daemon, or choose the engine singularity or sandbox"
_SOCKET = "/var/run/docker.sock"


def socket_path() -> str:
    """Where the daemon of this machine listens; an EngineError where another one is named."""
    address = os.environ.get("DOCKER_HOST", f"unix://{_SOCKET}")
    kind, _, path = address.partition("://")
    if kind != "unix":
        raise EngineError(
            f"DOCKER_HOST is {address}: only a daemon of this machine can see its folders. "
            f"Unset DOCKER_HOST, or {INSTALL}."
        )
    return path


@contextlib.contextmanager
def connected() -> Iterator["DockerClient"]:
    """A connection to the daemon; an EngineError says what to do where there is none."""
    path = socket_path()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    except FileNotFoundError as error:
        raise EngineError(
            f"There is no Docker here: {path} does not exist. Install Docker and {INSTALL}."
        ) from error
    except PermissionError as error:
        raise EngineError(
            f"This user may not use Docker: {path} refuses. Join the group docker "
            f"(`sudo usermod -aG docker $USER`, then log in again), or {INSTALL}."
        ) from error
    except OSError as error:
        raise EngineError(
            f"Docker does not answer at {path} ({error.strerror}): {INSTALL}.", transient=True
        ) from error
    import docker
    import docker.errors
    import requests.exceptions

    try:
        connection = docker.DockerClient(base_url=f"unix://{path}", version="auto", timeout=120)
    except docker.errors.DockerException as error:
        raise EngineError(f"Docker does not answer: {error}. Try again, or {INSTALL}.") from error
    try:
        yield connection
    except requests.exceptions.RequestException as error:  # an OSError, but of no file
        raise EngineError(f"Docker went away: {error}.", transient=True) from error
    finally:
        connection.close()
