"""Reading and writing Git objects without a work tree or an index.

Reading goes through one `cat-file --batch` that lives as long as its repository. A change of a tree
touches only the folders on the way to what changes, so its cost does not grow with the registry.
"""

import hashlib
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..schemas.errors import RegistryError
from .git_process import Runner
from .paths import check_path

FILE_MODE = "100644"
FOLDER_MODE = "40000"
_OID = re.compile(r"[0-9a-f]{40}\Z")
_PIECE = 1 << 20
# Requests in flight: their 41 bytes each must fit a pipe's buffer, or both sides would wait.
_TOGETHER = 500
_TREE_CAP = 64 << 20


@dataclass(frozen=True)
class Entry:
    """One entry of a tree: `mode` as Git writes it, `type` blob, tree or commit, `oid`."""

    mode: str
    type: str
    oid: str


@dataclass(frozen=True)
class GitObject:
    """One object: its type, its true size, and its bytes (cut one byte after the cap)."""

    type: str
    size: int
    data: bytes


def check_oid(oid: str) -> str:
    """`oid`, if it is a full object id; else a RegistryError."""
    if not _OID.match(oid):
        raise RegistryError(f"{oid!r} is not the id of a Git object: write all 40 hex digits.")
    return oid


class ObjectReader:
    """Objects by id, from one `cat-file`; safe to use from several threads."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._process: Any = None
        self._lock = threading.Lock()

    def read(self, oid: str, *, cap: int) -> GitObject:
        """One object; a RegistryError if the repository does not have it."""
        return self._together([check_oid(oid)], cap)[0]

    def read_many(self, oids: Iterable[str], *, cap: int) -> Iterator[tuple[str, GitObject]]:
        """Each object of `oids`, in their order."""
        waiting: list[str] = []
        for oid in oids:
            waiting.append(check_oid(oid))
            if len(waiting) == _TOGETHER:
                yield from zip(waiting, self._together(waiting, cap), strict=True)
                waiting = []
        yield from zip(waiting, self._together(waiting, cap), strict=True)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                process.stdin.close()
            process._terminate()

    def _together(self, oids: Sequence[str], cap: int) -> list[GitObject]:
        if not oids:
            return []
        with self._lock:
            if self._process is None:
                self._process = self._runner.start("cat-file", "--batch")
            try:
                self._process.stdin.write("".join(f"{oid}\n" for oid in oids).encode())
                self._process.stdin.flush()
                return [self._answer(self._process.stdout, oid, cap) for oid in oids]
            except BaseException:
                self.close()  # answers nobody has read would be taken for the next one's
                raise

    def _answer(self, stream: IO[bytes], oid: str, cap: int) -> GitObject:
        header = stream.readline().decode().split()
        if len(header) != 3:
            raise RegistryError(
                f"The object {oid} is missing in {self._runner.folder}: fetch the registry again."
            )
        size = int(header[2])
        if size <= cap:
            return GitObject(header[1], size, stream.read(size + 1)[:-1])
        data = stream.read(cap + 1)
        left = size - len(data) + 1  # and the newline behind it
        while left > 0:
            piece = stream.read(min(left, _PIECE))
            if not piece:
                raise RegistryError(f"Git ended while the object {oid} was read.")
            left -= len(piece)
        return GitObject(header[1], size, data)


class TreeEditor:
    """Makes a tree from another and changes, folder by folder from the bottom."""

    def __init__(self, runner: Runner, reader: ObjectReader) -> None:
        self._runner = runner
        self._reader = reader

    def edit(self, tree: str | None, changes: Mapping[str, Entry | None]) -> str:
        """The id of `tree` (None: the empty one) with `changes`; an entry None deletes its path."""
        for path in changes:
            check_path(path)
        levels: dict[str, dict[str, Entry | None]] = {}
        for path, entry in changes.items():
            folder, _, name = path.rpartition("/")
            levels.setdefault(folder, {})[name] = entry
        before = self._folders(tree, list(levels))
        # Deepest first, so that a folder's new id is known when its parent is written.
        todo = {folder: dict(levels.get(folder, {})) for folder in before}
        made: list[bytes] = []
        for folder in sorted(todo, key=_depth, reverse=True):
            entries = self._apply(folder, before[folder], todo[folder])
            made.append(_tree_bytes(entries))
            if not folder:
                continue
            parent, _, name = folder.rpartition("/")
            if name in todo[parent]:
                raise RegistryError(f"{folder} would be a file and a folder at once.")
            entry = Entry(FOLDER_MODE, "tree", object_id("tree", made[-1])) if entries else None
            todo[parent][name] = entry
        return write_objects(self._runner, "tree", made)[-1]

    def _folders(self, tree: str | None, wanted: list[str]) -> dict[str, dict[str, Entry]]:
        """The entries of the folders `wanted` and of all above them; a missing one has none."""
        found: dict[str, dict[str, Entry]] = {"": self.entries(tree) if tree else {}}
        for folder in wanted:
            path = ""
            for name in filter(None, folder.split("/")):
                above, path = path, f"{path}/{name}" if path else name
                if path in found:
                    continue
                entry = found[above].get(name)
                if entry is not None and entry.type != "tree":
                    raise RegistryError(f"{path} is a file, so nothing can be written below it.")
                found[path] = self.entries(entry.oid) if entry else {}
        return found

    def entries(self, tree: str) -> dict[str, Entry]:
        """One folder's own entries, by name."""
        thing = self._reader.read(tree, cap=_TREE_CAP)
        if thing.type != "tree" or thing.size > _TREE_CAP:
            raise RegistryError(f"{tree} is not a tree that can be read.")
        entries: dict[str, Entry] = {}
        at = 0
        while at < len(thing.data):
            space = thing.data.index(b" ", at)
            end = thing.data.index(b"\0", space)
            mode = thing.data[at:space].decode()
            name = thing.data[space + 1 : end].decode(errors="surrogateescape")
            kind = {FOLDER_MODE: "tree", "160000": "commit"}.get(mode, "blob")
            entries[name] = Entry(mode, kind, thing.data[end + 1 : end + 21].hex())
            at = end + 21
        return entries

    @staticmethod
    def _apply(
        folder: str, before: dict[str, Entry], changes: dict[str, Entry | None]
    ) -> dict[str, Entry]:
        after = dict(before)
        for name, entry in changes.items():
            old = after.pop(name, None)
            if entry is None:
                continue
            if old is not None and (old.type == "tree") != (entry.type == "tree"):
                raise RegistryError(f"{folder}/{name} would be a file and a folder at once.")
            after[name] = entry
        return after


class Folders:
    """One tree, of which only the folders are read that somebody asks about."""

    def __init__(self, trees: TreeEditor, tree: str) -> None:
        self._trees = trees
        self._read: dict[str, dict[str, Entry]] = {"": trees.entries(tree)}

    def names(self, folder: str) -> Mapping[str, Entry]:
        """What lies in a folder (`""`: the top), by name; nothing where there is none."""
        if folder not in self._read:
            entry = self.entry(folder)
            is_folder = entry is not None and entry.type == "tree"
            self._read[folder] = self._trees.entries(entry.oid) if entry and is_folder else {}
        return self._read[folder]

    def entry(self, path: str) -> Entry | None:
        """What lies at a path: a file, a folder, or nothing."""
        folder, _, name = path.rpartition("/")
        return self.names(folder).get(name)


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _tree_bytes(entries: Mapping[str, Entry]) -> bytes:
    rows: list[tuple[bytes, bytes]] = []
    for name, entry in entries.items():
        raw = name.encode(errors="surrogateescape")
        # Git sorts a folder as if its name ended in a slash.
        order = raw + b"/" if entry.type == "tree" else raw
        rows.append((order, f"{entry.mode} ".encode() + raw + b"\0" + bytes.fromhex(entry.oid)))
    return b"".join(row for _, row in sorted(rows))


def object_id(kind: str, data: bytes) -> str:
    """The id that Git gives an object with these bytes."""
    named = f"{kind} {len(data)}\0".encode()
    return hashlib.sha1(named + data, usedforsecurity=False).hexdigest()


def write_objects(runner: Runner, kind: str, contents: Sequence[bytes]) -> list[str]:
    """The ids of new objects of one kind, all written by one process."""
    if len(contents) == 1:
        done = runner.run("hash-object", "-t", kind, "-w", "--stdin", data=contents[0])
        return [done.out.decode().strip()]
    if not contents:
        return []
    with tempfile.TemporaryDirectory(prefix="medperf-") as folder:
        names: list[str] = []
        for number, content in enumerate(contents):
            path = Path(folder) / str(number)
            path.write_bytes(content)
            names.append(f"{path}\n")
        done = runner.run(
            "hash-object",
            "-t",
            kind,
            "-w",
            "--no-filters",
            "--stdin-paths",
            data="".join(names).encode(errors="surrogateescape"),
        )
    return done.out.decode().split()
