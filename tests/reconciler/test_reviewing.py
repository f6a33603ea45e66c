"""Reviews and merges: who signs what, who is waited for, and what moved meanwhile."""

import subprocess
from typing import Any

import pytest

from medperf.reconciler.associations import list_associations
from medperf.reconciler.reviewing import (
    Sending,
    close_proposal,
    find_association,
    review,
    review_association,
    revoke_association,
    sign_and_merge,
)
from medperf.registry import proposals
from medperf.schemas.errors import InvalidDocumentError, MedperfError, UsageError, WaitError

from .world import World


def test_a_threshold_of_two_waits_for_the_second(world: World) -> None:
    world.change_settings(
        committee={"threshold": 2, "members": ["committee/alice", "hospital/bob"]}
    )
    with pytest.raises(WaitError, match="Your signature is pushed") as caught:
        world.add_model("new")
    assert caught.value.exit_code == 4
    uid = "modeler/new"
    assert uid in [one.id for one in proposals.list_open(world.committee.repository, world.url)]
    place = world.hospital
    seen = review(place, place.view(), uid)
    assert [one.path for one in seen.to_sign] == [
        "associations/committee/toy/models/modeler__new.yaml"
    ]
    sign_and_merge(place, place.view(), seen)
    state = place.view().association("committee/toy", "models", "modeler/new")
    assert state is not None
    assert state.state == "approved"
    # the dataset's association was signed by one member, which is not enough any more
    assert world.states()["modeler/new"] == "blocked dataset-pending"


def test_who_has_no_part_signs_nothing_and_merges_nothing(world: World) -> None:
    with pytest.raises(WaitError):
        world.merge(_model(world), "new", by="modeler", also="hospital")
    place = world.hospital
    seen = review(place, place.view(), "modeler/new")
    assert seen.to_sign == ()


def _model(world: World) -> dict[str, bytes]:
    files: dict[str, bytes] = {}

    def catch(found: dict[str, bytes], slug: str, *, by: str) -> str:
        del slug, by
        files.update(found)
        return ""

    kept = world.merge
    world.merge = catch  # type: ignore[method-assign, assignment]
    world.add_model("new")
    world.merge = kept  # type: ignore[method-assign]
    return files


def test_what_changed_after_the_look_is_not_signed(world: World) -> None:
    files = _model(world)
    proposal = world.modeler.propose("new", files, "Add new")
    place = world.committee
    view = place.view()
    seen = review(place, view, proposal.id)
    path = next(path for path in files if path.startswith("cubes/"))
    other = {path.replace("new.yaml", "other.yaml"): files[path].replace(b"new", b"other")}
    world.modeler.fetch()
    world.modeler.propose("new", other, "One more")
    tip = world.tip()
    with pytest.raises(MedperfError):
        sign_and_merge(place, view, seen)
    assert world.tip() == tip


def test_a_proposal_that_breaks_the_rules_is_not_merged(world: World) -> None:
    proposal = world.modeler.propose("odd", {"cubes/modeler/odd.yaml": b"kind: Cube\n"}, "Odd")
    place = world.committee
    seen = review(place, place.view(), proposal.id)
    assert seen.verdict.answer == "failed"
    with pytest.raises(InvalidDocumentError, match=r"odd\.yaml"):
        sign_and_merge(place, place.view(), seen)


def branches(world: World) -> str:
    """Every reference of the registry, with what it is at."""
    words = ["git", "-C", world.url, "for-each-ref"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_an_association_that_waits_on_main_is_signed_there(world: World) -> None:
    ref = world.add_model("waiting", approve=False)
    place = world.committee
    which: dict[str, Any] = {"benchmark": "toy", "side": "models", "component": "waiting"}
    shown: list[Sending] = []

    def refuse(sending: Sending) -> None:
        shown.append(sending)
        raise UsageError("no")

    before = branches(world)
    with pytest.raises(UsageError, match="no"):
        review_association(place, place.view(), **which, agree=refuse)
    assert branches(world) == before, "what was refused was not sent"
    assert shown[0].path.endswith("modeler__waiting.yaml")
    seen = review_association(place, place.view(), **which, agree=lambda _: None)
    sign_and_merge(place, place.view(), seen)
    assert world.states()[ref] == "due"
    with pytest.raises(UsageError, match="approved"):
        review_association(place, place.view(), **which, agree=refuse)
    assert len(shown) == 1


def test_an_association_is_found_in_its_open_proposal(world: World) -> None:
    proposal = world.modeler.propose("new", _model(world), "Add new")
    place = world.committee
    path, found = find_association(
        place, place.view(), benchmark="toy", side="models", component="modeler/new"
    )
    assert path.endswith("modeler__new.yaml")
    assert found is not None
    assert found.id == proposal.id
    closed = close_proposal(place, proposal.id, "no")
    assert closed.id == proposal.id
    listed = {one.component: one for one in list_associations(place, place.view(), say=print)}
    assert (listed["modeler/new"].state, listed["modeler/new"].why) == ("rejected", "no")


def test_only_what_takes_part_can_be_revoked_and_only_once(world: World) -> None:
    place = world.committee
    with pytest.raises(UsageError, match="no model in committee/toy called 'modeler/none'"):
        revoke_association(
            place,
            place.view(),
            benchmark="toy",
            side="models",
            component="modeler/none",
            reason=None,
            agree=lambda _: None,
        )
    world.revoke("committee/ref")
    with pytest.raises(UsageError, match="revoked already"):
        world.revoke("committee/ref")
