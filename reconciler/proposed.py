"""What this site has proposed: its branches of results, and which of them the forge has closed.

The branches are read from the clone, as of the last fetch. That a proposal was closed in a browser
changes nothing in Git, so its forge is asked where it is spoken to anyway (`reconcile`, `explain`,
`result submit`), and its answer is kept beside the clone: a plan reads it and asks nobody. An
answer is about one commit, so of a branch that has moved on or is gone it says nothing; lost, it is
asked for again by the next pass.

A closed proposal is left as it is: what is new goes to another branch, and what was on it comes
again only when a person says so.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..registry.forges import forge_of
from ..registry.git import Repository
from ..schemas.errors import RegistryError
from .own_fork import FORK, fork_address
from .workplace import MAIN, ORIGIN, Workplace

_FILE = "medperf-closed.json"


@dataclass(frozen=True)
class Branch:
    """A site's branch that main does not have, where it is, and the files that it adds."""

    name: str
    head: str
    at: str
    paths: tuple[str, ...]

    @property
    def key(self) -> str:
        """What an answer about it is kept by: two branches may be at one commit."""
        return key_of(self.name, self.head)


@dataclass(frozen=True)
class Closed:
    """That a proposal was closed: where people see it, and what is proposed again elsewhere."""

    shown: str
    again: tuple[str, ...] = ()


def key_of(branch: str, head: str) -> str:
    """A branch as it is now."""
    return f"{branch}@{head}"


def site_branch(by: str) -> str:
    """The branch of a site's results, by owner/site."""
    return f"sites/{by}"


def branches(by: str) -> Iterator[str]:
    """The branches of a site's results, in the order in which they are filled."""
    yield site_branch(by)
    for number in itertools.count(2):
        yield f"{site_branch(by)}.{number}"


def waiting(repository: Repository, by: str) -> Iterator[Branch]:
    """The site's branches whose work is not on main; `at` is empty for those in the registry."""
    main = repository.resolve(MAIN)
    if main is None:
        return
    for home in (ORIGIN, FORK):
        branch = home + site_branch(by)
        for ref, head in repository.refs(branch.rpartition("/")[0]).items():
            mine = ref == branch or ref.startswith(branch + ".")
            if mine and not repository.is_ancestor(head, main):
                at = fork_address(repository) if home == FORK else ""
                paths = added(repository, main, head) or ()
                yield Branch(ref.removeprefix(home), head, at, paths)


def added(repository: Repository, main: str, head: str) -> tuple[str, ...] | None:
    """What a branch adds to main; None if it is of another history (one that was handed over)."""
    base = repository.merge_base(head, main)
    if base is None:
        return None
    return tuple(one.path for one in repository.diff(base, head) if one.status == "A")


def proposed_paths(repository: Repository, by: str) -> Mapping[str, str]:
    """The files on a site's proposals that main does not have, as of the last fetch.

    Beside each nothing, or where its proposal is shown that was closed without a merge.
    """
    closed = closed_ones(repository)
    paths: dict[str, str] = {}
    for one in waiting(repository, by):
        ended = closed.get(one.key)
        for path in one.paths:
            if ended is None:
                paths[path] = ""
            elif path not in ended.again:
                paths.setdefault(path, ended.shown)
    return paths


def closed_ones(repository: Repository) -> Mapping[str, Closed]:
    """The proposals that were closed, as the forge last said, by `key_of` their branches."""
    try:
        found = json.loads((repository.folder / _FILE).read_text())
        return {
            str(key): Closed(str(one["shown"]), tuple(map(str, one["again"])))
            for key, one in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def ask_forge(place: Workplace, *, say: Callable[[str], None]) -> bool:
    """Asks which of this site's proposals were closed; whether the answer is another than before.

    A forge that does not answer is told of by `say`, and what is known still stands; it does, too,
    where nobody can be asked.
    """
    repository = place.repository
    before = closed_ones(repository)
    forge = forge_of(repository, place.url)
    try:
        answers = {
            one.key: forge.closed(one.name, one.head, at=one.at or place.url)
            for one in _mine(place)
        }
    except RegistryError as error:
        say(f"Whether a proposal of results was closed is not known: {error}")
        return False
    known = closed_ones(repository)  # once more: a person may have released a result meanwhile
    found: dict[str, Closed] = {}
    for key, shown in answers.items():
        if shown:
            found[key] = replace(known.get(key, Closed(shown)), shown=shown)
        elif shown is None and key in known:
            found[key] = known[key]
    if found != known:
        _keep(repository, found)
    return found != before


def propose_again(place: Workplace, path: str) -> None:
    """Takes a result off the closed proposals that it is on, so that it is proposed anew."""
    repository = place.repository
    if not closed_ones(repository):
        return
    with_it = {one.key for one in _mine(place) if path in one.paths}
    known = closed_ones(repository)
    now = {
        key: replace(one, again=tuple(sorted({*one.again, path}))) if key in with_it else one
        for key, one in known.items()
    }
    if now != known:
        _keep(repository, now)


def _mine(place: Workplace) -> Iterator[Branch]:
    """What waits of this site; nothing where the profile has none."""
    site = place.profile.me.site
    return waiting(place.repository, f"{place.owner}/{site.name}") if site else iter(())


def _keep(repository: Repository, closed: Mapping[str, Closed]) -> None:
    file = Path(repository.folder) / _FILE
    beside = file.with_name(f"{_FILE}.{os.getpid()}.tmp")
    beside.write_text(json.dumps({key: asdict(one) for key, one in closed.items()}))
    beside.replace(file)
