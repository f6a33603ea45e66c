"""A registry's history made again without some files, and the proof that nothing else is different.

Every commit of the first-parent chain is made again at its place, with the tree that it had without
the files, with its day, and without the branches that were merged (they would bring the files
back). Messages and authors of the old commits stay behind too: they may name what has to go. So
each new commit says only which place it takes, and is signed by the admin who makes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..schemas.errors import RegistryError, UsageError
from ..schemas.names import nearest
from .git import Author
from .paths import HANDOVERS, REGISTRY, classify

if TYPE_CHECKING:
    from .git import Change, Repository, Step
    from .keys import Signer


def files_below(steps: Sequence["Step"], names: Iterable[str]) -> tuple[str, ...]:
    """Every file that was ever at one of the paths, or below it, with its settings and statements.

    A UsageError for a path that the history never had, and for what no registry can be without.
    """
    ever = {change.path for step in steps for change in step.changes}
    found: set[str] = set()
    for name in names:
        path = name.strip("/")
        some = {one for one in ever if one == path or one.startswith(f"{path}/")}
        if not some:
            near = nearest(path, sorted(ever))
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"The registry never had a file {path!r}.{hint}")
        found |= some
    if REGISTRY in found:
        raise UsageError(f"{REGISTRY} cannot be left out: without it there is no registry.")
    for _ in range(2):  # settings belong to an object, and statements to both
        found |= {one for one in ever if classify(one).subject in found}
    for path in sorted(found):
        if path.startswith((f"{HANDOVERS}/", "registry.")):
            raise UsageError(f"{path} cannot be left out: it is what makes the registry count.")
    return tuple(sorted(found))


def made_again(
    repository: "Repository",
    steps: Sequence["Step"],
    without: Iterable[str],
    *,
    by: str,
    signer: "Signer",
) -> list[str]:
    """The commits of the chain `steps` once more, without these files; oldest first."""
    gone, there = frozenset(without), set[str]()
    made: list[str] = []
    for number, step in enumerate(steps, 1):
        for change in step.changes:
            if change.path in gone:
                (there.discard if change.status == "D" else there.add)(change.path)
        made.append(
            repository.commit(
                made[-1:],
                step.commit,
                dict.fromkeys(there),
                message=f"Commit {number} of the registry, made again for a hand-over",
                author=Author.of(by),
                signer=signer,
                date=_day(repository, step.commit),
            )
        )
    return made


def _day(repository: "Repository", commit: str) -> int:
    for line in repository.commit_bytes(commit).split(b"\n"):
        if line.startswith(b"committer "):
            return int(line.rsplit(b" ", 2)[1])
    raise RegistryError(f"The commit {commit} has no date.")


def left_out(old: Sequence["Step"], new: Sequence["Step"]) -> tuple[str, ...]:
    """The files that `new` is without, if it is `old` in all else, commit by commit.

    Both begin at a root; the shorter says how far is looked. A RegistryError names the first commit
    that has, changes or lacks anything else: then this is no erasure, but another registry.
    """
    gone: set[str] = set()
    kept: set[str] = set()
    for number, (one, other) in enumerate(zip(old, new, strict=False), 1):
        before, after = _by_path(one.changes), _by_path(other.changes)
        wrong = [path for path, change in after.items() if before.get(path) != change]
        if wrong:
            raise RegistryError(
                f"Commit {number} of the new history has another {wrong[0]} than the old one: it "
                "does not only leave files out. Do not follow it; ask the admins by another way."
            )
        kept |= after.keys()
        gone |= before.keys() - after.keys()
    both = sorted(gone & kept)
    if both:
        raise RegistryError(
            f"The new history leaves out {both[0]} in one commit and not in another. "
            "Do not follow it; ask the admins by another way."
        )
    return tuple(sorted(gone))


def _by_path(changes: Sequence["Change"]) -> dict[str, "Change"]:
    return {change.path: change for change in changes}


def lost(old: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What holds in `old` and is other in `new`: sentences, from pairs of a path and its state."""
    now = dict(new)
    for path, state in old:
        if now.get(path, "gone") != state:
            yield f"{path}: {state} before, {now.get(path, 'gone')} after"
