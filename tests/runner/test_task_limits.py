"""What a task may use: the cube's wish, within what the site gives."""

from pathlib import Path

import pytest

from medperf.runner.engines.protocol import Limits
from medperf.runner.task_limits import read_bytes
from medperf.schemas.errors import CubeError
from medperf.schemas.manifests import Resources
from tests.runner.recorded_tasks import MLCUBE, Recorder, call, cube, parts, ready

__all__ = ["parts"]
GPUS = Limits(memory=8 << 30, gpus=("0", "1"))


@pytest.mark.parametrize(
    ("wish", "site", "timeouts", "expected"),
    [
        (None, Limits(), {}, {"timeout": 3600.0, "memory": None, "gpus": ()}),
        (None, Limits(), {"infer": 5.0}, {"timeout": 5.0}),
        (Resources(timeout={"infer": 60}), Limits(), {}, {"timeout": 60}),
        (Resources(timeout={"infer": 60}), Limits(), {"infer": 5.0}, {"timeout": 5.0}),
        (Resources(timeout={"evaluate": 60}), Limits(), {}, {"timeout": 3600.0}),
        (Resources(memory="4Gi", shm="1Gi"), GPUS, {}, {"memory": 4 << 30, "shm": 1 << 30}),
        (Resources(gpus=1), GPUS, {}, {"gpus": ("0",)}),
        (Resources(gpus=0), GPUS, {}, {"gpus": ()}),
    ],
)
def test_limits_are_the_cubes_wish_within_the_sites(
    tmp_path: Path, parts: Path, wish: Resources | None, site: Limits,
    timeouts: dict[str, float], expected: dict[str, object],
) -> None:  # fmt: skip
    engine = Recorder()
    it = ready(parts, cube(resources=wish))
    call(tmp_path, it, "infer", engine, limits=site, timeouts=timeouts)
    found = engine.tasks[0].limits
    assert {key: getattr(found, key) for key in expected} == expected


def test_all_gpus_are_the_sites_choice(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    text = "platform: {accelerator_count: all}\n" + MLCUBE
    call(tmp_path, ready(parts, cube(text)), "infer", engine, limits=GPUS)
    assert engine.tasks[0].limits.gpus == ("0", "1")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Resources(memory="16Gi"), "asks for 16Gi of memory"),
        (Resources(gpus=3), "asks for 3 of GPUs; this site gives a task 2"),
        (Resources(shm="9Gi"), "shared memory"),
    ],
)
def test_wishes_beyond_the_site_are_refused(
    tmp_path: Path, parts: Path, wish: Resources, message: str
) -> None:
    with pytest.raises(CubeError, match=message):
        call(tmp_path, ready(parts, cube(resources=wish)), "infer", Recorder(), limits=GPUS)


@pytest.mark.parametrize(
    ("text", "site", "shm", "gpus"),
    [
        ("docker: {gpu_args: --shm-size 64g}", GPUS, 4 << 30, ()),
        ("docker: {gpu_args: --shm-size 1g}", GPUS, 1 << 30, ()),
        ("docker: {gpu_args: --shm-size 64g}", Limits(), 64 << 30, ()),
        ("platform: {accelerator_count: 1}", Limits(), 64 << 20, ()),
        ("platform: {accelerator_count: 1}", GPUS, 64 << 20, ("0",)),
    ],
)
def test_what_the_cubes_file_wishes_is_met_as_far_as_the_site_goes(
    tmp_path: Path, parts: Path, text: str, site: Limits, shm: int, gpus: tuple[str, ...]
) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(f"{text}\n{MLCUBE}")), "infer", engine, limits=site)
    found = engine.tasks[0].limits
    assert (found.shm, found.gpus) == (shm, gpus)


def test_the_sandbox_gives_no_gpus(tmp_path: Path, parts: Path) -> None:
    engine = Recorder("sandbox")
    text = "platform: {accelerator_count: 1}\n" + MLCUBE
    call(tmp_path, ready(parts, cube(text), "sandbox"), "infer", engine, limits=GPUS)
    assert engine.tasks[0].limits.gpus == ()


def test_bytes_are_read() -> None:
    assert [read_bytes(text) for text in ("1Ki", "2Mi", "3Gi")] == [1 << 10, 2 << 20, 3 << 30]
