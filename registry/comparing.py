"""Two people on the phone: do they see the same registry?

A forge could show two sites two histories, each in order by itself. What one site alone cannot see,
two see at once: they compare the registry's id, its first commit and where main is. For the ear
there are four short words, made from all three: 64 bits as proquints, syllables that are hard to
mishear (arXiv:0901.4016). A commit's id holds all that came before it, so the same words mean the
same history.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..schemas.errors import UsageError

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"
_HEX = re.compile(r"[0-9a-f]{7,40}\Z")
_WORDS = re.compile(r"[a-z]{5}(-[a-z]{5}){3}\Z")

Answer = Literal["same", "theirs is older", "unknown"]


@dataclass(frozen=True)
class Position:
    """Where a registry is, as two people compare it; `number` counts main's commits up to it."""

    id: str
    root: str
    head: str
    number: int
    words: str


@dataclass(frozen=True)
class Comparison:
    """What the other's position is in this history, and what that means."""

    answer: Answer
    position: Position | None
    meaning: str


def position(registry: str, chain: Sequence[str], at: int = -1) -> Position:
    """The position at one commit of the first-parent chain (default: the newest)."""
    head = chain[at]
    number = at + 1 if at >= 0 else len(chain)
    return Position(registry, chain[0], head, number, words(registry, chain[0], head))


def words(registry: str, root: str, head: str) -> str:
    """Four words for the ear."""
    data = hashlib.sha256(f"medperf compare v1\n{registry}\n{root}\n{head}\n".encode()).digest()
    return "-".join(_word(int.from_bytes(data[at : at + 2])) for at in range(0, 8, 2))


def _word(value: int) -> str:
    """Sixteen bits as five letters: con-vo-con-vo-con."""
    parts = ((12, _CONSONANTS), (10, _VOWELS), (6, _CONSONANTS), (4, _VOWELS), (0, _CONSONANTS))
    return "".join(letters[value >> shift & len(letters) - 1] for shift, letters in parts)


def compare(registry: str, chain: Sequence[str], theirs: str) -> Comparison:
    """What the commit or the words that somebody else reads out are in this history."""
    said = re.sub(r"[\s,-]+", "-", theirs.strip().lower())
    if _WORDS.match(said):
        found = [at for at, head in enumerate(chain) if words(registry, chain[0], head) == said]
    elif _HEX.match(said):
        found = [at for at, head in enumerate(chain) if head.startswith(said)]
    else:
        raise UsageError(
            f"{theirs!r} is neither four words of five letters nor the first 7 or more hex digits "
            "of a commit, as 'medperf registry compare' prints them."
        )
    if len(found) > 1:
        raise UsageError(f"{theirs!r} means more than one commit here: give more digits.")
    if not found:
        return Comparison(
            "unknown",
            None,
            "This history does not have it. Either theirs is newer: look again here, "
            "when this machine reaches the registry. Or one of you is shown another history: "
            "then stop both sites, and ask the admins which one is theirs.",
        )
    there = position(registry, chain, found[0])
    behind = len(chain) - there.number
    if not behind:
        return Comparison("same", there, "You both see the same registry, with all its history.")
    return Comparison(
        "theirs is older",
        there,
        f"Both histories are the same up to there; this one has {behind} newer "
        f"{'commit' if behind == 1 else 'commits'}. They should look again.",
    )
