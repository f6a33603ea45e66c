"""What runs that go side by side may use together."""

import json
from typing import Any

import pytest

from medperf.reconciler.capacity import Capacity, Lease, Need, need_of
from medperf.runner.engines.protocol import GIB, MIB, Limits
from medperf.schemas.manifests import Cube

from .world import TASKS


def cube(role: str, resources: dict[str, Any] | None, extra: str = "") -> Cube:
    spec: dict[str, Any] = {
        "role": role,
        "format": "mlcube",
        "files": {
            "mlcube.yaml": f"name: toy\n{extra}tasks:\n{TASKS[role]}",
            "parameters.yaml": "1",
        },
        "images": [{"engine": "docker", "image": f"toy@sha256:{'0' * 64}"}],
    }
    if resources is not None:
        spec["resources"] = resources
    whole = {
        "apiVersion": "medperf/v1alpha1",
        "kind": "Cube",
        "metadata": {"name": "toy", "owner": "modeler", "description": "A toy."},
        "spec": spec,
    }
    return Cube.model_validate_json(json.dumps(whole))


SITE = Limits(memory=8 * GIB, gpus=("0", "1"))


@pytest.mark.parametrize(
    ("model", "extra", "evaluator", "engine", "need"),
    [
        (None, "", None, "docker", Need(8 * GIB, 0)),
        ({"memory": "512Mi"}, "", {"memory": "1Gi"}, "docker", Need(GIB, 0)),
        ({"memory": "2Gi", "gpus": 1}, "", {"memory": "1Gi"}, "docker", Need(2 * GIB, 1)),
        ({"memory": "16Gi"}, "", {"memory": "1Gi"}, "docker", Need(GIB, 0)),  # it will be refused
        (None, "platform: {accelerator_count: 5}\n", None, "docker", Need(8 * GIB, 2)),
        (None, "platform: {accelerator_count: 5}\n", None, "sandbox", Need(8 * GIB, 0)),
    ],
)
def test_a_run_needs_the_most_that_one_of_its_tasks_may_use(
    model: dict[str, Any] | None,
    extra: str,
    evaluator: dict[str, Any] | None,
    engine: str,
    need: Need,
) -> None:
    tasks = ((cube("model", model, extra), "infer"), (cube("evaluator", evaluator), "evaluate"))
    assert need_of(tasks, SITE, engine=engine) == need


def test_memory_is_never_promised_twice() -> None:
    there = Capacity(4 * GIB, ())
    first, second = there.take(Need(GIB)), there.take(Need(3 * GIB))
    assert first is not None
    assert second is not None
    assert there.take(Need(MIB)) is None
    assert "1 MiB of memory; of this machine's 4096 MiB, 4096 MiB" in there.lacks(Need(MIB))
    there.give_back(first)
    assert there.take(Need(2 * GIB)) is None
    assert there.take(Need(GIB)) is not None


def test_a_gpu_is_given_to_one_run_at_a_time() -> None:
    there = Capacity(GIB, ("a", "b", "c", "a"))
    one, two = there.take(Need(gpus=2)), there.take(Need(gpus=1))
    assert one == Lease(0, ("a", "b"))
    assert two == Lease(0, ("c",))
    assert there.take(Need(gpus=1)) is None
    assert "GPUs (1), of which 0 are free" in there.lacks(Need(gpus=1))
    assert there.take(Need()) == Lease(0, ())
    there.give_back(one)
    assert there.take(Need(gpus=1)) == Lease(0, ("a",))


def test_a_run_that_is_alone_may_start_whatever_it_asks() -> None:
    there = Capacity(GIB, ())
    assert there.take(Need(8 * GIB)) == Lease(8 * GIB, ())
    assert there.take(Need(1)) is None
