"""Reading ahead: a second process parses and checks what the first is about to judge.

The first look at a large registry is mostly work that needs no judgement: YAML, both validators,
signatures. While one portion of the history is judged, a process of ours reads the next. What it
gives back spares work and decides nothing: a document that it could not read, or a signature that
it could not check (it learns keys from the owners' files that it sees), is looked at again as if
nobody had. It ends when its input does, so also when whoever started it is killed; without it
everything works, slower.

Both sides write plain values with `marshal`, which holds no code and no length to agree on. A
portion is sent only after the answer to the one before was taken, so no pipe can fill up on both
sides.
"""

import gc
import marshal
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ..schemas.errors import SignatureError
from .paths import classify
from .public_keys import fingerprint
from .statements import Checked, Statement, read_bundle

if TYPE_CHECKING:
    from .snapshot import Library

LEAST = 1000  # blobs in a first portion, behind which a process is worth its start
Blob = tuple[str, str, bytes]  # path, id, bytes
P = TypeVar("P")
Part = tuple[P, Sequence[tuple[str, str]]]  # and its blobs, by path and id


def portions(library: "Library", parts: Iterator[Part[P]]) -> Iterator[P]:
    """The parts one by one, each once its blobs are in the library, as far as there is room."""
    first, second = next(parts, None), next(parts, None)
    if first is None:
        return
    if second is None or len(first[1]) < LEAST or (os.cpu_count() or 1) < 2:
        for part, blobs in chain([first], [second] if second else [], parts):
            library.prepare(oid for _, oid in blobs)
            yield part
        return
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)  # what is kept grows: looking through it often takes a sixth
    try:
        with closing(_Reader()) as reader:
            yield from _with(reader, library, first, second, parts)
    finally:
        gc.set_threshold(*before)


def _with(
    reader: "_Reader",
    library: "Library",
    first: Part[P],
    second: Part[P] | None,
    parts: Iterator[Part[P]],
) -> Iterator[P]:
    """The first part is read here, while the process starts and reads the second."""
    part, following = first[0], second
    blobs = library.read(first[1])
    also = [blob for blob in blobs if blob[0].startswith("owners/")]  # for their keys
    found: _Found = ([], [])
    while True:
        waiting = library.read(following[1]) if following else []
        if following:
            reader.send([*also, *waiting])
            also = []
        library.take(blobs, *found)
        yield part
        if following is None:
            return
        part, blobs, found = following[0], waiting, reader.take()
        following = next(parts, None)


class _Reader:
    """The process, as its parent sees it; once anything fails it gives nothing any more."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603 - this very module
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def send(self, blobs: Sequence[Blob]) -> None:
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
            documents, statements = marshal.load(process.stdout)  # noqa: S302 - a child of ours
        except (OSError, EOFError, ValueError, TypeError):
            self.close()
            return [], []
        return documents, [(oid, Checked(Statement(*fields))) for oid, fields in statements]

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


_Found = tuple[list[tuple[str, str, str]], list[tuple[str, Checked]]]


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer portions until there are no more: this is the second process."""
    keys: dict[str, str] = {}
    while True:
        try:
            blobs: list[Blob] = marshal.load(asked)  # noqa: S302 - from the process that started us
        except (EOFError, ValueError):
            return
        documents = list(_documents(blobs, keys))
        marshal.dump((documents, list(_statements(blobs, keys))), answers)
        answers.flush()


def _documents(blobs: Iterable[Blob], keys: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    from ..schemas import manifests as kinds
    from .index import plain_text
    from .snapshot import load_at

    for path, oid, data in blobs:
        if classify(path).kind in ("statement", "other"):
            continue
        document = load_at(path, data)
        if isinstance(document, Exception):
            continue
        if isinstance(document.manifest, kinds.Owner):
            spec = document.manifest.spec
            holders: list[kinds.Member | kinds.Site] = [*spec.members, *spec.sites]
            for key in (key for holder in holders for key in holder.keys):
                with suppress(SignatureError):
                    keys[fingerprint(key.public_key)] = key.public_key
        yield oid, type(document.manifest).__name__, plain_text(document)


def _statements(blobs: Iterable[Blob], keys: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for path, oid, data in blobs:
        if classify(path).kind == "statement":
            with suppress(SignatureError, KeyError):
                bundle = read_bundle(data)
                statement = bundle.verify(keys[bundle.fingerprint])
                yield oid, statement.fields


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is its parent's, who then closes its input
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
