"""What a registry says that concerns one owner, in words that can be compared with earlier ones.

His objects and his own file, his associations, others' models that were revoked where his data take
part, and the settings of the benchmarks that he takes part in. All of it is read from a view that
is open already, by benchmark and owner; nobody is asked. What a merge brings shows here; that a
proposal was rejected changes nothing in the registry: of results the runs say it (`proposed.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..registry.paths import benchmark_path, classify, settings_path
from ..registry.view import AssociationState, View

_OBJECTS = ("cubes", "datasets", "benchmarks")


@dataclass(frozen=True)
class Concern:
    """One thing: what it is kept by, how it stands, and the words that a sentence begins with."""

    key: str
    state: str
    subject: str
    benchmark: str = ""
    model: str = ""
    dataset: str = ""

    def sentence(self, before: str) -> str:
        """One line, with how it stood before."""
        was = f" (was {before})" if before else " (new)"
        return f"{self.subject} {self.state}{was}"


def concerns(view: View, owner: str) -> list[Concern]:
    """Everything in the registry that concerns `owner`, by kind and path."""
    return [*_objects(view, owner), *_taking_part(view, owner)]


def _objects(view: View, owner: str) -> Iterator[Concern]:
    own = f"owners/{owner}.yaml"
    item = view.owners.get(owner)
    if item is not None:
        yield Concern(own, f"at serial {item.manifest.spec.serial}", f"The file of {owner} is")
    for folder in _OBJECTS:
        for path in view.ledger.paths_below(f"{folder}/{owner}/"):
            place = classify(path)
            known = place.kind == folder.removesuffix("s") and view.file(path) is not None
            if known:  # what is no valid document is told as ignored
                yield Concern(path, "in the registry", f"The {place.kind} {place.ref} is")


def _taking_part(view: View, owner: str) -> Iterator[Concern]:
    for ref in sorted(view.benchmarks):
        datasets = view.associations_of(ref, "datasets", owner=owner)
        models = view.associations_of(ref, "models", owner=owner)
        if not datasets and not models and not ref.startswith(f"{owner}/"):
            continue
        yield _settings(view, ref)
        for one in (*datasets, *models):
            yield _association(one)
        if datasets:
            for one in view.associations_of(ref, "models"):
                if one.state == "revoked" and not one.component.startswith(f"{owner}/"):
                    yield _association(one)


def _association(one: AssociationState) -> Concern:
    side = "model" if one.part == "models" else "dataset"
    return Concern(
        one.path,
        one.state,
        f"The association of {one.component} with {one.benchmark} is",
        one.benchmark,
        **{side: one.component},
    )


def _settings(view: View, ref: str) -> Concern:
    settings = view.benchmark_settings(ref)
    active = "active" if settings.active else "not active"
    return Concern(
        settings_path(benchmark_path(ref)),
        f"{active}, at serial {settings.serial}",
        f"By its settings {ref} is",
        ref,
    )
