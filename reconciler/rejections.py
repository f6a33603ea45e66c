"""What was proposed and closed without a merge, with medperf or in a browser."""

from collections.abc import Callable, Mapping

from ..registry import proposals
from ..schemas.errors import RegistryError
from .workplace import Workplace


def rejections(place: Workplace, *, say: Callable[[str], None]) -> Mapping[str, str]:
    """Why each file of a closed proposal was rejected, unless an open one brings it again.

    Where a proposal cannot be looked at, since a stranger pushed a broken one, or none can, since
    the forge takes no more requests, that is told by `say`, and what is known still stands.
    """
    try:
        return _rejections(place, say)
    except RegistryError as error:
        say(f"Which proposals were rejected is not known: {error}")
        return {}


def _rejections(place: Workplace, say: Callable[[str], None]) -> Mapping[str, str]:
    # looks, too: closed ones come with it
    open_ones = proposals.list_open(place.repository, place.url, say=say)
    why = {
        path: one.reason
        for one in proposals.list_rejected(place.repository, place.url)
        for path in one.paths
    }
    for _, change in proposals.changes_of(place.repository, open_ones, say=say):
        why.pop(change.path, None)
    return why
