"""A proposal is judged by the part of the history that bears on it as it is by all of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from medperf.registry import bearing as searching
from medperf.registry import paths, validate
from medperf.registry.git import Repository
from medperf.registry.history import History, walk
from medperf.registry.ledger import Ledger
from medperf.registry.snapshot import Library
from medperf.schemas import documents
from medperf.schemas.errors import StalledError
from tests.registry.test_index import Actor, plain
from tests.registry.world import World, cube_manifest, everything

CXR = "committee/cxr"
CHEST = "datasets/hospital/chest.yaml"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = everything(World(tmp_path_factory.mktemp("usual")))
    yield world
    world.close()


def bears(world: World, head: str) -> list[str]:
    repository, tip = world.repository, world.tip or ""
    changes = repository.diff(tip, head)
    return list(
        searching.bearing(repository, tip, repository.folders(tip), changes, Library(repository))
    )


def proposals(world: World) -> Iterator[Mapping[str, bytes]]:
    """One of each kind, over whatever the world has by now."""
    yield {
        paths.cube_path("modeler/newest"): documents.dump(cube_manifest("modeler/newest", "model"))
    }
    yield {"datasets/hospital/more.yaml": world.files[CHEST].replace(b"name: chest", b"name: more")}
    for path in sorted(world.files):
        place = paths.classify(path)
        if place.kind == "association":
            data = world.files[path].replace(b"round: 1\n", b"round: 2\n")
            yield {path: data, **world.approval(path, "committee/alice", data=data, number=2)}
        if place.kind in ("association", "result", "benchmark", "owner"):
            name = paths.statement_path(path, 1, "hospital", "bob", revoke=place.kind != "owner")
            if name not in world.files:
                decision = "approve" if place.kind == "owner" else "revoke"
                yield world.approval(path, "hospital/bob", decision=decision)
    for model in ("modeler/resnet", "committee/ref"):
        result = world.result(model=model)
        if not set(result) & set(world.files):
            yield result


@pytest.mark.parametrize("seed", range(3))
def test_random_histories_give_the_verdicts_of_the_whole(
    usual: World, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = usual.copy(tmp_path)
    try:
        actor = Actor(world, seed)
        while actor.count < 10:
            before, files = world.tip or "", dict(world.files)
            actor.act()
            try:
                world.view(pinned=world.pinned)
            except StalledError:  # a proposal to it is not judged at all
                world.move(before)
                world.files = files
        answers = set()
        whole = world.view().ledger
        for changes in proposals(world):
            tip = world.tip or ""
            head = world.propose(changes, by="modeler/max")
            check_ledger(world, head, whole)
            found = validate.validate(world.repository, tip, head)
            with monkeypatch.context() as patch:
                patch.setattr(validate, "bearing", lambda *_: ())
                assert validate.validate(world.repository, tip, head) == found
            answers.add(found.answer)
        assert answers >= {"valid", "waits"}
    finally:
        world.close()


def check_ledger(world: World, head: str, whole: Ledger) -> None:
    """Of each file that bears on it, all that is known from the part is what the whole knows."""
    only = bears(world, head)
    history: History = walk(world.repository, world.tip or "", only=only)
    part = history.ledger
    assert set(part.files) <= set(whole.files)
    for path, file in part.files.items():
        assert plain(file) == plain(whole.files[path])
        assert part.versions.get(path) == whole.versions.get(path)
        assert part.signatures(path) == whole.signatures(path)
        assert part.results.get(path) == whole.results.get(path)
        assert part.pending.get(path) == whole.pending.get(path)
        if file.place.kind == "association" and file.item is not None:
            mine, theirs = part.association_state(path), whole.association_state(path)
            assert (mine.sentence, mine.signed) == (theirs.sentence, theirs.signed)
    assert [plain(one) for one in part.owners.values()] == [
        plain(one) for one in whole.owners.values()
    ]
    assert dict(part.holders()) == dict(whole.holders())


def test_what_nobody_names_is_not_read(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    try:
        world.merge(world.result(), by=None)
        world.add_cube("modeler/other")
        new = cube_manifest("modeler/newest", "model", replaces="modeler/other")
        head = world.propose(
            {paths.cube_path("modeler/newest"): documents.dump(new)}, by="modeler/max"
        )
        assert "cubes/modeler/other.yaml" in (found := bears(world, head))
        assert not [path for path in found if path.startswith(("results", "cubes/modeler/resnet"))]
    finally:
        world.close()


def test_an_association_bears_with_all_that_it_rests_on(usual: World) -> None:
    path, data = usual.association("hospital/chest")
    found = bears(usual, usual.propose({path: data + b"# again\n"}, by="modeler/max"))
    assert {path, "owners", "registry.yaml", "datasets/hospital"} <= set(found)
    assert {f"benchmarks/{CXR}.yaml", f"benchmarks/{CXR}.settings.yaml"} <= set(found)
    assert {f"cubes/committee/{name}.yaml" for name in ("prep", "ref", "eval")} <= set(found)


def test_what_was_ever_modified_bears_on_everything(usual: World, tmp_path: Path) -> None:
    world = usual.copy(tmp_path)
    try:
        path = f"benchmarks/{CXR}.settings.yaml"
        world.change_settings(CXR, "committee/alice", serial=2, active=False)
        head = world.propose({"README.md": b"Other.\n"}, by="committee/alice")
        assert path in bears(world, head)
        world.change_settings(CXR, "modeler/max", serial=3, active=True)
        with pytest.raises(StalledError, match="without the signature"):
            validate.validate(world.repository, world.tip or "", head)
    finally:
        world.close()


def test_too_many_paths_are_asked_for_by_their_folders(
    usual: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = usual.association("hospital/chest")
    head = usual.propose({path: data + b"# again\n"}, by="modeler/max")
    monkeypatch.setattr(searching, "MOST", 3)
    found = bears(usual, head)
    assert set(found) >= {"owners", "registry.yaml", "associations", "benchmarks", "cubes"}
    assert all("/" not in one for one in found)


def test_paths_are_taken_by_their_letters(usual: World) -> None:
    repository: Repository = usual.repository
    tip = usual.tip or ""
    steps = repository.changed(repository.chain(tip), only=["own*"])
    assert not [step for step in steps if step.changes]
