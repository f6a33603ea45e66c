"""What the registry's people loosen is in order, and still asks this site's engineer once.

Compared with what this site has accepted before (a small file, begun at the first look):

* the admins' threshold, and each benchmark's committee's threshold, is lower;
* a benchmark's `approve` names more owners, or everybody, whose parts need no committee any more;
* an owner was reset by admins, since no key of its members was active.

What becomes stricter is accepted silently. The approval mode is pinned and stalls the site instead
(registry/pinned.py). Losing the file loses these consents: what is there then is the new start.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..registry.view import View
from ..schemas.errors import DataError
from ..schemas.manifests import Rule

if TYPE_CHECKING:
    from .workplace import Workplace

FILE = "accepted.json"
EVERYBODY = "everybody"
_REGISTRY = ""  # stands for the registry among the benchmarks


@dataclass(frozen=True)
class Loosened:
    """One thing that is looser than this site has accepted; `benchmark` is empty for all of it."""

    benchmark: str
    sentence: str


def loosened(place: "Workplace", view: View) -> tuple[Loosened, ...]:
    """What an engineer has to look at; what is new or stricter is taken as accepted."""
    now, known = _facts(place, view), _read(place)
    found = tuple(_compare(known, now))
    if found:
        loose = {one.benchmark for one in found}
        now = {name: known.get(name, {}) if name in loose else fact for name, fact in now.items()}
    if now != known:
        _write(place, now)
    return found


def accept(place: "Workplace", view: View) -> None:
    """The engineer has looked: what is there now is what later looks compare with."""
    _write(place, _facts(place, view))


def _facts(place: "Workplace", view: View) -> dict[str, dict[str, Any]]:
    resets = sorted({f"{note.path} {note.commit}" for note in view.notes if note.kind == "reset"})
    facts: dict[str, dict[str, Any]] = {
        _REGISTRY: {"threshold": view.registry.admins.threshold, "resets": resets}
    }
    for ref in sorted(view.benchmarks):
        mine = any(
            one.component.startswith(f"{place.owner}/")
            for one in view.associations_of(ref, "datasets")
        )
        if mine:
            settings = view.benchmark_settings(ref)
            facts[ref] = {
                "threshold": settings.committee.threshold,
                "models": _whom(settings.approve.models),
                "datasets": _whom(settings.approve.datasets),
            }
    return facts


def _whom(rule: Rule) -> list[str]:
    if isinstance(rule, str):
        return [EVERYBODY] if rule == "always" else []
    return sorted(rule)


def _compare(
    known: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> Iterator[Loosened]:
    for name, fact in now.items():
        before = known.get(name)
        if before is None:
            continue
        whose = f"of the committee of {name}" if name else "of the admins"
        if fact["threshold"] < before["threshold"]:
            yield Loosened(
                name,
                f"The threshold {whose} went down from {before['threshold']} to "
                f"{fact['threshold']} signatures.",
            )
        for part in ("models", "datasets"):
            more = [one for one in fact.get(part, ()) if one not in before.get(part, ())]
            if more and EVERYBODY not in before.get(part, ()):
                yield Loosened(
                    name,
                    f"{name} now takes {part} of {', '.join(more)} without its committee.",
                )
        for reset in fact.get("resets", ()):
            if reset not in before.get("resets", ()):
                path, _, commit = reset.rpartition(" ")
                yield Loosened(
                    name,
                    f"The admins gave {path} new keys at {commit[:12]}, since none of its "
                    "members' keys was active: ask its people whether that is right.",
                )


def _read(place: "Workplace") -> dict[str, dict[str, Any]]:
    file = place.storage / FILE
    if not file.exists():
        return {}
    try:
        read = json.loads(file.read_text())
    except ValueError as error:
        raise DataError(f"{file} cannot be read: delete it, and look at 'medperf explain'.") from (
            error
        )
    found: dict[str, dict[str, Any]] = read if isinstance(read, dict) else {}
    return found


def _write(place: "Workplace", facts: Mapping[str, Mapping[str, Any]]) -> None:
    place.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.storage / f"{FILE}.{os.getpid()}.tmp"
    beside.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    beside.replace(place.storage / FILE)
