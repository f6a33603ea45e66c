"""Trials: the compatibility test of a model, on a benchmark's demo dataset (design §7).

A trial is the same steps as a run: prepare, sanity check, statistics, infer, evaluate, and the
check of what was written against the benchmark's metrics. The demo dataset is public, so nothing
is suppressed but what cannot be computed. Prepared demo data are kept by the digests of what made
them, so the second model of a benchmark is tested without preparing again.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from .. import __version__
from ..runner import flows
from ..runner.cubes import ReadyCube
from ..schemas.digests import canonical_json
from ..schemas.errors import TaskError
from ..schemas.manifests import Asset, Cube, Metric
from ..schemas.metrics import LEAST_K, check_metrics, parse_evaluator_file
from .disclosure import read_once
from .execute import execution
from .workplace import Workplace

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A cube of a trial and the digest of its manifest, registered or not."""

    cube: Cube
    digest: str

    @property
    def name(self) -> str:
        """`owner/name`."""
        return f"{self.cube.metadata.owner}/{self.cube.metadata.name}"


@dataclass(frozen=True)
class TrialSetup:
    """What a trial takes: three cubes, the demo dataset, and what the evaluator may write."""

    preparator: Part
    model: Part
    evaluator: Part
    demo: Asset
    metrics: Mapping[str, Metric]
    ignore: Sequence[Sequence[str]] = ()
    mirrors: Mapping[str, Sequence[str]] | None = None

    @property
    def key(self) -> str:
        """64 hex digits over the digests of everything that the trial takes."""
        inputs = {
            "demo": self.demo.digest,
            "evaluator": self.evaluator.digest,
            "model": self.model.digest,
            "preparator": self.preparator.digest,
        }
        return hashlib.sha256(canonical_json(inputs)).hexdigest()


@dataclass(frozen=True)
class TrialReport:
    """How a trial went, with the digests of all that it used."""

    medperf: str
    engine: str
    outcome: str
    preparator: str
    model: str
    evaluator: str
    data: str
    metrics: Mapping[str, Decimal | int]
    not_computable: tuple[str, ...]
    seconds: Mapping[str, float]

    def manifest(self) -> dict[str, object]:
        """The `trial` of a model's association."""
        return {
            "medperf": self.medperf,
            "engine": self.engine,
            "outcome": self.outcome,
            "data": self.data,
            "metrics": dict(self.metrics),
        }


def run_trial(
    place: Workplace, setup: TrialSetup, *, say: Say, stop: threading.Event | None = None
) -> TrialReport:
    """The report of a trial that passed.

    Raises TaskError, CubeError, AssetError or EngineError where a step fails, and WithheldError
    where the evaluator writes what the benchmark does not declare.
    """
    root = place.storage / "trials"
    parts = (setup.preparator, setup.model, setup.evaluator)
    ready = [
        place.ready(part.cube, part.digest, mirrors=setup.mirrors, say=say, stop=stop)
        for part in parts
    ]
    label = "trial-" + setup.key[:16]
    prepared = _prepare_demo(place, setup, ready[0], root, label, say, stop)
    folder = root / setup.key[:16]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    how = execution(place, label, folder / "logs", stop)
    say(f"{setup.model.name}: infer on the demo dataset")
    predictions, inferred = flows.infer(ready[1], prepared.data, folder, how)
    say(f"{setup.evaluator.name}: evaluate")
    results, evaluated = flows.evaluate(
        ready[2], predictions, prepared.labels_for_evaluation, folder, how
    )
    raw = parse_evaluator_file(read_once(results))
    unsupported = {
        name: metric.model_copy(update={"support": None, "kind": None})
        for name, metric in setup.metrics.items()
    }
    found = check_metrics(raw, unsupported, ignore=setup.ignore, k=LEAST_K)
    if not found.metrics:
        raise TaskError("output", f"{setup.evaluator.name} computed none of the metrics.")
    return TrialReport(
        medperf=__version__,
        engine=place.profile.engine,
        outcome="passed",
        preparator=setup.preparator.digest,
        model=setup.model.digest,
        evaluator=setup.evaluator.digest,
        data=setup.demo.digest,
        metrics=found.metrics,
        not_computable=tuple(item.metric for item in found.suppressed),
        seconds={
            "infer": round(inferred.seconds, 1),
            "evaluate": round(evaluated.seconds, 1),
        },
    )


def _prepare_demo(
    place: Workplace,
    setup: TrialSetup,
    preparator: ReadyCube,
    root: Path,
    label: str,
    say: Say,
    stop: threading.Event | None,
) -> flows.Prepared:
    """The demo dataset as the preparator makes it, from the cache where it is there whole."""
    both = setup.demo.digest + setup.preparator.digest
    folder = root / "prepared" / hashlib.sha256(both.encode()).hexdigest()[:16]
    done = flows.open_prepared(folder)
    if done is not None:
        return done
    archive = place.assets.fetch(
        setup.demo, mirrors=(setup.mirrors or {}).get(setup.demo.digest, ()), stop=stop
    )
    raw_folder = root / f"demo-{setup.demo.digest[7:23]}"
    shutil.rmtree(raw_folder, ignore_errors=True)
    raw_folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    raw = flows.unpack_demo(archive, raw_folder)
    say(f"{setup.preparator.name}: prepare the demo dataset")
    how = execution(place, label, folder / "logs", stop)
    prepared = flows.prepare(
        preparator, data=raw.data, labels=raw.labels, into=folder, execution=how
    )
    shutil.rmtree(raw_folder, ignore_errors=True)
    return prepared
