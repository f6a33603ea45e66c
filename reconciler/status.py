"""Where everything of a profile is: read fresh; all that is remembered is what was shown before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .concerns import Concern, concerns
from .freshness import freshness
from .holding import Told, told
from .news import New, news, read_seen, results_since
from .observe import look
from .plan import Plan
from .workplace import Workplace

if TYPE_CHECKING:
    from ..registry.view import View


@dataclass(frozen=True)
class Status:
    """A profile, its registry, what is on this machine, and each run's state."""

    profile: str
    url: str
    commit: str
    identities: tuple[str, ...]
    engine: str
    datasets: tuple[str, ...]
    plan: Plan
    notes: tuple[str, ...]
    freshness: str = ""
    told: tuple[Told, ...] = ()
    new: tuple[New, ...] = ()


class Looked(NamedTuple):
    """The status of a profile, with what of the registry concerns its owner, and the registry."""

    status: Status
    concerning: list[Concern]
    view: "View"


def status(place: Workplace, *, fetch: bool = True) -> Looked:
    """The status of an opened profile, as it is now."""
    view, plan = look(place, fetch=fetch)
    concerning = concerns(view, place.owner)
    seen = read_seen(place, "person")
    me = place.profile.me
    identities = [f"{me.owner}/{one.name}" for one in (me.member, me.site) if one is not None]
    found = Status(
        profile=place.name,
        url=place.url,
        commit=view.tip,
        identities=tuple(identities),
        engine=place.profile.engine,
        datasets=tuple(f"{one.record.name} ({one.uid})" for one in place.datasets.prepared()),
        plan=plan,
        notes=tuple(str(note) for note in view.notes),
        freshness=freshness(place, view).sentence,
        told=told(plan, place.profile.policy),
        new=news(plan, concerning, seen, results_since(place, view, plan, seen)),
    )
    return Looked(found, concerning, view)
