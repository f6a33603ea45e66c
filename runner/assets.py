"""Files by address, believed by digest and size, kept once in a content-addressed folder.

`<root>/sha256/ab/<hex>` is a whole, verified file, read-only, and hashed again whenever it is asked
for. `<root>/partial/<hex>` is a download that was interrupted; the next call goes on from there.
What arrives is hashed, the size is a hard bound, and a file moves to its place only when both are
right. Several processes may fetch the same asset at once: the partial file is locked, one of them
downloads, the others wait and find it.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ..schemas.digests import file_digest
from ..schemas.errors import AssetError
from ..schemas.manifests import Asset
from .content import open_plain
from .download import AssetPolicy, Reply, file_path, open_url
from .partial import (
    Progress,
    Sink,
    forget,
    known_validator,
    locked,
    record_validator,
    validator,
)

__all__ = ["AssetPolicy", "Assets", "Progress"]

PIN_LIMIT = 100 << 30
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)\Z")


class _Mixed(Exception):  # noqa: N818
    """What was resumed does not fit together: start again from nothing."""


def stored(root: Path, digest: str) -> Path:
    """Where a store by digest below `root` has the file of this digest."""
    hex_digits = digest.removeprefix("sha256:")
    return root / "sha256" / hex_digits[:2] / hex_digits


class Assets:
    """The assets of a site: fetched by `policy`, kept below `root`.

    `carried` is a store of the same form that somebody brought, asked before any address.
    """

    def __init__(self, root: Path, policy: AssetPolicy, carried: Path | None = None) -> None:
        self.root = root
        self.policy = policy
        self.carried = carried

    def path(self, digest: str) -> Path:
        """Where the asset of this digest is kept once it is here."""
        return stored(self.root, digest)

    def fetch(
        self,
        asset: Asset,
        *,
        mirrors: Sequence[str] = (),
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Path:
        """The verified file of `asset`: from the cache, what was carried, its URL, or a mirror.

        AssetError says for each address why it could not be had; a digest that is wrong at one is
        no reason not to ask the next. The path may be read, not written.
        """
        if (cached := self._cached(asset)) is not None:
            return cached
        reasons: list[AssetError] = []
        addresses: dict[str, Path | None] = {}
        if self.carried is not None and (brought := stored(self.carried, asset.digest)).is_file():
            addresses[str(brought)] = brought
        addresses |= dict.fromkeys([asset.url, *mirrors])
        for url, source in addresses.items():
            try:
                return self._obtain(asset, url, progress, stop, source=source)
            except AssetError as error:
                reasons.append(error)
                if stop is not None and stop.is_set():
                    break
        if len(reasons) == 1:
            raise reasons[0]
        raise AssetError(
            "\n".join(str(reason) for reason in reasons),
            transient=any(reason.transient for reason in reasons),
        )

    def pin(
        self, url: str, *, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> Asset:
        """The asset that is at this address now: downloaded, measured, and kept in the cache."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _disk_errors(url):
            handle, name = tempfile.mkstemp(prefix=".pin-", dir=self.root)
            fresh = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    sink = Sink(file, PIN_LIMIT, url, progress, stop)
                    sink.total = None
                    if url.startswith("file:"):
                        _copy(self._allowed(url), sink)
                    else:
                        with open_url(url, self.policy, headers={}) as reply:
                            _expect(reply, 200)
                            sink.take(reply.pieces)
                asset = Asset(url=url, digest="sha256:" + sink.sha.hexdigest(), size=sink.done)
                self._keep(fresh, asset)
                return asset
            finally:
                fresh.unlink(missing_ok=True)

    def keep_copy(self, file: Path, url: str) -> Asset:
        """The asset of a file of this machine, now in the cache; `url` is what people read."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _disk_errors(url):
            handle, name = tempfile.mkstemp(prefix=".pin-", dir=self.root)
            fresh = Path(name)
            try:
                with os.fdopen(handle, "wb") as sink, file.open("rb") as source:
                    shutil.copyfileobj(source, sink, 1 << 20)
                asset = Asset(url=url, digest=file_digest(fresh), size=fresh.stat().st_size)
                self._keep(fresh, asset)
                return asset
            finally:
                fresh.unlink(missing_ok=True)

    def _cached(self, asset: Asset) -> Path | None:
        path = self.path(asset.digest)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        if not (stat.S_ISREG(found.st_mode) and file_digest(path) == asset.digest):
            path.unlink(missing_ok=True)  # damaged since it was verified: fetch it anew
            return None
        if found.st_size != asset.size:
            raise AssetError(
                f"{asset.url} is pinned with {asset.size} bytes, but the file of this digest has "
                f"{found.st_size}. Ask the owner of the manifest to correct it."
            )
        return path

    def _keep(self, fresh: Path, asset: Asset) -> Path:
        path = self.path(asset.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.replace(path)
        path.chmod(0o444)  # not before: a partial file that cannot be written could not go on
        return path

    def _obtain(
        self,
        asset: Asset,
        url: str,
        progress: Progress | None,
        stop: threading.Event | None,
        *,
        source: Path | None,
    ) -> Path:
        """Fetched from `url`, or copied from `source`, which no manifest has named."""
        partial = self.root / "partial" / asset.digest.removeprefix("sha256:")
        with _disk_errors(url):
            partial.parent.mkdir(parents=True, exist_ok=True)
            with locked(partial, stop) as file:
                if (cached := self._cached(asset)) is not None:  # another process was faster
                    partial.unlink(missing_ok=True)
                    return cached
                self._check_room(asset, file)
                try:
                    if source is not None or url.startswith("file:"):
                        file.truncate(0)
                        sink = Sink(file, asset.size, url, progress, stop)
                        _copy(source or self._allowed(url), sink)
                    else:
                        sink = self._download(asset, url, file, progress, stop)
                    _verify(asset, url, sink)
                except AssetError as error:
                    if not error.transient:  # nothing to go on from
                        forget(partial)
                    raise
                validator(partial).unlink(missing_ok=True)
                return self._keep(partial, asset)

    def _check_room(self, asset: Asset, file: IO[bytes]) -> None:
        need = asset.size - os.fstat(file.fileno()).st_size
        free = shutil.disk_usage(self.root).free
        if need > free:
            raise AssetError(
                f"The disk is full: {need} bytes are needed for {asset.url}, {free} are free. "
                "Make room and try again.",
                transient=True,
            )

    def _allowed(self, url: str) -> Path:
        path = file_path(url)
        if not self.policy.allows_file(path):
            raise AssetError(
                f"{url} is refused: it lies below no folder of policy.files. Add its folder there "
                "if cubes may be read from it."
            )
        return path.resolve()

    def _download(
        self,
        asset: Asset,
        url: str,
        file: IO[bytes],
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> "Sink":
        partial = Path(file.name)
        try:
            return self._ask(asset, url, file, progress, stop)
        except _Mixed:
            file.truncate(0)
            validator(partial).unlink(missing_ok=True)
            try:
                return self._ask(asset, url, file, progress, stop)
            except _Mixed as error:
                raise AssetError(f"{url}: the server's answers do not fit together.") from error

    def _ask(
        self,
        asset: Asset,
        url: str,
        file: IO[bytes],
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> "Sink":
        partial = Path(file.name)
        sink = Sink(file, asset.size, url, progress, stop)
        sink.resume()
        if sink.done > asset.size:
            raise _Mixed
        if sink.done == asset.size and sink.done:
            if "sha256:" + sink.sha.hexdigest() != asset.digest:
                raise _Mixed
            return sink
        have = sink.done
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if etag := known_validator(partial, url):
                headers["If-Range"] = etag
        with open_url(url, self.policy, headers=headers) as reply:
            if have and reply.status == 416:
                raise _Mixed
            if have and reply.status == 206:
                _check_range(reply, have, asset)
            else:
                _expect(reply, 200)
                _check_length(reply, asset)
                sink.restart()
                record_validator(partial, reply, url)
            sink.take(reply.pieces)
        if have and reply.status == 206 and "sha256:" + sink.sha.hexdigest() != asset.digest:
            raise _Mixed  # the file at the address was replaced between the two halves
        return sink


def _copy(source: Path, sink: Sink) -> None:
    try:
        file = open_plain(source)
    except OSError as error:
        raise AssetError(f"{sink.url} cannot be read: {error.strerror}.") from error
    with file:
        sink.take(iter(lambda: file.read(_PIECE), b""))


def _verify(asset: Asset, url: str, sink: Sink) -> None:
    if sink.done != asset.size:
        raise AssetError(
            f"{url} has {sink.done} bytes, but {asset.size} were pinned. Ask its owner which file "
            "is meant."
        )
    found = "sha256:" + sink.sha.hexdigest()
    if found != asset.digest:
        raise AssetError(
            f"{url} is not the file that was pinned: it has {found}, the manifest says "
            f"{asset.digest}. Ask its owner which file is meant."
        )


def _expect(reply: Reply, status: int) -> None:
    if reply.status != status:
        gone = 400 <= reply.status < 500 and reply.status not in (408, 425, 429)
        raise AssetError(
            f"{reply.url}: the server answers {reply.status}. "
            + ("Check the address with its owner." if gone else "Try again later."),
            transient=not gone,
        )


def _check_length(reply: Reply, asset: Asset) -> None:
    length = reply.headers.get("content-length")
    if length is not None and length != str(asset.size):
        raise AssetError(
            f"{reply.url} has {length} bytes, but {asset.size} were pinned: it was refused. Ask "
            "its owner which file is meant."
        )


def _check_range(reply: Reply, have: int, asset: Asset) -> None:
    match = _RANGE.match(reply.headers.get("content-range", ""))
    if match is None or int(match[1]) != have or match[3] not in ("*", str(asset.size)):
        raise _Mixed


@contextlib.contextmanager
def _disk_errors(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AssetError(
                f"The disk is full while {url} is fetched. Make room and try again: what has "
                "arrived is kept.",
                transient=True,
            ) from error
        raise AssetError(f"{url} cannot be stored: {error.strerror or error}.") from error
