"""A ledger that was kept judges as one that has just walked the whole history: held together here.

Histories are made at random: owners who join, keys that are retired, lost and said to have been
lost long ago, associations in rounds, revocations, results good and bad, files that are no
documents. Whenever the index is asked, its answer is compared with a walk from the root.
"""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.registry import paths, shelves
from medperf.registry.index import Index
from medperf.registry.ledger import File, Ledger
from medperf.registry.shelves import Form, Shelf
from medperf.registry.snapshot import Item, Library
from medperf.registry.view import View, open_view
from medperf.schemas.errors import StalledError
from tests.registry.world import World, everything, key_entry, owner_manifest

MORE = ("results", "_holders", "_commitments")
SHELVES = ("files", "versions", "statements", "owners", "benchmarks", "settings", "pending", *MORE)


def plain(value: Any) -> Any:
    """A ledger's value with its documents laid open, so that two can be compared."""
    if isinstance(value, File):
        return value.place, value.oid, plain(value.item)
    if isinstance(value, Item):
        return value.place, value.manifest, value.digest, value.data
    return value


def everything_of(ledger: Ledger) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: [(key, plain(value)) for key, value in getattr(ledger, name).items()]
        for name in SHELVES
    }
    found |= {
        "commits": ledger.commits,
        "index_of": ledger.index_of,
        "notes": ledger.notes,
        "checked": ledger.checked,
        "compromised": dict(ledger.compromised),
        "registry": plain(ledger.registry),
    }
    states = [ledger.association_state(one.path) for one in ledger.items("associations/")]
    found["states"] = [
        (one.path, one.state, one.missing, one.signed, one.reasons, one.by_settings)
        for one in states
    ]
    return found


def check_same(world: World, index: Path) -> None:
    """The index's view is the view, asked twice: while it learns, and when it knows."""
    assert world.tip is not None
    full = everything_of(world.view(pinned=world.pinned).ledger)
    for _ in range(2):
        with Index(index) as opened:
            view = open_view(world.repository, world.tip, pinned=world.pinned, index=opened)
            found = everything_of(view.ledger)
            check_parts(view)
        for name, value in full.items():
            assert found[name] == value, name


def check_parts(view: View) -> None:
    """What is asked for one benchmark, side or owner is that part of all associations."""
    for benchmark, side, owner in {
        (one.benchmark, one.item.place.side, one.component.partition("/")[0])
        for one in view.associations
    }:
        side_by_side = [
            one for one in view.associations if (one.benchmark, one.part) == (benchmark, side)
        ]
        assert view.associations_of(benchmark, side) == side_by_side
        his = [one for one in side_by_side if one.component.startswith(f"{owner}/")]
        assert view.associations_of(benchmark, side, owner=owner) == his


class Actor:
    """Does one random thing to a world."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 - a history to try, no secret
        self.count = 0
        self.rounds = {"modeler/resnet": 1, "hospital/chest": 1}
        self.serials = {"modeler": 1, "hospital": 1}

    def act(self) -> None:
        self.count += 1
        choices: list[Callable[[], object]] = [
            self.join,
            self.add_model,
            self.revoke,
            self.next_round,
            self.result,
            self.late_signature,
            self.nonsense,
            self.site_key,
            self.compromise,
            self.settings,
        ]
        self.random.choice(choices)()

    def join(self) -> None:
        signed = self.random.choice([None, ["new/first"], []])
        who = f"new{self.count}"
        by = None if signed is None else [one.replace("new", who) for one in signed]
        self.world.join(who, ["first"], ["ward"], signed_by=by)

    def add_model(self) -> None:
        ref = f"modeler/net{self.count}"
        self.world.add_cube(ref, by=self.random.choice(["modeler/max", "hospital/bob", None]))
        signers = [["modeler/max", "committee/alice"], ["modeler/max"], []]
        self.world.associate(ref, signed_by=self.random.choice(signers))
        self.rounds[ref] = 1

    def revoke(self) -> None:
        ref = self.random.choice(list(self.rounds))
        path, _ = self.world.association(ref)
        by = self.random.choice([f"{ref.split('/')[0]}/max", "hospital/bob", "committee/alice"])
        owner, member = by.split("/")
        name = paths.statement_path(path, self.rounds[ref], owner, member, True)
        if name not in self.world.files:
            self.world.revoke(path, by, number=self.rounds[ref], reason="a doubt")

    def next_round(self) -> None:
        ref = self.random.choice(list(self.rounds))
        self.rounds[ref] += 1
        who = ["modeler/max" if ref.startswith("modeler") else "hospital/bob", "committee/alice"]
        self.world.associate(ref, signed_by=who, number=self.rounds[ref])

    def result(self) -> None:
        model = self.random.choice([ref for ref in self.rounds if ref.startswith("modeler")])
        key = self.random.choice(["hospital/ward", "hospital/bob", "nobody/there"])
        files = self.world.result(model=model, key=key, by="hospital/ward")
        new = {path: data for path, data in files.items() if path not in self.world.files}
        if self.random.random() < 0.2:
            new = {path: data for path, data in new.items() if path.endswith(".yaml")}
        if new:
            self.world.merge(new, by=None)

    def late_signature(self) -> None:
        waiting = [one for one in self.world.files if paths.classify(one).owner.startswith("new")]
        waiting = sorted(one for one in waiting if paths.classify(one).kind == "owner")
        if waiting:
            path = self.random.choice(waiting)
            owner = path.removeprefix("owners/").removesuffix(".yaml")
            files = self.world.approval(path, "committee/alice", f"{owner}/first")
            new = {name: data for name, data in files.items() if name not in self.world.files}
            if new:
                self.world.commit(new)

    def nonsense(self) -> None:
        name = self.random.choice(
            ["cubes/modeler/odd{}.yaml", "results/é{}", "datasets/a/b{}.yaml"]
        )
        self.world.commit({name.format(self.count): b"kind: Nothing\n"})

    def site_key(self) -> None:
        self._owner("hospital", ["bob"], {"ward": [key_entry("hospital/ward")]})

    def compromise(self) -> None:
        since = self.random.choice([None, self.world.root, self.world.tip, "0" * 40])
        member = [key_entry("modeler/max", "compromised", since), key_entry("modeler/max#2")]
        if self.random.random() < 0.3:
            self._owner("modeler", {"max": member}, {})

    def settings(self) -> None:
        path = paths.settings_path(paths.benchmark_path("committee/cxr"))
        serial = self.serials.get(path, 1) + 1
        self.serials[path] = serial
        approve = {"models": "never", "datasets": self.random.choice(["always", ["hospital"]])}
        self.world.change_settings(
            "committee/cxr", "committee/alice", serial=serial, approve=approve
        )

    def _owner(self, owner: str, members: Any, sites: Any) -> None:
        serial = self.serials[owner] + 1
        manifest = owner_manifest(owner, members, sites, serial=serial)
        signer = "hospital/bob" if owner == "hospital" else "modeler/max"
        try:
            commit = self.world.tip
            self.world.change_owner(manifest, signer, "committee/alice")
            self.world.view(pinned=self.world.pinned)
            self.serials[owner] = serial
        except StalledError:  # this one may not be: as if it had not been
            assert commit is not None
            self.world.move(commit)
            self._look_again()

    def _look_again(self) -> None:
        assert self.world.tip is not None
        tree = self.world.repository.tree(self.world.tip)
        self.world.files = {
            path: self.world.repository.blob(entry.oid) for path, entry in tree.items()
        }


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = everything(World(tmp_path_factory.mktemp("usual")))
    yield world
    world.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_kept_ledger_is_the_walked_one_on_random_histories(
    usual: World, tmp_path: Path, seed: int
) -> None:
    world = usual.copy(tmp_path)
    actor = Actor(world, seed)
    try:
        for _ in range(5):
            for _ in range(actor.random.randint(0, 4)):
                before, files = world.tip, dict(world.files)
                actor.act()
                try:
                    world.view(pinned=world.pinned)
                except StalledError:  # a history that stalls is no history to go on from
                    assert before is not None
                    world.move(before)
                    world.files = files
            check_same(world, tmp_path / "index.sqlite")
    finally:
        world.close()


def opened(world: World, path: Path) -> tuple[View, dict[str, Any]]:
    assert world.tip is not None
    with Index(path) as index:
        view = open_view(world.repository, world.tip, pinned=world.pinned, index=index)
        return view, everything_of(view.ledger)


def test_a_key_compromised_backwards_is_judged_anew(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    try:
        check_same(world, tmp_path / "index.sqlite")
        since = world.tip
        world.merge(world.result(), by=None)
        check_same(world, tmp_path / "index.sqlite")
        keys = [key_entry("hospital/ward", "compromised", since), key_entry("hospital/ward#2")]
        world.change_owner(
            owner_manifest("hospital", ["bob"], {"ward": keys}, serial=2),
            "hospital/bob",
            "committee/alice",
        )
        check_same(world, tmp_path / "index.sqlite")
        view, _ = opened(world, tmp_path / "index.sqlite")
        assert view.ledger.compromised
        world.add_cube("modeler/later")
        check_same(world, tmp_path / "index.sqlite")
        keys[1] = key_entry("hospital/ward#2", "compromised", world.root)
        keys.append(key_entry("hospital/ward#3"))
        world.change_owner(
            owner_manifest("hospital", ["bob"], {"ward": keys}, serial=3),
            "hospital/bob",
            "committee/alice",
        )
        check_same(world, tmp_path / "index.sqlite")
    finally:
        world.close()


def test_a_rewritten_history_stalls_as_without_an_index(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    try:
        before = world.tip
        world.add_cube("modeler/one")
        opened(world, tmp_path / "index.sqlite")
        verified = world.tip
        assert before is not None
        world.move(before)
        world.add_cube("modeler/other", by=None)
        with Index(tmp_path / "index.sqlite") as index, pytest.raises(StalledError) as caught:
            open_view(
                world.repository,
                world.tip or "",
                pinned=world.pinned,
                verified=verified,
                index=index,
            )
        assert caught.value.reason == "history"
    finally:
        world.close()


def test_a_stall_keeps_what_was_good_before_it(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    try:
        opened(world, tmp_path / "index.sqlite")
        good = world.tip
        world.commit({"cubes/modeler/resnet.yaml": None})
        for _ in range(2):
            with Index(tmp_path / "index.sqlite") as index, pytest.raises(StalledError):
                open_view(world.repository, world.tip or "", pinned=world.pinned, index=index)
        world.tip = good
        check_same(world, tmp_path / "index.sqlite")
    finally:
        world.close()


def test_other_pins_are_judged_anew(usual: World, tmp_path: Path) -> None:
    opened(usual, tmp_path / "index.sqlite")
    other = replace(usual.pinned, admins=frozenset(["SHA256:" + "A" * 43]))
    with Index(tmp_path / "index.sqlite") as index, pytest.raises(StalledError, match="not pinned"):
        open_view(usual.repository, usual.tip or "", pinned=other, index=index)


def test_a_later_look_in_one_process_leaves_the_earlier_view_as_it_was(
    usual: World, tmp_path: Path
) -> None:
    world = usual.copy(tmp_path)
    try:
        with Index(tmp_path / "index.sqlite") as index:
            first = open_view(world.repository, world.tip or "", index=index)
            before = everything_of(first.ledger)
            world.add_cube("modeler/later")
            world.revoke(world.association("modeler/resnet")[0], "modeler/max")
            second = open_view(world.repository, world.tip or "", index=index)
            assert "modeler/later" in second.cubes
            assert "modeler/later" not in first.cubes
            assert everything_of(first.ledger) == before
            full = everything_of(open_view(world.repository, world.tip or "").ledger)
            assert everything_of(second.ledger) == full
            open_view(world.repository, world.tip or "", index=index)
            assert everything_of(first.ledger) == before
            assert everything_of(second.ledger) == full
        with Index(tmp_path / "index.sqlite") as index:
            third = open_view(world.repository, world.tip or "", index=index)
            assert everything_of(third.ledger) == full
    finally:
        world.close()


def test_a_walk_with_other_pins_leaves_a_view_that_is_being_read_as_it_was(
    usual: World, tmp_path: Path
) -> None:
    tip = usual.tip or ""
    with Index(tmp_path / "index.sqlite") as index:
        view = open_view(usual.repository, tip, pinned=usual.pinned, index=index)
        open_view(usual.repository, tip, index=index)  # as anybody: without pins
        assert everything_of(view.ledger) == everything_of(
            open_view(usual.repository, tip, pinned=usual.pinned).ledger
        )


def test_a_broken_file_is_made_anew(usual: World, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"no database" * 100)
    check_same(usual, path)
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_an_index_of_other_code_is_made_anew(usual: World, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    opened(usual, path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = 'older' WHERE key = 'code'")
        database.execute("UPDATE plain_results SET value = 'wrong'")
        database.execute("UPDATE plain_files SET value = 'wrong'")
    database.close()
    check_same(usual, path)


def test_two_at_once_see_a_whole_state_each(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    path = tmp_path / "index.sqlite"
    try:
        opened(world, path)
        with Index(path) as reader:
            first = open_view(world.repository, world.tip or "", index=reader)
            world.add_cube("modeler/later")
            check_same(world, path)  # cannot be written while somebody reads, and is right
            assert "modeler/later" not in first.cubes
        check_same(world, path)
    finally:
        world.close()


def test_a_folder_that_cannot_be_written_costs_speed_only(usual: World, tmp_path: Path) -> None:
    check_same(usual, tmp_path / "missing" / "index.sqlite")


def test_a_shelf_is_a_dictionary_also_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "_PAGE", 3)  # so that a reading takes several
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE shelf (key TEXT PRIMARY KEY, value TEXT)")
        form: Form[str, Any] = Form(str, str, lambda value: value, lambda _, value: value)
        shelf: Shelf[str, Any] = Shelf(database, "shelf", form)
        known: dict[str, Any] = {}
        chance = random.Random(7)  # noqa: S311 - keys to try, no secret
        for _ in range(3000):
            key = str(chance.randint(0, 20))
            match chance.randint(0, 7):
                case 0 | 1 | 2:
                    shelf[key] = known[key] = chance.random()
                case 3:
                    for one in (shelf, known):
                        one.pop(key, None)
                case 4:
                    shelf.save()
                case 5 if chance.random() < 0.05:
                    shelf.clear()
                    known.clear()
                case 6:
                    assert (key in shelf, shelf.get(key)) == (key in known, known.get(key))
                case _:
                    assert list(shelf.items()) == list(known.items())
                    ones = [value for key, value in known.items() if key.startswith("1")]
                    assert list(shelf.below("1")) == ones
                    named = [key for key in known if key.startswith("1")]
                    assert list(shelf.keys_below("1")) == named
                    assert len(shelf) == len(known)
    database.close()


def test_lists_of_a_copy_grow_by_themselves() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE shelf (key TEXT PRIMARY KEY, value TEXT)")
        form: Form[str, Any] = Form(str, str, lambda value: value, lambda _, value: value)
        shelf: Shelf[str, list[int]] = Shelf(database, "shelf", form)
        shelf.setdefault("a", []).append(1)
        shelf.save()
        shelf.setdefault("b", []).append(2)
        copy = shelf.copy()
        copy.setdefault("a", []).append(3)
        copy.setdefault("b", []).append(4)
        assert (shelf["a"], shelf["b"]) == ([1], [2])
        assert (copy["a"], copy["b"]) == ([1, 3], [2, 4])
        assert [*copy.below("a")] == [[1, 3]]
    database.close()


def test_the_world_is_not_touched(usual: World, tmp_path: Path) -> None:
    """The module's world is one for all: whoever changes it takes a copy."""
    assert usual.repository.resolve("refs/heads/main") == usual.tip
    shutil.rmtree(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("left", [0, 16, 64, 128])
def test_a_full_disk_loses_no_revocation_and_keeps_nobody_out(
    usual: World, tmp_path: Path, small_disk: Path, left: int
) -> None:
    world, path = usual.copy(tmp_path), small_disk / "index.sqlite"
    filler = small_disk / "filler"
    try:
        opened(world, path)
        world.revoke(world.association("modeler/resnet")[0], "modeler/max")
        for at in range(40):  # more than 64 KB of rows
            world.add_cube(f"modeler/later-{at}")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 1024)
        os.truncate(filler, filler.stat().st_size - left * 1024)
        with Index(path) as index:
            view = open_view(world.repository, world.tip or "", pinned=world.pinned, index=index)
            found = everything_of(view.ledger)
            assert found == everything_of(world.view(pinned=world.pinned).ledger)
            assert "modeler/later-39" in view.cubes
            with Index(path) as other:  # it reads what was kept before
                assert other.ledger("plain", world.pinned, Library(world.repository)) is not None
        filler.unlink()
        check_same(world, path)
    finally:
        world.close()


def test_a_later_look_keeps_nobody_out_while_an_earlier_one_is_read(
    usual: World, tmp_path: Path
) -> None:
    world, path = usual.copy(tmp_path), tmp_path / "index.sqlite"
    try:
        opened(world, path)
        with Index(path) as earlier:
            first = open_view(world.repository, world.tip or "", index=earlier)
            world.add_cube("modeler/later")
            with Index(path, at_once=False) as later:
                second = open_view(world.repository, world.tip or "", index=later)
                assert "modeler/later" in second.cubes
                assert "modeler/later" not in first.cubes
                with Index(path) as another:  # of another process
                    assert another.ledger("plain", None, Library(world.repository)) is not None
        check_same(world, path)
    finally:
        world.close()
