"""Rules 1, 2 and 6 on real registries: what stalls, what is ignored, what counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import World, everything


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_the_usual_registry_is_in_force(world: World) -> None:
    view = everything(world).view(pinned=world.pinned)
    assert view.notes == ()
    assert dict(view.pending) == {}
    assert sorted(view.owners) == ["committee", "hospital", "modeler"]
    assert [state.sentence for state in view.associations] == ["approved"] * 3
    assert [(run.dataset, run.model) for run in view.runs("committee/cxr")] == [
        ("hospital/chest", "committee/ref"),
        ("hospital/chest", "modeler/resnet"),
    ]
    world.commit(world.result(), by="hospital/ward")
    states = list(world.view().results.values())
    assert [(state.answer, state.reasons, state.signed_by) for state in states] == [
        ("valid", (), "hospital/ward")
    ]
