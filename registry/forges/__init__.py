"""What a forge does for a registry, whichever it is.

Git alone is the whole truth: a proposal is a branch. A forge shows it to people, may ask them for
reviews, and carries out the merge and the closing. `local` is the forge where there is none: a bare
repository at a path; `github` speaks GitHub's API; for any other remote (`pushed`) the branch is
pushed and the page to click on is told.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..git import Repository


@dataclass(frozen=True)
class Merge:
    """A merge that is ready: `commit` joins `head` onto `main`, and all `closes` end with it.

    `closes` are the branches whose work is in `head`, itself among them, with their heads.
    """

    branch: str
    head: str
    main: str
    commit: str
    closes: Mapping[str, str]


@dataclass(frozen=True)
class Closing:
    """A proposal that was closed without a merge: its last head, and the commit that says why.

    One that was closed in a browser has no such commit; `shown` is where people see it there.
    """

    branch: str
    head: str
    record: str
    shown: str = ""


class Forge(Protocol):
    """A place where proposals are looked at and merged. Branches are names below refs/heads."""

    @property
    def name(self) -> str:
        """What people call this kind of forge."""
        ...

    @property
    def refused(self) -> Mapping[str, str]:
        """The branches that the last `heads` did not take, each with why: malformed objects."""
        ...

    def target(self, branch: str) -> str:
        """The address that the caller pushes a branch to: the registry's, or that of a fork."""
        ...

    def named(self, uid: str) -> str | None:
        """The branch of the proposal that the forge knows by this number, if it has numbers."""
        ...

    def open(self, branch: str, *, head: str, title: str) -> str:
        """Show a pushed branch as a proposal; where people find it, or nothing."""
        ...

    def heads(self) -> dict[str, str]:
        """The branches of all open proposals and their heads, fetched into the repository."""
        ...

    def merge(self, merge: Merge) -> str:
        """Carry a merge out; the new tip of main. A ConflictError if anything moved meanwhile."""
        ...

    def close(self, closing: Closing) -> None:
        """End a proposal without a merge; it is remembered as rejected."""
        ...

    def closed(self, branch: str, head: str, *, at: str) -> str | None:
        """Where a branch at the address `at` is shown as closed unmerged at this head, or nothing.

        None where nobody can be asked, which is no answer.
        """
        ...

    def closings(self) -> Sequence[Closing]:
        """What was closed without a merge."""
        ...


def forge_of(repo: "Repository", url: str, environ: Mapping[str, str] | None = None) -> Forge:
    """The forge at an address; where none is known, Git alone is enough.

    GitHub is known by its host: github.com, or the one that GH_HOST in `environ` names.
    """
    from .addresses import hosted

    where = hosted(url) if not Path(url).exists() else None
    if where is None:
        from .local import LocalForge

        return LocalForge(repo, url)
    from .github import GitHubForge, is_github
    from .pushed import PushedForge

    surroundings = os.environ if environ is None else environ
    if is_github(where, surroundings):
        return GitHubForge(repo, url, where, environ=surroundings)
    return PushedForge(repo, url, where)
