"""Published results are found by their paths; of those that nobody asked for none is read."""

import pytest

from medperf.reconciler import results
from medperf.reconciler.auditing import result_data
from medperf.registry.verify import verify_result
from medperf.registry.view import View
from medperf.schemas.errors import UsageError

from .world import World


@pytest.fixture
def twins(world: World) -> World:
    """Three published results, two of models with the same bare name."""
    world.add_model("a")
    world.add_model("a", owner="committee")
    world.set("hospital", "policy.release=automatic")
    world.reconcile()
    world.accept("sites/hospital/ward")
    return world


def test_only_what_is_asked_for_is_read(twins: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view = twins.committee.view()
    whole = results.published(view)
    assert [one.model for one in whole] == ["committee/a", "committee/ref", "modeler/a"]
    asked: list[str] = []
    read = View.file

    def recorded(self: View, path: str) -> object:
        asked.append(path)
        return read(self, path)

    monkeypatch.setattr(View, "file", recorded)
    for wanted, kept in (
        (results.Filter(model="modeler/a"), whole[2:]),
        (results.Filter("committee/toy", "committee/a", "hospital/chest"), whole[:1]),
        (results.Filter(dataset="hospital/chest"), whole),
        (results.Filter(benchmark="committee/to"), []),
        (results.Filter(dataset="hospital/ches"), []),
    ):
        asked.clear()
        assert results.published(view, wanted=wanted) == kept
        assert asked == [one.path for one in kept]
    asked.clear()
    assert results.published(view, owner="modeler") == whole[2:]
    assert asked == [whole[2].path]


def test_a_name_that_means_several_is_answered_with_their_digits(twins: World) -> None:
    view = twins.committee.view()
    first, reference, last = results.published(view)
    digits = [one.path.rpartition("/")[2].removesuffix(".yaml") for one in (first, last)]
    with pytest.raises(UsageError, match=f"write {digits[0]} or {digits[1]}"):
        results.find_published(view, "toy.a.chest")
    assert results.find_published(view, digits[1]) == last
    assert results.find_published(view, first.path) == first
    assert results.find_published(view, "toy.ref.chest") == reference
    assert results.find_published(view, "toy.reff.chest") is None
    assert results.published_names(view) == {"toy.a.chest", "toy.ref.chest"}
    told = twins.medperf("result", "view", "toy.a.chest")
    assert (told.returncode, digits[0] in told.stderr) == (2, True)


def test_bytes_and_run_keys_lead_to_their_result(twins: World) -> None:
    view = twins.committee.view()
    for one in results.published(view):
        item = view.result_item(one.path)
        assert verify_result(view, item.data).path == one.path
        assert result_data(view, item.manifest.spec.run_key[:10]) == item.data
        assert result_data(view, item.manifest.spec.run_key) == item.data
        other = verify_result(view, item.data.replace(b"0.913", b"0.914"))
        assert (other.answer, other.against) == (
            "unknown",
            ("the registry has other bytes at its path",),
        )


def test_a_model_and_a_dataset_of_one_name_are_not_mixed_up(world: World) -> None:
    world.add_model("a")
    world.add_model("chest", owner="hospital")
    world.set("hospital", "policy.release=automatic")
    world.reconcile()
    world.accept("sites/hospital/ward")
    view = world.committee.view()
    model = results.published(view, wanted=results.Filter(model="hospital/chest"))
    assert [one.model for one in model] == ["hospital/chest"]
    assert len(results.published(view, wanted=results.Filter(dataset="hospital/chest"))) == 3
    assert results.published(view, wanted=results.Filter(dataset="modeler/a")) == []
