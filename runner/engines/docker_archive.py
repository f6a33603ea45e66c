"""A stranger's `docker save` archive: looked at before the daemon reads a byte of it.

`docker load` moves local tags to whatever the archive says, so names are taken out on the way: what
is loaded has an id and nothing else. One image, plain members, bounded sizes; no extraction here.
A packed archive is refused at the header of the member with which it would be too much, before the
member is unpacked. Layers that are packed once more inside are the daemon's to unpack.
"""

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ...schemas import progress
from ...schemas.errors import EngineError
from ..archives import DEFAULT_LIMITS, ArchiveLimits
from ..tar_headers import BoundedTarInfo

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MANIFEST_LIMIT = 1 << 20
_CONFIG_LIMIT = 8 << 20
_MEMBERS = 10_000
_PIECE = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class ArchivedImage:
    """What an archive says of its one image: id (sha256 of its configuration), platform, folder.

    `size` is what the archive unpacks to, in bytes.
    """

    identity: str
    platform: str
    workdir: str | None
    size: int


def is_docker_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> bool:
    """Whether a file is a tar, packed or not, with a manifest.json."""
    try:
        with tarfile.open(path, tarinfo=BoundedTarInfo) as tar:
            return any(member.name == "manifest.json" for member in _bounded(tar, path, limits))
    except (tarfile.TarError, OSError, EOFError):
        return False


def look(
    path: Path, limits: ArchiveLimits = DEFAULT_LIMITS, *, stop: threading.Event | None = None
) -> ArchivedImage:
    """What the archive holds; an EngineError says what is wrong with it, or that it was stopped."""
    with _opened(path, stop) as tar:
        members = {member.name: member for member in _members(_bounded(tar, path, limits))}
        manifests = _json(tar, members, "manifest.json", _MANIFEST_LIMIT)
        if not isinstance(manifests, list) or len(manifests) != 1:
            raise EngineError("The image archive does not hold exactly one image: save one alone.")
        entry = manifests[0]
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise EngineError("The image archive's manifest.json does not name a configuration.")
        for name in [entry["Config"], *(entry.get("Layers") or [])]:
            if name not in members:
                raise EngineError("The image archive lacks a file that its manifest.json names.")
        data = _bytes(tar, members, entry["Config"], _CONFIG_LIMIT)
        try:
            config = json.loads(data)
            platform = f"{config['os']}/{config['architecture']}"
            workdir = (config.get("config") or {}).get("WorkingDir") or None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError("The image archive's configuration cannot be read.") from error
    identity = "sha256:" + hashlib.sha256(data).hexdigest()
    size = sum(member.size + _BLOCK for member in members.values())
    return ArchivedImage(identity, platform, workdir if isinstance(workdir, str) else None, size)


def check_room(size: int, folder: Path) -> None:
    """EngineError if the disk of `folder` has no room for an archive that unpacks to `size`."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # a daemon's folder that this caller cannot see
        return
    if size > free:
        raise EngineError(
            f"The image archive unpacks to {size} bytes, but in {folder} only {free} are free: "
            "make room there (`medperf storage cleanup` removes what is not needed), or take a "
            "smaller image."
        )


def without_names(
    path: Path, limits: ArchiveLimits = DEFAULT_LIMITS, *, stop: threading.Event | None = None
) -> Iterator[bytes]:
    """The archive again as an uncompressed tar, without any name that a daemon would set."""
    loading = progress.work("Loading the image", _unpacked_size(path))
    with loading as work, _opened(path, stop) as tar:
        for member in _members(_bounded(tar, path, limits)):
            if member.name == "repositories":
                continue
            if member.name in ("manifest.json", "index.json"):
                data = _bytes(tar, {member.name: member}, member.name, _MANIFEST_LIMIT)
                yield from _file(member.name, _nameless(member.name, data))
                continue
            yield member.tobuf(tarfile.PAX_FORMAT)
            if member.isreg():
                for piece in _content(tar, member):
                    work.advance(len(piece))
                    yield piece
    yield b"\0" * (2 * _BLOCK)


def is_packed(path: Path) -> bool:
    """Whether an archive is compressed, and no plain tar."""
    with path.open("rb") as file:
        file.seek(257)
        return file.read(5) != b"ustar"


def _unpacked_size(path: Path) -> int | None:
    """The size of an archive that is not packed; what a packed one unpacks to nobody knows."""
    return None if is_packed(path) else path.stat().st_size


def _nameless(name: str, data: bytes) -> bytes:
    value = json.loads(data)
    if name == "manifest.json":
        for entry in value:
            entry["RepoTags"] = None
    else:
        for entry in value.get("manifests", []):
            entry.pop("annotations", None)
    return json.dumps(value).encode()


def _file(name: str, data: bytes) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    header.mode = 0o644
    yield header.tobuf(tarfile.PAX_FORMAT)
    yield data + b"\0" * (-len(data) % _BLOCK)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = tar.extractfile(member)
    if source is None:
        return
    with source:
        while piece := source.read(_PIECE):
            yield piece
    yield b"\0" * (-member.size % _BLOCK)


class _Source(io.FileIO):
    """A file that looks at `stop` whenever it is read: one member may take an hour to unpack."""

    def __init__(self, path: Path, stop: threading.Event | None) -> None:
        super().__init__(path)
        self._stop = stop

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self._stop is not None and self._stop.is_set():
            raise EngineError("Reading the image archive was stopped from outside.", transient=True)
        return super().readinto(buffer)


@contextlib.contextmanager
def _opened(path: Path, stop: threading.Event | None) -> Iterator[tarfile.TarFile]:
    try:
        with (
            io.BufferedReader(_Source(path, stop)) as source,
            tarfile.open(fileobj=source, tarinfo=BoundedTarInfo) as tar,
        ):
            yield tar
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        with path.open("rb") as file:
            if file.read(4) == _ZSTD:
                raise EngineError(
                    "The image archive is packed with zstd, which this Python cannot read: pack it "
                    "with gzip."
                ) from error
        raise EngineError(f"The image archive cannot be read: {error}.") from error
    except OSError as error:
        raise EngineError(f"The image archive cannot be read: {error.strerror}.") from error


def _bounded(tar: tarfile.TarFile, path: Path, limits: ArchiveLimits) -> Iterator[tarfile.TarInfo]:
    """Members, until they are more than an archive of this size may hold.

    tarfile unpacks a member when it is asked for the one after it, so not the one that is refused.
    """
    packed = path.stat().st_size
    most = min(limits.size, max(limits.ratio_free, packed * limits.ratio))
    total = 0
    for member in tar:
        if member.size < 0:
            raise EngineError("The image archive has a member of a negative size.")
        total += _BLOCK + member.size
        if total > most:
            raise EngineError(
                f"The image archive has {packed} bytes and unpacks to more than {most}: it was "
                "refused. No image packs so well; save and pack it again."
            )
        if member.issparse():  # 8 EB of nothing, in a header
            raise EngineError("The image archive holds a sparse file: pack it without.")
        yield member


def _members(found: Iterator[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """Members with harmless names and kinds; links inside are how Docker shares layers."""
    seen = set()
    for number, member in enumerate(found):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\0" in member.name:
            raise EngineError("The image archive has a member whose name leads out of it.")
        if member.issym():
            steps = 0
            for part in (path.parent / member.linkname).parts:
                steps += -1 if part == ".." else 1
                if steps < 0 or member.linkname.startswith("/"):
                    raise EngineError("The image archive has a link that leads out of it.")
        elif not (member.isreg() or member.isdir()):
            raise EngineError("The image archive holds something beside files and folders.")
        if member.name in seen or number >= _MEMBERS:
            raise EngineError("The image archive has a member twice, or too many members.")
        seen.add(member.name)
        yield member


def _bytes(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, limit: int
) -> bytes:
    member = members.get(name)
    source = tar.extractfile(member) if member is not None and member.isreg() else None
    if member is None or source is None:
        raise EngineError(f"The file is not an image archive of docker: it has no {name}.")
    if member.size > limit:
        raise EngineError(f"The image archive's {name} is larger than {limit} bytes.")
    with source:
        return source.read(limit)


def _json(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, limit: int) -> Any:
    try:
        return json.loads(_bytes(tar, members, name, limit))
    except ValueError as error:
        raise EngineError(f"The image archive's {name} is not JSON.") from error
