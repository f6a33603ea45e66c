"""A disk that is full while a pass runs: said clearly, nothing lost, finished with more room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..reconciler.world import World

SIZE = 24 << 20


@pytest.fixture
def small(world: World) -> Iterator[Path]:
    """The hospital's storage, moved onto a disk of 24 MB; needs the right to mount."""
    storage = world.hospital.storage
    world.close()
    kept = storage.with_name("kept")
    storage.rename(kept)
    storage.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(storage)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        shutil.copytree(kept, storage, dirs_exist_ok=True)
        yield storage
    finally:
        world.close()
        subprocess.run(["umount", "--lazy", str(storage)], check=True)


def fill(storage: Path) -> Path:
    """A file that takes the rest of the disk."""
    filler = storage / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * (1 << 20))
                file.flush()
        except OSError:
            pass
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return filler


def test_a_disk_that_is_full_before_a_run(world: World, small: Path) -> None:
    tip = world.tip()
    filler = fill(small)
    done = world.medperf("reconcile")
    assert done.returncode == 1, done.stderr
    assert "is full" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert world.tip() == tip
    filler.unlink()
    done = world.medperf("reconcile")
    assert done.returncode == 0, done.stderr
    assert world.states() == {"committee/ref": "awaiting-release"}


def test_a_disk_that_a_model_fills(world: World, small: Path) -> None:
    world.set("hospital", "limits.timeout={infer: 60}")
    model = world.add_model("big", {"infer": ["fill", 12 << 20]})
    filler = small / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(small).free - (6 << 20)))
    done = world.medperf("reconcile", "--model", model)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is full" in done.stderr + done.stdout, done.stdout + done.stderr
    assert world.states()[model] == "due"
    filler.unlink()
    done = world.medperf("reconcile", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.states()[model] == "awaiting-release"
    predictions = world.hospital.runs.folder(world.run(model).pair).predictions
    assert (predictions / "big").stat().st_size == 12 << 20


def test_a_disk_that_is_full_when_a_result_is_published(world: World, small: Path) -> None:
    world.set("hospital", "policy.release=automatic")
    stop = world.medperf("reconcile")
    assert stop.returncode == 0
    world.add_model("next")
    assert world.medperf("plan").returncode == 0
    filler = fill(small)
    done = world.medperf("reconcile")
    assert done.returncode == 1
    assert "is full" in done.stderr + done.stdout, done.stderr + done.stdout
    filler.unlink()
    assert world.medperf("reconcile").returncode == 0
    assert set(world.states().values()) == {"proposed"}
