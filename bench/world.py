"""Whole registries of any size, from a seed: real documents, real signatures, real Git history.

A registry of `n` manifests has ten hospitals, five benchmarks and as many models and datasets as
give about `n` results; everything is approved and signed by whom the rules want. What a person does
once (owners, cubes, benchmarks, associations) is committed and signed as the tests' own world does
it; the results come as sites publish them, a hundred in one commit that is merged, through
`git fast-import`. The newest hundred of hospital0 are held back, for the cases about changes.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medperf.registry import paths
from medperf.registry.git_process import OPTIONS
from medperf.registry.statements import make_result
from medperf.schemas import documents
from medperf.schemas.digests import digest, run_key
from tests.registry.world import BITS, World, cube_manifest, digest_of, owner_manifest, signer

HOSPITALS = 10
BENCHMARKS = 5
A_COMMIT = 100
SITE = "hospital0"


@dataclass(frozen=True)
class Shape:
    """How many of what; `results` leaves out the held back."""

    models: int
    datasets: int

    @classmethod
    def of(cls, manifests: int) -> "Shape":
        """The shape with about this many manifests."""
        for limit, datasets in ((2_000, 1), (20_000, 2)):
            if manifests <= limit:
                return cls(max(4, manifests // (HOSPITALS * BENCHMARKS * datasets)), datasets)
        return cls(manifests // (HOSPITALS * BENCHMARKS * 10), 10)

    @property
    def results(self) -> int:
        """How many runs there are in all."""
        return HOSPITALS * BENCHMARKS * self.models * self.datasets


@dataclass(frozen=True)
class Built:
    """A registry on disk, and what a site needs to enrol."""

    url: Path
    root: str
    shape: Shape
    more: Path  # a fast-import stream with the commit that was held back

    def grow(self) -> None:
        """Let the hundred results come that were held back."""
        with self.more.open("rb") as stream:
            _fast_import(self.url, stream.read())


def build(
    folder: Path, manifests: int = 0, *, shape: Shape | None = None, most: int | None = None
) -> Built:
    """A registry below `folder`: of about so many manifests, or of this shape.

    With `most`, so many results at most are there from the start.
    """
    shape = shape or Shape.of(manifests)
    world = World(folder)
    try:
        _lay_out(world, shape)
        runs = list(_runs(shape))
        mine = [run for run in runs if run[0].startswith(SITE + "/")]
        held = mine[-min(A_COMMIT, len(mine) // 2) :]
        late = set(held)
        early = [run for run in runs if run not in late][:most]
        stream = _Stream(world)
        tip = world.tip or ""
        for at in range(0, len(early), A_COMMIT):
            tip = stream.publish(tip, early[at : at + A_COMMIT])
        _fast_import(world.repository.folder, stream.take())
        main = world.repository.resolve("refs/heads/main") or ""
        stream.publish(main, held, first=True)
        more = folder / "more.fi"
        more.write_bytes(stream.take())
        return Built(world.repository.folder, world.root, shape, more)
    finally:
        world.close()


def benchmark(number: int) -> str:
    """The name of a benchmark."""
    return f"committee/cxr{number}"


def model(number: int) -> str:
    """The name of a model; ten owners have them."""
    return f"modeler{number % 10}/net{number}"


def dataset(hospital: int, number: int) -> str:
    """The name of a hospital's dataset."""
    return f"hospital{hospital}/chest{number}"


Run = tuple[str, str, str]  # dataset, benchmark, model


def _runs(shape: Shape) -> Iterator[Run]:
    for hospital in range(HOSPITALS):
        for number in range(shape.datasets):
            for bench in range(BENCHMARKS):
                for one in range(shape.models):
                    yield dataset(hospital, number), benchmark(bench), model(one)


def _lay_out(world: World, shape: Shape) -> None:
    """Everything but the results, in a few dozen commits."""
    names = [f"modeler{number}" for number in range(10)]
    names += [f"hospital{number}" for number in range(HOSPITALS)]
    changes: dict[str, bytes] = {}
    for name in names:
        path = paths.owner_path(name)
        data = documents.dump(owner_manifest(name, ["first"], ["ward"]))
        changes |= {
            path: data,
            **world.approval(path, f"{name}/first", "committee/alice", data=data),
        }
    world.commit(changes)
    for number in range(BENCHMARKS):
        world.add_benchmark(benchmark(number))
    for owner in range(10):
        cubes = [
            ref for ref in map(model, range(shape.models)) if ref.startswith(f"modeler{owner}/")
        ]
        made = {paths.cube_path(ref): documents.dump(cube_manifest(ref, "model")) for ref in cubes}
        if made:
            world.commit(made, by=f"modeler{owner}/first")
    for hospital in range(HOSPITALS):
        refs = [dataset(hospital, number) for number in range(shape.datasets)]
        world.commit(_datasets(world, refs), by=f"hospital{hospital}/first")
    for number in range(BENCHMARKS):
        parts = [model(one) for one in range(shape.models)]
        parts += [dataset(h, d) for h in range(HOSPITALS) for d in range(shape.datasets)]
        changes = {}
        for part in parts:
            path, data = world.association(part, benchmark(number))
            who = (f"{part.split('/')[0]}/first", "committee/alice")
            changes |= {path: data, **world.approval(path, *who, data=data)}
        world.commit(changes)


def _datasets(world: World, refs: list[str]) -> dict[str, bytes]:
    made = {}
    for ref in refs:
        owner, name = ref.split("/")
        manifest = {
            "apiVersion": "medperf/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": name, "owner": owner, "description": "Chest X-rays."},
            "spec": {
                "location": "somewhere",
                "preparator": world.pin("cubes", "committee/prep"),
                "commitment": digest_of(ref).removeprefix("sha256:"),
                "statistics": {"cases": 200},
            },
        }
        made[paths.dataset_path(ref)] = documents.dump(manifest)
    return made


class _Stream:
    """Commits as `git fast-import` takes them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._planned = world.tip
        self._parts: list[bytes] = []
        self._mark = 0
        self._date = world.date
        self._digests = {path: digest(data) for path, data in world.files.items()}

    def take(self) -> bytes:
        """What has come together, ended."""
        whole = b"".join([*self._parts, b"done\n"])
        self._parts = []
        return whole

    def publish(self, tip: str, runs: list[Run], *, first: bool = False) -> str:
        """A site's commit with these results and its merge; what names the merge in the stream."""
        entries = b""
        if first:
            self._mark = 0
        for one in runs:
            for path, data in self._files(*one).items():
                self._mark += 1
                self._parts.append(b"blob\nmark :%d\ndata %d\n%b\n" % (self._mark, len(data), data))
                entries += b"M 100644 :%d %b\n" % (self._mark, path.encode())
        owner = runs[0][0].split("/")[0]
        branch = self._commit(f"refs/heads/sites/{owner}", tip, "", entries)
        return self._commit("refs/heads/main", tip, branch, entries)

    def _commit(self, ref: str, parent: str, merged: str, entries: bytes) -> str:
        self._mark += 1
        self._date += 60
        who = f"somebody <somebody@medperf.invalid> {self._date} +0000"
        head = f"commit {ref}\nmark :{self._mark}\ncommitter {who}\ndata 8\nPublish\n\n"
        head += f"from {parent}\n" + (f"merge {merged}\n" if merged else "")
        self._parts.append(head.encode() + entries + b"\n")
        return f":{self._mark}"

    def _files(self, data: str, bench: str, part: str) -> dict[str, bytes]:
        """A result and its signature."""
        world, known = self._world, self._digests
        pins = {
            "benchmark": known[paths.benchmark_path(bench)],
            "dataset": known[paths.dataset_path(data)],
            "model": known[paths.cube_path(part)],
        }
        key = run_key(registry=world.id, partial=False, **pins)
        path = paths.result_path(bench, data, part, key)
        text = RESULT.format(
            key=key,
            id=world.id,
            commit=self._planned,
            benchmark=bench,
            dataset=data,
            model=part,
            model_association=known[paths.association_path(bench, "models", part)],
            dataset_association=known[paths.association_path(bench, "datasets", data)],
            image=digest_of("image"),
            bits=BITS,
            auc=f"0.{500 + int(key[:6], 16) % 500}",
            **{f"{name}_digest": value for name, value in pins.items()},
        ).encode()
        by = f"{data.split('/')[0]}/ward"
        bundle = make_result(
            signer(by),
            by=by,
            registry=world.id,
            run_key=key,
            subject_name=path.rpartition("/")[2],
            data=text,
        )
        return {path: text, paths.result_signature_path(path): bundle}


RESULT = """apiVersion: medperf/v1alpha1
kind: Result
spec:
  runKey: {key}
  registry:
    id: {id}
    commit: {commit}
  benchmark:
    ref: {benchmark}
    digest: {benchmark_digest}
  dataset:
    ref: {dataset}
    digest: {dataset_digest}
  model:
    ref: {model}
    digest: {model_digest}
  associations:
    model: {model_association}
    dataset: {dataset_association}
  run:
    medperf: 0.1.0
    engine: sandbox
    images:
      model: {image}
      evaluator: {image}
    partial: false
    day: 2026-11-21
  disclosure:
    k: 10
    bits: {bits}
    suppressed: []
  metrics:
    auc-edema: {auc}
    n-edema: 60
"""


def _fast_import(repository: Path, stream: bytes) -> None:
    options = [part for option in OPTIONS for part in ("-c", option)]
    subprocess.run(
        ["git", *options, "fast-import", "--quiet", "--done", "--force"],
        input=stream,
        check=True,
        env={**os.environ, "GIT_DIR": str(repository)},
    )
