"""Registries of up to a million results, from a seed: real paths and sizes, made-up signatures.

`world.py` makes registries that are valid throughout, at about a millisecond a result. Here only
Git is measured, so digests and signatures are random bytes of the right length (as hard to pack as
real ones), and everything goes straight into `git fast-import`, a commit at a time: memory does not
grow with the registry. Each commit holds the results of one site for one benchmark, at most a
hundred, on a branch of its own that is merged, as a site's proposals are.
"""

import base64
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from medperf.registry import paths
from medperf.registry.git import MAIN
from medperf.registry.git_process import OPTIONS
from medperf.registry.statements import make_result
from medperf.schemas import documents
from tests.registry.world import (
    BITS,
    REGISTRY_ID,
    cube_manifest,
    digest_of,
    owner_manifest,
    signer,
)

from .world import A_COMMIT, RESULT

_COMMIT = "0" * 40
Chance = Callable[[int], bytes]
"""Gives so many random bytes."""
_MANIFEST = """apiVersion: medperf/v1alpha1
kind: {kind}
metadata:
  name: {name}
  owner: {owner}
spec:
"""


@dataclass(frozen=True)
class Shape:
    """So many sites with a dataset each, benchmarks, and models that each site runs for each."""

    sites: int
    benchmarks: int = 10
    models: int = A_COMMIT

    @classmethod
    def of(cls, results: int) -> "Shape":
        """The shape with so many results: a million are those of 1,000 sites."""
        return cls(max(1, results // (10 * A_COMMIT)))

    @property
    def results(self) -> int:
        """How many results there are."""
        return self.sites * self.benchmarks * self.models


def site(number: int) -> str:
    """The owner of a site and of its dataset."""
    return f"hospital{number}"


def benchmark(number: int) -> str:
    """The name of a benchmark."""
    return f"committee/cxr{number}"


def model(number: int) -> str:
    """The name of a model; ten owners have them."""
    return f"modeler{number % 10}/net{number}"


class Writer:
    """One repository that is being filled; `results` and `manifests` may be called in any order.

    `merges`: each commit of results stands on a branch that main merges.
    """

    def __init__(self, stream: IO[bytes], seed: int, *, tip: str | None = None) -> None:
        self._stream = stream
        self._random = random.Random(seed)  # noqa: S311  (nothing here is secret)
        self._date = 1_780_000_000
        self._tip = tip
        self._bundle = _bundle_template()

    def manifests(self, shape: Shape) -> int:
        """Everything but results, in one commit; how many files."""
        files = dict(_manifests(shape, self._random.randbytes))
        self._commit(MAIN, files)
        return len(files)

    def results(self, owner: str, bench: str, models: int, *, first: int = 0) -> None:
        """The results of one site for one benchmark: a commit on a branch, and its merge."""
        files = self._results(owner, bench, range(first, first + models))
        self._commit(MAIN, files, merged=f"refs/heads/sites/{owner}/ward")

    def branch(self, owner: str, bench: str, models: int) -> None:
        """The same as a proposal that main has not merged."""
        files = self._results(owner, bench, range(models))
        self._commit(f"refs/heads/sites/{owner}/ward", files)

    def _results(self, owner: str, bench: str, models: range) -> dict[str, bytes]:
        some: dict[str, bytes] = {}
        signed: dict[str, bytes] = {}
        data = f"{owner}/chest"
        for number in models:
            part = model(number)
            key = self._random.randbytes(32).hex()
            path = paths.result_path(bench, data, part, key)
            some[path] = RESULT.format(
                key=key,
                id=REGISTRY_ID,
                commit=_COMMIT,
                benchmark=bench,
                benchmark_digest=digest_of(bench),
                dataset=data,
                dataset_digest=digest_of(data),
                dataset_association=digest_of(bench + data),
                model=part,
                model_digest=digest_of(part),
                model_association=digest_of(bench + part),
                image=digest_of(f"image of {part}"),
                bits=BITS,
                auc=f"0.{500 + number % 500}",
            ).encode()
            signed[paths.result_signature_path(path)] = self._signature()
        return some | signed  # like after like: Git stores each as a change of the one before

    def _signature(self) -> bytes:
        head, payload, middle, tail = self._bundle
        fresh = base64.b64encode(self._random.randbytes(64 + 48))
        return (
            head
            + payload[: -len(fresh)]
            + fresh
            + middle
            + base64.b64encode(self._random.randbytes(64))
            + tail
        )

    def _commit(self, ref: str, files: Mapping[str, bytes], *, merged: str = "") -> None:
        entries = b""
        for mark, (path, data) in enumerate(files.items(), start=1):
            self._stream.write(b"blob\nmark :%d\ndata %d\n%b\n" % (mark, len(data), data))
            entries += b"M 100644 :%d %b\n" % (mark, path.encode())
        if merged:
            self._write_commit(merged, _BRANCH, entries)
        self._write_commit(ref, _MAIN, entries, merge=_BRANCH if merged else "")
        if ref == MAIN:
            self._tip = _MAIN
        if merged:  # branches go after the merge
            self._stream.write(f"reset {merged}\nfrom {'0' * 40}\n\n".encode())

    def _write_commit(self, ref: str, mark: str, entries: bytes, *, merge: str = "") -> None:
        self._date += 60
        head = f"commit {ref}\nmark {mark}\n"
        head += f"committer somebody <somebody@medperf.invalid> {self._date} +0000\n"
        head += "data 8\nPublish\n\n" + (f"from {self._tip}\n" if self._tip else "")
        head += f"merge {merge}\n" if merge else ""
        self._stream.write(head.encode() + entries + b"\n")


_MAIN, _BRANCH = ":999999", ":999998"  # marks beyond those of a commit's files


def _bundle_template() -> tuple[bytes, bytes, bytes, bytes]:
    """A real bundle, cut where each signature has other bytes."""
    real = make_result(
        signer("hospital/ward"),
        by="hospital/ward",
        registry=REGISTRY_ID,
        run_key="0" * 64,
        subject_name="0" * 16 + ".yaml",
        data=b"",
    )
    head, _, rest = real.partition(b'"payload":"')
    payload, _, rest = rest.partition(b'"')
    middle, _, rest = rest.partition(b'"sig":"')
    _, _, tail = rest.partition(b'"')
    return head + b'"payload":"', payload, b'"' + middle + b'"sig":"', b'"' + tail


def _manifests(shape: Shape, chance: Chance) -> Iterator[tuple[str, bytes]]:
    """Owners, cubes, datasets, benchmarks, and associations with two statements each."""
    names = [f"modeler{number}" for number in range(10)] + ["committee"]
    for name in [*names, *map(site, range(shape.sites))]:
        manifest = documents.dump(owner_manifest(name, ["first"], ["ward"]))
        yield paths.owner_path(name), manifest
    models = [model(number) for number in range(shape.models)]
    datasets = [f"{site(number)}/chest" for number in range(shape.sites)]
    for name in models:
        yield paths.cube_path(name), documents.dump(cube_manifest(name, "model"))
    for name in datasets:
        yield paths.dataset_path(name), _small("Dataset", name, chance)
    for number in range(shape.benchmarks):
        bench = benchmark(number)
        yield paths.benchmark_path(bench), _small("Benchmark", bench, chance)
        sides: tuple[tuple[paths.Side, list[str]], ...] = (
            ("models", models),
            ("datasets", datasets),
        )
        for side, parts in sides:
            for part in parts:
                path = paths.association_path(bench, side, part)
                yield path, _small("Association", part, chance)
                for by in (part.partition("/")[0], "committee"):
                    where = paths.statement_path(path, 1, by, "first")
                    yield where, _statement(chance)


def _small(kind: str, name: str, chance: Chance) -> bytes:
    owner, _, short = name.partition("/")
    text = _MANIFEST.format(kind=kind, name=short, owner=owner)
    for pin in ("benchmark", "model", "preparator"):
        text += f"  {pin}:\n    ref: {digest_of(name)[7:20]}/{short}\n"
        text += f"    digest: sha256:{chance(32).hex()}\n"
    return text.encode()


def _statement(chance: Chance) -> bytes:
    return base64.b64encode(b"a statement is as long as this: " * 9 + chance(240)) + b"\n"


@contextmanager
def filling(repository: Path, seed: int, *, tip: str | None = None) -> Iterator[Writer]:
    """A writer into this repository; what it wrote is there when it is closed."""
    options = [part for option in OPTIONS for part in ("-c", option)]
    process = subprocess.Popen(
        ["git", *options, "fast-import", "--quiet", "--done", "--force"],
        stdin=subprocess.PIPE,
        env={**os.environ, "GIT_DIR": str(repository)},
    )
    assert process.stdin is not None
    try:
        yield Writer(process.stdin, seed, tip=tip)
        process.stdin.write(b"done\n")
    finally:
        process.stdin.close()
        if process.wait():
            raise RuntimeError(f"git fast-import ended with {process.returncode}")
