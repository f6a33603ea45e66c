"""Model owners see what their own models achieved, wherever that was."""

import json

from ..reconciler.conftest import template, world  # noqa: F401 - the fixtures of that room
from ..reconciler.world import World


def test_a_model_owner_lists_the_results_of_his_models(world: World) -> None:  # noqa: F811
    world.add_model("mine")
    world.reconcile()
    assert world.medperf("result", "submit", "--all", "-y").returncode == 0
    world.accept("sites/hospital/ward")
    listed = world.medperf("result", "ls", "--mine", "--json", by="modeler")
    assert [one["model"] for one in json.loads(listed.stdout)] == ["modeler/mine"]
    shown = world.medperf("result", "view", "toy.mine.chest", by="modeler")
    assert shown.returncode == 0, shown.stderr
    assert "auc-edema: 0.913" in shown.stdout
