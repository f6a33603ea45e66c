"""Proposals: changes on a branch until somebody merges or closes them (design §4).

A proposal is a branch `proposals/<owner>/<slug>` (a site's results `sites/<owner>/<site>`, an
approver's who may not push there `approvals/<id>`, a fork's `pull/<number>`). People call it by its
branch without `proposals/`, or by the number that its forge gave it. Nothing here judges: whether a
proposal may be merged is decided by `validate`, which the caller hands in as `check`, so that it is
asked about the very commit that is pushed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..schemas.errors import ConflictError, RegistryError, UsageError
from ..schemas.names import is_name, resolve
from .forges import Closing, Forge, Merge, forge_of
from .git import MAIN, Author, Change, Entry, Repository, wait_before_retry
from .git_reading import TooManyChangesError

if TYPE_CHECKING:
    from .keys import Signer

Check = Callable[[str, str], None]
Say = Callable[[str], None]
_PREFIX = "proposals/"
_PULL = "pull/"
_NUMBER = re.compile(r"/pull/(\d+)\Z")
_TRIES = 8
_FURTHER = re.compile(r"\.([2-9]|[1-9][0-9]{1,4})\Z")
"""What further branches of one site end in; a name has no dot, so no other site's is meant."""


@dataclass(frozen=True)
class Proposal:
    """An open proposal: `base` is the commit of main that it builds on, `title` its newest words.

    `address` is where a forge shows it, if there is one.
    """

    branch: str
    head: str
    base: str
    title: str
    address: str = ""

    @property
    def id(self) -> str:
        """What people call it: the number that its forge gave it, if that is known."""
        number = _NUMBER.search(self.address)
        return number[1] if number else self.branch.removeprefix(_PREFIX)

    @property
    def shown(self) -> str:
        """What people call it, and where they see it."""
        return f"{self.id} ({self.address})" if self.address else self.id


@dataclass(frozen=True)
class ProposedCommit:
    """One commit of a proposal; `signer` is the public key whose signature holds, if any."""

    commit: str
    author: str
    message: str
    signer: str | None


@dataclass(frozen=True)
class View:
    """All of a proposal: what it changes against its base, and by which commits."""

    proposal: Proposal
    changes: tuple[Change, ...]
    commits: tuple[ProposedCommit, ...]


@dataclass(frozen=True)
class Rejected:
    """A proposal that was closed without a merge: by whom, why, and the paths it was about.

    `record` and `author` are empty where it was closed in a browser.
    """

    branch: str
    head: str
    record: str
    author: str
    signer: str | None
    reason: str
    paths: tuple[str, ...]

    @property
    def id(self) -> str:
        """What people called it."""
        return self.branch.removeprefix(_PREFIX)


def check_branch(branch: str) -> str:
    """`branch`, if a proposal may be called so; else a UsageError."""
    folder, *names = branch.split("/")
    length = {"proposals": 2, "sites": 2, "approvals": 1, "pull": 1}.get(folder)
    if folder == "sites" and names:
        names[-1] = _FURTHER.sub("", names[-1])
    if len(names) != length or not all(is_name(name) for name in names):
        raise UsageError(
            f"{branch!r} is not the branch of a proposal: it is proposals/<owner>/<slug>, "
            "sites/<owner>/<site>, sites/<owner>/<site>.<number> or approvals/<id>."
        )
    return branch


def branch_for(owner: str, text: str) -> str:
    """`proposals/<owner>/<slug>` with a slug made from any text."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return check_branch(f"{_PREFIX}{owner}/{slug or 'change'}")


def propose(
    repo: Repository,
    url: str,
    *,
    branch: str,
    changes: Mapping[str, bytes],
    message: str,
    author: Author,
    signer: "Signer | None",
    date: int | None = None,
    expected_head: str | None = None,
    onto: str | None = None,
    forge: Forge | None = None,
) -> Proposal:
    """The proposal that has these changes, pushed: a new one, or one more commit on an open one.

    Asked again for the same changes it does nothing. With `expected_head` a RegistryError if the
    branch has moved since. A new branch starts from `onto`, or else from main.
    """
    ref = f"refs/heads/{check_branch(branch)}"
    forge = forge or forge_of(repo, url)
    main = ""

    def build(base: str | None) -> str:
        nonlocal main
        if expected_head is not None and base != expected_head:
            raise RegistryError(
                f"The proposal {branch} has changed since you looked at it: look again."
            )
        main = _main(repo, url)
        # A branch that was merged but not deleted starts again from main.
        parent = (onto or main) if base is None or repo.is_ancestor(base, main) else base
        if onto is not None and not repo.is_ancestor(onto, parent):
            raise RegistryError(f"{branch} is another proposal's: ask its author to delete it.")
        made = repo.commit(
            [parent], parent, changes, message=message, author=author, signer=signer, date=date
        )
        if repo.tree_of(made) != repo.tree_of(parent):
            return made
        if parent == main:
            raise UsageError("There is nothing to propose: the registry has all of this already.")
        return parent

    target = forge.target(branch)
    head = repo.write(target, ref, build)
    title = message.strip().partition("\n")[0]
    address = forge.open(branch, head=head, title=title)
    found = _NUMBER.search(address) if target != url else None
    if found:  # a fork's: the registry calls it by its number
        branch = forge.named(found[1]) or branch
    return _proposal(repo, branch, head, main, address)


def add_statements(
    repo: Repository,
    url: str,
    *,
    proposal: Proposal,
    statements: Mapping[str, bytes],
    author: Author,
    signer: "Signer | None",
    date: int | None = None,
) -> Proposal:
    """The proposal with these statements on its branch, if it is still the one that was looked at.

    A statement is over bytes that somebody has seen, so a branch that moved is looked at anew.
    Nobody pushes into another's fork, and some may not push to the registry: there they go onto a
    branch `approvals/pull-<number>-<head>` of the registry, or of a fork, which holds that head;
    merging it closes both.
    """
    forge = forge_of(repo, url)
    apart = proposal.branch.startswith(_PULL) or forge.target(proposal.branch) != url
    names = sorted(path.rpartition("/")[2] for path in statements)
    title = f"Sign {names[0]}" if len(names) == 1 else f"Sign {len(names)} files"
    return propose(
        repo,
        url,
        branch=approvals_branch(proposal) if apart else proposal.branch,
        changes=statements,
        message=f"{title}\n\n" + "".join(f"{name}\n" for name in names),
        author=author,
        signer=signer,
        date=date,
        expected_head=None if apart else proposal.head,
        onto=proposal.head if apart else None,
        forge=forge,
    )


def approvals_branch(proposal: Proposal) -> str:
    """Where statements over a proposal, as it is now, are pushed by who may not push to it."""
    name = re.sub("[/.]", "-", proposal.branch.removeprefix(_PREFIX))
    return f"approvals/{name[:50]}-{proposal.head[:12]}"


def list_open(
    repo: Repository, url: str, *, forge: Forge | None = None, say: Say | None = None
) -> list[Proposal]:
    """All open proposals, fetched, by their ids; `say` is told which branches were refused."""
    forge = forge or forge_of(repo, url)
    heads = forge.heads()
    if say is not None:
        for branch, why in forge.refused.items():
            say(f"{branch} is left out: {why}")
    main = _main(repo, url)
    found = [
        _proposal(repo, branch, head, main)
        for branch, head in sorted(heads.items())
        if is_branch(branch)
    ]
    # what was signed stands for what it was made of
    signed = {one.branch for one in found}
    return [
        one
        for one in found
        if one.base != one.head
        and not (one.branch.startswith(_PULL) and approvals_branch(one) in signed)
    ]


def find(repo: Repository, url: str, uid: str, *, forge: Forge | None = None) -> Proposal:
    """The open proposal that `uid` means: its id, its branch, or its slug where only one has it."""
    forge = forge or forge_of(repo, url)
    known = {proposal.id: proposal for proposal in list_open(repo, url, forge=forge)}
    uid = forge.named(uid) or uid
    for branch, why in forge.refused.items():
        if uid.removeprefix(_PREFIX) == branch.removeprefix(_PREFIX):
            raise RegistryError(f"{branch} cannot be looked at: {why}")
    if uid.startswith(_PULL) and uid not in known:
        # its newest head is signed already: the statements are on top of it
        signed = f"approvals/{uid.replace('/', '-')}-"
        uid = next((one for one in known if one.startswith(signed)), uid)
    if not known:
        closed = "What was closed is in 'medperf proposal ls --rejected', what was merged on main."
        raise UsageError(f"There is no open proposal {uid!r}: none is open. {closed}")
    return known[resolve(uid.removeprefix(_PREFIX), known, "open proposal")]


def view(repo: Repository, proposal: Proposal) -> View:
    """What a proposal changes, and by which commits, oldest first."""
    commits = repo.commits_between(proposal.base, proposal.head)
    return View(
        proposal,
        repo.diff(proposal.base, proposal.head),
        tuple(_proposed(repo, commit) for commit in commits),
    )


def changes_of(
    repo: Repository, some: Iterable[Proposal], *, say: Callable[[str], None]
) -> Iterator[tuple[Proposal, Change]]:
    """What each of these proposals changes; one that cannot be looked at is told, and left out."""
    for proposal in some:
        try:
            changes = view(repo, proposal).changes
        except RegistryError as error:
            say(f"{proposal.id} is left out: {error}")
            continue
        for change in changes:
            yield proposal, change


def merged_tree(repo: Repository, main: str, head: str) -> dict[str, Entry | None]:
    """What a merge of `head` changes of `main`'s tree; a RegistryError if both changed one path.

    Paths are taken whole: no file is ever put together from two.
    """
    base = repo.merge_base(main, head)
    if base is None:
        raise RegistryError("The proposal has no history in common with this registry.")
    theirs = {change.path: change for change in repo.diff(base, head)}
    ours = {change.path: change for change in repo.diff(base, main)}
    taken: dict[str, Entry | None] = {}
    for path, change in theirs.items():
        other = ours.get(path)
        if other is None:
            taken[path] = _entry(change)
        elif _entry(other) != _entry(change):
            raise RegistryError(
                f"{path} was changed in the registry since this proposal was made. "
                "Make the proposal anew from the registry as it is now."
            )
    return taken


def merge(
    repo: Repository,
    url: str,
    *,
    proposal: Proposal,
    author: Author,
    signer: "Signer | None",
    check: Check | None = None,
    date: int | None = None,
    forge: Forge | None = None,
) -> str:
    """The merge commit, now the tip of main; the proposal's branch is gone.

    1. Look at the branch: it must still be what was looked at.
    2. Join: main's tree with the proposal's paths, main as the first parent.
    3. Ask `check(main, merge commit)`, which raises if that must not be.
    4. Push main and the deletion of what this closes, all or nothing; if main has moved, again.
    """
    forge = forge or forge_of(repo, url)
    for attempt in range(_TRIES):
        heads = _heads(forge, proposal)
        main = _main(repo, url)
        commit = repo.commit(
            [main, proposal.head],
            main,
            merged_tree(repo, main, proposal.head),
            message=f"Merge {proposal.id}\n\n{proposal.title}\n",
            author=author,
            signer=signer,
            date=date,
        )
        if check is not None:
            check(main, commit)
        closes = _closed_by(repo, heads, main, proposal.head)
        try:
            return forge.merge(Merge(proposal.branch, proposal.head, main, commit, closes))
        except ConflictError:
            wait_before_retry(attempt)
    raise ConflictError(f"The registry changed {_TRIES} times during the merge. Try again later.")


def close(
    repo: Repository,
    url: str,
    *,
    proposal: Proposal,
    reason: str,
    author: Author,
    signer: "Signer | None",
    date: int | None = None,
    forge: Forge | None = None,
) -> None:
    """End a proposal without a merge; a commit of the closer on top of it keeps the reason."""
    forge = forge or forge_of(repo, url)
    _heads(forge, proposal)
    record = repo.commit(
        [proposal.head],
        proposal.head,
        {},
        message=f"Close {proposal.id}\n\n{reason.strip() or 'No reason was given.'}\n",
        author=author,
        signer=signer,
        date=date,
    )
    forge.close(Closing(proposal.branch, proposal.head, record))


def list_rejected(repo: Repository, url: str, *, forge: Forge | None = None) -> list[Rejected]:
    """All proposals that were closed without a merge, as of the last look at the open ones."""
    main = _main(repo, url)
    found: list[Rejected] = []
    for closing in (forge or forge_of(repo, url)).closings():
        base = repo.merge_base(main, closing.head)
        try:
            paths = tuple(change.path for change in repo.diff(base, closing.head))
        except TooManyChangesError:
            paths = ()  # more than anybody reads; that it was closed, and why, is told all the same
        author, signer, reason = "", None, f"closed at {closing.shown}"
        if closing.record:
            record = _proposed(repo, closing.record)
            author, signer = record.author, record.signer
            reason = record.message.partition("\n\n")[2].strip()
        found.append(
            Rejected(closing.branch, closing.head, closing.record, author, signer, reason, paths)
        )
    return found


def _heads(forge: Forge, proposal: Proposal) -> dict[str, str]:
    """All open heads, if this proposal's is still the one that was looked at."""
    heads = forge.heads()
    if heads.get(proposal.branch) != proposal.head:
        raise RegistryError(
            f"The proposal {proposal.id} has changed or ended since you looked at it: look again."
        )
    return heads


def _main(repo: Repository, url: str) -> str:
    main = repo.fetch_ref(url, MAIN)
    if main is None:
        raise RegistryError(
            f"{url} has no branch main, so it is no registry yet: `medperf registry init` makes it."
        )
    return main


def _proposal(repo: Repository, branch: str, head: str, main: str, address: str = "") -> Proposal:
    base = repo.merge_base(main, head)
    title = _proposed(repo, head).message.partition("\n")[0]
    return Proposal(branch, head, base or main, title, address)


def _proposed(repo: Repository, commit: str) -> ProposedCommit:
    from .keys import commit_signer

    raw = repo.commit_bytes(commit)
    header, _, message = raw.decode(errors="replace").partition("\n\n")
    author = next((line for line in header.split("\n") if line.startswith("author ")), "")
    name = author.removeprefix("author ").rpartition(" <")[0]
    return ProposedCommit(commit, _shown(name), _shown(message), commit_signer(raw))


def _shown(text: str) -> str:
    """A stranger's text, harmless in a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def is_branch(branch: str) -> bool:
    """Whether a proposal may be called so."""
    try:
        check_branch(branch)
    except UsageError:
        return False
    return True


def _entry(change: Change) -> Entry | None:
    if change.status == "D":
        return None
    return Entry(change.mode, "commit" if change.mode == "160000" else "blob", change.oid)


def _closed_by(repo: Repository, heads: Mapping[str, str], main: str, head: str) -> dict[str, str]:
    """The branches whose work a merge of `head` brings to main: itself, and what it contains."""
    inside = set(repo.commits_between(main, head))
    return {branch: tip for branch, tip in heads.items() if tip in inside}
