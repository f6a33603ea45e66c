"""What a repository holds and how it came about, read from Git objects.

References are full names, matched against a pattern, so a tag named `main` is never taken for the
branch; object ids are all 40 digits. History is the first-parent chain, one process for all of it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from ..schemas.errors import RegistryError
from .git_objects import Entry, Folders, ObjectReader, TreeEditor, check_oid, write_objects
from .git_process import Runner

MAIN = "refs/heads/main"
BLOB_CAP = 1 << 20
_COMMIT_CAP = 1 << 20
_NAME_CAP = 1 << 20
MOST_CHANGES = 100_000
_TOGETHER = 250  # commits whose changes one process reads: their names must fit a pipe
_REF = re.compile(r"refs(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+\Z")
Status = Literal["A", "M", "D", "T"]


class TooManyChangesError(RegistryError):
    """A commit or a proposal changes more files than anybody reads at once."""


class Change(NamedTuple):
    """One path that a commit changes: A added, M modified, D deleted, T another type of file.

    `mode` and `oid` are the new ones; of a deleted path the old ones. A path that is no UTF-8 has
    lone surrogates.
    """

    status: Status
    mode: str
    oid: str
    path: str
    old_mode: str = ""
    old_oid: str = ""


@dataclass(frozen=True)
class Step:
    """One commit of the first-parent chain, with its changes against its first parent."""

    commit: str
    parents: tuple[str, ...]
    tree: str
    changes: tuple[Change, ...]


def is_ref(ref: str) -> bool:
    """Whether `ref` is a reference's full name, of letters that no shell or terminal minds."""
    ended = f"{ref}/"
    return bool(_REF.match(ref)) and ".." not in ref and ".lock/" not in ended and ended[-2] != "."


def check_ref(ref: str) -> str:
    """`ref`, if it is a reference's full name; else a RegistryError."""
    if not is_ref(ref):
        raise RegistryError(f"{ref!r} is not the full name of a reference, as {MAIN} is.")
    return ref


class Reading:
    """The reading half of a repository; close it, or use it in a `with`."""

    def __init__(self, folder: Path, common: Path | None = None) -> None:
        self.folder = folder
        self._runner = Runner(folder, common)
        self._reader = ObjectReader(self._runner)
        self._trees = TreeEditor(self._runner, self._reader)

    def close(self) -> None:
        """End what runs for this repository."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_shallow(self) -> bool:
        """Whether the history is cut off, so that nothing can be judged by it."""
        return (self._runner.common / "shallow").exists()

    def resolve(self, ref: str) -> str | None:
        """The id that the full name `ref` has, or None; no other name is ever tried."""
        done = self._runner.run(
            "show-ref", "--verify", "--hash", "--", check_ref(ref), expect=(0, 1, 128)
        )
        return done.out.decode().strip() if done.status == 0 else None

    def named(self, name: str) -> str | None:
        """The commit that a person means by `name`: a branch, a tag, `HEAD`, an id; or None.

        For what is typed on a command line only: the rules ask for full names.
        """
        done = self._runner.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{name}^{{commit}}",
            expect=(0, 1, 128),
        )
        return done.out.decode().strip() if done.status == 0 else None

    def refs(self, prefix: str) -> dict[str, str]:
        """All references below the folder `prefix` (as refs/heads), full name to id."""
        text = self._runner.text(
            "for-each-ref", "--format=%(objectname) %(refname)", check_ref(prefix.rstrip("/"))
        )
        pairs = (line.partition(" ") for line in text.splitlines())
        return {ref: oid for oid, _, ref in pairs if is_ref(ref)}

    def no_commits(self, places: Sequence[str]) -> dict[str, str]:
        """Of these references, and those below these folders, what is no commit: name to type.

        Git itself lets branches name commits only, at a push; a file copied in may name anything.
        """
        wanted = [check_ref(place) for place in places]
        text = self._runner.text("for-each-ref", "--format=%(objecttype) %(refname)", *wanted)
        pairs = (line.partition(" ") for line in text.splitlines())
        return {ref: kind for kind, _, ref in pairs if kind != "commit" and is_ref(ref)}

    def tree(self, commit: str) -> dict[str, Entry]:
        """Every file of a commit (or a tree), by path."""
        out = self._runner.run("ls-tree", "-r", "-z", "--full-tree", check_oid(commit)).out
        entries: dict[str, Entry] = {}
        for row in out.decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = row.partition("\t")
            mode, kind, oid = meta.split(" ")
            entries[path] = Entry(mode, kind, oid)
        return entries

    def tree_of(self, commit: str) -> str:
        """The id of a commit's tree."""
        return self.commit_bytes(commit)[5:45].decode()

    def parents(self, commit: str) -> tuple[str, ...]:
        """The ids of a commit's parents, first first."""
        header, _, _ = self.commit_bytes(commit).partition(b"\n\n")
        lines = header.decode(errors="replace").split("\n")[1:]
        found: list[str] = []
        for line in lines:
            if not line.startswith("parent "):
                break
            found.append(line[7:])
        return tuple(found)

    def blob(self, oid: str, *, cap: int = BLOB_CAP) -> bytes:
        """A blob's bytes; of one larger than `cap` the first cap + 1, which every limit refuses."""
        return self._typed(oid, "blob", cap)

    def blobs(self, oids: Iterable[str], *, cap: int = BLOB_CAP) -> Iterator[tuple[str, bytes]]:
        """Many blobs in the order asked for, each as `blob` gives it."""
        for oid, thing in self._reader.read_many(oids, cap=cap):
            if thing.type != "blob":
                raise RegistryError(f"{oid} is a {thing.type}, not a file.")
            yield oid, thing.data

    def folders(self, commit: str) -> Folders:
        """The tree of a commit, read folder by folder as it is asked for."""
        return Folders(self._trees, self.tree_of(commit))

    def file(self, commit: str, path: str, *, cap: int = BLOB_CAP) -> bytes | None:
        """The bytes of the regular file at `path` in a commit, or None."""
        entry = self.folders(commit).entry(path)
        if entry is None or entry.type != "blob" or entry.mode == "120000":
            return None
        return self.blob(entry.oid, cap=cap)

    def has_file(self, commit: str, path: str) -> bool:
        """Whether a commit has a file at `path`, of whatever size."""
        folder, _, name = path.rpartition("/")
        tree: str | None = self.tree_of(commit)
        for part in filter(None, folder.split("/")):
            entry = self._trees.entries(tree).get(part) if tree else None
            tree = entry.oid if entry is not None and entry.type == "tree" else None
        return bool(tree) and name in self._trees.entries(tree or "")

    def commit_bytes(self, oid: str) -> bytes:
        """The raw commit object, as its signature covers it."""
        return self._typed(oid, "commit", _COMMIT_CAP)

    def _typed(self, oid: str, kind: str, cap: int) -> bytes:
        thing = self._reader.read(oid, cap=cap)
        if thing.type != kind:
            raise RegistryError(f"{oid} is a {thing.type}, not a {kind}.")
        return thing.data

    # History

    def first_parents(self, tip: str, *, since: str | None = None) -> list[Step]:
        """The first-parent chain up to `tip`, oldest first, without `since` and what is before it.

        All its changes are in memory then: a whole registry is read by `chain` and `changed`. A
        RegistryError if `since` is not on that chain: then the chain was replaced, or joined from
        the side.
        """
        return list(self.changed(self.chain(tip, since=since)))

    def chain(self, tip: str, *, since: str | None = None) -> list[Step]:
        """The same chain, its steps without their changes."""
        commits = self._chain(tip, since)
        if since is not None and tip != since and (not commits or commits[0][2][:1] != (since,)):
            raise RegistryError(f"{since} is not on the first-parent chain of {tip}.")
        return [Step(commit, parents, tree, ()) for commit, tree, parents in commits]

    def changed(self, steps: Sequence[Step], *, only: Sequence[str] = ()) -> Iterator[Step]:
        """These steps with their changes, a few hundred read at a time.

        With `only`, of the changes those of these files and below these folders.
        """
        limits = ["--", *only] if only else []
        for at in range(0, len(steps), _TOGETHER):
            some = steps[at : at + _TOGETHER]
            asked = ((step.commit, step.parents[:1]) for step in some)
            changes = self._changes(asked, limits)
            for step in some:
                yield Step(step.commit, step.parents, step.tree, changes.pop(step.commit, ()))

    def altered(self, tip: str) -> frozenset[str]:
        """The paths to which the first-parent chain up to `tip` did more than to add them."""
        asked = ((commit, parents[:1]) for commit, _, parents in self._chain(tip, None))
        found = self._changes(asked, ["--diff-filter=a"])
        return frozenset(change.path for changes in found.values() for change in changes)

    def first_parent_ids(self, tip: str) -> list[str]:
        """The commits of the first-parent chain up to `tip`, oldest first."""
        return [commit for commit, _, _ in self._chain(tip, None)]

    def is_on_chain(self, commit: str, tip: str) -> bool:
        """Whether `commit` is on the first-parent chain of `tip`; an ancestor may well not be."""
        if commit == tip:
            return True
        chain = self._chain(tip, commit)
        return bool(chain) and chain[0][2][:1] == (commit,)

    def is_ancestor(self, commit: str, tip: str) -> bool:
        """Whether `tip` contains `commit`."""
        done = self._runner.run(
            "merge-base", "--is-ancestor", check_oid(commit), check_oid(tip), expect=(0, 1)
        )
        return done.status == 0

    def merge_base(self, a: str, b: str) -> str | None:
        """The best common ancestor of two commits, or None."""
        done = self._runner.run("merge-base", check_oid(a), check_oid(b), expect=(0, 1))
        return done.out.decode().strip() or None

    def commits_between(self, base: str, tip: str) -> list[str]:
        """Every commit that `tip` has and `base` has not, oldest first."""
        arguments = ["rev-list", "--reverse", "--topo-order", check_oid(tip), f"^{check_oid(base)}"]
        return self._runner.text(*arguments).split()

    def diff(self, old: str | None, new: str) -> tuple[Change, ...]:
        """What changes from one tree or commit to another (None: from the empty tree)."""
        start = check_oid(old) if old else self._empty_tree()
        words = ("diff-tree", *_RAW, "--no-commit-id", start, check_oid(new))
        return tuple(change for _, change in _raw_changes(self._runner.pieces(*words, data=b"")))

    def added(self, old: str, new: str, folder: str) -> Iterator[str]:
        """The paths below a folder that are in one commit's tree and not in an older one's."""
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A")
        limits = (check_oid(old), check_oid(new), "--", folder)
        return filter(None, _tokens(self._runner.pieces(*words, *limits, data=b"")))

    def _chain(self, tip: str, since: str | None) -> list[tuple[str, str, tuple[str, ...]]]:
        arguments = ["rev-list", "--first-parent", "--no-commit-header", "--format=%H %T %P"]
        arguments += [check_oid(tip)] + ([f"^{check_oid(since)}"] if since else [])
        rows = [line.split(" ") for line in self._runner.text(*arguments).splitlines()]
        return [(row[0], row[1], tuple(filter(None, row[2:]))) for row in reversed(rows)]

    def _changes(
        self, commits: Iterable[tuple[str, Sequence[str]]], limits: Sequence[str] = ()
    ) -> dict[str, tuple[Change, ...]]:
        found: dict[str, list[Change]] = {}
        options = ("--stdin", "--root", *_RAW, *limits)
        waiting = [" ".join([commit, *parents]) + "\n" for commit, parents in commits]
        for at in range(0, len(waiting), _TOGETHER):
            asked = "".join(waiting[at : at + _TOGETHER]).encode()
            rows = self._runner.pieces("diff-tree", *options, data=asked)
            for commit, change in _raw_changes(rows):
                found.setdefault(commit, []).append(change)
        return {commit: tuple(changes) for commit, changes in found.items()}

    def _empty_tree(self) -> str:
        return write_objects(self._runner, "tree", [b""])[0]


_RAW = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")


def _raw_changes(pieces: Iterator[bytes]) -> Iterator[tuple[str, Change]]:
    """Git's raw diffs as they come; a token is a commit's id, or `:modes ids status` before a path.

    A RegistryError where one commit changes more than may be in memory at once.
    """
    commit, many = "", 0
    tokens = _tokens(pieces)
    for token in tokens:
        if not token.startswith(":"):
            commit, many = token, 0
            continue
        many += 1
        if many > MOST_CHANGES:
            what = f"The commit {commit[:12]}" if commit else "The proposal"
            raise TooManyChangesError(
                f"{what} changes more than {MOST_CHANGES} files, which no site reads at once. "
                "Ask the registry's admins to take it back, or bring the files in by smaller ones."
            )
        old_mode, mode, old_oid, oid, status = token[1:].split(" ")
        if status == "D":
            mode, oid = old_mode, old_oid
        path = next(tokens)
        yield commit, Change(_STATUSES[status], mode, oid, path, old_mode, old_oid)


def _tokens(pieces: Iterator[bytes]) -> Iterator[str]:
    """What stands between the NULs of a stream."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\0")
        if len(rest) > _NAME_CAP:
            raise RegistryError(f"A file's name in the registry has more than {_NAME_CAP} bytes.")
        for token in whole:
            yield token.decode(errors="surrogateescape")


_STATUSES: dict[str, Status] = {"A": "A", "M": "M", "D": "D", "T": "T"}
