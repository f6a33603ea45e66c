"""An auditor at the site: does this published result belong to these data?"""

import json

import pytest

from medperf.reconciler.auditing import audit, result_data
from medperf.reconciler.results import awaiting, decide
from medperf.schemas.errors import UsageError

from .world import World


@pytest.fixture
def published(world: World) -> World:
    world.reconcile()
    for one in awaiting(world.hospital, None)[1]:
        decide(world.hospital, one, "released")
    world.reconcile()
    world.accept("sites/hospital/ward")
    return world


def test_a_result_belongs_to_its_data(published: World) -> None:
    view = published.hospital.view()
    (path,) = published.results()
    found = audit(view, published.dataset(), result_data(view, path))
    assert found.holds
    assert "the dataset's secret make the commitment" in found.proven[-1]
    key = path.rpartition("/")[2][:16]
    assert result_data(view, key) == result_data(view, path)
    done = published.medperf("dataset", "check", "--data_uid", "chest", "--against", key, "--json")
    assert (done.returncode, json.loads(done.stdout)["against"]) == (0, [])


def test_data_that_changed_or_another_secret_are_told(published: World) -> None:
    view = published.hospital.view()
    (path,) = published.results()
    data, dataset = result_data(view, path), published.dataset()
    first = next(dataset.labels.iterdir())
    before = first.read_bytes()
    first.write_bytes(before.replace(b"1", b"0"))
    found = audit(view, dataset, data)
    assert not found.holds
    assert "have changed since they were prepared" in found.against[0]
    first.write_bytes(before)
    (dataset.path / "secret").write_bytes(bytes(32))
    assert "are not those that" in audit(view, dataset, data).against[0]
    done = published.medperf("dataset", "check", "--data_uid", "chest", "--against", path)
    assert (done.returncode, "does NOT belong" in done.stdout) == (1, True)


def test_a_result_that_the_registry_has_not_belongs_to_nothing(published: World) -> None:
    view = published.hospital.view()
    (path,) = published.results()
    data = result_data(view, path).replace(b"0.913", b"0.999")
    found = audit(view, published.dataset(), data)
    assert "other bytes at its path" in found.against[1]
    with pytest.raises(UsageError, match="is published"):
        result_data(view, "nothing")
