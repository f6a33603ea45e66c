"""What judging costs: a work tree beside check-jsonschema, a thousand statements and results."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from medperf.registry.git import MAIN, Repository
from medperf.schemas.generate import schema_file
from medperf.schemas.manifests import Result

from . import world
from .measure import BIN, call, command
from .report import Case
from .world import Built, Shape

PEER = 1_000  # files for check-jsonschema, which takes 100 s for 10,000
A_THOUSAND = Shape(models=84, datasets=1)  # approved by 1,000 statements and a few


def work_tree(folder: Path, built: Built, size: int, runs: int) -> Iterator[Case]:
    """`medperf validate` of a whole work tree, beside check-jsonschema on some of its files."""
    tree = folder / "tree"
    tree.mkdir()
    git = ["git", f"--git-dir={built.url}", f"--work-tree={tree}", "checkout", "--force", "main"]
    subprocess.run([*git, "--quiet", "--", "."], check=True)
    count = sum(1 for path in tree.rglob("*.yaml"))
    results = list(islice(sorted((tree / "results").rglob("*.yaml")), PEER))
    peer = command(
        [BIN / "check-jsonschema", "--schemafile", schema_file(Result), *results], runs=1
    )
    ours = command([BIN / "medperf", "validate", tree], runs=runs)
    ratio = (peer.processor / len(results)) / (ours.processor / count)
    yield Case(
        f"medperf validate: {size:,} manifests",
        f"{ours}: {ratio:.1f} x as fast a file",
        f"check-jsonschema {peer.processor:.2f} s of processor for {len(results):,} of the files",
        ">= 10 x" if size >= 10_000 else "",  # of fewer, the start is most
        ratio >= 10 if size >= 10_000 else None,
    )


def thousand(folder: Path, runs: int) -> Iterator[Case]:
    """A thousand results and a thousand statements of people, verified from nothing."""
    built = world.build(folder, shape=A_THOUSAND, most=1_000)
    with Repository.open(built.url) as repository:
        tree = repository.tree(repository.resolve(MAIN) or "")
    signed = sum(path.endswith(".sigstore.json") for path in tree)
    results = sum(path.startswith("results/") and path.endswith(".yaml") for path in tree)
    found = call("verify", built.url, runs=runs)
    bare = command([sys.executable, "-c", "import medperf.registry.history"], runs=runs)
    yield Case(
        f"registry verify: {signed - results:,} statements, {results:,} results",
        str(found),
        f"importing it {bare.seconds:.2f} s",
        "<= 2 s, <= 200 MB",
        found.seconds <= 2 and found.memory <= 200,
    )
