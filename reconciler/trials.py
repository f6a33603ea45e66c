"""Trials: the compatibility test of a model, on a benchmark's demo dataset (design §7).

A trial is the same steps as a run: prepare, sanity check, statistics, infer, evaluate, and the
check of what was written against the benchmark's metrics. Demo data are public and own data stay
here, so nothing is suppressed but what cannot be computed. Prepared data are kept by the digests of
what made them, so the second model of a benchmark is tested without preparing again; the report is
kept by the digests of all that was used, so the same trial is not run twice.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from .. import __version__
from ..runner import model_run, preparation
from ..runner.content import tree_content
from ..runner.cubes import ReadyCube, lacking
from ..runner.demo_dataset import unpack_demo
from ..runner.prepared import Prepared, RawData, open_prepared
from ..runner.task_run import Execution
from ..schemas.digests import canonical_json, file_digest
from ..schemas.errors import TaskError, WithheldError
from ..schemas.manifests import Asset, Cube, Metric
from ..schemas.metrics import LEAST_K, check_metrics, parse_evaluator_file
from .datasets import LocalDataset
from .disclosure import read_once
from .execute import check_unchanged, execution
from .reports import TrialReport, find_report, write_report
from .workplace import Workplace

__all__ = ["Part", "TrialReport", "TrialSetup", "run_trial"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A cube of a trial, the digest of its manifest, and what people call it."""

    cube: Cube
    digest: str
    shown: str = ""

    @property
    def name(self) -> str:
        """`owner/name`, or the path of a cube on this machine."""
        return self.shown or f"{self.cube.metadata.owner}/{self.cube.metadata.name}"


@dataclass(frozen=True)
class TrialSetup:
    """What a trial takes: three cubes, data, and what the evaluator may write.

    `demo` is a demo dataset, raw data of one's own, or a dataset that is prepared here; `prepared`
    says of the first two that they are in the prepared form already. Without `metrics` all numbers
    that the evaluator wrote are reported.
    """

    preparator: Part
    model: Part
    evaluator: Part
    demo: Asset | RawData | LocalDataset
    metrics: Mapping[str, Metric] | None
    ignore: Sequence[Sequence[str]] = ()
    mirrors: Mapping[str, Sequence[str]] | None = None
    benchmark: str = ""
    prepared: bool = False

    def data(self) -> str:
        """The digest of the demo dataset, or of the data, names included."""
        if isinstance(self.demo, Asset):
            return self.demo.digest
        if isinstance(self.demo, LocalDataset):
            return "sha256:" + self.demo.content_hash.hex()
        lines = b"".join(
            _digest_of(path).encode() + b"\n"
            for path in (self.demo.data, self.demo.labels, self.demo.metadata)
            if path is not None
        )
        return "sha256:" + hashlib.sha256(lines).hexdigest()

    def key(self, data: str, engine: str) -> str:
        """64 hex digits over the digests of everything that the trial takes."""
        declared = {name: one.model_dump_json() for name, one in (self.metrics or {}).items()}
        inputs = {
            "demo": data,
            "engine": engine,
            "evaluator": self.evaluator.digest,
            "ignore": [list(path) for path in self.ignore],
            "metrics": declared,
            "model": self.model.digest,
            "preparator": self.preparator.digest,
            **({"prepared": True} if self.prepared else {}),
        }
        return hashlib.sha256(canonical_json(inputs)).hexdigest()


def _digest_of(path: Path) -> str:
    if path.is_dir():
        return "sha256:" + tree_content(path).hash.hex()
    return file_digest(path)


def run_trial(
    place: Workplace,
    setup: TrialSetup,
    *,
    say: Say,
    stop: threading.Event | None = None,
    cache: bool = True,
) -> TrialReport:
    """The report of a trial that passed, or of the same one that has passed before (`cache`).

    Raises TaskError, CubeError, AssetError or EngineError where a step fails, and WithheldError
    where the evaluator writes what the benchmark does not declare.
    """
    root = place.storage / "trials"
    data = setup.data()
    key = setup.key(data, place.profile.engine)
    if cache and (known := find_report(root, key)) is not None:
        say(f"The same trial has passed before ({known.id}); --no-cache runs it again.")
        return known
    place.end_leftovers()
    parts = (setup.preparator, setup.model, setup.evaluator)
    ready = [
        place.ready(part.cube, part.digest, mirrors=setup.mirrors, say=say, stop=stop)
        for part in parts
    ]
    for one in ready:
        for sentence in lacking(one.files, one.cube.spec.role):
            say(f"{one.name}: {sentence}")
    label = "trial-" + key[:16]
    prepared = _prepared(place, setup, data, ready[0], label, say, stop)
    folder = root / key[:16]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    how = execution(place, label, folder / "logs", stop)
    say(f"{setup.model.name}: infer")
    predictions, inferred = model_run.infer(ready[1], prepared.data, folder, how)
    say(f"{setup.evaluator.name}: evaluate")
    results, evaluated = model_run.evaluate(
        ready[2], predictions, prepared.labels_for_evaluation, folder, how
    )
    metrics, not_computable = _numbers(setup, results)
    report = TrialReport(
        key=key,
        medperf=__version__,
        engine=place.profile.engine,
        outcome="passed",
        benchmark=setup.benchmark,
        names={
            "preparator": setup.preparator.name,
            "model": setup.model.name,
            "evaluator": setup.evaluator.name,
        },
        preparator=setup.preparator.digest,
        model=setup.model.digest,
        evaluator=setup.evaluator.digest,
        images={
            name: one.image.digest
            for name, one in zip(("preparator", "model", "evaluator"), ready, strict=True)
        },
        data=data,
        metrics=metrics,
        declared=setup.metrics is not None,
        sanity_checked=ready[0].files.has_sanity_check,
        not_computable=not_computable,
        seconds={
            "infer": round(inferred.seconds, 1),
            "evaluate": round(evaluated.seconds, 1),
        },
    )
    write_report(root, report)
    return report


def _numbers(
    setup: TrialSetup, results: Path
) -> tuple[Mapping[str, Decimal | int], tuple[str, ...]]:
    """The declared metrics, or every number of the evaluator's file where none is declared."""
    raw = parse_evaluator_file(read_once(results))
    if setup.metrics is None:
        return dict(_flat(raw, ())), ()
    unsupported = {
        name: metric.model_copy(update={"support": None, "kind": None})
        for name, metric in setup.metrics.items()
    }
    found = check_metrics(raw, unsupported, ignore=setup.ignore, k=LEAST_K)
    if not found.metrics:
        raise TaskError("output", f"{setup.evaluator.name} computed none of the metrics.")
    return found.metrics, tuple(item.metric for item in found.suppressed)


def _flat(raw: object, path: tuple[str, ...]) -> list[tuple[str, Decimal | int]]:
    """Every number below `raw`, by its dotted path."""
    if isinstance(raw, dict):
        return [one for key, item in raw.items() for one in _flat(item, (*path, str(key)))]
    if isinstance(raw, int) and not isinstance(raw, bool):
        return [(".".join(path), raw)]
    if isinstance(raw, float | Decimal):
        value = Decimal(str(raw))
        return [(".".join(path), round(value, 6))] if value.is_finite() else []
    if not path:
        raise WithheldError(["the evaluator's file is no mapping of names to numbers"])
    return []


def _prepared(
    place: Workplace,
    setup: TrialSetup,
    data: str,
    preparator: ReadyCube,
    label: str,
    say: Say,
    stop: threading.Event | None,
) -> Prepared:
    """The data as the preparator makes them, from the cache where they are there whole."""
    root = place.storage / "trials"
    if isinstance(setup.demo, LocalDataset):
        check_unchanged(setup.demo)
        here = open_prepared(setup.demo.path)
        assert here is not None  # noqa: S101 - its lines were just compared
        return here
    both = data + setup.preparator.digest + ("prepared" if setup.prepared else "")
    folder = root / "prepared" / hashlib.sha256(both.encode()).hexdigest()[:16]
    done = open_prepared(folder)
    if done is not None:
        return done
    how = execution(place, label, folder / "logs", stop)
    if isinstance(setup.demo, RawData):
        say(f"{setup.preparator.name}: prepare your data")
        raw = setup.demo
        return _prepare(preparator, raw, folder, how, prepared=setup.prepared)
    archive = place.assets.fetch(
        setup.demo, mirrors=(setup.mirrors or {}).get(setup.demo.digest, ()), stop=stop
    )
    raw_folder = root / f"demo-{setup.demo.digest[7:23]}"
    shutil.rmtree(raw_folder, ignore_errors=True)
    raw_folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    raw = unpack_demo(archive, raw_folder)
    say(f"{setup.preparator.name}: prepare the demo dataset")
    prepared = _prepare(preparator, raw, folder, how, prepared=setup.prepared)
    shutil.rmtree(raw_folder, ignore_errors=True)
    return prepared


def _prepare(
    preparator: ReadyCube, raw: RawData, folder: Path, how: Execution, *, prepared: bool
) -> Prepared:
    return preparation.prepare(
        preparator,
        data=raw.data,
        labels=raw.labels,
        metadata=raw.metadata,
        into=folder,
        execution=how,
        prepared=prepared,
    )
