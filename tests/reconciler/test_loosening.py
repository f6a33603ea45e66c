"""What is loosened asks the engineer once."""

import pytest

from medperf.reconciler.loosening import FILE, accept, loosened
from medperf.reconciler.rotating import add_key, change_registry
from medperf.registry.keys import generate_key
from medperf.registry.paths import owner_path
from medperf.registry.rotation import without_key
from medperf.schemas.errors import DataError

from .world import World

REF = "committee/ref"


def test_everybodys_models_without_a_committee_ask_once(world: World) -> None:
    assert world.states() == {REF: "due"}
    world.change_settings(approve={"models": ["modeler"], "datasets": "never"})
    assert world.states() == {REF: "blocked loosened"}
    assert "takes models of modeler without its committee" in world.run().explanation
    done = world.medperf("registry", "accept", "-y")
    assert (done.returncode, "Accepted" in done.stdout) == (0, True)
    assert world.states() == {REF: "due"}
    world.change_settings(approve={"models": "always", "datasets": "never"})
    assert "models of everybody" in world.run().explanation
    accept(world.hospital, world.hospital.view())
    assert world.states() == {REF: "due"}
    assert "Nothing was loosened" in world.medperf("registry", "accept").stdout


def test_what_becomes_stricter_is_taken_silently_and_counts_from_then_on(world: World) -> None:
    world.plan()
    committee = {"threshold": 2, "members": ["committee/alice", "modeler/max"]}
    world.change_settings(committee=committee)
    assert world.run().reason != "loosened"
    view = world.hospital.view()
    assert loosened(world.hospital, view) == ()
    place = world.committee
    change = change_registry(place, place.view(), add=["modeler/max"], threshold=2)
    world.accept(place.propose(change.slug, change.files, change.title).id, by="modeler")
    assert loosened(world.hospital, world.hospital.view()) == ()
    change = change_registry(place, place.view(), threshold=1)
    world.accept(place.propose(change.slug, change.files, change.title).id, by="modeler")
    (found,) = loosened(world.hospital, world.hospital.view())
    assert found.sentence == "The threshold of the admins went down from 2 to 1 signatures."
    accept(world.hospital, world.hospital.view())
    assert loosened(world.hospital, world.hospital.view()) == ()


def test_a_file_that_cannot_be_read_is_named(world: World) -> None:
    world.plan()
    (world.hospital.storage / FILE).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        world.plan()


def test_an_owner_that_the_admins_reset_is_shown_and_acknowledged_once(world: World) -> None:
    """Max has lost his only key; the admins give the modeler a new one, and every site is asked."""
    world.plan()
    path = owner_path("modeler")
    old = world.modeler.member()
    item = world.modeler.view().file(path)
    assert item is not None
    data = without_key(item.data, owner="modeler", key=old.signer.fingerprint, state="retired")
    signed = world.modeler.statement(path, data, number=2)
    world.merge({path: data, **signed}, "lost", by="modeler")
    assert world.states() == {REF: "due"}

    new = generate_key(world.folder / "modeler" / "keys" / "new", None)
    place = world.committee
    change = add_key(place, place.view(), owner="modeler", name="max", public_key=new.public_key)
    world.merge(change.files, change.slug, by="committee")
    assert world.states() == {REF: "blocked loosened"}
    said = world.run().explanation
    assert "The admins gave owners/modeler.yaml new keys at " in said
    assert "ask its people whether that is right" in said
    assert world.reconcile().ran == ()
    for command in (("status",), ("plan",), ("registry", "verify")):
        shown = world.medperf(*command)
        assert "owners/modeler.yaml" in shown.stdout + shown.stderr, command
    accepted = world.medperf("registry", "accept", "-y")
    assert "The admins gave owners/modeler.yaml new keys" in accepted.stderr
    assert world.states() == {REF: "due"}
    assert "Nothing was loosened" in world.medperf("registry", "accept").stdout
