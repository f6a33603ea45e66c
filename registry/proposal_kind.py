"""What kind of proposal a set of changes is, by its paths alone (design §4). Pure."""

from collections.abc import Sequence
from typing import Literal

from .paths import Place, settings_path

ProposalKind = Literal[
    "nothing",
    "objects",
    "association",
    "benchmark",
    "settings",
    "owner",
    "registry",
    "results",
    "statements",
    "mixed",
]
MOST_RESULTS = 100


def proposal_kind(places: Sequence[Place], new: frozenset[str]) -> ProposalKind:
    """The kind of a proposal that changes `places`; `new` are the paths that it adds.

    Statements may travel in any of them. `mixed` is none that may be merged.
    """
    if not places:
        return "nothing"
    files = [place for place in places if place.kind != "statement"]
    if not files:
        own = any(not place.number for place in places)
        return "results" if own else "statements"
    kinds = {place.kind for place in files}
    if "handover" in kinds:
        return "mixed"  # it comes with a history of its own, never by a proposal
    if kinds == {"other"} or kinds == {"registry"} or kinds == {"other", "registry"}:
        return "registry" if not any(_is_stray(place) for place in files) else "mixed"
    if kinds == {"result"}:
        return "results"
    if len(files) == 1:
        return _single(files[0], new)
    if "benchmark" in kinds:
        return "benchmark" if _is_benchmark(files) else "mixed"
    return "objects" if _is_objects(files, new) else "mixed"


def _is_stray(place: Place) -> bool:
    """A governed path that names nothing: no proposal of the admins' either."""
    return place.kind == "other" and place.governed


def _single(place: Place, new: frozenset[str]) -> ProposalKind:
    if place.kind == "settings":
        return "settings"
    if place.kind == "association":
        return "association"
    if place.kind == "owner":
        return "owner"
    if place.kind == "benchmark":
        return "benchmark"
    return "objects" if place.path in new else "mixed"


def _is_benchmark(files: Sequence[Place]) -> bool:
    """One benchmark, its settings and at most one association of its own."""
    benchmarks = [place for place in files if place.kind == "benchmark"]
    if len(benchmarks) != 1:
        return False
    one = benchmarks[0]
    rest = [place for place in files if place not in (one,)]
    associations = [place for place in rest if place.kind == "association"]
    settings = [place for place in rest if place.path == settings_path(one.path)]
    own = all(place.ref == one.ref and place.side == "models" for place in associations)
    return own and len(associations) <= 1 and len(rest) == len(associations) + len(settings)


def _is_objects(files: Sequence[Place], new: frozenset[str]) -> bool:
    """New cubes or datasets of one owner, their settings, and associations of that owner."""
    owners = set()
    for place in files:
        if place.kind in ("cube", "dataset", "settings"):
            owners.add(place.owner)
        elif place.kind == "association":
            owners.add(place.component.partition("/")[0])
        else:
            return False
        if place.path not in new:
            return False
    objects = {place.path for place in files if place.kind in ("cube", "dataset")}
    settings = [place for place in files if place.kind == "settings"]
    return len(owners) == 1 and bool(objects) and all(one.subject in objects for one in settings)
