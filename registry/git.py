"""A Git repository of ours as the database of a registry: read by object, written by object.

Nothing is ever checked out. References are full names, matched against a pattern, so a tag named
`main` is never taken for the branch; object ids are all 40 digits. Nothing is forced: a push names
the value that each reference must still have, and only moves a reference forwards.
"""

import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from ..schemas.errors import ConflictError, RegistryError
from .git_objects import (
    FILE_MODE,
    Entry,
    GitObject,
    ObjectReader,
    TreeEditor,
    check_oid,
    write_objects,
)
from .git_process import (
    MissingRefError,
    Runner,
    push_error,
    remote_address,
    remote_error,
)

if TYPE_CHECKING:
    from .keys import Signer

__all__ = ["MAIN", "Author", "Change", "Entry", "GitObject", "Repository", "Step", "check_ref"]

MAIN = "refs/heads/main"
BLOB_CAP = 1 << 20
_COMMIT_CAP = 1 << 20
_REF = re.compile(r"refs(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+\Z")
_REFSPEC = re.compile(r"\+?(refs/[A-Za-z0-9._/-]*\*?):(refs/[A-Za-z0-9._/-]*\*?)\Z")
Status = Literal["A", "M", "D", "T"]
Built = TypeVar("Built", str, str | None)


@dataclass(frozen=True)
class Author:
    """Who a commit says has made it; identity comes from the signature, not from here."""

    name: str
    email: str

    @classmethod
    def of(cls, party: str) -> Self:
        """`owner/member` or `owner/site` as an author, with an address that leads nowhere."""
        owner, _, name = party.partition("/")
        return cls(party, f"{name}@{owner}.invalid")


@dataclass(frozen=True)
class Change:
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


def check_ref(ref: str) -> str:
    """`ref`, if it is a reference's full name; else a RegistryError."""
    if not _REF.match(ref) or ".." in ref or ref.endswith(".") or ".lock/" in f"{ref}/":
        raise RegistryError(f"{ref!r} is not the full name of a reference, as {MAIN} is.")
    return ref


class Repository:
    """One repository on disk; close it, or use it in a `with`."""

    def __init__(self, folder: Path, common: Path | None = None) -> None:
        self.folder = folder
        self._runner = Runner(folder, common)
        self._reader = ObjectReader(self._runner)
        self._trees = TreeEditor(self._runner, self._reader)

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new bare repository without hooks, its HEAD on main; harmless if it is one already."""
        path = path.absolute()
        if path.exists() and not (path / "HEAD").is_file():
            taken = not path.is_dir() or any(
                entry.name not in ("objects", "refs", "config") for entry in path.iterdir()
            )
            if taken:
                raise RegistryError(f"{path} is there already and is no Git repository.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"Cannot make {path}: {error.strerror}.") from error
        runner = Runner(path)
        runner.run("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The bare repository at `path`, or that of the checkout that `path` is in."""
        path = path.absolute()
        if (path / "HEAD").is_file() and (path / "objects").is_dir():
            return cls(path)
        for folder in (path, *path.parents) if path.exists() else ():
            found = _checkout(folder / ".git")
            if found is not None:
                return cls(*found)
        raise RegistryError(
            f"{path} is not a Git repository: name the registry's own folder or a clone of it."
        )

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

    # Reading

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
        return {ref: oid for oid, _, ref in pairs if _REF.match(ref)}

    def set_ref(self, ref: str, new: str | None, old: str | None = None) -> None:
        """Move a local reference (None deletes it); with `old`, only if it still has that value."""
        arguments = ["update-ref", "--no-deref"]
        arguments += ["-d", check_ref(ref)] if new is None else [check_ref(ref), check_oid(new)]
        if old is not None:
            arguments.append(check_oid(old))
        self._runner.run(*arguments)

    def point_head(self, ref: str) -> None:
        """Let HEAD name `ref`, which a clone then starts with."""
        self._runner.run("symbolic-ref", "HEAD", check_ref(ref))

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

    def file(self, commit: str, path: str, *, cap: int = BLOB_CAP) -> bytes | None:
        """The bytes of the regular file at `path` in a commit, or None."""
        entries = self._trees.entries(self.tree_of(commit))
        *folders, name = path.split("/")
        for folder in folders:
            entry = entries.get(folder)
            if entry is None or entry.type != "tree":
                return None
            entries = self._trees.entries(entry.oid)
        entry = entries.get(name)
        if entry is None or entry.type != "blob" or entry.mode == "120000":
            return None
        return self.blob(entry.oid, cap=cap)

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

        A RegistryError if `since` is not on that chain: then the chain was replaced, or joined
        from the side.
        """
        commits = self._chain(tip, since)
        if since is not None and tip != since and (not commits or commits[0][2][:1] != (since,)):
            raise RegistryError(f"{since} is not on the first-parent chain of {tip}.")
        changes = self._changes((commit, parents[:1]) for commit, _, parents in commits)
        return [
            Step(commit, parents, tree, changes.get(commit, ()))
            for commit, tree, parents in commits
        ]

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
        out = self._runner.run(
            "diff-tree", *_RAW, "--no-commit-id", start, check_oid(new)
        ).out.decode(errors="surrogateescape")
        return _raw_changes(out).get("", ())

    def _chain(self, tip: str, since: str | None) -> list[tuple[str, str, tuple[str, ...]]]:
        arguments = ["rev-list", "--first-parent", "--no-commit-header", "--format=%H %T %P"]
        arguments += [check_oid(tip)] + ([f"^{check_oid(since)}"] if since else [])
        rows = [line.split(" ") for line in self._runner.text(*arguments).splitlines()]
        return [(row[0], row[1], tuple(filter(None, row[2:]))) for row in reversed(rows)]

    def _changes(
        self, commits: Iterable[tuple[str, Sequence[str]]]
    ) -> dict[str, tuple[Change, ...]]:
        asked = "".join(" ".join([commit, *parent]) + "\n" for commit, parent in commits)
        done = self._runner.run("diff-tree", "--stdin", "--root", *_RAW, data=asked.encode())
        return _raw_changes(done.out.decode(errors="surrogateescape"))

    def _empty_tree(self) -> str:
        return write_objects(self._runner, "tree", [b""])[0]

    # Writing

    def write_blob(self, data: bytes) -> str:
        """The id of a blob with these bytes."""
        return write_objects(self._runner, "blob", [data])[0]

    def write_tree(self, base: str | None, changes: Mapping[str, bytes | Entry | None]) -> str:
        """The id of the tree of commit `base` (None: the empty one) with `changes`.

        None deletes. Bytes become a file of mode 100644; an entry is taken as it is.
        """
        contents = {path: data for path, data in changes.items() if isinstance(data, bytes)}
        blobs = write_objects(self._runner, "blob", list(contents.values()))
        entries: dict[str, Entry | None] = {
            path: entry for path, entry in changes.items() if not isinstance(entry, bytes)
        }
        for path, oid in zip(contents, blobs, strict=True):
            entries[path] = Entry(FILE_MODE, "blob", oid)
        return self._trees.edit(self.tree_of(base) if base else None, entries)

    def commit(
        self,
        parents: Sequence[str],
        base: str | None,
        changes: Mapping[str, bytes | Entry | None],
        *,
        message: str,
        author: Author,
        signer: "Signer | None",
        date: int | None = None,
    ) -> str:
        """The id of a new commit: `base`'s tree with `changes`; no reference moves.

        `date` is in seconds, UTC; the commit always says +0000, so it tells no time zone.
        """
        tree = self.write_tree(base, changes)
        moment = int(time.time()) if date is None else date
        who = f"{_one_line(author.name)} <{_one_line(author.email)}> {moment} +0000"
        lines = [f"tree {tree}", *(f"parent {check_oid(parent)}" for parent in parents)]
        lines += [f"author {who}", f"committer {who}", "", _message(message)]
        raw = "\n".join(lines).encode()
        if signer is not None:
            from .keys import sign_commit

            raw = sign_commit(raw, signer)
        return write_objects(self._runner, "commit", [raw])[0]

    # Remotes

    def remote_refs(self, url: str) -> dict[str, str]:
        """The references of a remote, full name to id."""
        address = remote_address(url)
        done = self._network("read", url, "ls-remote", "--quiet", "--refs", "--", address)
        rows = (line.split("\t") for line in done.splitlines())
        return {row[1]: row[0] for row in rows if len(row) == 2 and _REF.match(row[1])}

    def fetch(self, url: str, refspecs: Sequence[str], *, prune: bool = True) -> None:
        """Take over a remote's references, each refspec as `+refs/heads/*:refs/remotes/origin/*`.

        What the remote has no longer goes here too. No tags, and malformed objects are refused.
        """
        for refspec in refspecs:
            if not _REFSPEC.match(refspec) or ".." in refspec:
                raise RegistryError(f"{refspec!r} is not a refspec of full names.")
        arguments = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--refmap="]
        arguments += ["--no-write-fetch-head"] + (["--prune"] if prune else [])
        self._network("fetch", url, *arguments, "--", remote_address(url), *refspecs)

    def fetch_ref(self, url: str, ref: str) -> str | None:
        """The id that `ref` has at a remote now, its objects fetched; None if it is not there.

        No reference of ours moves, so several may do this at once.
        """
        passing = f"refs/medperf/passing/{secrets.token_hex(8)}"
        try:
            self.fetch(url, [f"+{check_ref(ref)}:{passing}"], prune=False)
        except MissingRefError:
            return None
        oid = self.resolve(passing)
        self.set_ref(passing, None)
        return oid

    def push(self, url: str, updates: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move references of a remote, all or none: full name to (new id, id it must have now).

        None as new deletes, None as old says that it must not exist yet. A ConflictError if one
        has another value by now; then nothing has changed.
        """
        arguments = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"]
        arguments += ["--recurse-submodules=no"] + (["--atomic"] if len(updates) > 1 else [])
        specs: list[str] = []
        for ref, (new, old) in updates.items():
            # The lease alone would let a push go backwards, so that is looked at here.
            if new and old and new != old and not self.is_ancestor(old, new):
                raise ConflictError(f"{new} does not build on {old}, which {ref} has. Try again.")
            arguments.append(f"--force-with-lease={check_ref(ref)}:{check_oid(old) if old else ''}")
            specs.append(f"{check_oid(new) if new else ''}:{ref}")
        arguments += ["--", remote_address(url), *specs]
        done = self._runner.run(*arguments, network=True, expect=range(256))
        if done.status:
            raise push_error(url, done)

    def write(
        self,
        url: str,
        ref: str,
        build: Callable[[str | None], Built],
        *,
        tries: int = 16,
    ) -> Built:
        """The id that `ref` has once `build` has added to it, without the loss of anybody's work.

        `build` gets the newest value and returns the commit to push, with that as an ancestor; or
        the same value (or None), if there is nothing to do. It is called again for each try.
        """
        made: str | None = None
        last = ""
        for attempt in range(tries):
            base = self.fetch_ref(url, ref)
            if made and base and self.is_ancestor(made, base):
                return base  # the push before had arrived, only its answer was lost
            made = build(base)
            if made is None or made == base:
                return made
            try:
                self.push(url, {ref: (made, base)})
            except ConflictError as error:
                last = str(error)
                if attempt + 1 < tries:
                    wait_before_retry(attempt)
            else:
                return made
        raise ConflictError(f"{ref} was not written in {tries} tries. At the last: {last}")

    def _network(self, action: str, url: str, *arguments: str) -> str:
        done = self._runner.run(*arguments, network=True, expect=range(256))
        if done.status:
            raise remote_error(url, action, done.err)
        return done.out.decode(errors="surrogateescape")


def _checkout(dotgit: Path) -> tuple[Path, Path] | None:
    """The own and the common folder of the checkout with this `.git`; looked up without Git, which
    would believe a variable of the surroundings, as it has in a hook, more than the path."""
    try:
        if dotgit.is_file():
            link = dotgit.read_text().strip().removeprefix("gitdir: ")
            dotgit = (dotgit.parent / link).resolve()
        if not (dotgit / "HEAD").is_file():
            return None
        common = dotgit / "commondir"
        shared = (dotgit / common.read_text().strip()).resolve() if common.is_file() else dotgit
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    return (dotgit, shared) if (shared / "objects").is_dir() else None


def wait_before_retry(attempt: int) -> None:
    """Full-jitter back-off: up to 0.05 s, doubling, at most 5 s."""
    time.sleep(secrets.SystemRandom().uniform(0, min(5.0, 0.05 * 2**attempt)))


_RAW = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")


def _raw_changes(out: str) -> dict[str, tuple[Change, ...]]:
    """Git's raw diffs by commit; a token is a commit's id, or `:modes ids status` before a path."""
    found: dict[str, list[Change]] = {}
    commit = ""
    tokens = iter(out.split("\0")[:-1])
    for token in tokens:
        if not token.startswith(":"):
            commit = token
            continue
        old_mode, mode, old_oid, oid, status = token[1:].split(" ")
        if status == "D":
            mode, oid = old_mode, old_oid
        change = Change(_STATUSES[status], mode, oid, next(tokens), old_mode, old_oid)
        found.setdefault(commit, []).append(change)
    return {commit: tuple(changes) for commit, changes in found.items()}


_STATUSES: dict[str, Status] = {"A": "A", "M": "M", "D": "D", "T": "T"}


def _one_line(text: str) -> str:
    """`text` as Git can hold it between the angle brackets of a name."""
    kept = "".join(
        " " if letter in "<>\n" or unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter
        for letter in text
    )
    return " ".join(kept.split()).strip(" .,:;\"'\\") or "unknown"


def _message(text: str) -> str:
    kept = text.replace("\r\n", "\n").replace("\0", " ").encode(errors="replace").decode()
    return kept.strip("\n") + "\n"
