"""`python -m bench tiers`: what Git itself costs with up to a million results, and what moves it.

Of each size, in this order: a remote is filled from a seed and packed as a forge keeps it; it is
cloned whole, and without blobs (`--filter=blob:none`); nothing new is fetched, then a hundred new
results; what judging and reading need of the blobless clone comes in one request each. Beside it:
the same results in a repository per benchmark, the same results as one list that could be signed,
and a remote with as many branches as sites. Prints a table and writes bench/tiers.md.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import listing, many, report
from .measure import Sample, command
from .report import Case

SIZES = (10_000, 100_000, 1_000_000)
SITES = 1_000
MOST_WANTED = 300_000  # two million in one request had not ended after 14 minutes
SEED = 20261127
_OPTIONS = ("-c", "fetch.fsckObjects=true", "-c", "gc.auto=0", "-c", "core.hooksPath=/dev/null")
_MAIN = "+refs/heads/main:refs/heads/main"


def main(words: list[str]) -> int:
    """Measure; 0 whatever the figures are, since machines differ."""
    parser = argparse.ArgumentParser(prog="python -m bench tiers", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="results to make")
    parser.add_argument("--sites", type=int, default=SITES, help="branches of sites, 0 for none")
    options = parser.parse_args(words)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="medperf-tiers-"))
    found: list[Case] = []
    try:
        for case in _all(folder, options.sizes, options.sites):
            report.say(f"  {case.name}: {case.figure}" + (f" [{case.floor}]" * bool(case.floor)))
            found.append(case)
    finally:
        shutil.rmtree(folder)
    where = Path(__file__).parent / "tiers.md"
    minutes = (time.monotonic() - began) / 60
    report.write(where, found, [], minutes, by="python -m bench tiers")
    report.say(f"Written to {where} in {minutes:.1f} minutes.")
    return 0


def _all(folder: Path, sizes: list[int], sites: int) -> Iterator[Case]:
    for size in sizes:
        place = folder / str(size)
        place.mkdir()
        yield from _tier(place, many.Shape.of(size))
        shutil.rmtree(place)
    if sites:
        yield from _branches(folder, sites)


@dataclass(frozen=True)
class _Remote:
    """A bare repository that is fetched from by its address."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "_Remote":
        git("init", "--quiet", "--bare", "--initial-branch=main", folder)
        git("config", "uploadpack.allowFilter", "true", within=folder)
        return cls(folder)

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def pack(self) -> Sample:
        """As a forge keeps it: one pack with a bitmap, a commit graph, packed references."""
        repack = git("repack", "-a", "-d", "--quiet", "--write-bitmap-index", within=self.folder)
        git("commit-graph", "write", within=self.folder)
        git("pack-refs", "--all", within=self.folder)
        return repack

    def clone(self, folder: Path, *more: str) -> Sample:
        """A clone of main, bare."""
        words = ("--bare", "--quiet", "--single-branch", "--no-tags", *more, self.url, folder)
        return git("clone", *words)


def git(*words: object, within: Path | None = None, stdin: Path | None = None) -> Sample:
    """One Git command, measured with all processes that it starts, the remote's too."""
    line = ["git", *_OPTIONS, *(["-C", str(within)] if within else []), *map(str, words)]
    if stdin is None:
        return command(line, runs=1)
    return command(["sh", "-c", 'f=$1; shift; exec "$@" <"$f"', "sh", stdin, *line], runs=1)


def _into(target: Path, within: Path, *words: str) -> Sample:
    """One Git command whose answer goes into a file."""
    line = ["git", *_OPTIONS, "-C", within, *words]
    return command(["sh", "-c", 'f=$1; shift; exec "$@" >"$f"', "sh", target, *line], runs=1)


def _figure(sample: Sample) -> str:
    return f"{sample.seconds:.2f} s, {sample.processor:.2f} s of processor, {sample.memory:.0f} MB"


def _disk(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:,.1f} MB on disk"


def _tier(folder: Path, shape: many.Shape) -> Iterator[Case]:
    """One size: whole, blobless, split, as a list."""
    name = f"{shape.results:,} results"
    remote = _Remote.make(folder / "remote.git")
    began = time.perf_counter()
    with many.filling(remote.folder, SEED) as writer:
        files = writer.manifests(shape)
        for number in range(shape.sites):
            for bench in range(shape.benchmarks):
                writer.results(many.site(number), many.benchmark(bench), shape.models)
    made = time.perf_counter() - began
    packed = remote.pack()
    beside = f"made in {made:.0f} s, packed in {packed.seconds:.0f} s with {packed.memory:.0f} MB"
    what = f"{files:,} other files, {shape.sites:,} sites, {_disk(remote.folder)}"
    yield Case(f"remote: {name}", what, beside)
    whole, blobless = folder / "whole.git", folder / "blobless.git"
    for case, clone, more in (
        ("clone", whole, ()),
        ("clone without blobs", blobless, ("--filter=blob:none",)),
    ):
        sample = remote.clone(clone, *more)
        yield Case(f"{case}: {name}", _figure(sample), _disk(clone))
    yield from _listings(whole, name)
    yield from _news(remote, whole, blobless, folder, name)
    yield from _readings(whole, blobless, folder, name)
    for clone in (whole, blobless):
        shutil.rmtree(clone)
    shutil.rmtree(remote.folder)
    yield from _split(folder, shape, name)


def _listings(clone: Path, name: str) -> Iterator[Case]:
    yield Case(f"every path of main: {name}", _figure(git(*_LS, "main", within=clone)))
    sample = command(["sh", "-c", _CHAIN, "sh", clone], runs=1)
    yield Case(f"every change of main's chain: {name}", _figure(sample))


_LS = ("ls-tree", "-r", "-z", "--full-tree")
_CHAIN = (
    'cd "$1"; git rev-list --first-parent --parents main | cut -d" " -f1,2'
    " | git diff-tree --stdin --root -r -z --raw >/dev/null"
)


def _news(remote: _Remote, whole: Path, blobless: Path, folder: Path, name: str) -> Iterator[Case]:
    """Nothing new, then a hundred new results of one site."""
    clones = (("", whole), (", without blobs", blobless))
    for what, clone in clones:
        sample = git("fetch", "--quiet", remote.url if not what else "origin", _MAIN, within=clone)
        yield Case(f"fetch of nothing new{what}: {name}", _figure(sample))
    with many.filling(remote.folder, SEED + 1, tip="refs/heads/main^0") as writer:
        writer.results(many.site(0), many.benchmark(0), 100, first=1000)
    for what, clone in clones:
        sample = git("fetch", "--quiet", remote.url if not what else "origin", _MAIN, within=clone)
        yield Case(f"fetch of 100 new results{what}: {name}", _figure(sample))
    asked = _wanted(blobless, folder, "diff-tree", "-r", "main^1", "main")
    yield _request(f"the 200 files of 100 new results, one request: {name}", blobless, asked)


def _wanted(clone: Path, folder: Path, *words: str) -> Path:
    """The ids of the blobs that a listing names, one a line."""
    listed, asked = folder / "listed", folder / "asked"
    _into(listed, clone, *words)
    with listed.open() as rows, asked.open("w") as lines:
        for row in rows:
            fields = row.partition("\t")[0].split(" ")
            lines.write((fields[3] if row.startswith(":") else fields[2]) + "\n")
    return asked


def _request(case: str, clone: Path, asked: Path) -> Case:
    """Blobs by their ids in one request, as Git itself asks for those that it finds missing."""
    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none")
    options = ("-c", "fetch.negotiationAlgorithm=noop")
    sample = git(*options, *words, "origin", "--stdin", within=clone, stdin=asked)
    return Case(case, _figure(sample), f"{_lines(asked):,} blobs")


def _lines(file: Path) -> int:
    with file.open() as lines:
        return sum(1 for _ in lines)


def _readings(whole: Path, blobless: Path, folder: Path, name: str) -> Iterator[Case]:
    """What is read of a blobless clone: one by one, of a dataset, of a benchmark, everything."""
    one = f"results/{many.benchmark(1)}/{many.site(0)}__chest/"
    asked = _wanted(blobless, folder, "ls-tree", "-r", "main", one)
    few = folder / "few"
    few.write_text("".join(asked.read_text().splitlines(keepends=True)[:20]))
    sample = git("cat-file", "--batch", within=blobless, stdin=few)
    yield Case(f"20 missing files read one by one: {name}", _figure(sample))
    for what, path in (("a site's", one), ("a benchmark's", f"results/{many.benchmark(1)}/")):
        asked = _wanted(blobless, folder, "ls-tree", "-r", "main", path)
        yield _request(f"{what} results of one benchmark, one request: {name}", blobless, asked)
    floor = git("cat-file", "--batch", within=whole, stdin=asked)
    yield Case(f"a benchmark's results read from the whole clone: {name}", _figure(floor))
    asked = _wanted(blobless, folder, "ls-tree", "-r", "main")
    case = f"everything, as a first look reads it: {name}"
    if _lines(asked) <= MOST_WANTED:
        yield _request(case, blobless, asked)
        yield Case(f"the clone that has fetched everything: {name}", _disk(blobless))
    else:
        why = f"not measured: Git does not end with more than {MOST_WANTED:,} blobs in a request"
        yield Case(case, why, f"{_lines(asked):,} blobs")
    yield from listing.cases(whole, folder, name)


def _split(folder: Path, shape: many.Shape, name: str) -> Iterator[Case]:
    """The main repository without results, and one repository with those of one benchmark."""
    main = _Remote.make(folder / "main.git")
    with many.filling(main.folder, SEED) as writer:
        writer.manifests(shape)
    one = _Remote.make(folder / "one.git")
    with many.filling(one.folder, SEED) as writer:
        for number in range(shape.sites):
            writer.results(many.site(number), many.benchmark(0), shape.models)
    for what, remote in (("main without results", main), ("one benchmark's results", one)):
        remote.pack()
        clone = folder / "split.git"
        yield Case(f"clone of {what}: {name}", _figure(remote.clone(clone)), _disk(clone))
        shutil.rmtree(clone)
        shutil.rmtree(remote.folder)


def _branches(folder: Path, sites: int) -> Iterator[Case]:
    """A remote with an open proposal of ten results of each site."""
    remote = _Remote.make(folder / "sites.git")
    with many.filling(remote.folder, SEED) as writer:
        writer.manifests(many.Shape(sites))
        for number in range(sites):
            writer.branch(many.site(number), many.benchmark(0), 10)
    remote.pack()
    name = f"{sites:,} sites with a branch each"
    own = f"+refs/heads/sites/{many.site(1)}/*:refs/remotes/origin/sites/{many.site(1)}/*"
    everything = "+refs/heads/*:refs/remotes/origin/*"
    for what, refs in (("main and its own branches", [_MAIN, own]), ("all branches", [everything])):
        clone = folder / "site.git"
        git("init", "--quiet", "--bare", "--initial-branch=main", clone)
        first = git("fetch", "--quiet", "--no-tags", remote.url, *refs, within=clone)
        yield Case(f"first fetch of {what}: {name}", _figure(first), _disk(clone))
        for version in (2, 0):
            words = ("-c", f"protocol.version={version}", "fetch", "--quiet", "--no-tags")
            again = git(*words, remote.url, *refs, within=clone)
            case = f"nothing new of {what}, protocol {version}: {name}"
            yield Case(
                case, _figure(again), f"{_told(folder, version, refs):,} bytes of references"
            )
        shutil.rmtree(clone)
    shutil.rmtree(remote.folder)


def _told(folder: Path, version: int, refs: list[str]) -> int:
    """How many bytes of references a remote tells at a fetch that finds nothing new."""
    trace = folder / "trace"
    trace.unlink(missing_ok=True)
    words = ("git", *_OPTIONS, "-c", f"protocol.version={version}", "-C", str(folder / "site.git"))
    fetch = (*words, "fetch", "--quiet", "--no-tags", f"file://{folder / 'sites.git'}", *refs)
    command(fetch, runs=1, env={"GIT_TRACE_PACKET": str(trace)})
    rows = (row.partition("fetch< ")[2] for row in trace.read_text().splitlines())
    return sum(len(row) + 5 for row in rows if " refs/heads/" in row)
