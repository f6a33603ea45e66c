"""A site's limits reach every task that it runs."""

from pathlib import Path

from medperf.reconciler.execute import execution
from medperf.runner.task_limits import task_limits

from .world import World


def test_timeouts_memory_and_gpus_of_the_profile_reach_the_tasks(
    world: World, tmp_path: Path
) -> None:
    place = world.set(
        "hospital",
        "limits.timeout={infer: 7}",
        "limits.memory=1Gi",
        "limits.gpus=['0', '3']",
        "limits.output=1Mi",
        "limits.outputFiles=7",
    )
    how = execution(place, "x", tmp_path, None)
    assert how.timeouts == {"infer": 7.0}
    assert how.limits.memory == 1 << 30
    assert how.limits.gpus == ("0", "3")
    assert (how.limits.output_bytes, how.limits.output_files) == (1 << 20, 7)
    assert execution(place, "x", tmp_path, None, gpus=("3",)).limits.gpus == ("3",)


def test_what_a_cube_asks_for_is_given_within_what_the_site_gives(
    world: World, tmp_path: Path
) -> None:
    wish = {"memory": "64Mi", "shm": "16Mi", "timeout": {"infer": 5}}
    ref = world.add_model("modest", resources=wish)
    place = world.set("hospital", "limits.timeout={infer: 7, evaluate: 3}", "limits.memory=1Gi")
    item = place.view().cube(ref)
    ready = place.ready(item.manifest, item.digest)
    how = execution(place, "x", tmp_path, None)
    limits = task_limits(
        ready.cube,
        ready.task("infer"),
        how.limits,
        engine="sandbox",
        timeout=how.timeouts["infer"],
    )
    assert limits.timeout == 5.0
    assert limits.memory == 64 << 20
    assert limits.shm == 16 << 20
    greedy = world.add_model("greedy", resources={"memory": "2Gi"})
    assert world.states()[greedy] == "blocked resources"
