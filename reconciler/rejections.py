"""What was proposed and closed without a merge, with medperf or in a browser."""

from collections.abc import Callable, Mapping

from ..registry import proposals
from ..schemas.errors import RegistryError
from .workplace import Workplace


def rejections(place: Workplace, *, say: Callable[[str], None]) -> Mapping[str, str]:
    """Why each file of a closed proposal was rejected, unless an open one brings it again.

    Where the proposals cannot be looked at, since a stranger pushed a broken one or the forge
    takes no more requests, that is told by `say`, and what is known without them still stands.
    """
    try:
        return _rejections(place)
    except RegistryError as error:
        say(f"Which proposals were rejected is not known: {error}")
        return {}


def _rejections(place: Workplace) -> Mapping[str, str]:
    open_ones = proposals.list_open(place.repository, place.url)  # looks: closed ones come with it
    why = {
        path: one.reason
        for one in proposals.list_rejected(place.repository, place.url)
        for path in one.paths
    }
    for proposal in open_ones:
        for change in proposals.view(place.repository, proposal).changes:
            why.pop(change.path, None)
    return why
