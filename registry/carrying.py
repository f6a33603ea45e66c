"""A registry on a folder that is carried: what a site without a network wrote, and what is new.

The folder's `registry.git` is a bare repository that the offline site has as its registry. Whoever
carries it looks (`look`), sends its proposals and result branches on (`send`), and brings it up to
date (`refresh`). What the folder holds is believed no more than any remote: main goes only *into*
it, from what was verified here, and a branch goes out only as a proposal, judged like any other.

`refs/medperf/carried/<branch>` in the folder is the head that was sent last, so that a proposal
which was closed meanwhile is not sent a second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..schemas.errors import ConflictError, UsageError
from .forges import Closing, Forge
from .forges.local import FOLDERS, LocalForge
from .git import MAIN, Repository

CHECKPOINTS = "refs/heads/checkpoints"
_SENT = "refs/medperf/carried/"
_HERE = "refs/medperf/carrying/"


@dataclass(frozen=True)
class Waiting:
    """A branch of the folder that the registry does not have: the head, and the registry's own."""

    branch: str
    head: str
    known: str | None
    title: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Carried:
    """What is on the folder: its main, what waits to be sent, what has ended, what cannot go."""

    main: str | None
    checkpoints: str | None
    waiting: tuple[Waiting, ...]
    ended: Mapping[str, str]
    closed: tuple[Closing, ...]
    stuck: tuple[str, ...]
    sent: Mapping[str, str]


def look(repository: Repository, forge: Forge, url: str, folder_url: str, tip: str) -> Carried:
    """What is on the folder, against main at `tip` and the registry's branches as they are now.

    A UsageError if the folder's main is not on this registry's chain: it is another one's, or
    something was merged there.
    """
    refs = repository.remote_refs(folder_url)
    repository.fetch(
        folder_url,
        [f"+{MAIN}:{_HERE}main"] * (MAIN in refs)
        + [f"+refs/heads/{name}/*:{_HERE}{name}/*" for name in FOLDERS],
    )
    main = refs.get(MAIN)
    if main is not None and not repository.is_on_chain(main, tip):
        raise UsageError(
            f"main of {folder_url} ({main[:12]}) is no earlier state of this registry: the folder "
            "is another registry's, or something was merged in it. Name another folder, and merge "
            "only in the registry itself. If the registry was handed over since, take that "
            "repository away from the folder: it holds what had to go. Then carry again."
        )
    there = repository.remote_refs(url)
    closings = {} if main is None else _closings(forge)
    waiting: list[Waiting] = []
    ended: dict[str, str] = {}
    closed: list[Closing] = []
    stuck: list[str] = []
    for ref, head in sorted(refs.items()):
        branch = ref.removeprefix("refs/heads/")
        if branch == ref or branch.partition("/")[0] not in FOLDERS:
            continue
        known = there.get(ref)
        if repository.is_ancestor(head, tip):
            ended[branch] = head
        elif (branch, head) in closings:
            closed.append(closings[branch, head])
        elif known == head or (known is None and refs.get(_SENT + branch) == head):
            continue  # sent already
        elif known is not None and not _builds_on(repository, url, ref, known, head):
            stuck.append(f"{branch} is another one at {url} by now: it was not sent.")
        else:
            waiting.append(_waiting(repository, branch, head, known, tip))
    sent = {ref.removeprefix(_SENT): head for ref, head in refs.items() if ref.startswith(_SENT)}
    return Carried(
        main,
        refs.get(CHECKPOINTS),
        tuple(waiting),
        ended,
        tuple(closed),
        tuple(stuck),
        sent,
    )


def _closings(forge: Forge) -> dict[tuple[str, str], Closing]:
    forge.heads()  # what was closed comes with it
    return {(one.branch, one.head): one for one in forge.closings()}


def _builds_on(repository: Repository, url: str, ref: str, known: str, head: str) -> bool:
    """Whether the folder's branch goes on from the registry's: then a push loses nothing."""
    repository.fetch_ref(url, ref)
    return repository.is_ancestor(known, head)


def _waiting(
    repository: Repository, branch: str, head: str, known: str | None, tip: str
) -> Waiting:
    base = repository.merge_base(head, tip)
    raw = repository.commit_bytes(head).partition(b"\n\n")[2]
    title = raw.decode(errors="replace").partition("\n")[0]
    files = tuple(change.path for change in repository.diff(base, head))
    return Waiting(branch, head, known, title, files)


def send(
    repository: Repository, forge: Forge, folder_url: str, carried: Carried
) -> list[tuple[Waiting, str]]:
    """Proposes what waits, a branch at a time, and notes it in the folder; each with its address.

    Killed in between, the next call finds what was pushed and goes on with the rest.
    """
    done: list[tuple[Waiting, str]] = []
    for one in carried.waiting:
        ref = f"refs/heads/{one.branch}"
        target = forge.target(one.branch)
        # the registry, or a fork of whoever carries it, which may have the branch already
        known = repository.fetch_ref(target, ref)
        if known != one.head:
            repository.push(target, {ref: (one.head, known)})
        address = forge.open(one.branch, head=one.head, title=one.title)
        _note(repository, folder_url, one, carried.sent.get(one.branch))
        done.append((one, address))
    return done


def _note(repository: Repository, folder_url: str, one: Waiting, old: str | None) -> None:
    if old == one.head:
        return
    if old is not None and not repository.is_ancestor(old, one.head):
        repository.push(folder_url, {_SENT + one.branch: (None, old)})
        old = None
    repository.push(folder_url, {_SENT + one.branch: (one.head, old)})


def refresh(
    repository: Repository, folder_url: str, carried: Carried, tip: str, checkpoint: str | None
) -> None:
    """Brings the folder's main and checkpoints up to date, and ends what was merged or closed."""
    updates: dict[str, tuple[str | None, str | None]] = {}
    if carried.main != tip:
        updates[MAIN] = (tip, carried.main)
    if checkpoint is not None and checkpoint != carried.checkpoints:
        updates[CHECKPOINTS] = (checkpoint, carried.checkpoints)
    for branch, head in carried.ended.items():
        updates[f"refs/heads/{branch}"] = (None, head)
    if updates:
        repository.push(folder_url, updates)
    _end(repository, folder_url, carried.closed)


def _end(repository: Repository, url: str, closings: Sequence[Closing]) -> None:
    folder = LocalForge(repository, url)
    for closing in closings:
        try:
            if closing.record:
                folder.close(closing)
            else:  # in a browser: nobody has written down why
                repository.push(url, {f"refs/heads/{closing.branch}": (None, closing.head)})
        except ConflictError:  # the site wrote on meanwhile: it is looked at the next time
            continue
