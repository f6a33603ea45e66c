"""Validation where people work: a clone with a work tree, as CI and the pre-commit hook have it."""

from pathlib import Path

from ..schemas.errors import Problem, UsageError
from .git import Repository
from .summary import Summary, summarize
from .validate import Verdict, validate, validate_files


def judge_files(folder: Path) -> list[Problem]:
    """What is wrong with the documents below `folder`; a UsageError where no registry is."""
    if not (folder / "registry.yaml").exists():
        raise UsageError(f"{folder} has no registry.yaml: name the folder of a registry's clone.")
    return validate_files(folder)


def judge_checkout(folder: Path, base: str, head: str) -> Verdict:
    """The verdict on what `head` proposes to `base`, both any name that Git knows in that clone."""
    with Repository.open(folder) as repository:
        return validate(repository, commit_named(repository, base), commit_named(repository, head))


def review_checkout(
    folder: Path, base: str, head: str, *, proposal: str = ""
) -> tuple[Verdict, Summary]:
    """The same verdict, and the summary by which a person decides; `proposal`: its name."""
    with Repository.open(folder) as repository:
        tip, newest = commit_named(repository, base), commit_named(repository, head)
        verdict = validate(repository, tip, newest)
        return verdict, summarize(repository, verdict, proposal=proposal)


def commit_named(repository: Repository, name: str) -> str:
    """The commit that a clone's people call `name`."""
    found = repository.named(name)
    if found is None:
        raise UsageError(f"This clone has no commit {name!r}: fetch it first, or name another.")
    return found
