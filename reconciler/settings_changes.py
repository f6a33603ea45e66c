"""Changing a benchmark's settings: one proposal with serial + 1 and the caller's statement.

What decides who takes part (committee, approve) takes the old committee's threshold; priorities,
texts, mirrors and active take one member (design §5.2). The document is edited in place, so that
people's comments survive. Everything else of a benchmark never changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..registry.editing import edit
from ..registry.paths import settings_path
from ..registry.view import View
from ..schemas.documents import load
from ..schemas.errors import UsageError
from ..schemas.manifests import BenchmarkSettingsSpec
from ..schemas.names import nearest, resolve
from .submissions import check_members
from .workplace import Workplace

Files = dict[str, bytes]
NEVER, ALWAYS = "never", "always"


@dataclass(frozen=True)
class Change:
    """What shall be different; None, or nothing in it, leaves a field as it is."""

    active: bool | None = None
    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    threshold: int | None = None
    approve_models: str | None = None
    approve_datasets: str | None = None
    priorities: Mapping[str, int | None] | None = None
    description: str | None = None
    labels: Mapping[str, str | None] | None = None
    mirrors: Sequence[tuple[str, str]] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == Change()


def settings_files(
    place: Workplace, view: View, benchmark: str, change: Change
) -> tuple[str, int, Files]:
    """The benchmark meant, the new serial, and the files: the settings and a statement over them.

    A UsageError where nothing would differ, or the caller is not of the committee.
    """
    item = view.benchmark(benchmark)
    settings = view.benchmark_settings(item.ref)
    by = place.member().by
    if by not in settings.committee.members:
        raise UsageError(
            f"{by} is not of the committee of {item.ref}, which are "
            f"{', '.join(settings.committee.members)}: they change its settings."
        )
    path = settings_path(item.path)
    known = view.file(path)
    assert known is not None, "a benchmark in force has settings"  # noqa: S101
    data = edit(known.data, _edit(view, item.ref, change), file=path)
    before, after = _spec(known.data, path), _spec(data, path)
    if after.model_copy(update={"serial": before.serial}) == before:
        raise UsageError(f"The settings of {item.ref} say all of this already.")
    files = {path: data, **place.statement(path, data, number=after.serial)}
    return item.ref, after.serial, files


def _spec(data: bytes, path: str) -> BenchmarkSettingsSpec:
    spec = load(data, file=path).manifest.spec
    assert isinstance(spec, BenchmarkSettingsSpec)  # noqa: S101 - by its path
    return spec


def _edit(view: View, benchmark: str, change: Change) -> Callable[[dict[str, Any]], None]:
    """The edit that makes `change`, for any mapping that holds the document."""
    models = [one.component for one in view.associations_of(benchmark, "models")]
    wanted = {
        resolve(model, models, f"model of {benchmark}"): number
        for model, number in (change.priorities or {}).items()
    }

    def make(document: dict[str, Any]) -> None:
        spec = document["spec"]
        if change.active is not None:
            spec["active"] = change.active
        if change.description is not None:
            spec["description"] = change.description
        check_members(view, change.add)
        _committee(spec["committee"], change)
        for side, rule in (
            ("models", change.approve_models),
            ("datasets", change.approve_datasets),
        ):
            if rule is not None:
                spec["approve"][side] = _rule(rule)
        merge_mapping(spec, "priorities", wanted)
        merge_mapping(spec, "labels", dict(change.labels or {}))
        for digest, url in change.mirrors:
            urls = spec.setdefault("mirrors", {}).setdefault(digest, [])
            if url not in urls:
                urls.append(url)

    return make


def _committee(council: dict[str, Any], change: Change) -> None:
    members: list[str] = council["members"]
    for member in change.add:
        if member not in members:
            members.append(member)
    for member in change.remove:
        if member not in members:
            raise UsageError(f"{member} is not of the committee: {', '.join(members)} are.")
        members.remove(member)
    if change.threshold is not None:
        council["threshold"] = change.threshold
    if council["threshold"] > len(members):
        raise UsageError(
            f"{council['threshold']} signatures cannot be had of a committee of {len(members)}: "
            "say another --threshold, or another member."
        )


def strange_owners(view: View, change: Change) -> list[str]:
    """What to look at before it is sent: owners of approval rules whom the registry does not know.

    They may join later, so they are no mistake for sure.
    """
    said = []
    for rule in (change.approve_models, change.approve_datasets):
        for owner in [] if rule is None else _rule(rule):
            if rule not in (NEVER, ALWAYS) and owner not in view.owners:
                close = nearest(owner, [*view.owners, NEVER, ALWAYS])
                hint = f" Did you mean {' or '.join(close)}?" if close else ""
                said.append(f"Look: the registry has no owner {owner!r} yet.{hint}")
    return said


def _rule(text: str) -> str | list[str]:
    """`never`, `always`, or the names of owners between commas."""
    if text in (NEVER, ALWAYS):
        return text
    owners = [word.strip() for word in text.split(",") if word.strip()]
    if not owners:
        raise UsageError("Write never, always, or owners' names between commas.")
    return owners


def merge_mapping(spec: dict[str, Any], field: str, wanted: Mapping[str, Any]) -> None:
    """Sets the keys of a mapping; None takes one out, and an empty mapping goes."""
    for key, value in wanted.items():
        if value is not None:
            spec.setdefault(field, {})[key] = value
        elif field in spec:
            spec[field].pop(key, None)
    if field in spec and not spec[field]:
        del spec[field]
