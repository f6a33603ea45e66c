"""A site that is told to rest: nothing starts and nothing leaves until somebody resumes it."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .workplace import Workplace

MARKER = "suspended"


def suspend(place: "Workplace", reason: str) -> str:
    """Writes down that this site rests, and why."""
    place.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.storage / f"{MARKER}.{os.getpid()}.tmp"
    beside.write_text(reason.strip() or "no reason was given")
    beside.replace(place.storage / MARKER)
    return "Suspended: nothing starts and nothing leaves here until 'medperf resume'."


def resume(place: "Workplace") -> str:
    """Lets the site work again."""
    if suspended(place) is None:
        return "This site is not suspended."
    (place.storage / MARKER).unlink(missing_ok=True)
    return "Resumed: the next pass goes on where the last one stopped."


def suspended(place: "Workplace") -> str | None:
    """Why this site rests, or None."""
    try:
        return (place.storage / MARKER).read_text()
    except FileNotFoundError:
        return None
