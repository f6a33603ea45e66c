"""Library calls that are measured in a process of their own: `python -m bench.calls NAME …`."""

import sys
import time
from pathlib import Path

from medperf.registry.git import MAIN, Author, Repository


def snapshot(url: str) -> None:
    """Every manifest of main read, parsed and validated."""
    from medperf.registry.snapshot import Snapshot

    with Repository.open(Path(url)) as repository:
        found = Snapshot.read(repository, repository.resolve(MAIN) or "")
        assert found.registry
        assert not found.problems


def look(url: str, index: str) -> None:
    """The whole history judged, or what is new of it."""
    from medperf.registry.index import Index
    from medperf.registry.view import open_view

    with Repository.open(Path(url)) as repository, Index(Path(index)) as kept:
        assert open_view(repository, repository.resolve(MAIN) or "", index=kept).tip


def verify(url: str) -> None:
    """`registry verify`: all statements and results, from nothing."""
    from medperf.registry.verify import verify_registry

    with Repository.open(Path(url)) as repository:
        report = verify_registry(repository, repository.resolve(MAIN) or "")
        assert report.accepted, report


def validate(url: str, head: str) -> None:
    """A proposal judged against main, by a clone that has judged nothing before."""
    from medperf.registry.validate import validate as judge

    with Repository.open(Path(url)) as repository:
        verdict = judge(repository, repository.resolve(MAIN) or "", head)
        assert verdict.answer in ("valid", "waits"), verdict.sentence


def publish(url: str, clone: str, owner: str, passes: str) -> None:
    """A site's publishing: one signed commit a pass on its own branch.

    Prints how often it pushed, and how long the slowest of its passes took.
    """
    from tests.registry.world import signer

    pushes, slowest = 0, 0.0
    with Repository.create(Path(clone)) as repository:
        repository.fetch_ref(url, MAIN)  # a site has its clone already
        for number in range(int(passes)):

            def build(head: str | None, number: int = number) -> str:
                nonlocal pushes
                pushes += 1
                parent = head or repository.fetch_ref(url, MAIN) or ""
                return repository.commit(
                    [parent],
                    parent,
                    {f"results/{owner}/{number}.yaml": f"{owner} {number}\n".encode()},
                    message="Publish",
                    author=Author.of(f"{owner}/ward"),
                    signer=signer(f"{owner}/ward"),
                )

            start = time.perf_counter()
            repository.write(url, f"refs/heads/sites/{owner}/ward", build)
            slowest = max(slowest, time.perf_counter() - start)
    sys.stdout.write(f"{pushes} {slowest}\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
