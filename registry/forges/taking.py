"""Taking over a remote's branches, although one of them cannot be taken.

A stranger has pushed what Git's check refuses, or a copy onto a share or a stick was cut, so that a
branch names what is not there. Git takes all that it is asked for or nothing. So that one such
branch does not hide the others, each is then asked for by itself, and what is refused is told by
its name.
"""

from collections.abc import Mapping, Sequence

from ..git import Repository
from ..git_process import MalformedError, MissingRefError


def take_over(repo: Repository, url: str, refspecs: Sequence[str]) -> Mapping[str, str]:
    """Fetches `refspecs`, all as `+from:to`; why each reference of the remote was refused, if any.

    A refused one is not here afterwards, not even as it was before.
    """
    try:
        repo.fetch(url, refspecs)
        refused = {}
    except MalformedError:
        refused = _each(repo, url, refspecs)
    return refused | _drop_no_commits(repo, refspecs)


def _each(repo: Repository, url: str, refspecs: Sequence[str]) -> dict[str, str]:
    theirs = _wanted(repo.remote_refs(url), refspecs)
    refused: dict[str, str] = {}
    for ref, (oid, here) in sorted(theirs.items()):
        if repo.resolve(here) == oid:
            continue
        try:
            repo.fetch(url, [f"+{ref}:{here}"], prune=False)
        except MalformedError as error:
            refused[ref] = str(error)
            repo.set_ref(here, None)
        except MissingRefError:  # it went while the others were asked for
            repo.set_ref(here, None)
    kept = {here for _, here in theirs.values()}
    for spec in refspecs:
        _, _, to = spec.partition(":")
        if to.endswith("/*"):
            for here in repo.refs(to.removesuffix("/*")):
                if here not in kept:
                    repo.set_ref(here, None)
    return refused


def _drop_no_commits(repo: Repository, refspecs: Sequence[str]) -> dict[str, str]:
    """Takes away what came and is no commit: a proposal and its record are."""
    pairs = [spec.removeprefix("+").replace("/*", "").split(":") for spec in refspecs]
    refused: dict[str, str] = {}
    for here, kind in repo.no_commits([to for _, to in pairs]).items():
        repo.set_ref(here, None)
        for start, to in pairs:
            if here == to or here.startswith(f"{to}/"):
                refused[start + here.removeprefix(to)] = f"It names a {kind}, not a commit."
    return refused


def _wanted(theirs: Mapping[str, str], refspecs: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Each reference that a refspec asks for: its id there, and its name here."""
    found: dict[str, tuple[str, str]] = {}
    for spec in refspecs:
        start, _, to = spec.removeprefix("+").partition(":")
        if not start.endswith("/*"):
            start_of = {start: to}
        else:
            folder = start.removesuffix("*")
            start_of = {
                ref: to.removesuffix("*") + ref.removeprefix(folder)
                for ref in theirs
                if ref.startswith(folder)
            }
        for ref, here in start_of.items():
            # a pull request's head is no advertised reference everywhere: it is asked for anyway
            found[ref] = (theirs.get(ref, ""), here)
    return found
