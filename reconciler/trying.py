"""Trying a proposal: the compatibility test of what it brings, on the reviewer's own machine.

The proposal's documents are read at the head that was looked at; what it does not bring is the
registry's. Its cubes run in the reviewer's engine under his own policy, as any foreign cube would.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..registry.paths import benchmark_path, cube_path
from ..registry.snapshot import Item, read_item
from ..registry.view import View
from ..schemas.errors import InvalidDocumentError, UsageError
from ..schemas.manifests import Benchmark, Cube
from .reviewing import Review
from .submissions import registered
from .trials import Part, TrialSetup


def trial_of(view: View, seen: Review, *, benchmark: str | None = None) -> TrialSetup:
    """The trial of a proposal's model, preparator or evaluator.

    The benchmark is that of its association, or the one it brings; else `benchmark` says it.
    """
    if seen.verdict.answer == "failed":
        raise InvalidDocumentError(seen.verdict.problems)
    items = {item.path: item for item in _items(seen)}
    models = [one for one in items.values() if one.place.side == "models"]
    brought = [one for one in items.values() if one.place.kind == "benchmark"]
    cubes = [one for one in items.values() if isinstance(one.manifest, Cube)]
    if models:
        setup = _setup(view, items, models[0].place.ref)
        return replace(setup, model=_part(view, items, models[0].place.component))
    if brought:
        return _setup(view, items, brought[0].ref)
    if not cubes:
        raise UsageError(f"{seen.proposal.id} brings no cube and no model's association to try.")
    if benchmark is None:
        raise UsageError(f"{seen.proposal.id} brings a cube alone: say --benchmark too.")
    setup = _setup(view, items, view.benchmark(benchmark).ref)
    for item in cubes:
        part = _part(view, items, item.ref)
        match item.manifest.spec.role:
            case "preparator":
                setup = replace(setup, preparator=part)
            case "evaluator":
                setup = replace(setup, evaluator=part)
            case _:
                setup = replace(setup, model=part)
    return setup


def _items(seen: Review) -> Iterator[Item[Any]]:
    for path, data in sorted(seen.files.items()):
        if path.endswith(".yaml"):
            try:
                yield read_item(path, data)
            except InvalidDocumentError:
                continue  # no document of the registry: a workflow, say


def _setup(view: View, items: dict[str, Item[Any]], ref: str) -> TrialSetup:
    """The trial of a benchmark's reference model."""
    item = items.get(benchmark_path(ref)) or view.benchmark(ref)
    manifest: Benchmark = item.manifest
    spec = manifest.spec
    return TrialSetup(
        preparator=_part(view, items, spec.preparator.ref),
        model=_part(view, items, spec.reference_model.ref),
        evaluator=_part(view, items, spec.evaluator.ref),
        demo=spec.demo_dataset,
        metrics=spec.metrics,
        ignore=spec.ignore or (),
        benchmark=ref,
    )


def _part(view: View, items: dict[str, Item[Any]], ref: str) -> Part:
    item = items.get(cube_path(ref))
    return Part(item.manifest, item.digest, ref) if item else registered(view, ref)
