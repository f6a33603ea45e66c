"""Whole passes of a site: several models at once, and many results to publish."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from medperf import __version__
from medperf.reconciler.records import Done
from medperf.registry import paths
from medperf.schemas.manifests import ResultImages
from tests.reconciler.world import Template, World

from .measure import BIN, Sample, command
from .report import Case

MEDPERF = BIN / "medperf"
RESULTS = b"AUC: {Edema: 0.913}\nn: {Edema: 60}\n"


def cases(folder: Path, quick: bool) -> Iterator[Case]:
    """Both cases, on copies of one small registry with people, data and a benchmark."""
    template = Template(folder / "template")
    yield _at_once(World(template, folder / "jobs"), 2 if quick else 8)
    yield _many_results(World(template, folder / "many"), 150 if quick else 500)
    for name in ("template", "jobs", "many"):
        shutil.rmtree(folder / name)


def _medperf(world: World, *words: str) -> Sample:
    home = {"MEDPERF_HOME": str(world.folder / "hospital")}
    return command([MEDPERF, *words], runs=1, env=home)


def _at_once(world: World, seconds: int) -> Case:
    """Four models that each compute on one core, one after another and two at a time."""
    world.set("hospital", "limits.memory=512Mi")
    for name in ("a", "b", "c", "d"):
        world.add_model(name, {"infer": ["compute", seconds]})
    world.reconcile(wanted=lambda pair: pair.model == "committee/ref")
    world.close()
    again = ("benchmark", "run", "-b", "toy", "-d", "chest", "--no-cache")
    one = _medperf(world, "reconcile", "--jobs", "1")
    two = _medperf(world, *again, *_models(), "--jobs", "2")
    ratio = two.seconds / one.seconds
    world.close()
    return Case(
        f"four models of {seconds} s at once (--jobs 2)",
        f"{two.seconds:.1f} s = {ratio:.2f} x",
        f"one after another {one.seconds:.1f} s",
        "<= 0.6 x",
        ratio <= 0.6,
    )


def _models() -> list[str]:
    return [word for name in ("a", "b", "c", "d") for word in ("-m", f"modeler/{name}")]


def _many_results(world: World, results: int) -> Case:
    """A pass that has nothing to run and so many finished results to propose."""
    world.add_models(f"m{number}" for number in range(results))
    place = world.hospital
    day = "2026-01-01"
    for run in world.plan().runs:
        if run.pair.model == "committee/ref":
            continue
        folder = place.runs.folder(run.pair)
        images = ResultImages(model=run.pair.model_digest, evaluator=run.pair.model_digest)
        done = Done(
            medperf=__version__, engine="sandbox", images=images, day=day, held=(), seconds={}
        )
        folder.write(place.runs.record(run.pair).model_copy(update={"done": done}))
        folder.results.write_bytes(RESULTS)
    world.reconcile(wanted=lambda pair: pair.model == "committee/ref")
    nothing = _medperf(world, "reconcile")
    world.set("hospital", "policy.release=automatic")
    world.close()
    found = _medperf(world, "reconcile")
    kept, branches = _proposed(world)
    world.close()
    return Case(
        f"a pass that publishes {results} results",
        f"{found.seconds:.1f} s ({found.processor:.1f} s of processor), {found.memory:.0f} MB: "
        f"{kept} results in {branches} proposals",
        f"the same pass, nothing released {nothing.seconds:.1f} s ({nothing.processor:.1f} s)",
        "one proposal per 100, <= 3 s",
        found.seconds <= 3 and kept == results + 1 and branches == -(-kept // 100),
    )


def _proposed(world: World) -> tuple[int, int]:
    """How many results stand on how many branches of the site."""
    place = world.committee
    place.repository.fetch(place.url, ["+refs/heads/*:refs/remotes/origin/*"])
    heads = place.repository.refs("refs/remotes/origin/sites").values()
    found = [
        path
        for head in heads
        for path in place.repository.tree(head)
        if paths.classify(path).kind == "result"
    ]
    return len(found), len(heads)
