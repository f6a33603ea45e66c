"""Datasets: preparing raw data with a benchmark's preparator, and asking to take part.

Preparation goes on where it stopped: the same call with the same name finds the unfinished folder.
To take part, the benchmark's reference model is run on the prepared data first; that run is kept,
counts as the run of its key, and is published only through the disclosure check and a release.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..registry.view import View
from ..runner import preparation
from ..runner.cubes import ReadyCube, read_cube
from ..schemas.errors import EngineError, UsageError
from ..schemas.manifests import Pin
from ..schemas.names import check_name
from .datasets import DatasetRecord, LocalDataset
from .execute import Made, Order, execution, make_run
from .lock import locked
from .observe import evaluator_of, make_pair, mirrors_of
from .plan import Pair
from .policy import benchmark_obstacle
from .workplace import Workplace

Say = Callable[[str], None]


@dataclass(frozen=True)
class RawParts:
    """What a data owner hands to `dataset create`."""

    name: str
    description: str
    location: str
    data: Path
    labels: Path
    benchmark: str
    prepared: bool = False
    metadata: Path | None = None


def create_dataset(
    place: Workplace,
    view: View,
    parts: RawParts,
    *,
    say: Say,
    stop: threading.Event | None = None,
) -> LocalDataset:
    """The prepared dataset, new or gone on with; nothing of it leaves this machine."""
    check_name(parts.name, "dataset's name")
    for path in (parts.data, parts.labels, parts.metadata):
        if path is not None and not path.exists():
            raise UsageError(f"There is nothing at {path}.")
    benchmark = view.benchmark(parts.benchmark)
    preparator = view.cube(benchmark.manifest.spec.preparator.ref)
    record = DatasetRecord(
        name=parts.name,
        description=parts.description,
        location=parts.location,
        benchmark=benchmark.ref,
        preparator=Pin(ref=preparator.ref, digest=preparator.digest),
        sanity_checked=read_cube(preparator.manifest).has_sanity_check,
    )
    with locked(place.storage):
        _refuse_second(place, parts.name)
        place.end_leftovers()
        dataset = _unfinished(place, record)
        settings = view.cube_settings(preparator.ref)
        ready = place.ready(
            preparator.manifest,
            preparator.digest,
            mirrors=settings.mirrors if settings else None,
            say=say,
            stop=stop,
        )
        _check_metadata(ready, parts)
        first = "copy" if parts.prepared else "prepare"
        then = "sanity check, statistics" if record.sanity_checked else "statistics"
        say(f"{preparator.ref}: {first}, {then}")
        how = execution(place, f"prepare-{dataset.path.name}", dataset.path / "logs", stop)
        preparation.prepare(
            ready,
            data=parts.data,
            labels=parts.labels,
            metadata=parts.metadata,
            into=dataset.path,
            execution=how,
            prepared=parts.prepared,
        )
    return dataset


def _check_metadata(ready: ReadyCube, parts: RawParts) -> None:
    """A UsageError where metadata are given that this preparator has no use for."""
    spec = ready.task("prepare")
    takes = spec.output("metadata_path") if parts.prepared else spec.input("metadata_path")
    if parts.metadata is not None and takes is None:
        raise UsageError(
            f"{ready.name} takes no metadata{' with prepared data' if parts.prepared else ''}: "
            "leave --metadata_path out."
        )


def _refuse_second(place: Workplace, name: str) -> None:
    same = [found for found in place.datasets.prepared() if found.record.name == name]
    if same:
        raise UsageError(
            f"Dataset {name!r} is prepared already ({same[0].uid}). "
            "Choose another name for other data."
        )


def _unfinished(place: Workplace, record: DatasetRecord) -> LocalDataset:
    """The folder to prepare into: an unfinished one of this name and preparator, or a new one."""
    found = place.datasets.unfinished(record.name)
    if found is None:
        return place.datasets.create(record)
    if found.record.preparator != record.preparator:
        shutil.rmtree(found.path)
        return place.datasets.create(record)
    again = LocalDataset(found.path, record)
    again.write_record()
    return again


@dataclass(frozen=True)
class Reference:
    """The reference model's run on a dataset, and the `trial` that its association will say."""

    pair: Pair
    made: Made
    dataset: str
    digest: str

    def manifest(self, engine: str) -> dict[str, object]:
        """The `trial` of a dataset's association: no metrics."""
        return {
            "medperf": __version__,
            "engine": engine,
            "outcome": "passed",
            "runKey": self.pair.key,
        }


def reference_run(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    data_uid: str,
    say: Say,
    stop: threading.Event | None = None,
) -> Reference:
    """Runs the benchmark's reference model on a submitted dataset, or finds that it has run."""
    item = view.benchmark(benchmark)
    word, sentence = benchmark_obstacle(place.profile, item.ref)
    if word:
        raise UsageError(sentence)
    dataset = place.datasets.find(data_uid)
    ref = f"{place.owner}/{dataset.record.name}"
    registered = view.datasets.get(ref)
    if registered is None:
        raise UsageError(
            f"{ref} is not in the registry yet: 'medperf dataset submit --data_uid {dataset.uid}' "
            "and merge its proposal first."
        )
    spec = item.manifest.spec
    if registered.manifest.spec.preparator != spec.preparator:
        raise UsageError(
            f"{ref} was prepared with {registered.manifest.spec.preparator.ref}, but {item.ref} "
            f"asks for {spec.preparator.ref} with the digest {spec.preparator.digest}."
        )
    if place.profile.engine not in spec.accepted_engines():
        raise EngineError(
            f"{item.ref} accepts results of {', '.join(spec.accepted_engines())}, and this site "
            f"runs {place.profile.engine}: 'medperf profile set engine=…' first."
        )
    model = view.cube(spec.reference_model.ref)
    evaluator = evaluator_of(view, item.ref)
    pair = make_pair(
        view,
        benchmark=item.ref,
        dataset=ref,
        dataset_digest=registered.digest,
        model=model.ref,
    )
    order = Order(
        pair=pair,
        benchmark=item.manifest,
        model=model.manifest,
        evaluator=evaluator.manifest,
        evaluator_digest=evaluator.digest,
        dataset=dataset,
        mirrors=mirrors_of(view, pair),
    )
    with locked(place.storage):
        place.end_leftovers()
        made = make_run(place, order, still_wanted=lambda: None, say=say, stop=stop)
    return Reference(pair, made, ref, registered.digest)
