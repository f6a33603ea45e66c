"""Outputs that begin with something: copied in, never written through to where they came from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.reconciler.lock import found_no_room
from medperf.runner.engines import Limits, LocalImage, Mount, Task
from medperf.runner.engines.keeper import sized_disk
from medperf.runner.engines.outputs import stage
from medperf.runner.engines.supervise import Disk, cannot_fill
from medperf.schemas.errors import EngineError

from .conftest import Bench


def test_outputs_begin_with_copies_of_their_seeds(tmp_path: Path) -> None:
    seed, report = tmp_path / "seed", tmp_path / "report.yaml"
    (seed / "deep").mkdir(parents=True)
    (seed / "deep/case.txt").write_text("made before")
    report.write_text("calls: 1")
    mounts = (
        Mount(tmp_path / "data", "/out", writable=True, seed=seed),
        Mount(tmp_path / "new.yaml", "/r.yaml", writable=True, kind="file", seed=report),
        Mount(tmp_path / "fresh", "/fresh", writable=True),
    )
    image = LocalImage("sandbox", tmp_path, "sha256:" + "0" * 64)
    task = Task("own", "x", image, tmp_path / "task", tmp_path / "log", mounts=mounts)
    (tmp_path / "task").mkdir(mode=0o700)
    staging = stage(task, owner=None, disk=False)
    folder, file, fresh = (output.bound for output in staging.outputs)
    assert (folder / "deep/case.txt").read_text() == "made before"
    assert file.read_text() == "calls: 1"
    assert not list(fresh.iterdir())
    (folder / "deep/case.txt").write_text("changed")
    staging.deliver()
    assert (tmp_path / "data/deep/case.txt").read_text() == "changed"
    assert (tmp_path / "new.yaml").read_text() == "calls: 1", "kept though it was not written"
    assert (seed / "deep/case.txt").read_text() == "made before"


@pytest.mark.parametrize(
    ("limits", "bound"),
    [
        (Limits(output_bytes=100), "less than 100 bytes in at most 200000"),
        (Limits(output_files=1), "in at most 1"),
    ],
    ids=["bytes", "files"],
)
def test_more_than_outputs_may_hold_is_not_begun_with(
    limits: Limits, bound: str, tmp_path: Path
) -> None:
    """Each alone fits: it is all of them together that must."""
    mounts = []
    for name, size in (("one", 30), ("two", 70)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "case").write_bytes(b"x" * size)
        (tmp_path / name / "link").symlink_to("/absent")
        out = tmp_path / f"{name}.out"
        mounts.append(Mount(out, f"/{name}", writable=True, seed=tmp_path / name))
    image = LocalImage("sandbox", tmp_path, "sha256:" + "0" * 64)
    task = Task("own", "x", image, tmp_path / "task", tmp_path / "log", mounts=tuple(mounts))
    says = rf"holds 114 bytes in 4 files.*most of it in {tmp_path / 'two'}.*{bound}.*limits.output="
    with pytest.raises(EngineError, match=says):
        stage(replace(task, limits=limits), owner=None, disk=False)
    assert not (tmp_path / "task").exists()
    (tmp_path / "task").mkdir(mode=0o700)
    enough = Limits(output_bytes=115, output_files=4)
    assert stage(replace(task, limits=enough), owner=None, disk=False)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["sandbox", pytest.param("docker", marks=pytest.mark.docker)])
def test_what_fits_into_no_sized_disk_fails_its_own_call_alone(
    name: str, bench_of: Callable[[str], Bench], tight: Limits, tmp_path: Path
) -> None:
    """Files of one byte that take a block each: more than the disk has, though few bytes."""
    bench, seed = bench_of(name), tmp_path / "seed"
    seed.mkdir()
    for number in range(12_000):
        (seed / f"{number}").write_text("x")
    mounts = (Mount(tmp_path / "data", "/data", writable=True, seed=seed),)
    small = replace(tight, output_bytes=1 << 20, output_files=13_000)
    says = r"^What the task's outputs begin with cannot .* 1048576 bytes.*no room.*limits.out"
    with pytest.raises(EngineError, match=says) as caught:
        bench.run("plain", mounts=mounts, limits=small)
    assert not found_no_room(caught.value), "the site's own disk is not full"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    outcome, _ = bench.run("plain")
    assert (outcome.reason, "output-bytes" in outcome.held) == ("done", True)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["sandbox", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_disk_larger_than_a_file_can_be_fails_its_own_call_alone(
    name: str, bench_of: Callable[[str], Bench], tight: Limits
) -> None:
    bench = bench_of(name)
    with pytest.raises(EngineError, match=r"larger than a file in .* can be: .*limits.output="):
        bench.run("plain", limits=replace(tight, output_bytes=1 << 50))
    outcome, _ = bench.run("plain")
    assert (outcome.reason, "output-bytes" in outcome.held) == ("done", True)


def test_what_does_not_fit_is_called_what_it_is(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk.img", tmp_path, tmp_path, 9, 9, 1, 1, ("0",), ())
    seeds, image = {"0": tmp_path}, {"scratch": tmp_path}
    for copies, says in [
        (seeds, "What the task's outputs begin with cannot"),
        (image, "The writable copy of its image cannot"),
        ({**seeds, **image}, "What the task's outputs begin with and the writable copy of its"),
    ]:
        assert str(cannot_fill(replace(disk, copies=copies), "why")).startswith(says)


@pytest.mark.docker
@pytest.mark.usefixtures("as_root")
def test_a_disk_that_fails_when_it_is_mounted_already_is_unmounted(
    bench_of: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench, real = bench_of("docker"), sized_disk.mount_disk

    def fails(*places: Path, **shape: Any) -> None:
        real(*places, **shape)
        assert str(tmp_path) in Path("/proc/self/mountinfo").read_text()
        raise OSError("the last step")

    monkeypatch.setattr(sized_disk, "mount_disk", fails)
    outcome, out = bench.run("plain")
    assert (outcome.reason, "output-bytes" in outcome.held) == ("done", False)
    assert any(out.iterdir())
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
