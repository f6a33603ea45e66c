"""Outputs that begin with something: copied in, never written through to where they came from."""

from pathlib import Path

from medperf.runner.engines import LocalImage, Mount, Task
from medperf.runner.engines.outputs import stage


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
