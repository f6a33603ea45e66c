"""How a registry's repository should be set up at its forge, and whether it is.

Pure but for `check`. A data site believes none of it: these settings keep mistakes and noise away
from main, the signatures keep forgers away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
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
        Setting("main: allowed to merge", "developers and maintainers", _WHY["checks"]),
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


def compare(
    repository: Mapping[str, Any],
    protection: Mapping[str, Any] | None,
    workflow: Mapping[str, Any] | None,
) -> list[Compared]:
    """GitHub's answers about a repository, main's protection and the workflows' rights, compared.

    None: GitHub does not say it with this token, or there is none.
    """
    found = dict(_found(repository, protection, workflow))
    return [
        Compared(one, found.get(one.name, "not said"), _holds(one, found.get(one.name)))
        for one in SETTINGS["github"]
    ]


def _holds(setting: Setting, found: str | None) -> bool:
    if found is None:
        return False
    if setting.name == "main: required status checks":
        return set(CHECKS) <= set(found.split(", "))
    return found == setting.wanted


def _found(
    repository: Mapping[str, Any],
    protection: Mapping[str, Any] | None,
    workflow: Mapping[str, Any] | None,
) -> Iterator[tuple[str, str]]:
    for name, field in (
        ("allow merge commits", "allow_merge_commit"),
        ("allow squash merging", "allow_squash_merge"),
        ("allow rebase merging", "allow_rebase_merge"),
        ("automatically delete head branches", "delete_branch_on_merge"),
    ):
        if field in repository:  # only shown to those who may administer it
            yield name, _yes(repository[field])
    if protection is not None:
        checks = protection.get("required_status_checks") or {}
        names = [one.get("context", "") for one in checks.get("checks") or ()]
        yield "main: require a pull request", _yes("required_pull_request_reviews" in protection)
        yield (
            "main: required status checks",
            ", ".join(sorted({*names, *(checks.get("contexts") or ())})) or "none",
        )
        for name, field in (
            ("main: do not allow bypassing", "enforce_admins"),
            ("main: allow force pushes", "allow_force_pushes"),
            ("main: allow deletions", "allow_deletions"),
            ("main: require linear history", "required_linear_history"),
        ):
            yield name, _yes((protection.get(field) or {}).get("enabled", False))
    if workflow is not None:
        yield "workflow permissions", str(workflow.get("default_workflow_permissions", "not said"))


def _yes(value: object) -> str:
    return "yes" if value else "no"


def check(api: "Api", path: str) -> list[Compared]:
    """The settings of the GitHub repository `path` (owner/name), asked and compared."""
    from .forges.http import MissingError, RefusedError

    def ask(where: str) -> Any:
        try:
            return api.get(where)
        except (MissingError, RefusedError):
            return None

    repository = api.get(f"/repos/{path}")
    protection = ask(f"/repos/{path}/branches/main/protection")
    workflow = ask(f"/repos/{path}/actions/permissions/workflow")
    return compare(repository, protection, workflow)
