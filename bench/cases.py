"""What is measured: each function gives its rows, floors taken beside them in the same run."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medperf.registry.git import MAIN, Author, Repository
from medperf.registry.paths import association_path
from medperf.runner import seal
from medperf.runner.content import content_hash
from medperf.schemas import documents
from tests.registry.world import REGISTRY_ID, cube_manifest, signer

from .measure import BIN, Sample, call, command, in_turn, timed
from .report import Case
from .world import SITE, Built, benchmark, dataset

MEDPERF = BIN / "medperf"


def start(runs: int) -> Iterator[Case]:
    """Commands that do nothing, beside the import of their command line library."""
    floor = command([sys.executable, "-c", "import click"], runs=runs)
    bare = command([sys.executable, "-c", "pass"], runs=runs)
    beside = f"import click {floor.seconds:.3f} s, python {bare.seconds:.3f} s"
    completing = {"_MEDPERF_COMPLETE": "bash_complete", "COMP_WORDS": "medperf re"}
    completing |= {"COMP_CWORD": "1"}
    for name, words, env in (
        ("medperf --help", ["--help"], {}),
        ("medperf --version", ["--version"], {}),
        ("completion of a word", [], completing),
    ):
        found = command([MEDPERF, *words], runs=runs, env=env)
        ratio = found.seconds / floor.seconds
        figure = f"{found.seconds:.3f} s = {ratio:.2f} x, {found.memory:.0f} MB"
        ok = ratio <= 2 and found.memory <= 45
        yield Case(name, figure, beside, "<= 2 x (issue 2: 2.5 x), <= 45 MB", ok)


def site(folder: Path, built: Built, owner: str = SITE) -> dict[str, str]:
    """A home whose site is `owner`'s in this registry; the surroundings that name it."""
    home = folder / f"home-{owner}"
    home.mkdir(parents=True, exist_ok=True)
    profile = {
        "registry": {
            "url": str(built.url),
            "id": REGISTRY_ID,
            "root": built.root,
            "admins": [signer("committee/alice").fingerprint],
            "approval": "signed",
        },
        "me": {"owner": owner},
        "storage": str(folder / "storage"),
        "engine": "sandbox",
    }
    config = {"active": "default", "profiles": {"default": profile}}
    (home / "config.yaml").write_bytes(documents.dump(config))
    return {"MEDPERF_HOME": str(home)}


def fetch(
    folder: Path, built: Built, runs: int, before: Callable[[], object] | None = None
) -> Sample:
    """What bare Git needs for a fetch; where `before` does nothing, to see that nothing is new."""
    git = ["git", f"--git-dir={folder / 'storage' / 'registry.git'}", "fetch", "--quiet"]
    refs = "+refs/heads/main:refs/remotes/origin/main"
    return command([*git, str(built.url), refs], runs=runs, before=before)


def clone(folder: Path, built: Built) -> Sample:
    """What bare Git needs to bring everything into an empty clone."""
    target = folder / "bare.git"

    def anew() -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["git", "init", "--quiet", "--bare", target], check=True)

    refs = "+refs/heads/main:refs/remotes/origin/main"
    git = ["git", f"--git-dir={target}", "fetch", "--quiet", str(built.url), refs]
    found = command(git, runs=3, before=anew)
    shutil.rmtree(target)
    return found


_ADDING = "x = 0\nfor i in range(10_000_000): x += i * i"


def pace() -> float:
    """Seconds of processor that ten million additions take Python here, and now.

    A machine that others share may be half as fast an hour later; targets in seconds need to know.
    """
    return command([sys.executable, "-c", _ADDING], runs=1).processor


LIMITS = {  # manifests: seconds beside the fetch, MB; first read seconds, MB
    1_000: (0.5, 80, 4.0, 200),
    10_000: (0.5, 80, 4.0, 200),
    100_000: (1.0, 150, 40.0, 400),
}


def registry(
    folder: Path, built: Built, size: int, runs: int, growth: dict[str, list[tuple[int, float]]]
) -> Iterator[Case]:
    """A registry of one size: read, looked at, changed, validated."""
    name = f"{size:,} manifests"
    limit, memory, first_limit, first_memory = LIMITS[size]
    if size <= 10_000:  # what is asked for at once stays in memory: not for more
        read = call("snapshot", built.url, runs=runs)
        yield Case(
            f"documents alone read and validated: {name}",
            str(read),
        )
    env = site(folder, built)
    storage, kept = folder / "storage", folder / "kept"
    cloned, adding = clone(folder, built), pace()
    first = command(
        [MEDPERF, "plan"],
        runs=3 if size <= 10_000 else 1,
        env=env,
        before=lambda: shutil.rmtree(storage, ignore_errors=True),
    )
    beside = first.seconds - cloned.seconds
    yield Case(
        f"first read, all validated and judged (first plan): {name}",
        f"{beside:.2f} s beside the clone; with it {first}",
        f"git init, git fetch {cloned.seconds:.3f} s; ten million additions "
        f"{adding:.2f} s of processor before, {pace():.2f} after",
        f"<= {first_limit:.0f} s, <= {first_memory} MB",
        beside <= first_limit and first.memory <= first_memory,
    )
    growth.setdefault("first read", []).append((size, beside))
    warm = command([MEDPERF, "plan"], runs=runs, env=env)
    nothing = fetch(folder, built, runs)
    beside = warm.seconds - nothing.seconds
    yield Case(
        f"plan with nothing new: {name}",
        f"{beside:.2f} s beside the fetch; with it {warm}",
        f"git fetch {nothing.seconds:.3f} s",
        f"<= {limit} s, <= {memory} MB",
        beside <= limit and warm.memory <= memory,
    )
    growth.setdefault("plan with nothing new", []).append((size, beside))
    resting = command([MEDPERF, "reconcile"], runs=runs, env=env)
    yield Case(
        f"a pass with nothing new: {name}",
        f"{resting.seconds - nothing.seconds:.2f} s beside the fetch; with it {resting}",
        f"git fetch {nothing.seconds:.3f} s",
        f"<= {limit} s, <= {memory} MB",
        resting.seconds - nothing.seconds <= limit and resting.memory <= memory,
    )
    points = growth.setdefault("validate --base", [])
    yield from _proposal(built, name, runs, points, size)
    shutil.copytree(storage, kept)

    def forget() -> None:
        """The site as it was before the hundred came, with nothing left to be written to disk."""
        shutil.rmtree(storage)
        shutil.copytree(kept, storage)
        os.sync()

    built.grow()
    some = min(runs, 3)
    bare = fetch(folder, built, some, before=forget)
    nothing_new = warm.seconds - nothing.seconds
    for whose, its in (("a site of others", site(folder, built, "modeler0")), (SITE, env)):
        after = command([MEDPERF, "plan"], runs=some, env=its, before=forget)
        beside = after.seconds - bare.seconds
        figure = f"{beside:.2f} s beside the fetch; with it {after}"
        if its is env:  # which has to print thousands of runs, as with nothing new
            figure += f"; {beside - nothing_new:.2f} s more than with nothing new"
        yield Case(
            f"plan after 100 changed, {whose}: {name}",
            figure,
            f"git fetch that brings them {bare.seconds:.3f} s, {bare.memory:.0f} MB",
            "" if its is env else "<= 0.5 s",
            None if its is env else beside <= 0.5,
        )
        growth.setdefault(f"100 changed, {whose}", []).append((size, beside))
    shutil.rmtree(kept)
    if size <= 10_000:
        check = call("verify", built.url, runs=1)
        ok = check.seconds <= 15 and check.memory <= 300
        figure = str(check)
        yield Case(f"registry verify: {name}", figure, "", "<= 15 s, <= 300 MB", ok)
        growth.setdefault("registry verify", []).append((size, check.seconds))


def _proposal(
    built: Built, name: str, runs: int, points: list[tuple[int, float]], size: int
) -> Iterator[Case]:
    """A new cube, and an association's next round with all that it rests on, judged from nothing.

    As in a workflow: a fresh clone, in which nothing was judged before.
    """
    cube = {"cubes/modeler0/newest.yaml": documents.dump(cube_manifest("modeler0/newest", "model"))}
    path = association_path(benchmark(0), "datasets", dataset(0, 0))
    with Repository.open(built.url) as repository:
        tip = repository.resolve(MAIN) or ""
        again = repository.file(tip, path) or b""
        again = again.replace(b"round: 1\n", b"round: 2\n")
        heads = {
            words: repository.commit(
                [tip],
                tip,
                changes,
                message="Propose",
                author=Author.of(by),
                signer=signer(by),
            )
            for words, by, changes in (
                ("a new cube", "modeler0/first", cube),
                ("an association", "hospital0/first", {path: again}),
            )
        }
    for words, head in heads.items():
        found = call("validate", built.url, head, runs=runs)
        figure = str(found)
        ok = found.seconds <= 1.5
        yield Case(f"validate --base, {words}: {name}", figure, "", "<= 1.5 s", ok)
    points.append((size, found.seconds))


def hashing(folder: Path, quick: bool, runs: int) -> Iterator[Case]:
    """The content hash of large and of small files, and the look that spares it."""
    megabytes, small = (200, 4_000) if quick else (1_000, 20_000)
    large = folder / "large"
    _files(large / "data", 200, megabytes * 5_000)
    paths = sorted(large.rglob("*.bin"))
    two, ours, openssl = in_turn(
        lambda: _plain(paths, 2),
        lambda: content_hash(large),
        lambda: _openssl(paths),
        runs=runs,
    )
    ratio = two / ours
    yield Case(
        f"content hash, {megabytes} MB in 200 files",
        f"{ours:.2f} s = {ratio:.2f} x the floor's speed",
        f"hashlib, two threads {two:.2f} s; openssl under xargs -P2 {openssl:.2f} s",
        ">= 0.9 x",
        ratio >= 0.9,
    )
    lines = content_hash(large).lines
    later = time.time() + 60
    seal.changed(large, lines, now=later)
    again = timed(lambda: seal.changed(large, lines, now=later), runs=runs)
    share = again / ours
    yield Case(
        f"re-check of {megabytes} MB untouched",
        f"{again * 1000:.1f} ms = {share:.1%}",
        f"full hash {ours:.2f} s",
        "<= 5 %",
        share <= 0.05,
    )
    shutil.rmtree(large)
    many = folder / "many"
    _files(many / "data", small, 8192)
    paths = sorted(many.rglob("*.bin"))
    one, ours, openssl = in_turn(
        lambda: _plain(paths, 1),
        lambda: content_hash(many),
        lambda: _openssl(paths),
        runs=runs,
    )
    figure = f"{ours:.2f} s = {one / ours:.2f} x the floor's speed"
    floor = f"hashlib, one thread {one:.2f} s; openssl under xargs -P2 {openssl:.2f} s"
    name = f"content hash, {small:,} files of 8 KiB"
    yield Case(name, figure, floor, ">= 1.3 x", one / ours >= 1.3)
    shutil.rmtree(many)


def _files(folder: Path, count: int, size: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(os.urandom(64) * (size // 64))


def _plain(paths: list[Path], threads: int) -> None:
    def one(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    if threads == 1:
        for path in paths:
            one(path)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, paths))


def _openssl(paths: list[Path]) -> None:
    """The same by what every system has: two processes at a time, some files for each."""
    some = str(max(1, len(paths) // 8))
    subprocess.run(
        ["xargs", "-0", "-P2", "-n", some, "openssl", "dgst", "-sha256"],
        input=b"\0".join(str(path).encode() for path in paths),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def publishing(folder: Path, built: Built, quick: bool) -> Iterator[Case]:
    """Sites that publish at the same time, each a process with a clone of its own."""
    sites, passes = (8, 2) if quick else (32, 5)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "bench.calls", "publish", built.url),
                *(str(folder / f"clone{number}.git"), f"site{number}", str(passes)),
            ],
            stdout=subprocess.PIPE,
        )
        for number in range(sites)
    ]
    told = [process.communicate()[0].split() for process in processes]
    pushes, slowest = sum(int(words[0]) for words in told), max(float(words[1]) for words in told)
    with Repository.open(built.url) as repository:
        heads = [f"refs/heads/sites/site{number}/ward" for number in range(sites)]
        trees = [repository.tree(repository.resolve(head) or "") for head in heads]
    kept = sum(
        path.startswith(f"results/site{at}/") for at, tree in enumerate(trees) for path in tree
    )
    yield Case(
        f"{sites} sites, {passes} passes each, at once",
        f"{kept} of {sites * passes} kept, {pushes / (sites * passes):.2f} pushes a commit, "
        f"{slowest:.1f} s the slowest step",
        "",
        "nothing lost, 1.00, <= 5 s",
        kept == sites * passes == pushes and slowest <= 5,
    )
