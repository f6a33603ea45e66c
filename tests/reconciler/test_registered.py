"""Where this machine's datasets stand in the registry: merged, proposed, rejected, or not there."""

import json
import shutil

from medperf.reconciler.datasets import LocalDataset
from medperf.reconciler.registered import Registered, standings
from medperf.reconciler.reviewing import close_proposal
from medperf.reconciler.submissions import dataset_files

from .world import World


def another(world: World, name: str) -> LocalDataset:
    """A second dataset on the hospital's machine: the same data, with a secret of its own."""
    first = world.dataset()
    path = shutil.copytree(first.path, first.path.with_name(name.encode().hex()))
    (path / "secret").write_bytes(name.encode().ljust(32, b"."))
    made = LocalDataset(path, first.record.model_copy(update={"name": name}))
    made.write_record()
    return made


def test_a_dataset_is_followed_from_this_machine_into_the_registry(world: World) -> None:
    place, made, said = world.hospital, another(world, "more"), list[str]()

    def stands(one: LocalDataset = made) -> Registered:
        return standings(place, say=said.append).of(one)

    assert stands(world.dataset()) == Registered("merged", "hospital/chest")
    assert stands() == Registered("no")
    twin = another(world, "chest")
    assert stands(twin) == Registered("no"), "another's name does not make it that one"
    files = dataset_files(place, place.view(), made)
    proposal = place.propose("more", files, "Add more")
    assert stands() == Registered("proposed", "hospital/more", proposal.id)
    close_proposal(place, proposal.id, "too few")
    assert stands() == Registered("rejected", "hospital/more")
    again = place.propose("more", files, "Add more")
    assert stands() == Registered("proposed", "hospital/more", again.id)
    world.accept(again.id)
    assert stands() == Registered("merged", "hospital/more")
    (made.path / "content.txt").unlink()
    assert stands() == Registered("no"), "one that is not prepared any more is nowhere"
    assert said == []


def test_a_registry_that_cannot_be_reached_leaves_what_was_known(world: World) -> None:
    made, said = another(world, "more"), list[str]()
    world.hospital.view()
    shutil.move(f"{world.url}", f"{world.url}.away")
    found = standings(world.hospital, say=said.append)
    assert found.of(world.dataset()).state == "merged"
    assert found.of(made).state == "unknown"
    (line,) = said
    assert line.startswith("What the registry has now is not known: Cannot fetch ")
    listed = world.medperf("dataset", "ls", "--local", "--json")
    assert (listed.returncode, line in listed.stderr) == (0, True)
    rows = {one["name"]: one["registered"] for one in json.loads(listed.stdout)}
    assert rows == {"chest": "merged", "more": "unknown"}


def test_where_nothing_is_prepared_nobody_is_asked(world: World) -> None:
    place = world.hospital
    shutil.rmtree(place.datasets.root)
    shutil.move(f"{world.url}", f"{world.url}.away")
    assert standings(place, say=lambda _: None).other == Registered("no")


def test_a_dataset_without_its_secret_is_told_and_hides_no_other(world: World) -> None:
    made, said = another(world, "more"), list[str]()
    (made.path / "secret").unlink()
    known = standings(world.hospital, say=said.append)
    assert known.of(world.dataset()) == Registered("merged", "hospital/chest")
    assert known.of(made) == Registered("unknown")
    assert "secret cannot be read (No such file or directory)" in said[0]
    assert len(said) == 1
    done = world.medperf("plan")
    assert done.returncode == 1
    assert "the dataset more is the one that was registered" in done.stderr
