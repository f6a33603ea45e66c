"""GitHub (github.com, or the host that GH_HOST names) as a forge.

Git stays the whole truth: branches are pushed and fetched with Git, the API only shows them as pull
requests and carries out merges and closings.

* A pull request of a branch `proposals/…`, `sites/…` or `approvals/…` of the registry itself is
  called by that branch; any other one (of a fork) `pull/<number>`. Both answer to their number too.
* Whoever may not push to the registry proposes from a fork of his own, made when it is needed.
* Merges are merge commits that GitHub makes, with the head that was looked at as a condition.
* Without a token branches are still pushed, and the page to click on is told.
"""

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...schemas.errors import ConflictError, RegistryError, UsageError, WaitError
from ..git import MAIN, Repository
from . import Closing, Merge
from .addresses import Hosted, hosted
from .http import Api, MissingError, RefusedError
from .local import FOLDERS, MIRROR, REMOTE, LocalForge, refused_branches
from .taking import take_over
from .tokens import PUBLIC, find_token

if TYPE_CHECKING:
    from collections.abc import Callable

PULL = "pull/"
_PULLS = "refs/medperf/pulls"
_CLOSED = 300  # closed pull requests that are looked at: sites' results close many, all merged
_WAITS = 30  # looks at a new fork, two seconds apart
BODY = (
    "Proposed with medperf. To look at it: `medperf proposal view {number}`. To sign and merge it: "
    "`medperf proposal merge {number}`."
)


@dataclass(frozen=True)
class Pull:
    """An open pull request: what we call it, its newest commit, and where it is shown."""

    number: int
    branch: str
    head: str
    address: str


class GitHubForge:
    """Pull requests of the repository `where`, seen through our repository `repo`."""

    name = "github"

    def __init__(
        self,
        repo: Repository,
        url: str,
        where: Hosted,
        *,
        environ: Mapping[str, str],
        api: "Callable[[], Api] | None" = None,
    ) -> None:
        self._repo = repo
        self._url = url
        self._where = where
        self._git = LocalForge(repo, url)
        self.refused: Mapping[str, str] = {}
        self._path = f"/repos/{where.path}"
        self._open_api = api or (lambda: open_api(where.host, environ))
        self._targets: dict[str, tuple[str, str]] = {}

    # ----------------------------------------------------------------------- the forge protocol

    def target(self, branch: str) -> str:  # noqa: ARG002 - the same for every branch
        """Where the caller may push a branch: the registry itself, or his fork of it."""
        with self._open_api() as api:
            return self._target(api)[0] if api.has_token else self._url

    def open(self, branch: str, *, head: str, title: str) -> str:  # noqa: ARG002
        """The pull request of a pushed branch, made if there is none; its address."""
        with self._open_api() as api:
            if not api.has_token:
                return f"{self._where.web}/compare/main...{branch}"
            found = self._find(api, branch)
            return (found or self._create(api, branch, title)).address

    def heads(self) -> dict[str, str]:
        """The branches of all open proposals and their heads, fetched."""
        with self._open_api() as api:
            if not api.has_token:
                found = self._git.heads()
                self.refused = self._git.refused
                return found
            pulls = self._pulls(api)
            foreign = [one for one in pulls if one.branch.startswith(PULL)]
            self._fetch_heads(foreign, *MIRROR)
            found = {
                ref.removeprefix(f"{REMOTE}/"): head
                for folder in FOLDERS
                for ref, head in self._repo.refs(f"{REMOTE}/{folder}").items()
            }
            shown = {one.branch for one in pulls}
            for branch in [one for one in found if one not in shown]:
                if self._was_closed(api, branch, found[branch]):
                    del found[branch]
        for one in foreign:
            tip = self._head_of(one)
            if tip is not None:
                found[one.branch] = tip
        return found

    def named(self, uid: str) -> str | None:
        """The branch that the number of a pull request means; None if it is no number."""
        number = uid.removeprefix("#").removeprefix(PULL)
        if not (number.isascii() and number.isdigit()):
            return None
        with self._open_api() as api:
            if not api.has_token:
                return None
            try:
                return self._pull(api.get(f"{self._path}/pulls/{int(number)}")).branch
            except MissingError:
                return None

    def merge(self, merge: Merge) -> str:
        """Let GitHub merge, if the head is still this one; then the branches go."""
        with self._open_api() as api:
            self._needs_token(api)
            pull = self._find(api, merge.branch) or self._create(
                api, merge.branch, f"Merge {merge.branch}"
            )
            commit = self._merge(api, pull, merge.head)
        self._check_merged(merge, commit)
        for branch, head in merge.closes.items():
            if not branch.startswith(PULL):
                # GitHub may have deleted it by itself, and a branch that moved on stays
                with contextlib.suppress(RegistryError):
                    self._repo.push(self._url, {f"refs/heads/{branch}": (None, head)})
        return commit

    def close(self, closing: Closing) -> None:
        """Tell the reason, close the pull request, delete the branch and leave the record."""
        _, _, reason = self._repo.commit_bytes(closing.record).decode().rpartition("\n\n")
        with self._open_api() as api:
            self._needs_token(api)
            pull = self._find(api, closing.branch)
            if pull is not None:
                self._comment(api, pull.number, f"Closed without a merge: {_quoted(reason)}")
                api.send("PATCH", f"{self._path}/pulls/{pull.number}", {"state": "closed"})
        if closing.branch.startswith(PULL):
            record = f"refs/medperf/closed/{closing.branch}/{closing.head[:12]}"
            # the author of a pull request may close it, though he may push nothing here
            with contextlib.suppress(RegistryError):
                self._repo.push(self._url, {record: (closing.record, None)})
        else:
            self._git.close(closing)

    def closed(self, branch: str, head: str, *, at: str) -> str | None:
        """The page of the pull request of a branch that was closed at this head; or nothing.

        Asked with two requests at most; without a token not at all: then None is the answer. A
        branch may have had many.
        """
        home = hosted(at) or self._where
        query = {"head": f"{home.path.partition('/')[0]}:{branch}", "base": "main"}
        with self._open_api() as api:
            if not api.has_token:
                return None
            some = itertools.islice(api.pages(f"{self._path}/pulls", state="closed", **query), 100)
            ended = [one for one in some if one["head"]["sha"] == head and not one["merged_at"]]
            if not ended or any(
                one["head"]["sha"] == head
                for one in api.pages(f"{self._path}/pulls", state="open", **query)
            ):
                return ""
            return str(ended[0]["html_url"])

    def closings(self) -> Sequence[Closing]:
        """What was closed, with medperf as of the last look at the heads, and in the browser."""
        known = list(self._git.closings())
        with self._open_api() as api:
            if not api.has_token:
                return known
            newest = {"sort": "updated", "direction": "desc"}
            found = api.pages(f"{self._path}/pulls", state="closed", base="main", **newest)
            some = itertools.islice(found, _CLOSED)
            pulls = [self._pull(one) for one in some if not one["merged_at"]]
        recorded = {(one.branch, one.head) for one in known}
        pulls = [one for one in pulls if (one.branch, one.head) not in recorded]
        self._fetch_heads([one for one in pulls if self._head_of(one) != one.head])
        return [
            *known,
            *(
                Closing(one.branch, one.head, "", one.address)
                for one in pulls
                if self._head_of(one) == one.head
            ),
        ]

    # --------------------------------------------------------------------- what GitHub has more

    def update(self, branch: str, *, title: str | None = None, body: str | None = None) -> None:
        """Give the pull request of a branch other words."""
        words = {"title": title, "body": body}
        change = {name: text for name, text in words.items() if text is not None}
        with self._open_api() as api:
            api.send("PATCH", f"{self._path}/pulls/{self._the(api, branch).number}", change)

    def comment(self, branch: str, text: str) -> None:
        """Write below the pull request of a branch."""
        with self._open_api() as api:
            self._comment(api, self._the(api, branch).number, text)

    def label(self, branch: str, labels: Sequence[str]) -> None:
        """Add labels to the pull request of a branch."""
        with self._open_api() as api:
            number = self._the(api, branch).number
            api.send("POST", f"{self._path}/issues/{number}/labels", {"labels": list(labels)})

    def ask_for_reviews(self, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """Ask these people to look at a pull request; who could be asked.

        One who is no collaborator, or the author himself, cannot be asked, and that is no fault.
        """
        asked = []
        with self._open_api() as api:
            for login in logins:
                body = {"reviewers": [login]}
                with contextlib.suppress(RefusedError):
                    api.send("POST", f"{self._path}/pulls/{number}/requested_reviewers", body)
                    asked.append(login)
        return tuple(asked)

    def merge_number(self, number: int, head: str) -> str:
        """Merge a pull request by its number if `head` is still its newest commit."""
        with self._open_api() as api:
            self._needs_token(api)
            pull = self._pull(api.get(f"{self._path}/pulls/{number}"))
            if pull.head != head:
                raise ConflictError(
                    f"Pull request {number} has moved on to {pull.head[:12]}: it is judged anew."
                )
            return self._merge(api, pull, head)

    # ----------------------------------------------------------------------------- heads of pulls

    def _fetch_heads(self, pulls: Sequence[Pull], *also: str) -> None:
        specs = [f"+refs/pull/{one.number}/head:{_PULLS}/{one.number}/head" for one in pulls]
        if specs or also:
            self.refused = refused_branches(take_over(self._repo, self._url, [*also, *specs]))

    def _head_of(self, pull: Pull) -> str | None:
        return self._repo.resolve(f"{_PULLS}/{pull.number}/head")

    # --------------------------------------------------------------------------------- requests

    def _target(self, api: Api) -> tuple[str, str]:
        """Where the caller pushes, and the account that a pull request's head is named with."""
        if self._url not in self._targets:
            repository = api.get(self._path)
            rights = repository.get("permissions") or {}
            owner = self._where.path.partition("/")[0]
            mine = (self._url, owner) if rights.get("push") else self._fork(api)
            self._targets[self._url] = mine
        return self._targets[self._url]

    def _fork(self, api: Api) -> tuple[str, str]:
        """The caller's own fork of the registry, made now if he has none."""
        made = api.send("POST", f"{self._path}/forks", {"default_branch_only": True})
        path = str(made["full_name"])
        address = self._where.sibling(path)
        for _ in range(_WAITS):
            # the answer comes before the fork is there
            with contextlib.suppress(RegistryError):
                if MAIN in self._repo.remote_refs(address):
                    return address, path.partition("/")[0]
            api.pause(2)
        raise RegistryError(f"Your fork {path} is not ready yet: try again in a minute.")

    def _pulls(self, api: Api) -> list[Pull]:
        found = api.pages(f"{self._path}/pulls", state="open", base="main")
        return [self._pull(one) for one in found]

    def _pull(self, answer: Mapping[str, Any]) -> Pull:
        from ..proposals import is_branch

        number, head = int(answer["number"]), answer["head"]
        home = (head.get("repo") or {}).get("full_name") or ""
        own = home.lower() == self._where.path.lower() and is_branch(str(head["ref"]))
        branch = str(head["ref"]) if own else f"{PULL}{number}"
        return Pull(number, branch, str(head["sha"]), str(answer["html_url"]))

    def _find(self, api: Api, branch: str) -> Pull | None:
        """The open pull request of a branch, in the registry or in the caller's fork."""
        if branch.startswith(PULL):
            return self._pull(api.get(f"{self._path}/pulls/{branch.removeprefix(PULL)}"))
        owners = {self._where.path.partition("/")[0], *(one[1] for one in self._targets.values())}
        for owner in sorted(owners):
            query = {"state": "open", "head": f"{owner}:{branch}", "base": "main"}
            for one in api.pages(f"{self._path}/pulls", **query):
                if one["head"]["ref"] == branch:
                    return self._pull(one)
        return None

    def _the(self, api: Api, branch: str) -> Pull:
        self._needs_token(api)
        found = self._find(api, branch)
        if found is None:
            raise UsageError(f"No pull request of {branch} is open at {self._where.web}.")
        return found

    def _create(self, api: Api, branch: str, title: str) -> Pull:
        account = self._target(api)[1]
        home = self._where.path.partition("/")[0]
        head = branch if account == home else f"{account}:{branch}"
        body = {"title": title[:250], "head": head, "base": "main"}
        try:
            made = self._pull(api.send("POST", f"{self._path}/pulls", body))
        except RefusedError as error:
            # somebody else, or a lost answer of our own, was faster
            found = self._find(api, branch) if error.status == 422 else None
            if found is None:
                raise
            return found
        words = {"body": BODY.format(number=made.number)}
        api.send("PATCH", f"{self._path}/pulls/{made.number}", words)
        return made

    def _was_closed(self, api: Api, branch: str, head: str) -> bool:
        """Whether a branch without an open pull request was closed in the browser as it is now."""
        owner = self._where.path.partition("/")[0]
        query = {"state": "closed", "head": f"{owner}:{branch}"}
        return any(one["head"]["sha"] == head for one in api.pages(f"{self._path}/pulls", **query))

    def _merge(self, api: Api, pull: Pull, head: str) -> str:
        body = {
            "sha": head,
            "merge_method": "merge",
            "commit_title": f"Merge {pull.branch.removeprefix('proposals/')}",
        }
        try:
            done = api.send("PUT", f"{self._path}/pulls/{pull.number}/merge", body)
        except RefusedError as error:
            if error.status == 403:
                raise WaitError(
                    f"Not merged: {error} Whoever may merge there does: {pull.address}"
                ) from error
            if error.status != 405:
                raise
            if "modified" in str(error).lower():
                raise ConflictError(str(error)) from error
            raise WaitError(
                f"Not merged yet: {error} Once the checks of {pull.address} are green: "
                f"medperf proposal merge {pull.number}"
            ) from error
        return str(done["sha"])

    def _check_merged(self, merge: Merge, commit: str) -> None:
        """That GitHub merged what was judged, as far as main had not moved meanwhile."""
        self._repo.fetch_ref(self._url, MAIN)
        if self._repo.parents(commit) == (merge.main, merge.head) and (
            self._repo.tree_of(commit) != self._repo.tree_of(merge.commit)
        ):
            raise RegistryError(
                f"{self._where.host} merged {merge.branch} as {commit[:12]}, with other files than "
                "were judged: ask the registry's admins to look at it."
            )

    def _comment(self, api: Api, number: int, text: str) -> None:
        api.send("POST", f"{self._path}/issues/{number}/comments", {"body": text[:60_000]})

    def _needs_token(self, api: Api) -> None:
        if not api.has_token:
            raise UsageError(
                f"{self._where.host} does this for people who are logged in: run `gh auth login`, "
                f"or set GH_TOKEN. Or do it by hand at {self._where.web}/pulls"
            )


def open_api(host: str, environ: Mapping[str, str]) -> Api:
    """The API of a GitHub host with the caller's token, if he has one."""
    address = "https://api.github.com" if host == PUBLIC else f"https://{host}/api/v3"
    return Api(address, find_token(host, environ))


def _quoted(reason: str) -> str:
    from ..summary_text import code

    return code(" ".join(reason.split()) or "no reason was given.")


def is_github(where: Hosted, environ: Mapping[str, str]) -> bool:
    """Whether this host speaks GitHub's API, as far as anybody has said so."""
    return where.host in _hosts(environ)


def _hosts(environ: Mapping[str, str]) -> Iterable[str]:
    return (PUBLIC, environ.get("GH_HOST", PUBLIC).lower())
