"""The forge where there is none: a bare repository at a path, or any Git remote without an API.

A proposal is its branch. A merge pushes main and deletes the branch, all or nothing. A proposal
that is closed leaves its record at refs/medperf/closed/<branch>/<12 digits of its head>, so the
same branch may be proposed, and closed, again; the very same commit too, at …-2 and so on.
"""

import itertools
from collections.abc import Mapping, Sequence

from ..git import MAIN, Repository
from . import Closing, Merge
from .taking import take_over

FOLDERS = ("proposals", "sites", "approvals")
REMOTE = "refs/remotes/origin"
CLOSED = "refs/medperf/closed"
MIRROR = (f"+refs/heads/*:{REMOTE}/*", f"+{CLOSED}/*:{CLOSED}/*")


def refused_branches(refused: Mapping[str, str]) -> dict[str, str]:
    """What `take_over` refused, by branch."""
    return {ref.removeprefix("refs/heads/"): why for ref, why in refused.items()}


class LocalForge:
    """Proposals as branches of the remote at `url`, seen through our repository `repo`."""

    name = "local"

    def __init__(self, repo: Repository, url: str) -> None:
        self._repo = repo
        self._url = url
        self.refused: Mapping[str, str] = {}

    def target(self, branch: str) -> str:  # noqa: ARG002
        """The registry itself."""
        return self._url

    def named(self, uid: str) -> str | None:  # noqa: ARG002
        """Nothing: branches have no numbers."""
        return None

    def open(self, branch: str, *, head: str, title: str) -> str:  # noqa: ARG002
        """Nothing to do: the branch is the proposal."""
        return ""

    def heads(self) -> dict[str, str]:
        """The branches of all open proposals and their heads."""
        self.refused = refused_branches(take_over(self._repo, self._url, MIRROR))
        found: dict[str, str] = {}
        for folder in FOLDERS:
            for ref, head in self._repo.refs(f"{REMOTE}/{folder}").items():
                found[ref.removeprefix(f"{REMOTE}/")] = head
        return found

    def merge(self, merge: Merge) -> str:
        """Push the merge commit to main and delete the branches that it closes."""
        updates: dict[str, tuple[str | None, str | None]] = {MAIN: (merge.commit, merge.main)}
        for branch, head in merge.closes.items():
            updates[f"refs/heads/{branch}"] = (None, head)
        self._repo.push(self._url, updates)
        return merge.commit

    def close(self, closing: Closing) -> None:
        """Delete the branch and leave its record, beside those of the very same commit."""
        first = f"{CLOSED}/{closing.branch}/{closing.head[:12]}"
        names = itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
        record = next(name for name in names if self._repo.resolve(name) is None)
        self._repo.push(
            self._url,
            {
                f"refs/heads/{closing.branch}": (None, closing.head),
                record: (closing.record, None),
            },
        )

    def closed(self, branch: str, head: str, *, at: str) -> str | None:  # noqa: ARG002
        """None: Git alone has nobody to ask, and what is closed there has no branch any more."""
        return None

    def closings(self) -> Sequence[Closing]:
        """What was closed, as of the last time that the heads were fetched."""
        found: list[Closing] = []
        for ref, record in sorted(self._repo.refs(CLOSED).items()):
            branch, _, _ = ref.removeprefix(f"{CLOSED}/").rpartition("/")
            heads = self._repo.parents(record)
            if branch and len(heads) == 1:
                found.append(Closing(branch, heads[0], record))
        return found
