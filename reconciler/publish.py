"""From released runs to a proposal: signed results in one signed commit a pass (design §9).

A site has a branch, `sites/<owner>/<site>`, that nobody else writes to, so sites never contend and
never force. While its proposal is open the next commit builds on it; otherwise on main. A proposal
takes 100 results: what is more goes to `sites/<owner>/<site>.2`, `.3` and so on (ADR 9), the first
with room first, a commit each; one that was closed has none. What stands on one of them already is
not written again, so a pass that was killed anywhere publishes once. A site that may not push to
the registry has a fork.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..registry.forges import forge_of
from ..registry.git import Author, Repository
from ..registry.paths import result_path, result_signature_path
from ..registry.proposal_kind import MOST_RESULTS
from ..registry.statements import make_result
from ..schemas.errors import ConflictError, RegistryError
from .own_fork import remember
from .plan import Pair
from .proposed import added, branches, closed_ones, key_of
from .unshown import on_its_way, shown, unshown
from .workplace import MAIN, Actor


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
class Proposed:
    """The branch and the commit with the results, how many are new, and where a forge shows it."""

    branch: str
    commit: str
    results: int
    address: str = ""


@dataclass(frozen=True)
class Published:
    """What was proposed at once: one proposal per 100 results."""

    proposals: tuple[Proposed, ...]

    @property
    def results(self) -> int:
        """How many results are new."""
        return sum(one.results for one in self.proposals)


class MainMovedError(ConflictError):
    """Main is not what the results were made for: look at the registry once more."""


class _NothingNewError(Exception):
    """Every result stands there already, or the proposal, `open` at this commit, is full."""

    def __init__(self, head: str | None) -> None:
        super().__init__()
        self.open = head


def publish(
    repository: Repository,
    url: str,
    site: Actor,
    registry: str,
    planned: str,
    ready: Sequence[Ready],
    *,
    told: Callable[[Proposed], None],
) -> None:
    """Signs and pushes what is not there yet; `told` of each proposal as soon as it has come.

    `planned` is the commit of main for which the results were made: a MainMovedError says that
    main is another one now. Like after every RegistryError, what `told` was of stays proposed.
    """
    desk = _Desk(repository, url, site, registry, planned)
    for branch in branches(site.by):
        if not ready:
            return
        proposed, ready = desk.propose(branch, ready)
        if proposed is not None:
            told(proposed)


def show_again(repository: Repository, url: str, *, told: Callable[[Proposed], None]) -> None:
    """Shows what a pass has pushed that ended before it was shown; `told` of each proposal."""
    for branch in unshown(repository):
        forge = forge_of(repository, url)
        head = repository.fetch_ref(forge.target(branch), f"refs/heads/{branch}")
        main = repository.resolve(MAIN)
        if _is_closed(repository, branch, head):
            pass  # it has been shown, and is left as it is
        elif head is not None and main is not None and not repository.is_ancestor(head, main):
            new = added(repository, main, head) or ()
            address = forge.open(branch, head=head, title=_title(branch))
            results = sum(path.endswith(".yaml") for path in new)
            told(Proposed(branch, head, results, address))
        shown(repository, branch)


def _is_closed(repository: Repository, branch: str, head: str | None) -> bool:
    return head is not None and key_of(branch, head) in closed_ones(repository)


def _title(branch: str) -> str:
    return f"Results of {branch.removeprefix('sites/').partition('.')[0]}"


@dataclass(frozen=True)
class _Desk:
    """Where a site's results are signed and sent from."""

    repository: Repository
    url: str
    site: Actor
    registry: str
    planned: str

    def propose(
        self, branch: str, ready: Sequence[Ready]
    ) -> tuple[Proposed | None, Sequence[Ready]]:
        """What was added to a branch, and the results that have found no place yet."""
        repository, by = self.repository, self.site.by
        fresh: Sequence[Ready] = ()
        left: Sequence[Ready] = ready

        def build(head: str | None) -> str:
            nonlocal fresh, left
            main = self._main()
            if _is_closed(repository, branch, head):  # it is left as it is, with what is on it
                fresh, left = (), ready
                raise _NothingNewError(None)
            is_open = head is not None and not repository.is_ancestor(head, main)
            parent = head if is_open and head is not None else main
            there = repository.folders(parent)  # its tree as a whole may have a million files
            missing = [item for item in ready if there.entry(item.path) is None]
            waiting = added(repository, main, parent) if is_open else ()
            if waiting is None:
                raise RegistryError(
                    f"{branch} is a branch of another history than main's, perhaps of one that "
                    "was handed over: delete it at the registry, or ask its admins to."
                )
            room = max(0, MOST_RESULTS - sum(path.endswith(".yaml") for path in waiting))
            fresh, left = missing[:room], missing[room:]
            if not fresh:
                raise _NothingNewError(head if is_open else None)
            on_its_way(repository, branch)
            return repository.commit(
                [parent],
                parent,
                _files(fresh, self.site, self.registry),
                message=_message(fresh),
                author=Author.of(by),
                signer=self.site.signer,
                date=_midnight(),
            )

        forge = forge_of(repository, self.url)
        target = forge.target(branch)
        remember(repository, self.url, target)
        try:
            commit = repository.write(target, f"refs/heads/{branch}", build)
        except _NothingNewError as error:
            if error.open is not None:  # it may be shown to nobody
                on_its_way(repository, branch)
                forge.open(branch, head=error.open, title=_title(branch))
            shown(repository, branch)
            return None, left
        address = forge.open(branch, head=commit, title=_title(branch))
        shown(repository, branch)
        return Proposed(branch, commit, len(fresh), address), left

    def _main(self) -> str:
        main = self.repository.fetch_ref(self.url, "refs/heads/main")
        if main is None:
            raise RegistryError(f"{self.url} has no branch main: nothing can be published there.")
        if main != self.planned:
            raise MainMovedError(f"main of {self.url} moved to {main[:12]} meanwhile. Try again.")
        return main


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
