"""What Docker is asked for, by task and limits; `doctor` and test_engines show that it holds."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner import planted_canaries
from medperf.runner.engines import Limits, LocalImage, Mount, Task
from medperf.runner.engines.docker import Docker
from medperf.runner.engines.docker_options import container_options
from medperf.schemas.errors import EngineError

from .conftest import TIGHT, Bench

DAEMON = {"InitBinary": "docker-init", "SecurityOptions": ["name=seccomp,profile=default"]}


def options(
    image: dict[str, Any] | None = None,
    *,
    runtime: str = "runc",
    runtimes: dict[str, dict[str, str]] | None = None,
    **fields: Any,
) -> dict[str, Any]:
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
        task,
        "name",
        user=(1000, 1000),
        image=image or {},
        daemon={**DAEMON, "DefaultRuntime": runtime, "Runtimes": runtimes},
        binds=["in", "out"],
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


def test_a_task_sets_its_own_path_home_and_loader() -> None:
    mine = {"PATH": "/opt/bin", "HOME": "/work", "LD_LIBRARY_PATH": "/opt/lib:", "HOSTNAME": "gpu"}
    asked = options({"Env": ["PATH=/image", "LD_LIBRARY_PATH=/image"]}, environment=mine)
    for name, value in mine.items():
        assert [entry for entry in asked["environment"] if entry.split("=")[0] == name] == [
            f"{name}={value}"
        ]


def test_a_task_chooses_no_gpus() -> None:
    visible = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute"}
    asked = options(environment=visible)["environment"]
    assert [e for e in asked if "NVIDIA" in e] == ["NVIDIA_VISIBLE_DEVICES=void"]
    asked = options(environment=visible, limits=replace(TIGHT, gpus=("0",)))["environment"]
    assert [e for e in asked if "NVIDIA" in e] == ["NVIDIA_DRIVER_CAPABILITIES=compute"]


@pytest.mark.parametrize("entry", ["CUDA_VERSION=9.0", "NVIDIA_VISIBLE_DEVICES=all"])
def test_without_gpus_none_are_visible_to_nvidias_runtime(entry: str) -> None:
    """Unset, it gives them all where an image has CUDA_VERSION and no NVIDIA_REQUIRE_CUDA."""
    asked = options({"Env": [entry]}, runtime="nvidia")["environment"]
    assert [e for e in asked if "NVIDIA" in e] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_the_doctor_knows_every_variable_that_a_task_is_given() -> None:
    given = {entry.partition("=")[0] for entry in options()["environment"]}
    assert given <= set(planted_canaries.VARIABLES)


@pytest.mark.parametrize("name", ["MOFED", "GDS", "GDRCOPY", "NVSWITCH", "IMEX_CHANNELS"])
def test_with_gpus_no_variable_gives_other_devices(name: str) -> None:
    mine = {f"NVIDIA_{name}": "enabled", "NVIDIA_REQUIRE_CUDA": "cuda>=9"}
    kept = "NVIDIA_REQUIRE_CUDA=cuda>=9"
    image = {"Env": [f"{key}={text}" for key, text in mine.items()]}
    limits = replace(TIGHT, gpus=("all",))
    asked = options(environment=mine, limits=limits)["environment"]
    assert [e for e in asked if "NVIDIA" in e] == [kept]
    asked = options(image, limits=limits)["environment"]
    assert [e for e in asked if "NVIDIA" in e] == [kept, f"NVIDIA_{name}"]  # a bare name: unset


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("LD_LIBRARY_PATH", ":/usr/local/nvidia/lib:/opt/conda/lib:", None),
        ("LD_LIBRARY_PATH", "/usr/local/nvidia/lib:/usr/local/nvidia/lib64:/lib64", None),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2 libm.so.6", None),
        ("LD_PRELOAD", "/usr/lib/a.so\t/evil.so", "'/evil.so'"),
        ("LD_LIBRARY_PATH", "/usr/lib\n./evil", "'./evil'"),
        ("LD_LIBRARY_PATH", "/run/evil", "'/run/evil'"),
        ("LD_LIBRARY_PATH", "/usrlocal", "'/usrlocal'"),
        ("LD_LIBRARY_PATH", "/usr/lib/../local", "without .. and $"),
        ("LD_DEBUG_OUTPUT", "/usr/x", "LD_DEBUG_OUTPUT safely"),
        ("GLIBC_TUNABLES", "a=b", "GLIBC_TUNABLES safely"),
        ("GCONV_PATH", "/usr/x", "GCONV_PATH safely"),
        ("LD_PRELOAD", "/proc/self/cwd/evil.so", "/proc/self/cwd/evil.so"),
        ("LD_PRELOAD", "/usr/../proc/self/cwd/evil.so", "/usr/../proc"),
        ("LD_AUDIT", "/dev/fd/5/evil.so", "/dev/fd"),
        ("LD_LIBRARY_PATH", "/opt/lib:./lib", "'./lib'"),
        ("LD_LIBRARY_PATH", "$ORIGIN/lib", "ORIGIN"),
    ],
)
@pytest.mark.parametrize(
    "hooked",
    [{"limits": replace(TIGHT, gpus=("all",))}, {"runtime": "nvidia"}],
    ids=["gpus", "runtime"],
)
def test_where_hooks_may_run_the_loaders_variables_lead_none_into_the_image(
    name: str, text: str, kept: str | None, hooked: dict[str, Any]
) -> None:
    for image, mine in (({"Env": [f"{name}={text}"]}, {}), ({}, {name: text})):
        assert f"{name}={text}" in options(image, environment=mine)["environment"]
        if kept is None:
            plain = text.strip(":").replace(" ", ":")
            asked = options(image, environment=mine, **hooked)["environment"]
            assert f"{name}={plain}" in asked
        else:
            with pytest.raises(EngineError, match=re.escape(kept)):
                options(image, environment=mine, **hooked)


@pytest.mark.parametrize(
    "name",
    [
        "AMD_VISIBLE_DEVICES",
        "HABANA_VISIBLE_DEVICES",
        "HABANA_VISIBLE_DEVICES_TOO",  # its runtime looks at the beginning of the name alone
        "ASCEND_VISIBLE_DEVICES",
        "ASCEND_RUNTIME_MOUNTS",
        "ASCEND_VNPU_SPECS",
        "DOCKER_RESOURCE_GPU",
        "XILINX_VISIBLE_CARDS",
        "AWS_NEURON_VISIBLE_DEVICES",
        "MTHREADS_VISIBLE_DEVICES",
        "TOMORROWS_VISIBLE_DEVICES",
    ],
)
@pytest.mark.parametrize("gpus", [(), ("0",)], ids=["none", "gpus"])
def test_no_variable_gives_another_vendors_devices(name: str, gpus: tuple[str, ...]) -> None:
    limits = replace(TIGHT, gpus=gpus)
    asked = options(environment={name: "all"}, limits=limits)["environment"]
    assert [entry for entry in asked if name in entry] == []
    asked = options({"Env": [f"{name}=all"]}, limits=limits)["environment"]
    assert [entry for entry in asked if name in entry] == [name], "a bare name: unset"


@pytest.mark.parametrize("library", ["CUDA", "HIP", "ROCR", "ASCEND_RT", "MUSA"])
def test_a_program_chooses_among_the_devices_that_it_has(library: str) -> None:
    entry = f"{library}_VISIBLE_DEVICES=0"
    assert entry in options({"Env": [entry]})["environment"]


VENDORS = {
    "runc": {"path": "runc"},
    "nvidia": {"path": "nvidia-container-runtime"},
    "habana": {"path": "/usr/bin/habana-container-runtime"},
    "npu": {"path": "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"},
    "runsc": {"path": "/usr/bin/runsc"},
    "io.containerd.kata.v2": {"path": "/usr/bin/containerd-shim-kata-v2"},
}


@pytest.mark.parametrize("runtime", ["nvidia", "habana", "npu", "/usr/bin/amd-container-runtime"])
def test_without_gpus_no_runtime_that_gives_devices_by_itself_is_used(runtime: str) -> None:
    """Unset, Habana's gives all its devices, and its hook fails for `none`."""
    plain = {"LD_LIBRARY_PATH": "$ORIGIN/lib"}  # no hook runs with it then
    asked = options(runtime=runtime, runtimes=VENDORS, environment=plain)
    assert asked["runtime"] == "runc"
    assert "LD_LIBRARY_PATH=$ORIGIN/lib" in asked["environment"]
    limits = replace(TIGHT, gpus=("0",))
    assert "runtime" not in options(runtime=runtime, runtimes=VENDORS, limits=limits)


@pytest.mark.parametrize("runtime", ["runc", "runsc", "io.containerd.kata.v2"])
def test_a_runtime_that_isolates_stays_the_sites(runtime: str) -> None:
    assert "runtime" not in options(runtime=runtime, runtimes=VENDORS)
    assert "runtime" not in options(runtime="nvidia", runtimes={"nvidia": {"path": "x"}})


@pytest.mark.docker
def test_the_daemon_takes_runc_by_its_name(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("docker")
    assert isinstance(bench.engine, Docker)
    bench.engine.probe()
    assert bench.engine._info is not None
    assert "runc" in bench.engine._info["Runtimes"]
    bench.engine._info["DefaultRuntime"] = "nvidia"
    outcome, _ = bench.run("plain")
    assert outcome.reason == "done"


def test_an_images_volumes_are_covered_where_nothing_is_bound() -> None:
    tmpfs = options({"Volumes": {"/data": {}, "/out": {}}})["tmpfs"]
    assert tmpfs["/data"] == "ro,size=4k"
    assert "/out" not in tmpfs
