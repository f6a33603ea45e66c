"""From a manifest to an engine's task, and what it wrote to its place."""

import os
from pathlib import Path

import pytest

from medperf.runner import task_run
from medperf.runner.engines.protocol import Limits, Mount
from medperf.schemas.errors import EngineError
from medperf.schemas.manifests import Resources
from medperf.schemas.progress import listening
from tests import recorder
from tests.runner.recorded_tasks import CONFIG, MLCUBE, Recorder, call, cube, parts, ready

__all__ = ["parts"]


def test_a_task_under_way_is_told_with_the_time_it_may_take(tmp_path: Path, parts: Path) -> None:
    told = recorder.Recorder()
    with listening(told):
        call(tmp_path, ready(parts), "infer", Recorder(), limits=Limits(timeout=5400))
    [one] = told.ended
    assert one.what.endswith(": infer, at most 1:30:00")
    assert one.total is None


def write_result(mounts: dict[str, Mount]) -> None:
    for target, mount in mounts.items():
        if mount.writable and mount.kind == "file":
            mount.source.write_text("AUC: 1\n")
        elif mount.writable and target == "/mlcube_io2":
            mount.source.joinpath("results.yaml").write_text("AUC: 1\n")
            mount.source.joinpath("scratch").write_text("beside")


@pytest.mark.parametrize("text", [MLCUBE, CONFIG])
def test_an_output_file_alone_arrives(tmp_path: Path, parts: Path, text: str) -> None:
    engine = Recorder(write=write_result)
    call(tmp_path, ready(parts, cube(text, "evaluator")), "evaluate", engine)
    assert tmp_path.joinpath("out").read_text() == "AUC: 1\n"
    assert not tmp_path.joinpath("work").exists()


def test_an_output_folder_replaces_the_one_before(tmp_path: Path, parts: Path) -> None:
    tmp_path.joinpath("out").mkdir()
    tmp_path.joinpath("out/old").write_text("")
    engine = Recorder(write=lambda m: (m["/mlcube_io5"].source / "new").touch())
    call(tmp_path, ready(parts), "infer", engine)
    assert [path.name for path in tmp_path.joinpath("out").iterdir()] == ["new"]


def test_what_a_failed_task_wrote_stays_in_work_until_next_time(
    tmp_path: Path, parts: Path
) -> None:
    engine = Recorder(write=lambda m: (m["/mlcube_io5"].source / "half").touch(), reason="exit")
    assert call(tmp_path, ready(parts), "infer", engine).reason == "exit"
    assert not tmp_path.joinpath("out").exists()
    assert list(tmp_path.joinpath("work").rglob("half"))
    engine = Recorder()
    call(tmp_path, ready(parts), "infer", engine)
    assert not list(tmp_path.rglob("half"))


def test_a_mount_left_by_a_killed_run_is_never_emptied(tmp_path: Path, parts: Path) -> None:
    left = tmp_path / "work/engine/in0"
    left.mkdir(parents=True)
    if os.geteuid() or os.system(f"mount --bind {parts} {left} 2>/dev/null"):  # noqa: S605
        pytest.skip("a folder cannot be mounted here")
    try:
        with pytest.raises(EngineError, match="still mounted"):
            call(tmp_path, ready(parts), "infer", Recorder())
        assert parts.joinpath("parameters.yaml").exists()
    finally:
        os.system(f"umount {left}")  # noqa: S605


def test_a_scratch_root_is_asked_for(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(resources=Resources(scratch_root=True))), "infer", engine)
    assert engine.tasks[0].scratch_root


def test_who_writes_beside_the_outputs_is_told_what_lets_him(tmp_path: Path, parts: Path) -> None:
    said = "touch: cannot touch '/app/x': Read-only file system"
    for resources, told in ((None, True), (Resources(scratch_root=True), False)):
        engine = Recorder(reason="exit", tail=said)
        outcome = call(tmp_path, ready(parts, cube(resources=resources)), "infer", engine)
        assert ("--scratch-root of 'mlcube submit'" in outcome.detail) is told


def test_a_kill_while_outputs_are_put_in_place_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, target, aside = tmp_path / "work/0", tmp_path / "data", tmp_path / "work/data.old"
    staged.mkdir(parents=True)
    target.mkdir()
    (staged / "case").write_text("new")
    (target / "case").write_text("old")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            task_run._move(staged, target, aside=aside)
    assert (aside / "case").read_text() == "old"
    assert (staged / "case").read_text() == "new"
    aside.rename(target)
    task_run._move(staged, target, aside=aside)
    assert (target / "case").read_text() == "new"
    assert not aside.exists()
