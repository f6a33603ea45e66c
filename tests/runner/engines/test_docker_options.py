"""What Docker is asked for, by task and limits; `doctor` and test_engines show that it holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.engines import Limits, LocalImage, Mount, Task
from medperf.runner.engines.docker_options import container_options

from .conftest import TIGHT

DAEMON = {"InitBinary": "docker-init", "SecurityOptions": ["name=seccomp,profile=default"]}


def options(image: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The options of a task that reads /in and writes /out."""
    task = Task(
        label="run",
        name="infer",
        image=LocalImage("docker", "sha256:1", "sha256:1"),
        folder=Path("/engine"),
        log=Path("/log"),
        mounts=(Mount(Path("/a"), "/in"), Mount(Path("/b"), "/out", writable=True)),
        **{"limits": TIGHT, **fields},
    )
    return container_options(
        task, "name", user=(1000, 1000), image=image or {}, daemon=DAEMON, binds=["in", "out"]
    )


def test_every_task_is_without_network_rights_and_a_writable_root() -> None:
    asked = options()
    assert (asked["network_mode"], asked["user"]) == ("none", "1000:1000")
    assert (asked["read_only"], asked["cap_drop"], asked["ipc_mode"]) == (True, ["ALL"], "private")
    assert "no-new-privileges:true" in asked["security_opt"]
    assert asked["mem_limit"] == asked["memswap_limit"] == TIGHT.memory
    assert asked["pids_limit"] == TIGHT.processes
    assert "device_requests" not in asked
    assert "privileged" not in asked


def test_only_a_task_that_asks_for_it_gets_a_throw_away_root_and_gpus() -> None:
    assert options(scratch_root=True)["read_only"] is False
    (every,) = options(limits=replace(TIGHT, gpus=("all",)))["device_requests"]
    assert (every["Count"], every["Capabilities"]) == (-1, [["gpu"]])
    (some,) = options(limits=replace(TIGHT, gpus=("0", "2")))["device_requests"]
    assert some["DeviceIDs"] == ["0", "2"]


def test_limits_that_nobody_set_are_not_asked_for() -> None:
    asked = options(limits=Limits(timeout=1))
    assert not {"mem_limit", "memswap_limit", "nano_cpus"} & set(asked)


@pytest.mark.parametrize(
    ("entry", "kept"),
    [("LANG=de_DE", "LANG=de_DE"), ("HOME=/root", None), ("NVIDIA_VISIBLE_DEVICES=all", None)],
)
def test_an_images_variables_are_kept_but_for_those_that_open_doors(
    entry: str, kept: str | None
) -> None:
    asked = options({"Env": [entry]})["environment"]
    assert (entry in asked) is (kept is not None)
    assert "HOSTNAME" in asked  # a bare name takes it away
    assert ("NVIDIA_VISIBLE_DEVICES" in asked) is entry.startswith("NVIDIA")


def test_an_images_volumes_are_covered_where_nothing_is_bound() -> None:
    tmpfs = options({"Volumes": {"/data": {}, "/out": {}}})["tmpfs"]
    assert tmpfs["/data"] == "ro,size=4k"
    assert "/out" not in tmpfs
