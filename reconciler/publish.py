"""From released runs to a proposal: signed results in one signed commit a pass (design §9).

A site has one branch, `sites/<owner>/<site>`, that nobody else writes to, so sites never contend
and never force. While its proposal is open the next commit builds on it; otherwise on main. What
stands there already is not written again, so a pass that was killed anywhere publishes once.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from ..registry.forges import forge_of
from ..registry.git import Author, Repository
from ..registry.paths import result_path, result_signature_path
from ..registry.statements import make_result
from ..schemas.errors import ConflictError, RegistryError
from .plan import Pair
from .workplace import MAIN, ORIGIN, Actor

MOST_RESULTS = 100


@dataclass(frozen=True)
class Ready:
    """A released run and the bytes of its result."""

    pair: Pair
    data: bytes

    @property
    def path(self) -> str:
        """Where the result lies in the registry."""
        pair = self.pair
        return result_path(pair.benchmark, pair.dataset, pair.model, pair.key)


@dataclass(frozen=True)
class Published:
    """The branch and the commit with the results, how many are new, and where a forge shows it."""

    branch: str
    commit: str
    results: int
    address: str = ""


class MainMovedError(ConflictError):
    """Main is not what the results were made for: look at the registry once more."""


class _NothingNewError(Exception):
    """Every result stands there already, or the proposal, `open` at this commit, is full."""

    def __init__(self, head: str | None) -> None:
        super().__init__()
        self.open = head


def site_branch(by: str) -> str:
    """The branch of a site's results, by owner/site."""
    return f"sites/{by}"


def proposed_paths(repository: Repository, branch: str) -> frozenset[str]:
    """The result files on a site's open proposal that main does not have, as of the last fetch."""
    head, main = repository.resolve(ORIGIN + branch), repository.resolve(MAIN)
    if head is None or main is None or repository.is_ancestor(head, main):
        return frozenset()
    base = repository.merge_base(head, main)
    if base is None:
        return frozenset()  # of a history that was handed over
    changes = repository.diff(base, head)
    return frozenset(change.path for change in changes if change.status == "A")


def publish(
    repository: Repository,
    url: str,
    site: Actor,
    registry: str,
    planned: str,
    ready: Sequence[Ready],
) -> Published | None:
    """Signs and pushes what is not there yet, at most 100 results a proposal; None if nothing is.

    `planned` is the commit of main for which the results were made: a MainMovedError says that
    main is another one now. Like every RegistryError it leaves the remote as it was.
    """
    branch = site_branch(site.by)
    ref = "refs/heads/" + branch
    written = 0

    def build(head: str | None) -> str:
        nonlocal written
        main = repository.fetch_ref(url, "refs/heads/main")
        if main is None:
            raise RegistryError(f"{url} has no branch main: nothing can be published there.")
        if main != planned:
            raise MainMovedError(f"main of {url} moved to {main[:12]} meanwhile. Try again.")
        is_open = head is not None and not repository.is_ancestor(head, main)
        parent = head if is_open and head is not None else main
        there = repository.tree(parent)
        waiting = 0
        if is_open:
            base = repository.merge_base(parent, main)
            if base is None:
                raise RegistryError(
                    f"{branch} is a branch of another history than main's, perhaps of one that "
                    "was handed over: delete it at the registry, or ask its admins to."
                )
            added = (change.path for change in repository.diff(base, parent))
            waiting = sum(path.endswith(".yaml") for path in added)
        room = max(0, MOST_RESULTS - waiting)
        fresh = [item for item in ready if item.path not in there][:room]
        written = len(fresh)
        if not fresh:
            raise _NothingNewError(head if is_open else None)
        return repository.commit(
            [parent],
            parent,
            _files(fresh, site, registry),
            message=_message(fresh),
            author=Author.of(site.by),
            signer=site.signer,
            date=_midnight(),
        )

    forge = forge_of(repository, url)
    try:
        commit = repository.write(forge.target(branch), ref, build)
    except _NothingNewError as error:
        if error.open is not None:  # a pass that was killed may have shown it to nobody
            forge.open(branch, head=error.open, title=f"Results of {site.by}")
        return None
    address = forge.open(branch, head=commit, title=f"Results of {site.by}")
    return Published(branch, commit, written, address)


def _files(fresh: Sequence[Ready], site: Actor, registry: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for item in fresh:
        files[item.path] = item.data
        files[result_signature_path(item.path)] = make_result(
            site.signer,
            by=site.by,
            registry=registry,
            run_key=item.pair.key,
            subject_name=item.path.rpartition("/")[2],
            data=item.data,
        )
    return files


def _message(fresh: Sequence[Ready]) -> str:
    count = f"{len(fresh)} results" if len(fresh) > 1 else "a result"
    lines = "\n".join(f"- {item.pair.benchmark}: {item.pair.model}" for item in fresh)
    return f"Publish {count}\n\n{lines}"


def _midnight() -> int:
    today = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(today.timestamp())
