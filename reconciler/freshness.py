"""How old this site's view of the registry may be before it starts nothing new (design §6, §12).

Two ages, each against the stricter of what the registry asks for and what the site's policy says:

* where registry.yaml asks for checkpoints: the age of the newest one that an admin signed. It is
  proof that main was there then, so a forge that withholds what is new is noticed;
* else the time since this machine last reached the registry, which only tells of a lost connection.

Neither shows that another site is given another history: two people compare for that.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..registry.checkpoints import (
    BRANCH,
    MOST_DAYS,
    Checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from ..registry.view import View
from ..schemas.errors import RegistryError, UsageError
from .own_key import check_own_key
from .settings import Policy, in_seconds

if TYPE_CHECKING:
    from .workplace import Workplace

CHECKPOINTS = "refs/remotes/origin/checkpoints"
DEFAULT = "24h"
_DAY = 86400


@dataclass(frozen=True)
class Freshness:
    """How old the view is and may be, in seconds; `problem` is a sentence if it is too old."""

    age: float | None
    most: float
    checkpoint: Checkpoint | None = None
    problem: str = ""

    @property
    def sentence(self) -> str:
        """How fresh the view is, as words for a person."""
        if self.problem:
            return self.problem
        by = f", a checkpoint by {self.checkpoint.by}" if self.checkpoint else ""
        old = "never fetched" if self.age is None else f"{span(self.age)} old"
        return f"{old}{by} (at most {span(self.most)})"


def most_age(view: View, policy: Policy) -> float:
    """The most seconds that a view may be old: the stricter of the registry's and the site's."""
    asked = view.registry.checkpoints
    allowed = [float(asked.max_age_days * _DAY)] if asked else []
    if policy.max_age is not None:
        allowed.append(float(in_seconds(policy.max_age)))
    return min(allowed, default=float(in_seconds(DEFAULT)))


def reached(place: "Workplace") -> None:
    """Remember that this machine has reached the registry now."""
    place.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    (place.storage / "fetched").touch()


def fetch_checkpoint(place: "Workplace", view: View) -> None:
    """Bring the newest checkpoint here, where the registry asks for one."""
    if view.registry.checkpoints is None:
        return
    head = place.repository.fetch_ref(place.url, BRANCH)
    if head is not None:
        place.repository.set_ref(CHECKPOINTS, head)


def freshness(place: "Workplace", view: View, *, now: float | None = None) -> Freshness:
    """How old this view is; nothing is fetched."""
    now = time.time() if now is None else now
    most = most_age(view, place.profile.policy)
    if view.registry.checkpoints is None:
        return _since_fetch(place, most, now)
    head = place.repository.resolve(CHECKPOINTS)
    if head is None:
        text = (
            "This registry asks for signed checkpoints, and none is there. "
            "An admin makes one: medperf registry checkpoint."
        )
        return Freshness(None, most, problem=text)
    try:
        found = read_checkpoint(place.repository, head, view, now=now)
    except RegistryError as error:
        return Freshness(None, most, problem=str(error))
    return _of_checkpoint(found, most, now)


def _of_checkpoint(found: Checkpoint, most: float, now: float) -> Freshness:
    age = now - found.date
    if age <= most and now <= found.expires:
        return Freshness(age, most, found)
    limit = f"expired {span(now - found.expires)} ago"
    if age > most:
        limit = f"may be at most {span(most)} old"
    text = (
        f"The newest checkpoint, by {found.by}, is {span(age)} old and {limit}: perhaps something "
        "newer is kept from this site, a revocation too. "
        "An admin makes one: medperf registry checkpoint. If one was made, ask who keeps it."
    )
    return Freshness(age, most, found, text)


def _since_fetch(place: "Workplace", most: float, now: float) -> Freshness:
    marker = place.storage / "fetched"
    if not marker.exists():
        return Freshness(None, most)
    age = max(0.0, now - marker.stat().st_mtime)
    if age <= most:
        return Freshness(age, most)
    text = (
        f"This machine reached the registry {span(age)} ago, and policy.maxAge is {span(most)}. "
        "It starts nothing until it has reached it again."
    )
    return Freshness(age, most, problem=text)


def sign_here(place: "Workplace", *, days: int | None = None) -> Checkpoint:
    """A new checkpoint of the registry as it is now, signed by this profile's member.

    It holds for twice the days that the registry lets a view be old, unless `days` is given.
    """
    view = place.view()
    actor = place.member()
    if not view.ledger.is_admin(actor.by):
        raise UsageError(f"{actor.by} is no admin of this registry: only admins sign checkpoints.")
    check_own_key(view, actor.by, actor.signer.fingerprint)
    asked = view.registry.checkpoints
    if days is None:
        days = 2 * asked.max_age_days if asked else 14
    made = sign_checkpoint(
        place.repository,
        place.url,
        view,
        by=actor.by,
        signer=actor.signer,
        days=min(days, MOST_DAYS),
        now=time.time(),
    )
    fetch_checkpoint(place, view)
    return made


def span(seconds: float) -> str:
    """`3 days`, `5 hours` or `20 minutes`, rounded down."""
    for size, noun in ((_DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {noun}" + ("s" if number != 1 else "")
    return "less than a minute"
