"""What an approval rests on."""

import pytest

from medperf.reconciler.approving import approve_association
from medperf.reconciler.submissions import association_bytes
from medperf.registry import paths
from medperf.schemas.digests import digest
from medperf.schemas.errors import MedperfError

from .world import World


def test_a_trial_on_other_data_is_not_believed(world: World) -> None:
    data = world.cube("liar", "modeler", "model", world.images)
    path = paths.association_path("committee/toy", "models", "modeler/liar")
    place = world.modeler
    benchmark = place.view().benchmark("toy")
    content = association_bytes(
        path,
        benchmark={"ref": benchmark.ref, "digest": benchmark.digest},
        side="model",
        component={"ref": "modeler/liar", "digest": digest(data)},
        trial={
            "medperf": "0.1.0",
            "engine": "sandbox",
            "outcome": "passed",
            "data": "sha256:" + "0" * 64,
            "metrics": {"auc-edema": 1},
        },
    )
    files = {paths.cube_path("modeler/liar"): data, path: content}
    place.propose("liar", files | place.statement(path, content), "Add a liar")
    with pytest.raises(MedperfError, match="data"):
        approve_association(
            world.committee,
            world.committee.view(),
            benchmark="toy",
            side="models",
            component="modeler/liar",
            agree=lambda _: None,
            agree_alone=lambda _: None,
        )
    assert "modeler/liar" not in world.states()
