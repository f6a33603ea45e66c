"""What a registry's documents say of each other, and whether it is so: pins, names, people.

Pure: a snapshot in, problems out, with file, line and field. A site judges what matters to it by
`history.py`; this is for people, before a merge.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..schemas import manifests as kinds
from ..schemas.errors import Problem
from ..schemas.names import nearest
from ..schemas.yaml_subset import parse
from . import rules
from .paths import benchmark_path, classify, settings_path
from .snapshot import Item, Snapshot

Field = tuple[str | int, ...]


def reference_problems(
    snapshot: Snapshot, some: Snapshot | None = None, *, broken: Iterable[str] = ()
) -> list[Problem]:
    """What does not hold between documents; only in `some` of them, if they are given.

    `broken`: files that are there and have problems of their own. Who refers to one of them is not
    told as well that it is missing.
    """
    known = {_absence(place.kind, place.ref) for place in map(classify, broken)}
    found: list[Problem] = []
    for item in _items(some or snapshot):
        found += _CHECKS[item.place.kind](snapshot, item)
    return [one for one in found if one.found not in known]


def _absence(what: str, ref: str) -> str:
    if what == "owner":
        return f"is {ref}, who is not in the registry."
    return f"is {ref}: there is no such {what}."


def _items(snapshot: Snapshot) -> Iterator[Item[Any]]:
    if snapshot.registry is not None:
        yield snapshot.registry
    for shelf in (
        snapshot.owners,
        snapshot.cubes,
        snapshot.datasets,
        snapshot.benchmarks,
        snapshot.settings,
        snapshot.associations,
        snapshot.results,
    ):
        yield from shelf.values()


def problem(item: Item[Any], field: Field, found: str, fix: str) -> Problem:
    """A problem at a field of a document, with its line."""
    line = parse(item.data, file=item.path).line(field)
    return Problem(item.path, line, ".".join(map(str, field)), found, fix)


def _registry(snapshot: Snapshot, item: Item[kinds.Registry]) -> Iterator[Problem]:
    yield from _people(snapshot, item, item.manifest.spec.admins, ("spec", "admins", "members"))


def _owner(snapshot: Snapshot, item: Item[kinds.Owner]) -> Iterator[Problem]:
    mine = {key.public_key for one in item.manifest.spec.members for key in one.keys}
    mine |= {key.public_key for one in item.manifest.spec.sites for key in one.keys}
    for name, other in snapshot.owners.items():
        if name == item.place.owner:
            continue
        members = [key for one in other.manifest.spec.members for key in one.keys]
        sites = [key for one in other.manifest.spec.sites for key in one.keys]
        for key in [*members, *sites]:
            if key.public_key in mine:
                found = f"has the key {key.public_key[:40]}…, which {name} has already."
                yield problem(item, ("spec",), found, "Give everybody a key of their own.")


def _cube(snapshot: Snapshot, item: Item[kinds.Cube]) -> Iterator[Problem]:
    yield from _owned(snapshot, item)
    yield from _replaces(item, item.manifest.spec.replaces, snapshot.cubes, "cube")


def _dataset(snapshot: Snapshot, item: Item[kinds.Dataset]) -> Iterator[Problem]:
    spec = item.manifest.spec
    yield from _owned(snapshot, item)
    yield from _replaces(item, spec.replaces, snapshot.datasets, "dataset")
    yield from _pin(item, ("spec", "preparator"), spec.preparator, snapshot.cubes, "cube")
    cube = snapshot.cubes.get(spec.preparator.ref)
    if cube is not None:
        yield from _role(item, ("spec", "preparator", "ref"), cube, "preparator")
        yield from _statistics(item, cube.manifest.spec)
    for ref in snapshot.datasets_of(item.place.owner):
        other = snapshot.datasets.get(ref)
        if ref != item.ref and other and other.manifest.spec.commitment == spec.commitment:
            fix = "One dataset is registered once: use that one."
            yield problem(item, ("spec", "commitment"), f"is that of {ref} already.", fix)


def _statistics(item: Item[kinds.Dataset], preparator: kinds.CubeSpec) -> Iterator[Problem]:
    declared = preparator.statistics
    for name, value in item.manifest.spec.statistics.items():
        field = ("spec", "statistics", name)
        if declared is None:
            if name != "cases":
                yield problem(item, field, "is not declared by the preparator.", "Take it out.")
        elif name not in declared:
            yield problem(item, field, "is not declared by the preparator.", "Take it out.")
        elif not declared[name].min <= value <= declared[name].max:
            within = f"{declared[name].min} to {declared[name].max}"
            yield problem(item, field, f"is {value}.", f"The preparator declares {within}.")


def _benchmark(snapshot: Snapshot, item: Item[kinds.Benchmark]) -> Iterator[Problem]:
    spec = item.manifest.spec
    yield from _owned(snapshot, item)
    yield from _replaces(item, spec.replaces, snapshot.benchmarks, "benchmark")
    for name, role, pin in (
        ("preparator", "preparator", spec.preparator),
        ("referenceModel", "model", spec.reference_model),
        ("evaluator", "evaluator", spec.evaluator),
    ):
        yield from _pin(item, ("spec", name), pin, snapshot.cubes, "cube")
        cube = snapshot.cubes.get(pin.ref)
        if cube is not None:
            yield from _role(item, ("spec", name, "ref"), cube, role)
    if item.path not in snapshot.settings:
        fix = f"Add {settings_path(item.path)} in the same proposal."
        yield problem(item, ("metadata", "name"), "has no settings.", fix)


def _settings(
    snapshot: Snapshot, item: Item[kinds.Settings | kinds.BenchmarkSettings]
) -> Iterator[Problem]:
    shelves = {
        "cubes": snapshot.cubes,
        "datasets": snapshot.datasets,
        "benchmarks": snapshot.benchmarks,
    }
    if item.ref not in shelves[item.path.partition("/")[0]]:
        fix = "Settings come with what they belong to."
        yield problem(item, ("kind",), f"belongs to {item.place.subject}, which is not there.", fix)
    spec = item.manifest.spec
    if isinstance(spec, kinds.BenchmarkSettingsSpec):
        yield from _people(snapshot, item, spec.committee, ("spec", "committee", "members"))


def _association(snapshot: Snapshot, item: Item[kinds.Association]) -> Iterator[Problem]:
    spec = item.manifest.spec
    part = "model" if spec.model else "dataset"
    component = item.manifest.component
    shelf: Mapping[str, Item[Any]] = snapshot.cubes if spec.model else snapshot.datasets
    what = "cube" if spec.model else "dataset"
    yield from _pin(item, ("spec", "benchmark"), spec.benchmark, snapshot.benchmarks, "benchmark")
    yield from _pin(item, ("spec", part), component, shelf, what)
    benchmark, there = snapshot.benchmarks.get(spec.benchmark.ref), shelf.get(component.ref)
    if benchmark is None or there is None:
        return
    if spec.model:
        yield from _role(item, ("spec", "model", "ref"), there, "model")
    if spec.benchmark.digest != benchmark.digest or component.digest != there.digest:
        return
    settings = snapshot.settings.get(benchmark_path(benchmark.ref))
    registry = snapshot.registry.manifest.spec.id if snapshot.registry else ""
    for text in rules.pin_problems(
        item.manifest,
        benchmark=benchmark.manifest.spec,
        benchmark_digest=benchmark.digest,
        active=settings is None or settings.manifest.spec.active,  # type: ignore[union-attr]
        component_digest=there.digest,
        dataset=None if spec.model else there.manifest.spec,
        registry=registry,
    ):
        fix = "Run the trial again, or pin what belongs together."
        yield problem(item, ("spec",), f"does not fit: {text}.", fix)


def _result(snapshot: Snapshot, item: Item[kinds.Result]) -> Iterator[Problem]:
    spec = item.manifest.spec
    for name, pin, shelf, what in (
        ("benchmark", spec.benchmark, snapshot.benchmarks, "benchmark"),
        ("dataset", spec.dataset, snapshot.datasets, "dataset"),
        ("model", spec.model, snapshot.cubes, "cube"),
    ):
        yield from _pin(item, ("spec", name), pin, shelf, what)


def _owned(snapshot: Snapshot, item: Item[Any]) -> Iterator[Problem]:
    owner = item.place.owner
    if owner not in snapshot.owners:
        fix = "Join first: `medperf owner join`."
        yield problem(item, ("metadata", "owner"), _absence("owner", owner), fix)


def _pin(
    item: Item[Any], field: Field, pin: kinds.Pin, shelf: Mapping[str, Item[Any]], what: str
) -> Iterator[Problem]:
    there = shelf.get(pin.ref)
    if there is None:
        close = nearest(pin.ref, shelf, most=1)
        fix = f"Did you mean {close[0]}?" if close else f"Add the {what} first."
        yield problem(item, (*field, "ref"), _absence(what, pin.ref), fix)
    elif there.digest != pin.digest:
        found = f"is {pin.digest}, and {pin.ref} has other bytes."
        yield problem(item, (*field, "digest"), found, f"Write {there.digest}.")


def _role(item: Item[Any], field: Field, cube: Item[kinds.Cube], role: str) -> Iterator[Problem]:
    if cube.manifest.spec.role != role:
        found = f"is {cube.ref}, which is of the role {cube.manifest.spec.role}."
        yield problem(item, field, found, f"Name a cube of the role {role}.")


def _replaces(
    item: Item[Any], ref: str | None, shelf: Mapping[str, Item[Any]], what: str
) -> Iterator[Problem]:
    if ref is not None and ref not in shelf:
        fix = "Name what it replaces, or take it out."
        yield problem(item, ("spec", "replaces"), _absence(what, ref), fix)


def _people(
    snapshot: Snapshot, item: Item[Any], council: kinds.Council, field: Field
) -> Iterator[Problem]:
    known = {
        f"{name}/{member.name}"
        for name, owner in snapshot.owners.items()
        for member in owner.manifest.spec.members
    }
    for at, by in enumerate(council.members):
        if by not in known:
            close = nearest(by, known, most=1)
            fix = f"Did you mean {close[0]}?" if close else "Name owner/member."
            yield problem(item, (*field, at), f"is {by}, who is not in the registry.", fix)


_CHECKS: Mapping[str, Any] = {
    "registry": _registry,
    "owner": _owner,
    "cube": _cube,
    "dataset": _dataset,
    "benchmark": _benchmark,
    "settings": _settings,
    "association": _association,
    "result": _result,
}
