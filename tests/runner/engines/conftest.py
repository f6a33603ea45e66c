"""Engines under test: each test with `bench` runs once per engine, with a program of its own."""

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner import breakers
from medperf.runner.engines import (
    Engine,
    Limits,
    LocalImage,
    Mount,
    Outcome,
    Task,
    open_engine,
)
from medperf.runner.engines.rootfs import python_image

MIB = 1 << 20
HOSTILE = Path(__file__).parents[2] / "hostile"
TIGHT = Limits(
    timeout=60,
    memory=256 * MIB,
    processes=64,
    cpus=1,
    output_bytes=32 * MIB,
    output_files=500,
    shm=16 * MIB,
    tmp=32 * MIB,
)
NAMES = [
    pytest.param("sandbox", id="sandbox"),
    pytest.param("docker", id="docker", marks=pytest.mark.docker),
    pytest.param("singularity", id="singularity", marks=pytest.mark.singularity),
]


@dataclass
class Bench:
    """One engine with an image that has a Python; every run gets folders of its own."""

    engine: Engine
    image: LocalImage
    python: str
    folder: Path
    count: int = 0

    def task(
        self,
        program: str,
        *arguments: str,
        mounts: tuple[Mount, ...] = (),
        limits: Limits = TIGHT,
        label: str = "test",
        **fields: Any,
    ) -> Task:
        """A task that runs tests/hostile/PROGRAM.py, with its output folder as /report."""
        self.count += 1
        folder = self.folder / f"run{self.count}"
        source = HOSTILE / f"{program}.py"
        if not source.exists():
            source = Path(breakers.__file__)
            arguments = (program, *arguments)
        return Task(
            label=label,
            name=program,
            image=self.image,
            folder=folder / "engine",
            log=folder / "task.log",
            entrypoint=(self.python, "/task/main.py"),
            arguments=arguments,
            mounts=(
                Mount(source, "/task/main.py", kind="file"),
                Mount(folder / "out", "/report", writable=True),
                *mounts,
            ),
            limits=limits,
            **fields,
        )

    def run(
        self, program: str, *arguments: str, stop: threading.Event | None = None, **fields: Any
    ) -> tuple[Outcome, Path]:
        """Run it; how it ended, and its output folder."""
        task = self.task(program, *arguments, **fields)
        outcome = self.engine.run(task, stop=stop)
        return outcome, task.log.parent / "out"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where images are kept for the whole session."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def image_of(store: Path) -> Callable[[str], tuple[LocalImage, str]]:
    """An image with this machine's Python for an engine, made once."""
    made: dict[str, tuple[LocalImage, str]] = {}

    def image(name: str) -> tuple[LocalImage, str]:
        if name not in made:
            made[name] = python_image(open_engine(name), store)
        return made[name]

    return image


@pytest.fixture(scope="session")
def docker_archive(
    image_of: Callable[[str], tuple[LocalImage, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `docker save` writes of that image, under somebody's name."""
    image, _ = image_of("docker")
    path = tmp_path_factory.mktemp("saved") / "image.tar"
    subprocess.run(["docker", "tag", str(image.identity), "stranger/victim:1"], check=True)
    subprocess.run(["docker", "save", "-o", str(path), "stranger/victim:1"], check=True)
    subprocess.run(["docker", "rmi", "stranger/victim:1"], check=True, capture_output=True)
    return path


@pytest.fixture
def bench_of(
    tmp_path: Path, image_of: Callable[[str], tuple[LocalImage, str]]
) -> Callable[[str], Bench]:
    """A bench for the engine that is named."""

    def make(name: str) -> Bench:
        image, python = image_of(name)
        return Bench(open_engine(name, state=tmp_path / "state"), image, python, tmp_path)

    return make


@pytest.fixture(params=NAMES)
def bench(request: pytest.FixtureRequest, bench_of: Callable[[str], Bench]) -> Bench:
    """A bench for each engine in turn."""
    return bench_of(request.param)


@pytest.fixture
def tight() -> Limits:
    """Limits that hostile programs reach soon."""
    return TIGHT


@pytest.fixture
def quick(tight: Limits) -> Limits:
    """The same, with a second's time."""
    return replace(tight, timeout=1.0)


@pytest.fixture
def as_root() -> None:
    """Only root has limits by the kernel over the whole tree."""
    if os.geteuid() != 0:
        pytest.skip("the caller is not root")
