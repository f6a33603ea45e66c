"""Who signed the commit that brought a cube, a dataset or their settings in (design §5, rule 2).

The commit that brings a blob in is one of the branch that a first-parent commit merges, or, where
there is no branch, that commit itself. A commit belongs to the first commit of the chain from which
it can be reached. Nothing is read before the first question, and then by two processes in all.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .keys import commit_signer
from .public_keys import fingerprint

if TYPE_CHECKING:
    from .git import Repository, Step

ROOMS = ("cubes/", "datasets/")


class Authors:
    """The keys whose signatures stand over the commits that brought cubes and datasets in."""

    def __init__(
        self,
        repository: "Repository",
        chain: Sequence["Step"],
        *,
        start: int = 0,
        since: str | None = None,
    ) -> None:
        """`chain`: the first-parent chain, oldest first; or the part of it from index `start` on,
        and then `since` is the commit before, whose history is not asked for.

        The last step may be a proposal that is not merged yet: its parents are main and the head,
        and its commit is the head.
        """
        self._repository = repository
        self._chain = chain
        self._start = start
        self._since = since
        self._brought: dict[tuple[int, str, str], list[str]] | None = None
        self._signers: dict[str, str | None] = {}

    def keys(self, index: int, path: str, oid: str) -> frozenset[str]:
        """Fingerprints of the keys that signed a commit which brought this blob to this path.

        `index` is that of the commit of the chain with which it came.
        """
        step = self._chain[index - self._start]
        commits = [step.commit]
        if len(step.parents) > 1:
            if self._brought is None:
                self._brought = self._read()
            commits = self._brought.get((index, path, oid), commits)
        found = (self._signer(commit) for commit in commits)
        return frozenset(key for key in found if key is not None)

    def _signer(self, commit: str) -> str | None:
        if commit not in self._signers:
            key = commit_signer(self._repository.commit_bytes(commit))
            self._signers[commit] = None if key is None else fingerprint(key)
        return self._signers[commit]

    def _read(self) -> dict[tuple[int, str, str], list[str]]:
        asked: list[tuple[str, tuple[str, ...]]] = []
        index_of: dict[str, int] = {}
        for index, commit, parents in self._branches():
            # a merge on a branch brings in nothing of its own: its sides are asked instead
            if len(parents) < 2 and _touches_rooms(self._chain[index - self._start]):
                asked.append((commit, parents))
                index_of[commit] = index
        brought: dict[tuple[int, str, str], list[str]] = {}
        for commit, changes in self._repository._changes(asked).items():
            for change in changes:
                place = (index_of[commit], change.path, change.oid)
                brought.setdefault(place, []).append(commit)
        return brought

    def _branches(self) -> list[tuple[int, str, tuple[str, ...]]]:
        """Each commit that is on no first-parent chain, with the step that it came in by."""
        tips = [self._chain[-1].commit, *self._chain[-1].parents]
        before = [f"^{self._since}"] if self._since else []
        text = self._repository._runner.text("rev-list", "--parents", *dict.fromkeys(tips), *before)
        rows = [line.split(" ") for line in text.splitlines()]
        parents = {row[0]: tuple(row[1:]) for row in rows}
        found = []
        seen: set[str] = set()
        for index, step in enumerate(self._chain, self._start):
            waiting = [*step.parents[1:]]
            if len(step.parents) < 2 or step.commit not in step.parents:
                seen.add(step.commit)
            while waiting:
                commit = waiting.pop()
                # what is not among these rows had come before `since`
                if commit not in seen and commit in parents:
                    seen.add(commit)
                    found.append((index, commit, parents[commit]))
                    waiting.extend(parents[commit])
        return found


def _touches_rooms(step: "Step") -> bool:
    return any(change.path.startswith(ROOMS) for change in step.changes)
