"""The way out of a site: what is read, once, and what keeps a finished run here."""

import os
from pathlib import Path

import pytest

from medperf.reconciler.disclosure import check_results, read_once, shown_digest
from medperf.reconciler.preparing import reference_run
from medperf.schemas.errors import EngineError, WithheldError
from medperf.schemas.manifests import RESULT_LIMIT, BenchmarkSpec

from .world import World, quiet

REF = "committee/ref"


def test_a_run_by_an_engine_that_the_benchmark_does_not_accept_is_withheld(world: World) -> None:
    world.reconcile()
    (run,) = world.plan().runs
    place, view = world.hospital, world.hospital.view()
    spec = view.benchmark("toy").manifest.spec
    record, folder = place.runs.record(run.pair), place.runs.folder(run.pair)
    policy = place.profile.policy
    found = check_results(folder.results, spec, policy, record.done)
    assert shown_digest(found) == shown_digest(
        check_results(folder.results, spec, policy, record.done)
    )
    only = spec.model_copy(update={"engines": ("singularity",)})
    with pytest.raises(WithheldError, match="the benchmark accepts singularity"):
        check_results(folder.results, only, policy, record.done)


def test_the_reference_run_is_refused_with_an_engine_that_is_not_accepted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BenchmarkSpec, "accepted_engines", lambda _: ("docker",))
    with pytest.raises(EngineError, match="this site runs sandbox"):
        reference_run(
            world.hospital, world.hospital.view(), benchmark="toy", data_uid="chest", say=quiet
        )


def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path) -> None:
    good = tmp_path / "results.yaml"
    good.write_bytes(b"a: 1\n")
    assert read_once(good) == b"a: 1\n"
    link, fifo, big = tmp_path / "link", tmp_path / "fifo", tmp_path / "big"
    link.symlink_to(good)
    os.mkfifo(fifo)
    big.write_bytes(b"#" * (RESULT_LIMIT + 1))
    for path, words in ((link, "a link"), (fifo, "not a regular file"), (big, "larger than")):
        with pytest.raises(WithheldError, match=words):
            read_once(path)
