"""Everything that holds this site's plan back: rest, an old view, what has left, was loosened."""

from typing import TYPE_CHECKING

from ..registry.view import View
from .freshness import freshness
from .holding import hold, keep_within
from .loosening import loosened
from .plan import Plan
from .suspending import suspended

if TYPE_CHECKING:
    from .workplace import Workplace


def held_back(place: "Workplace", view: View, plan: Plan, *, now: float) -> Plan:
    """The plan, less what the site's own policy and state hold back."""
    plan = keep_within(plan, place.profile.policy)
    for one in loosened(place, view):
        text = f"{one.sentence} If that is right: medperf registry accept."
        plan = hold(plan, "loosened", text, benchmark=one.benchmark)
    old = freshness(place, view, now=now).problem
    if old:
        plan = hold(plan, "stale", old)
    why = suspended(place)
    if why is not None:
        text = f"This site is suspended ({why}); 'medperf resume' lets it go on."
        plan = hold(plan, "suspended", text)
    return plan
