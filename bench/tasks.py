"""What a task costs beside the engine's own command with the same flags, turn and turn about."""

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from medperf.runner.engines import Limits, LocalImage, Mount, Task, open_engine
from medperf.runner.engines.rootfs import python_image
from medperf.runner.engines.seccomp import oci
from medperf.schemas.errors import EngineError

from .measure import in_turn
from .report import Case

MIB = 1 << 20
LIMITS = Limits(timeout=60, memory=512 * MIB, processes=64, cpus=1, tmp=64 * MIB, shm=64 * MIB)
UID = 64999


def cases(folder: Path, runs: int) -> Iterator[Case]:
    """Docker and Apptainer, where they are."""
    for name, program in (("docker", "docker run"), ("singularity", "apptainer exec")):
        place = folder / name
        (place / "in").mkdir(parents=True)
        (place / "in" / "case").write_text("1")
        try:
            engine = open_engine(name, state=place / "state")
            engine.probe()
            image, python = python_image(engine, folder)
        except EngineError as error:
            yield Case(f"a task beside {program}", f"not measured: {error}")
            continue
        numbers = itertools.count()

        def ours(
            place: Path = place,
            image: LocalImage = image,
            python: str = python,
            numbers: Iterator[int] = numbers,
        ) -> None:
            own = place / str(next(numbers))
            outcome = engine.run(_task(own, place / "in", image, python))  # noqa: B023
            assert outcome.reason == "done", outcome

        words = (
            _docker(place, image, python) if name == "docker" else _apptainer(place, image, python)
        )

        def bare(words: list[str] = words) -> None:
            subprocess.run(words, check=True, capture_output=True)

        ours()
        bare()  # the first ones import, load and warm up
        mine, floor = in_turn(ours, bare, runs=runs)
        yield Case(
            f"a task beside {program}",
            f"{mine:.3f} s, {mine - floor:+.3f} s",
            f"{program}, same flags {floor:.3f} s",
            "<= 0.15 s more",
            mine - floor <= 0.15,
        )
        shutil.rmtree(place)


def _task(own: Path, data: Path, image: LocalImage, python: str) -> Task:
    return Task(
        label="medperf-bench",
        name="pass",
        image=image,
        folder=own / "engine",
        log=own / "task.log",
        entrypoint=(python, "-c", "pass"),
        mounts=(Mount(data, "/in"), Mount(own / "out", "/out", writable=True)),
        limits=LIMITS,
    )


def _docker(place: Path, image: LocalImage, python: str) -> list[str]:
    (place / "seccomp.json").write_text(oci())
    (place / "bare").mkdir()
    (place / "bare").chmod(0o777)
    return [
        *("docker", "run", "--rm", "--network", "none", "--dns", "127.0.0.1", "--read-only"),
        *("--tmpfs", "/tmp:rw,nosuid,nodev,size=64m,mode=1777", "--shm-size", "64m"),
        *("--ipc", "private", "--cgroupns", "private", "--hostname", "sandbox"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *("--security-opt", f"seccomp={place / 'seccomp.json'}", "--pids-limit", "64"),
        *("--memory", "512m", "--memory-swap", "512m", "--cpus", "1", "--init"),
        *("--ulimit", "core=1", "--ulimit", "nofile=1024", "--ulimit", "fsize=10737418240"),
        *("--no-healthcheck", "--log-driver", "none", "--user", f"{UID}:{UID}"),
        *("--mount", f"type=bind,source={place / 'in'},target=/in,readonly"),
        *("--mount", f"type=bind,source={place / 'bare'},target=/out"),
        *("--entrypoint", python, str(image.identity), "-c", "pass"),
    ]


def _apptainer(place: Path, image: LocalImage, python: str) -> list[str]:
    (place / "seccomp.json").write_text(oci(errno=False))
    for name in ("bare", "tmp", "shm"):
        (place / name).mkdir()
        (place / name).chmod(0o777)
    binds = (
        ("in", "/in", ",ro"),
        ("bare", "/out", ""),
        ("tmp", "/tmp", ""),
        ("shm", "/dev/shm", ""),
    )
    mounts = [
        word
        for name, target, how in binds
        for word in ("--mount", f"type=bind,source={place / name},destination={target}{how}")
    ]
    return [
        *("apptainer", "--silent", "exec", "--containall", "--cleanenv", "--no-home"),
        *("--home", "/tmp", "--pwd", "/tmp", "--no-eval", "--no-umask"),
        *("--net", "--network", "none", "--dns", "127.0.0.1", "--hostname", "sandbox"),
        *("--no-mount", "sys,hostfs,bind-paths", "--no-privs"),
        *("--security", f"uid:{UID},gid:{UID},seccomp:{place / 'seccomp.json'}"),
        *(*mounts, str(image.identity), python, "-c", "pass"),
    ]
