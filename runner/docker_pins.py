"""From the name of a Docker image to its content: what tags mean is asked once, here.

A tag can mean something else tomorrow, so it never goes into a manifest. The digest is found in
the Docker engine of this machine (an image that was pulled or pushed has one), else asked of the
image registry by way of that engine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..schemas.errors import EngineError, UsageError

if TYPE_CHECKING:
    from docker import DockerClient


@dataclass(frozen=True)
class Found:
    """What the engine has under a name: its own id, and `name@sha256:…` of that repository."""

    identity: str
    digests: tuple[str, ...]


def pinned(name: str) -> str:
    """`name@sha256:…` for a tag; a UsageError that says what was found where it has no digest."""
    if "@sha256:" in name:
        return name
    found = look(name)
    if len(found.digests) == 1:
        return found.digests[0]
    if found.digests:
        raise UsageError(f"{name} has more than one digest: write {' or '.join(found.digests)}.")
    asked = _ask(name)
    if asked is not None:
        return asked
    if found.identity:
        raise UsageError(
            f"{name} is on this machine only (image id {found.identity[:19]}): it has no digest "
            f"that others can pull. Push it, or write 'docker save -o image.tar {name}' and name "
            "that file; 'mlcube submit --host DIR --host-url https://…' saves it into DIR itself."
        )
    raise UsageError(
        f"{name} is neither in the Docker engine of this machine nor in its image registry. "
        "Pull it, or write it with its digest: name@sha256:…"
    )


def only_here(name: str) -> str | None:
    """The id of an image that this machine's engine has, and that nobody can pull by digest."""
    found = look(name)
    return found.identity if found.identity and not found.digests and not _ask(name) else None


def look(name: str) -> Found:
    """What the Docker engine of this machine has under a name; empty if it has nothing."""
    import docker.errors

    with connected() as client:
        try:
            image = client.images.get(name)
        except docker.errors.ImageNotFound:
            return Found("", ())
        wanted = _repository(name)
        digests = tuple(
            sorted(
                one
                for one in image.attrs.get("RepoDigests") or []
                if one.partition("@")[0] in (wanted, f"docker.io/{wanted}")
            )
        )
        return Found(str(image.id), digests)


def save(identity: str, target: Path) -> None:
    """The image as a `docker save` archive at `target`."""
    with connected() as client:
        image = client.images.get(identity)
        with target.open("wb") as sink:
            for piece in image.save(chunk_size=1 << 20):
                sink.write(piece)


def _ask(name: str) -> str | None:
    """What the image registry of a name says its digest is; None where it cannot be asked."""
    import docker.errors

    with connected() as client:
        try:
            data = client.images.get_registry_data(name)
        except docker.errors.DockerException:
            return None
        return f"{_repository(name)}@{data.id}"


def _repository(name: str) -> str:
    """The name without its tag: a colon after the last slash begins the tag, not a port."""
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


@contextmanager
def connected() -> Iterator["DockerClient"]:
    """A client of the Docker engine; an EngineError where there is none."""
    import docker
    import docker.errors

    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        raise EngineError(
            "No Docker engine answers, so the digest of an image by tag cannot be asked: start "
            "Docker, or write the image as name@sha256:…"
        ) from error
    try:
        yield client
    finally:
        client.close()
