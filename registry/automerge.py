"""Merging without a person what waits for nobody, by the base branch's own workflow.

1. The proposal is judged again, by the base's rules, from fetched objects.
2. Only results, associations and statements are merged so, and nothing that holds another file: a
   change of `.github/` is never merged by a machine.
3. It is merged by the id of the commit that was judged.
4. Where signatures are missing, the people who can give them are asked for a review, as far as
   their logins are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..schemas.errors import InvalidDocumentError, UsageError
from ..schemas.manifests import Owner
from .checkout import commit_named
from .forges.addresses import hosted
from .forges.github import GitHubForge
from .forges.http import Api
from .git import Repository
from .paths import REGISTRY, classify, owner_path, settings_path
from .snapshot import read_item
from .validate import Verdict, validate

KINDS = ("results", "association", "statements")


@dataclass(frozen=True)
class Automatic:
    """What was done: the merge commit, or why a person has to act, and who was asked to."""

    verdict: Verdict
    commit: str = ""
    reason: str = ""
    asked: tuple[str, ...] = ()


def refusal(verdict: Verdict) -> str:
    """Why a machine does not merge this; nothing if it may. Pure."""
    if verdict.answer != "valid":
        return f"it is not valid yet: {verdict.sentence}"
    foreign = [one.path for one in verdict.changes if not classify(one.path).governed]
    if foreign:
        return f"{foreign[0]} is no document of the registry: an admin merges it."
    if verdict.kind not in KINDS:
        return f"a proposal of the kind {verdict.kind} is merged by a person."
    return ""


def merge_if_complete(
    folder: Path, base: str, head: str, number: int, environ: Mapping[str, str]
) -> Automatic:
    """Judge `head`, and merge it as pull request `number` if it waits for nobody."""
    with Repository.open(folder) as repository:
        tip, newest = commit_named(repository, base), commit_named(repository, head)
        verdict = validate(repository, tip, newest)
        forge = _forge(repository, environ)
        reason = refusal(verdict)
        if not reason:
            return Automatic(verdict, commit=forge.merge_number(number, newest))
        logins = reviewers(repository, verdict) if verdict.answer == "waits" else ()
        return Automatic(verdict, reason=reason, asked=forge.ask_for_reviews(number, logins))


def _forge(repository: Repository, environ: Mapping[str, str]) -> GitHubForge:
    """The forge that runs this workflow, as its runner describes it."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_API_URL", "GH_TOKEN")
    server, name, address, token = (environ.get(one, "") for one in names)
    missing = [one for one in names if not environ.get(one)]
    if missing:
        raise UsageError(f"--merge is for workflows on GitHub: {missing[0]} is not set.")
    where = hosted(f"{server}/{name}")
    if where is None:
        raise UsageError(f"GITHUB_REPOSITORY is {name!r}, which is no owner/name.")
    url = f"{server}/{name}.git"
    return GitHubForge(repository, url, where, environ=environ, api=lambda: Api(address, token))


def reviewers(repository: Repository, verdict: Verdict) -> tuple[str, ...]:
    """The logins of the committee, or of the admins, whom a proposal may wait for."""
    members: list[str] = []
    for change in verdict.changes:
        place = classify(change.path)
        about = classify(place.subject) if place.subject else place
        if about.kind == "association":
            path = settings_path(f"benchmarks/{about.owner}/{about.name}.yaml")
            members += _council(repository, verdict, path, "committee")
        elif about.kind in ("registry", "owner", "benchmark"):
            members += _council(repository, verdict, REGISTRY, "admins")
    logins = [_login(repository, verdict.base, one) for one in dict.fromkeys(members)]
    return tuple(dict.fromkeys(login for login in logins if login))


def _council(repository: Repository, verdict: Verdict, path: str, field: str) -> tuple[str, ...]:
    data = repository.file(verdict.base, path)
    if data is None:
        return ()
    try:
        members: tuple[str, ...] = getattr(read_item(path, data).manifest.spec, field).members
    except InvalidDocumentError:
        return ()
    return members


def _login(repository: Repository, base: str, by: str) -> str | None:
    owner, _, name = by.partition("/")
    data = repository.file(base, owner_path(owner))
    if data is None:
        return None
    try:
        manifest = read_item(owner_path(owner), data).manifest
    except InvalidDocumentError:
        return None
    members = manifest.spec.members if isinstance(manifest, Owner) else ()
    return next((one.forge for one in members if one.name == name), None)
