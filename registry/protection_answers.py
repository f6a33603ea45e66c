"""What a forge's API says of a repository, in the words of `protect`. Pure.

Each function takes the forge's answers, None where it gives none to this token. What a forge leaves
out, since the token is no admin's, is left out here too, and is never taken for a good answer.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Answer = Mapping[str, Any]
_EVENT = re.compile(r" \([a-z_]+\)\Z")  # Gitea names a check with the event that started it
_NO_ONE, _DEVELOPER, _MAINTAINER = 0, 30, 40  # GitLab's levels of access


def github(
    repository: Answer, protection: Answer | None, workflow: Answer | None
) -> dict[str, str]:
    """GitHub's answers about a repository, main's protection and the workflows' rights."""
    found = _switches(
        repository,
        {
            "allow merge commits": "allow_merge_commit",
            "allow squash merging": "allow_squash_merge",
            "allow rebase merging": "allow_rebase_merge",
            "automatically delete head branches": "delete_branch_on_merge",
        },
    )
    if protection is not None:
        checks = protection.get("required_status_checks") or {}
        names = [one.get("context", "") for one in checks.get("checks") or ()]
        found["main: require a pull request"] = _yes("required_pull_request_reviews" in protection)
        found["main: required status checks"] = _list([*names, *(checks.get("contexts") or ())])
        for name, field in (
            ("main: do not allow bypassing", "enforce_admins"),
            ("main: allow force pushes", "allow_force_pushes"),
            ("main: allow deletions", "allow_deletions"),
            ("main: require linear history", "required_linear_history"),
        ):
            found[name] = _yes((protection.get(field) or {}).get("enabled", False))
    if workflow is not None:
        rights = workflow.get("default_workflow_permissions", "not said")
        found["workflow permissions"] = str(rights)
    return found


def gitlab(project: Answer, branch: Answer | None) -> dict[str, str]:
    """GitLab's answers about a project and its protected branch main."""
    found = _switches(
        project,
        {
            "delete source branch by default": "remove_source_branch_after_merge",
            "pipelines must succeed": "only_allow_merge_if_pipeline_succeeds",
            "skipped pipelines are considered successful": "allow_merge_on_skipped_pipeline",
        },
    )
    methods = {"merge": "merge commit", "rebase_merge": "semi-linear", "ff": "fast-forward"}
    if "merge_method" in project:
        method = str(project["merge_method"])
        found["merge method"] = methods.get(method, method)
    squashing = {"never": "do not allow", "always": "require", "default_on": "encourage"}
    if "squash_option" in project:
        option = str(project["squash_option"])
        found["squash commits when merging"] = squashing.get(option, option)
    if branch is not None:
        pushers, mergers = (
            _levels(branch.get(f"{what}_access_levels")) for what in ("push", "merge")
        )
        found["main: allowed to push and merge"] = (
            "no one" if pushers == {_NO_ONE} else _named(pushers)
        )
        everybody = {_DEVELOPER, _MAINTAINER}
        found["main: allowed to merge"] = (
            "developers or maintainers" if mergers and mergers <= everybody else _named(mergers)
        )
        found["main: allowed to force push"] = _yes(branch.get("allow_force_push", True))
    return found


def gitea(repository: Answer, protection: Answer | None) -> dict[str, str]:
    """Gitea's, or Forgejo's, answers about a repository and the protection of its branch main."""
    found = _switches(
        repository,
        {
            "allow creating merge commits": "allow_merge_commits",
            "delete branch after merging by default": "default_delete_branch_after_merge",
        },
    )
    others = ("allow_rebase", "allow_rebase_explicit", "allow_squash_merge")
    if all(field in repository for field in others):
        loose = any(repository[field] for field in others)
        found["allow rebasing, rebasing with merge commit, squashing"] = _yes(loose)
    if protection is not None:
        checks = protection.get("status_check_contexts") or ()
        names = _list(_EVENT.sub("", str(one)) for one in checks)
        found["main: disable push"] = _yes(not protection.get("enable_push", True))
        found["main: enable status check"] = (
            names if protection.get("enable_status_check") else "none"
        )
        # older ones do not have it: nobody can then force a push to a protected branch
        found["main: force push"] = _yes(protection.get("enable_force_push", False))
        found["main: block merge on outdated or rejected reviews"] = _yes(
            protection.get("block_on_rejected_reviews")
            or protection.get("block_on_outdated_branch")
        )
    return found


def _switches(answer: Answer, fields: Mapping[str, str]) -> dict[str, str]:
    """The switches that the answer has: some are shown only to those who may turn them."""
    return {name: _yes(answer[field]) for name, field in fields.items() if field in answer}


def _levels(levels: Any) -> set[int]:
    """Who may, as levels of access; a single person, group or key is -1."""
    found = levels if isinstance(levels, list) else []
    single = ("user_id", "group_id", "deploy_key_id")
    return {
        -1 if any(one.get(name) for name in single) else int(one.get("access_level") or 0)
        for one in found
    }


def _named(levels: Iterable[int]) -> str:
    words = {
        -1: "single people, groups or keys",
        _NO_ONE: "no one",
        _DEVELOPER: "developers",
        _MAINTAINER: "maintainers",
        60: "admins",
    }
    return ", ".join(words.get(one, str(one)) for one in sorted(levels)) or "not said"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name})) or "none"


def _yes(value: object) -> str:
    return "yes" if value else "no"
