"""What was proposed and closed without a merge, with medperf or in a browser."""

from collections.abc import Mapping

from ..registry import proposals
from .workplace import Workplace


def rejections(place: Workplace) -> Mapping[str, str]:
    """Why each file of a closed proposal was rejected, unless an open one brings it again."""
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
