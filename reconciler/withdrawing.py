"""Withdrawing a published result: a statement over it, by a member of the dataset's owner.

The result itself stays, as all that was merged does; it is shown struck out, and its run is never
made again under this key.
"""

from ..registry.view import View
from ..schemas.errors import UsageError
from ..schemas.names import nearest
from .results import PublishedResult, find_published, published_names

Files = dict[str, bytes]


def result_called(view: View, uid: str) -> PublishedResult:
    """The published result that `uid` means; a UsageError with the nearest names if none is."""
    found = find_published(view, uid)
    if found is not None:
        return found
    close = nearest(uid, published_names(view))
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"No result {uid!r} is published.{hint} 'medperf result ls' lists them.")


def check_withdrawable(result: PublishedResult, owner: str) -> None:
    """A UsageError if this owner may not withdraw the result, or it is withdrawn."""
    theirs = result.dataset.partition("/")[0]
    if theirs != owner:
        raise UsageError(f"{result.name} is of {result.dataset}: only {theirs} can withdraw it.")
    if result.answer == "withdrawn":
        raise UsageError(f"{result.name} is withdrawn already.")
