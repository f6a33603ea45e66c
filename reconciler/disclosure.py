"""The one way out of a site: from an evaluator's file to the bytes of a result (design §10).

The file is read once, as a stranger's text. What leaves is built from the benchmark's declaration:
each declared metric is taken from its place, checked, rounded, suppressed where too few cases
support it, and written anew. Nothing of the evaluator's bytes is copied. The pure rules are in
`schemas/metrics.py`, used by validators too.
"""

import os
import stat
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..schemas.digests import digest
from ..schemas.documents import dump
from ..schemas.errors import WithheldError
from ..schemas.manifests import API_VERSION, RESULT_LIMIT, BenchmarkSpec
from ..schemas.metrics import Disclosed, check_metrics, parse_evaluator_file
from .plan import Pair
from .records import Done
from .settings import Policy


@dataclass(frozen=True)
class Circumstances:
    """What a result says beside its metrics: the registry, and the associations that allowed it."""

    registry: str
    commit: str
    model_association: str
    dataset_association: str


def read_once(path: Path) -> bytes:
    """The bytes of an evaluator's file: a regular file, no link, at most 16 KiB; else withheld."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise WithheldError(["the results file is missing, a link, or cannot be read"]) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise WithheldError(["the results file is not a regular file"])
        data = file.read(RESULT_LIMIT + 1)
    if len(data) > RESULT_LIMIT:
        raise WithheldError([f"the results file is larger than {RESULT_LIMIT} bytes"])
    return data


def check_results(
    path: Path, benchmark: BenchmarkSpec, policy: Policy, done: Done | None
) -> Disclosed:
    """What of a finished run's file may leave; raises WithheldError with the reasons."""
    accepted = benchmark.accepted_engines()
    if done is not None and done.engine not in accepted:
        raise WithheldError(
            [
                f"it was made with {done.engine}, and the benchmark accepts {', '.join(accepted)}: "
                "set the site's engine, then 'medperf benchmark run --no-cache'"
            ]
        )
    raw = parse_evaluator_file(read_once(path))
    found = check_metrics(raw, benchmark.metrics, ignore=benchmark.ignore or (), k=policy.k)
    if found.bits > policy.bits_per_run:
        raise WithheldError(
            [f"the metrics carry {found.bits} bits, this site lets out {policy.bits_per_run} a run"]
        )
    return found


def shown_digest(found: Disclosed) -> str:
    """A digest of exactly the metrics and suppressions that a person is shown."""
    return digest(shown_bytes(found))


def shown_bytes(found: Disclosed) -> bytes:
    """Exactly the metrics and suppressions that a person is shown, as what he signs."""
    return dump(_disclosed(found))


def _disclosed(found: Disclosed) -> dict[str, object]:
    metrics: dict[str, Decimal | int] = dict(found.metrics)
    suppressed = [{"metric": item.metric, "reason": item.reason} for item in found.suppressed]
    return {"bits": found.bits, "suppressed": suppressed, "metrics": metrics}


def result_bytes(
    pair: Pair, done: Done, found: Disclosed, around: Circumstances, policy: Policy
) -> bytes:
    """The result manifest, from checked values alone."""
    shown = _disclosed(found)
    return dump(
        {
            "apiVersion": API_VERSION,
            "kind": "Result",
            "spec": {
                "runKey": pair.key,
                "registry": {"id": around.registry, "commit": around.commit},
                "benchmark": {"ref": pair.benchmark, "digest": pair.benchmark_digest},
                "dataset": {"ref": pair.dataset, "digest": pair.dataset_digest},
                "model": {"ref": pair.model, "digest": pair.model_digest},
                "associations": {
                    "model": around.model_association,
                    "dataset": around.dataset_association,
                },
                "run": {
                    "medperf": done.medperf,
                    "engine": done.engine,
                    "images": {
                        "model": done.images.model,
                        "evaluator": done.images.evaluator,
                    },
                    "partial": done.partial,
                    "day": done.day,
                },
                "disclosure": {
                    "k": policy.k,
                    "bits": found.bits,
                    "suppressed": shown["suppressed"],
                },
                "metrics": shown["metrics"],
            },
        }
    )
