"""Images for Docker: by repository digest, or from an archive, always run by id.

Which id an archive became is noted in the store, and verified: an image that is gone is loaded
again. A tag of our own keeps it from `docker image prune`; nobody else's tag is touched.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...schemas.errors import EngineError
from ...schemas.progress import work
from . import docker_archive
from .docker_pull import Pull, StoppedError
from .protocol import ImageSource, LocalImage, Progress

if TYPE_CHECKING:
    from docker import DockerClient

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ABSENT = ("not found", "manifest unknown")
REPOSITORY = "medperf/archive"


def ensure(
    client: "DockerClient",
    source: ImageSource,
    store: Path,
    progress: Progress | None,
    stop: threading.Event | None,
) -> LocalImage:
    """The image, ready to run by its id."""
    if source.archive is not None:
        identity = _from_archive(client, source, store / "docker", progress, stop)
    elif source.reference is not None:
        identity = _from_repository(client, source, source.reference, progress, stop)
    else:
        raise EngineError("A docker image needs an archive or a reference with a digest.")
    return LocalImage("docker", identity, source.digest, source.command)


def _from_repository(
    client: "DockerClient",
    source: ImageSource,
    reference: str,
    progress: Progress | None,
    stop: threading.Event | None,
) -> str:
    name, at, digest = reference.partition("@")
    if not (name and at and digest.startswith("sha256:")):
        raise EngineError(f"{reference} is not pinned: write name@sha256:…")
    found = find(client, reference)
    if found is None:
        if progress is not None:
            progress(f"pulling {reference}")
        _pull(client, source, reference, stop)
        found = find(client, reference)
    if found is None or not any(
        entry.rpartition("@")[2] == digest for entry in found.get("RepoDigests") or []
    ):
        raise EngineError(f"What was pulled is not {reference}.")
    _check_platform(client, source, f"{found['Os']}/{found['Architecture']}")
    return str(found["Id"])


def _pull(
    client: "DockerClient", source: ImageSource, reference: str, stop: threading.Event | None
) -> None:
    import docker.errors

    name, _, digest = reference.partition("@")
    try:
        pull = Pull(client, name, digest, source.platform)
        with work(f"Docker: pulling {reference}"):
            pull.run(stop)
    except StoppedError:
        raise _stopped(f"pulling {reference}") from None
    except docker.errors.DockerException as error:  # the name, or who keeps the credentials
        raise EngineError(f"{reference} cannot be pulled: {error}.") from error
    except OSError as error:
        raise EngineError(f"Docker does not answer: {error}.", transient=True) from error
    if find(client, reference) is not None:
        return
    problem = pull.problem or ""
    if pull.status == 404 or not problem or any(word in problem for word in _ABSENT):
        raise EngineError(
            f"{reference} is not in its registry: ask the cube's owner, or take an archive."
        )
    raise EngineError(
        f"{reference} cannot be pulled: {problem}. Is this machine online?", transient=True
    )


def _from_archive(
    client: "DockerClient",
    source: ImageSource,
    store: Path,
    progress: Progress | None,
    stop: threading.Event | None,
) -> str:
    note = store / f"{source.digest.removeprefix('sha256:')}.json"
    known = _noted(note)
    if known is not None and find(client, known) is not None:
        return known
    archive = source.archive
    if archive is None:
        raise EngineError("There is no archive to load.")
    image = docker_archive.look(archive, stop=stop)
    _check_platform(client, source, image.platform)
    if progress is not None:
        progress("loading the image archive")
    docker_archive.check_room(image.size, Path(client.info().get("DockerRootDir") or "/absent"))
    identity = _load(client, archive, image, stop)
    client.api.tag(identity, REPOSITORY, tag=note.stem, force=True)
    store.mkdir(parents=True, exist_ok=True)
    temporary = note.with_suffix(".new")
    temporary.write_text(json.dumps({"id": identity}))
    temporary.replace(note)
    return identity


def _check_stop(stop: threading.Event | None, doing: str) -> None:
    if stop is not None and stop.is_set():
        raise _stopped(doing)


def _stopped(doing: str) -> EngineError:
    return EngineError(f"Docker: {doing} was stopped from outside.", transient=True)


def _sent(archive: Path, stop: threading.Event | None) -> Iterator[bytes]:
    for piece in docker_archive.without_names(archive):
        _check_stop(stop, "loading the image archive")
        yield piece


def _load(
    client: "DockerClient",
    archive: Path,
    image: docker_archive.ArchivedImage,
    stop: threading.Event | None,
) -> str:
    import docker.errors

    loaded = None
    try:
        for answer in client.api.load_image(  # type: ignore[no-untyped-call]
            _sent(archive, stop)
        ):
            if "error" in answer:
                raise EngineError(f"Docker refuses the image archive: {answer['error'].strip()}.")
            text = str(answer.get("stream", ""))
            if text.startswith("Loaded image ID:"):
                loaded = text.partition(":")[2].strip()
    except docker.errors.DockerException as error:
        raise EngineError(f"Docker cannot load the image archive: {error}.") from error
    if find(client, image.identity) is not None:
        return image.identity
    # the containerd store calls images by their manifest; then what load said is all there is
    if loaded is None or find(client, loaded) is None or not _is_containerd(client):
        raise EngineError("Docker loaded the archive, but not the image that it names.")
    return loaded


def inspect(client: "DockerClient", identity: str) -> dict[str, Any]:
    """What Docker knows of an image that `ensure` gave; an EngineError where it is gone."""
    found = find(client, identity)
    if found is None:
        raise EngineError("The image was removed from Docker: run again, and it is loaded again.")
    return found


def _is_containerd(client: "DockerClient") -> bool:
    status = client.info().get("DriverStatus") or []
    return any("io.containerd.snapshotter" in str(entry) for entry in status)


def _noted(note: Path) -> str | None:
    try:
        identity = json.loads(note.read_text())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return identity if isinstance(identity, str) and identity.startswith("sha256:") else None


def find(client: "DockerClient", name: str) -> dict[str, Any] | None:
    import docker.errors

    try:
        found: dict[str, Any] = client.api.inspect_image(name)  # type: ignore[no-untyped-call]
    except docker.errors.NotFound:
        return None
    return found


def _check_platform(client: "DockerClient", source: ImageSource, found: str) -> None:
    if source.platform is not None and not f"{source.platform}/".startswith(f"{found}/"):
        raise EngineError(f"The image is for {found}, though its cube says {source.platform}.")
    version = client.version()
    here = f"{version['Os']}/{_ARCHITECTURES.get(version['Arch'], version['Arch'])}"
    if found != here:
        raise EngineError(f"The image is for {found} and cannot run here, on {here}.")
