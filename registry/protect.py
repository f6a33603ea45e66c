"""How a registry's repository should be set up at its forge, and whether it is.

Pure but for `check`. A data site believes none of it: these settings keep mistakes and noise away
from main, the signatures keep forgers away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from ..schemas.errors import UsageError
from . import protection_answers as answers

if TYPE_CHECKING:
    from .forges.addresses import Hosted
    from .forges.http import Api

CHECKS = ("medperf / valid", "medperf / approved")
ForgeKind = Literal["github", "gitlab", "gitea"]


@dataclass(frozen=True)
class Setting:
    """One setting: what people call it, what it must be, and why."""

    name: str
    wanted: str
    why: str


@dataclass(frozen=True)
class Compared:
    """A setting as it is: `found` is what the forge says, or that it does not say."""

    setting: Setting
    found: str
    ok: bool


_WHY = {
    "merge": "a statement counts in the commit that adds it; a squash or rebase loses signatures",
    "checks": "merging is the last act of approving",
    "force": "a data site stops when main is rewritten",
    "delete": "main is the registry",
    "admins": "what holds for some is no protection",
    "review": "signatures are the reviews; a click is none",
    "branches": "a branch that was merged is noise",
    "token": "a workflow may do nothing that it does not say",
}

SETTINGS: Mapping[ForgeKind, tuple[Setting, ...]] = {
    "github": (
        Setting("allow merge commits", "yes", _WHY["merge"]),
        Setting("allow squash merging", "no", _WHY["merge"]),
        Setting("allow rebase merging", "no", _WHY["merge"]),
        Setting("automatically delete head branches", "yes", _WHY["branches"]),
        Setting("main: require a pull request", "yes", _WHY["checks"]),
        Setting("main: required status checks", ", ".join(CHECKS), _WHY["checks"]),
        Setting("main: do not allow bypassing", "yes", _WHY["admins"]),
        Setting("main: allow force pushes", "no", _WHY["force"]),
        Setting("main: allow deletions", "no", _WHY["delete"]),
        Setting("main: require linear history", "no", _WHY["merge"]),
        Setting("workflow permissions", "read", _WHY["token"]),
    ),
    "gitlab": (
        Setting("merge method", "merge commit", _WHY["merge"]),
        Setting("squash commits when merging", "do not allow", _WHY["merge"]),
        Setting("delete source branch by default", "yes", _WHY["branches"]),
        Setting("pipelines must succeed", "yes", _WHY["checks"]),
        Setting("skipped pipelines are considered successful", "no", _WHY["checks"]),
        Setting("main: allowed to push and merge", "no one", _WHY["checks"]),
        Setting("main: allowed to merge", "developers or maintainers", _WHY["checks"]),
        Setting("main: allowed to force push", "no", _WHY["force"]),
    ),
    "gitea": (
        Setting("allow creating merge commits", "yes", _WHY["merge"]),
        Setting("allow rebasing, rebasing with merge commit, squashing", "no", _WHY["merge"]),
        Setting("delete branch after merging by default", "yes", _WHY["branches"]),
        Setting("main: disable push", "yes", _WHY["checks"]),
        Setting("main: enable status check", ", ".join(CHECKS), _WHY["checks"]),
        Setting("main: force push", "no", _WHY["force"]),
        Setting("main: block merge on outdated or rejected reviews", "no", _WHY["review"]),
    ),
}


def compare(kind: ForgeKind, found: Mapping[str, str]) -> list[Compared]:
    """What was found of the settings that `kind` needs, compared; what is not said is not ok."""
    return [
        Compared(one, found.get(one.name, "not said"), _holds(one, found.get(one.name)))
        for one in SETTINGS[kind]
    ]


def _holds(setting: Setting, found: str | None) -> bool:
    if found is None:
        return False
    if setting.wanted == ", ".join(CHECKS):
        return set(CHECKS) <= set(found.split(", "))
    return found == setting.wanted


def kind_of(where: "Hosted", environ: Mapping[str, str]) -> ForgeKind:
    """Which forge this host is, by its name; a UsageError where the name does not tell."""
    from .forges.github import is_github

    if is_github(where, environ):
        return "github"
    if "gitlab" in where.host or where.host == environ.get("GITLAB_HOST"):
        return "gitlab"
    words = ("gitea", "forgejo", "codeberg")
    if any(word in where.host for word in words) or where.host == environ.get("GITEA_HOST"):
        return "gitea"
    raise UsageError(
        f"{where.host} does not say by its name which forge it is: add --forge gitlab or "
        "--forge gitea, or set GH_HOST to it if it is a GitHub."
    )


def open_api(kind: ForgeKind, where: "Hosted", environ: Mapping[str, str]) -> "Api":
    """The API of a forge of this kind, with the caller's token for this host if he has one."""
    from .forges import github
    from .forges.http import Api
    from .forges.tokens import find_token_for

    if kind == "github":
        return github.open_api(where.host, environ)
    version, name = ("v4", "GITLAB") if kind == "gitlab" else ("v1", "GITEA")
    return Api(
        f"https://{where.host}/api/{version}",
        find_token_for(where.host, name, environ),
        login=f"set {name}_TOKEN, and {name}_HOST to {where.host}",
    )


def check(kind: ForgeKind, api: "Api", path: str) -> list[Compared]:
    """The settings of the repository that the forge calls `path`, asked and compared."""
    from .forges.http import MissingError, RefusedError

    def ask(where: str) -> Any:
        try:
            return api.get(where)
        except (MissingError, RefusedError):
            return None

    if kind == "gitlab":
        project = f"/projects/{quote(path, safe='')}"
        return compare(
            kind, answers.gitlab(api.get(project), ask(f"{project}/protected_branches/main"))
        )
    repository = api.get(f"/repos/{path}")
    if kind == "gitea":
        return compare(
            kind, answers.gitea(repository, ask(f"/repos/{path}/branch_protections/main"))
        )
    protection = ask(f"/repos/{path}/branches/main/protection")
    workflow = ask(f"/repos/{path}/actions/permissions/workflow")
    return compare(kind, answers.github(repository, protection, workflow))
