"""Withdrawing a published result: a statement over it, by a member of the dataset's owner.

The result itself stays, as all that was merged does; it is shown struck out, and its run is never
made again under this key.
"""

from ..registry.view import View
from ..schemas.errors import UsageError
from ..schemas.names import nearest
from .results import PublishedResult, published

Files = dict[str, bytes]
_KEY = 16


def find_published(view: View, uid: str) -> PublishedResult:
    """The published result that `uid` means: its path, the 16 digits in it, or its name."""
    found = published(view)
    for same in (
        [one for one in found if uid in (one.path, _digits(one.path))],
        [one for one in found if one.name == uid],
    ):
        if len(same) == 1:
            return same[0]
        if same:
            digits = " or ".join(_digits(one.path) for one in same)
            raise UsageError(f"More than one result is called {uid!r}: write {digits}.")
    close = nearest(uid, {one.name for one in found})
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"No result {uid!r} is published.{hint} 'medperf result ls' lists them.")


def check_withdrawable(result: PublishedResult, owner: str) -> None:
    """A UsageError if this owner may not withdraw the result, or it is withdrawn."""
    theirs = result.dataset.partition("/")[0]
    if theirs != owner:
        raise UsageError(f"{result.name} is of {result.dataset}: only {theirs} can withdraw it.")
    if result.answer == "withdrawn":
        raise UsageError(f"{result.name} is withdrawn already.")


def _digits(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".yaml")
