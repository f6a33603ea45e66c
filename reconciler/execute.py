"""One run: model, evaluator, disclosure check (design §7), each step found done or done now.

1. Both cubes are made ready: images and files fetched and verified.
2. The prepared data are compared with what was prepared: by their files' states, weekly by bytes.
3. The model infers, unless its predictions are there whole.
4. The evaluator evaluates, unless its file is there.
5. The disclosure check reads that file; the record says how the run was made.

Before 3, 4 and 5 the caller is asked whether the run is still wanted, so that a revocation stops
what runs. Killed anywhere, the next call goes on at the step that was not finished.
"""

import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__
from ..runner import model_run
from ..runner.cubes import ReadyCube
from ..runner.engines.protocol import Limits
from ..runner.seal import changed
from ..runner.task_run import Execution
from ..schemas.errors import DataError
from ..schemas.manifests import Benchmark, Cube, ResultImages
from .datasets import LocalDataset
from .disclosure import check_results
from .partial import Infer, infer_whole
from .plan import Pair
from .records import Done, Record, RunFolder
from .settings import SiteLimits, in_bytes
from .workplace import Workplace

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """One run to make: the pair, its documents, and the data; `gpus` are its own meanwhile."""

    pair: Pair
    benchmark: Benchmark
    model: Cube
    evaluator: Cube
    evaluator_digest: str
    dataset: LocalDataset
    mirrors: Mapping[str, Sequence[str]]
    infer: Infer = infer_whole
    gpus: Sequence[str] | None = None


@dataclass(frozen=True)
class Made:
    """A finished run, and whether its predictions or results were there already."""

    record: Record
    cached: bool


def site_limits(limits: SiteLimits) -> Limits:
    """The site's limits as engines take them."""
    return Limits(
        memory=in_bytes(limits.memory),
        output_bytes=in_bytes(limits.output),
        output_files=limits.output_files,
        gpus=tuple(limits.gpus),
    )


def execution(
    place: Workplace,
    label: str,
    logs: Path,
    stop: threading.Event | None,
    *,
    gpus: Sequence[str] | None = None,
) -> Execution:
    """How tasks run at this site: engine, limits, timeouts, and the label that finds leftovers.

    `gpus`: only these of the site's, since others run beside it.
    """
    limits = place.profile.limits
    allowed = site_limits(limits)
    return Execution(
        engine=place.engine,
        limits=allowed if gpus is None else replace(allowed, gpus=tuple(gpus)),
        label=place.label(label),
        logs=logs,
        stop=stop,
        timeouts={name: float(seconds) for name, seconds in limits.timeout.items()},
    )


def make_run(
    place: Workplace,
    order: Order,
    *,
    still_wanted: Callable[[], None],
    say: Say,
    stop: threading.Event | None = None,
) -> Made:
    """The finished run, with its record written.

    Raises WithheldError where the disclosure check keeps it, and TaskError, AssetError, CubeError,
    EngineError or DataError where a step fails; `still_wanted` raises whatever stops the run.
    """
    pair = order.pair
    folder = place.runs.folder(pair)
    folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with place.making_ready:
        model = _ready(place, order.model, pair.model_digest, order, say, stop)
        evaluator = _ready(place, order.evaluator, order.evaluator_digest, order, say, stop)
        check_unchanged(order.dataset, full=False)
    how = execution(place, pair.short, folder.logs, stop, gpus=order.gpus)
    cached = folder.results.exists()
    held: frozenset[str] | None = None
    seconds: dict[str, float] = {}
    if not folder.predictions.is_dir():
        still_wanted()
        say(f"{pair.model}: infer")
        outcome = order.infer(model, order.dataset.data, folder, how)
        held, seconds["infer"] = outcome.held, round(outcome.seconds, 1)
    if not folder.results.exists():
        still_wanted()
        say(f"{pair.model}: evaluate")
        _, outcome = model_run.evaluate(
            evaluator, folder.predictions, order.dataset.labels, folder.path, how
        )
        held = outcome.held if held is None else held & outcome.held
        seconds["evaluate"] = round(outcome.seconds, 1)
    still_wanted()
    record = _finished(place, pair, (model, evaluator), held or frozenset(), seconds)
    folder.write(record)
    check_results(folder.results, order.benchmark.spec, place.profile.policy, record.done)
    return Made(record, cached)


def check_unchanged(dataset: LocalDataset, *, full: bool = True) -> None:
    """A DataError that says what differs, if the prepared data are not what was prepared.

    Without `full` the bytes are read only where a file was touched since they were read last, or
    where that was a week ago.
    """
    differences = changed(dataset.path, dataset.lines, full=full)
    if differences:
        shown = "\n".join(f"  {line}" for line in differences[:10])
        more = f"\n  and {len(differences) - 10} more" if len(differences) > 10 else ""
        raise DataError(
            f"Dataset {dataset.record.name!r} has changed since it was prepared:\n{shown}{more}\n"
            "Put the files back, or prepare the data again as a new dataset."
        )


def _ready(
    place: Workplace,
    cube: Cube,
    digest: str,
    order: Order,
    say: Say,
    stop: threading.Event | None,
) -> ReadyCube:
    return place.ready(cube, digest, mirrors=order.mirrors, say=say, stop=stop)


def _finished(
    place: Workplace,
    pair: Pair,
    cubes: tuple[ReadyCube, ReadyCube],
    held: frozenset[str],
    seconds: dict[str, float],
) -> Record:
    record = place.runs.record(pair)
    model, evaluator = cubes
    done = Done(
        medperf=__version__,
        engine=place.profile.engine,
        images=ResultImages(model=model.image.digest, evaluator=evaluator.image.digest),
        day=datetime.datetime.now(datetime.UTC).date().isoformat(),
        held=tuple(sorted(held)),
        seconds=seconds,
        partial=pair.partial,
    )
    return record.model_copy(update={"done": record.done or done, "attempts": ()})


def forget(folder: RunFolder) -> None:
    """Removes what a run has written, so that it is made anew; its decision goes too."""
    import shutil

    shutil.rmtree(folder.path, ignore_errors=True)
