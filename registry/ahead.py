"""Reading ahead: a second process parses and checks what the first is about to judge.

The first look at a large registry is mostly work that needs no judgement: YAML, both validators,
signatures. While one portion of the history is judged, a process of ours reads the next from the
same clone. What it gives back spares work and decides nothing: a document that it could not read,
or a signature that it could not check (it learns keys from the owners' files that it sees), is
looked at again as if nobody had. It ends when its input does, so also when whoever started it is
killed; without it everything works, slower.

Both sides write plain values with `marshal`, which holds no code and no length to agree on. A
portion is sent only after the answer to the one before was taken, so no pipe can fill up on both
sides.
"""

import gc
import marshal
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..schemas.digests import digest
from ..schemas.documents import get_ready
from ..schemas.errors import MedperfError, SignatureError
from ..schemas.manifests import MANIFEST_LIMIT
from .git_reading import Reading
from .paths import classify
from .public_keys import fingerprint
from .statements import Checked, Statement, read_bundle

if TYPE_CHECKING:
    from .snapshot import Library

# The second process checks the signatures in blobs whose ids are below this, so many of sixteen
# that both have as much to do.
_SHARE = "9"
_PIPE = 1 << 20  # bytes: a whole portion, so that nobody waits while the other starts or reads
PATIENCE = 300.0  # seconds for a portion, which takes one: somebody has stopped the process
LEAST = 1000  # blobs in a first portion, behind which a process is worth its start
P = TypeVar("P")
Blobs = Sequence[tuple[str, str]]  # by path and id
Part = tuple[P, Blobs]


class Read(NamedTuple):
    """A document that was checked: its blob, its kind's name, its plain value as JSON."""

    oid: str
    kind: str
    digest: str
    size: int
    value: str


def portions(library: "Library", parts: Iterator[Part[P]]) -> Iterator[P]:
    """The parts one by one, once the library has read their blobs, or knows what is in them.

    A library that has no index to keep documents in reads alone: it would parse them again.
    """
    first, second = next(parts, None), next(parts, None)
    if first is None:
        return
    worth_it = library.remembers and len(first[1]) >= LEAST and (os.cpu_count() or 1) > 1
    if second is None or not worth_it:
        for part, blobs in chain([first], [second] if second else [], parts):
            library.prepare(oid for _, oid in blobs)
            yield part
        return
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        with closing(library.ahead or Reader(library.folder)) as reader:
            yield from _with(reader, library, first, second, parts)
    finally:
        gc.set_threshold(*before)


# What a portion makes is let go of with it, and hardly any of it in circles: to look for those as
# often as Python does by itself takes a tenth of the time.
_SELDOM = (1_000_000, 20, 20)


def _with(
    reader: "Reader",
    library: "Library",
    first: Part[P],
    second: Part[P],
    parts: Iterator[Part[P]],
) -> Iterator[P]:
    """The first part is read here, while the process starts and reads the second."""
    part: Part[P] = first
    following: Part[P] | None = second
    also = [blob for blob in first[1] if blob[0].startswith("owners/")]  # for their keys
    reader.send([*also, *second[1]])
    found: _Found = ([], [])
    while True:
        library.take(*found)
        library.prepare(oid for _, oid in part[1])  # what it could not make anything of
        yield part[0]
        if following is None:
            return
        part, following = following, next(parts, None)
        found = reader.take()
        if following:
            reader.send(following[1])


class Reader:
    """The process, as its parent sees it; once anything fails it gives nothing any more.

    It may be started before there is anything to read: then it makes itself ready meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603 - this very module
                [sys.executable, "-P", "-m", __name__, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for pipe in (self._process.stdin, self._process.stdout):
                _widen(pipe)

    def send(self, blobs: Blobs) -> None:
        """Hand over a portion."""
        process = self._process
        if process is not None and process.stdin is not None:
            try:
                marshal.dump(list(blobs), process.stdin)
                process.stdin.flush()
            except OSError:
                self.close()

    def take(self) -> "_Found":
        """What became of the portion that was sent last: documents and statements, by blob."""
        process = self._process
        if process is None or process.stdout is None:
            return [], []
        try:
            if not select.select([process.stdout], [], [], PATIENCE)[0]:
                raise TimeoutError
            documents, statements = marshal.load(process.stdout)  # noqa: S302 - a child of ours
        except (OSError, EOFError, ValueError, TypeError):
            self.close()
            return [], []
        read = [Read(*fields) for fields in documents]
        return read, [(oid, Checked(Statement(*fields))) for oid, fields in statements]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()


def _widen(pipe: IO[bytes] | None) -> None:
    """Give a pipe room for a portion, where the system can: elsewhere it is only slower."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)  # type: ignore[arg-type]  # it is a pipe


_Found = tuple[list[Read], list[tuple[str, Checked]]]


def serve(clone: Reading, asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer portions until there are no more: this is the second process."""
    get_ready()
    keys: dict[str, str] = {}
    while True:
        try:
            blobs: Blobs = marshal.load(asked)  # noqa: S302 - from the process that started us
        except (EOFError, ValueError):
            return
        documents, later = _documents(clone, blobs, keys)
        marshal.dump((documents, list(_statements(later, keys))), answers)
        answers.flush()


def _documents(
    clone: Reading, blobs: Blobs, keys: dict[str, str]
) -> tuple[list[tuple[str, str, str, int, str]], list[tuple[str, bytes]]]:
    """The documents, whose keys are learned, and the statements, which wait for all keys."""
    from .index import plain_text
    from .snapshot import load_at

    documents: list[tuple[str, str, str, int, str]] = []
    statements: list[tuple[str, bytes]] = []
    paths = {oid: path for path, oid in blobs}
    for oid, data in clone.blobs(paths, cap=MANIFEST_LIMIT):
        place = classify(paths[oid])
        if place.kind == "statement":
            if len(data) <= place.limit and oid < _SHARE:
                statements.append((oid, data))
            continue
        document = load_at(place.path, data) if place.kind != "other" else None
        if document is None or isinstance(document, Exception):
            continue
        _learn(document.manifest, keys)
        kind = type(document.manifest).__name__
        documents.append((oid, kind, digest(data), len(data), plain_text(document)))
    return documents, statements


def _learn(manifest: Any, keys: dict[str, str]) -> None:
    from ..schemas import manifests as kinds

    if isinstance(manifest, kinds.Owner):
        holders: list[kinds.Member | kinds.Site] = [*manifest.spec.members, *manifest.spec.sites]
        for key in (key for holder in holders for key in holder.keys):
            with suppress(SignatureError):
                keys[fingerprint(key.public_key)] = key.public_key


def _statements(
    blobs: Iterable[tuple[str, bytes]], keys: dict[str, str]
) -> Iterator[tuple[str, Any]]:
    for oid, data in blobs:
        with suppress(SignatureError, KeyError):
            bundle = read_bundle(data)
            yield oid, tuple(bundle.verify(keys[bundle.fingerprint]))


if __name__ == "__main__":
    # Ctrl-C is its parent's, who then closes its input
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(*_SELDOM)
    with suppress(BrokenPipeError, MedperfError), Reading(Path(sys.argv[1])) as clone:
        serve(clone, sys.stdin.buffer, sys.stdout.buffer)
