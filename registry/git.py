"""A Git repository of ours as the database of a registry: read by object, written by object.

Nothing is ever checked out. References are full names, matched against a pattern, so a tag named
`main` is never taken for the branch; object ids are all 40 digits. Nothing is forced: a push names
the value that each reference must still have, and only moves a reference forwards.
"""

import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from ..schemas.errors import ConflictError, RegistryError
from ..schemas.progress import is_watched
from .git_objects import FILE_MODE, Entry, GitObject, check_oid, write_objects
from .git_process import (
    DamagedCloneError,
    Meanwhile,
    MissingRefError,
    Runner,
    is_damage,
    push_error,
    remote_address,
    remote_error,
)
from .git_reading import MAIN, Change, Reading, Step, check_ref, is_ref

if TYPE_CHECKING:
    from .keys import Signer

__all__ = ["MAIN", "Author", "Change", "Entry", "GitObject", "Repository", "Step", "check_ref"]

_REFSPEC = re.compile(r"\+?(refs/[A-Za-z0-9._/-]*\*?):(refs/[A-Za-z0-9._/-]*\*?)\Z")
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


class Repository(Reading):
    """One repository on disk; close it, or use it in a `with`."""

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

    # Writing

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
        return {row[1]: row[0] for row in rows if len(row) == 2 and is_ref(row[1])}

    def fetch(
        self,
        url: str,
        refspecs: Sequence[str],
        *,
        prune: bool = True,
        meanwhile: Meanwhile | None = None,
    ) -> None:
        """Take over a remote's references, each refspec as `+refs/heads/*:refs/remotes/origin/*`.

        What the remote has no longer goes here too. No tags, and malformed objects are refused.
        `meanwhile` is done while the network is waited for.
        """
        for refspec in refspecs:
            if not _REFSPEC.match(refspec) or ".." in refspec:
                raise RegistryError(f"{refspec!r} is not a refspec of full names.")
        arguments = ["fetch", "--no-tags", "--no-recurse-submodules", "--refmap="]
        arguments += ["--quiet"] + (["--progress"] if is_watched() else [])
        arguments += ["--no-write-fetch-head"] + (["--prune"] if prune else [])
        address = remote_address(url)
        self._network("fetch", url, *arguments, "--", address, *refspecs, meanwhile=meanwhile)

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

    def replace(self, url: str, ref: str, new: str, old: str | None) -> None:
        """Put another history in the place of `old` at a remote's reference, and nothing else.

        The one push that goes over what is there: only an admin's hand-over may. A ConflictError
        if the reference has another value by now.
        """
        lease = f"--force-with-lease={check_ref(ref)}:{check_oid(old) if old else ''}"
        arguments = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"]
        arguments += ["--recurse-submodules=no", lease, "--", remote_address(url)]
        done = self._runner.run(
            *arguments, f"+{check_oid(new)}:{ref}", network=True, expect=range(256)
        )
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

    def _network(
        self, action: str, url: str, *arguments: str, meanwhile: Meanwhile | None = None
    ) -> str:
        if arguments[0] == "fetch":  # which brings what the remote says, however much that is
            what = "Fetching the registry"
            done = self._runner.watched(*arguments, what=what, meanwhile=meanwhile)
        else:
            done = self._runner.run(*arguments, network=True, expect=range(256))
        if done.status:
            if is_damage(done.err, self.folder):
                raise DamagedCloneError(self.folder)
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
