"""The rules of signing (design §5.2, §5.3, §5.6) as tables: who has signed which file, what then.

Each line of a table is one cell: the signers of a file, and the answer of the real judgement over a
real history. A signer is a name of `PEOPLE`, with a mark behind it where something is odd:

    anna=alice   anna's statement, made with alice's key      anna~   over other bytes
    anna@        for another registry                         anna-   a revocation

The town: four admins, two of whom must sign, and of whom `rita` has a retired key and `kim` one
that was compromised from the beginning. A benchmark of `uni`, whose committee of four from two
organisations must sign twice; of them `ruth` has a retired key. A modeler and a hospital, with keys
in every state, and `gone`, which has no living key. Each row is a commit of its own on one base,
and what happens one after another stands in a table of its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.git import Entry
from medperf.registry.snapshot import Library
from medperf.registry.statements import make_result
from medperf.registry.view import View, open_view
from medperf.schemas import documents
from medperf.schemas.errors import StalledError

from .world import (
    API,
    OTHER_ID,
    World,
    cube_manifest,
    key_entry,
    owner_manifest,
    settings_manifest,
    signer,
)

PEOPLE = {
    # admins, and one of their organisation who is none
    "alice": "committee/alice",
    "anna": "committee/anna",
    "rita": "committee/rita",
    "kim": "committee/kim",
    "carl": "committee/carl",
    # the benchmark's committee; ulla and lab are of its owner only
    "first": "uni/first",
    "uwe": "uni/uwe",
    "gil": "guild/gil",
    "ruth": "guild/ruth",
    "ulla": "uni/ulla",
    "lab": "uni/lab",
    # a model's owner: two members, a retired key, a compromised one, a site
    "max": "modeler/max",
    "mia": "modeler/mia",
    "rex": "modeler/rex",
    "kit": "modeler/kit",
    "box": "modeler/box",
    # a dataset's owner: a member, a site, a site with a retired key
    "bob": "hospital/bob",
    "ward": "hospital/ward",
    "porch": "hospital/porch",
    # an owner without a living key, and one that joins
    "gus": "gone/gus",
    "joe": "new/joe",
    "jil": "new/jil",
}
COMMITTEE = {"threshold": 2, "members": ["uni/first", "uni/uwe", "guild/gil", "guild/ruth"]}
NEVER = {"models": "never", "datasets": "never"}
CXR = "uni/cxr"

TABLES = {
    "new owner": """
        joe alice anna          in force     the joining member, and the admins' threshold
        jil anna alice          in force     any member of the new file
        joe alice               waits        one admin of two
        alice anna              waits        nobody has joined
        joe                     waits
                                waits
        joe alice rita          waits        a retired key
        joe alice kim           waits        a compromised key
        joe alice carl          waits        no admin, though of the admins' organisation
        joe alice first         waits        a benchmark's committee is no admin
        joe alice anna=alice    waits        one key for two names
        joe alice anna~         waits        over other bytes
        joe alice anna@         waits        for another registry
        joe alice anna-         waits        a revocation is no signature
        joe=max alice anna      waits        somebody else's key
    """,
    "changed owner": """
        max alice               in force     a member by the old file, and one admin
        mia anna                in force
        max                     stalls
        alice                   stalls
        alice anna              stalls       the admins alone do not change a living owner
        max carl                stalls
        bob alice               stalls       another owner's member
        box alice               stalls       a site's key signs results, and nothing else
        rex alice               stalls       a retired key
        kit alice               stalls       a compromised key
        max rita                stalls
        max kim                 stalls
        max~ alice              stalls
        max@ alice              stalls
        max- alice              stalls
        max alice=max           stalls       one key for two names
                                stalls
    """,
    "changed owner without a living key": """
        alice anna              in force     reset by admins
        alice                   stalls
        gus alice               stalls
        alice anna=alice        stalls
        alice rita              stalls
    """,
    "changed registry": """
        alice anna              in force
        alice                   stalls
        alice rita              stalls
        alice kim               stalls
        alice carl              stalls
        alice first             stalls
        alice anna=alice        stalls
        alice anna~             stalls
        alice anna@             stalls
                                stalls
    """,
    "changed admins": """
        alice anna carl         in force     the old threshold, and the new one
        alice anna              stalls       the new admin has not signed
        carl                    stalls       the old ones have not
        alice carl              stalls       one of the old two
        alice anna carl=anna    stalls
    """,
    "new benchmark": """
        first alice anna        in force     a member of its owner, and the admins' threshold
        ulla anna alice         in force     any member: nobody is of its committee yet
        first alice             waits
        alice anna              waits
        gil alice anna          waits        another organisation's member
        lab alice anna          waits        a site
        first alice rita        waits
        first alice kim         waits
        first alice anna=alice  waits
        first alice anna~       waits
                                waits
    """,
    "new benchmark, its settings unsigned": """
        first alice anna        waits        the settings need statements of their own
    """,
    "settings: who takes part": """
        first uwe               in force     the old committee's threshold
        first gil               in force     from any organisation
        first                   stalls
        first ruth              stalls       a retired key
        first ulla              stalls       of the owner, not of the committee
        alice anna              stalls       admins are not the committee
        first uwe=first         stalls
        first uwe~              stalls
        first uwe@              stalls
                                stalls
    """,
    "settings: texts and priorities": """
        first                   in force     one member
        gil                     in force
        ulla                    stalls
        alice                   stalls
        ruth                    stalls
        first~                  stalls
                                stalls
    """,
    "association of a model": """
        max first uwe           approved     both parties
        mia first gil           approved
        first uwe               pending      the component's owner has not signed
        max                     pending
        max first               pending      one of the committee's two
        max first ruth          pending      a retired key
        max first ulla          pending      of the owner, not of the committee
        max alice anna          pending      admins are no party
        bob first uwe           pending      another owner's member
        box first uwe           pending      a site's key
        rex first uwe           pending      a retired key
        kit first uwe           pending      a compromised key
        max first uwe=first     pending      one key for two names
        max first uwe~          pending      over other bytes
        max first uwe@          pending      for another registry
                                pending
        max first uwe gil-      revoked      one of either side is enough
        max first uwe mia-      revoked
        max first uwe alice-    revoked      or an admin
        max first uwe carl-     approved     or else nobody
        max first uwe bob-      approved
        max first uwe ruth-     approved     a retired key revokes nothing
        max first uwe gil-=max  approved     nor does somebody else's
    """,
    "association of a dataset": """
        bob first uwe           approved
        ward first uwe          pending      a site's key
        max first uwe           pending
        first uwe               pending
        bob first               pending
        bob first uwe bob-      revoked
    """,
    "association of a model on the allow-list": """
        max                     approved     the settings stand in for the committee
        mia                     approved
        first uwe               pending      never for the component's owner
        bob                     pending
        rex                     pending
                                pending
    """,
    "result": """
        ward                    valid        an active site of the dataset's owner
        porch                   invalid      a retired key
        bob                     invalid      a member's key signs no results
        lab                     invalid      another owner's site
        ward=bob                invalid
        ward@                   invalid      for another registry
    """,
    "cube": """
        max                     in force     the commit that brings it, by a member of its owner
        mia                     in force
        bob                     unsigned
        rex                     unsigned
        kit                     unsigned
        box                     unsigned     a site's key
        alice                   unsigned
                                unsigned
    """,
    "cube settings": """
        max                     in force
        mia                     in force
        bob                     unsigned
        rex                     unsigned
        box                     unsigned
                                unsigned
    """,
    "changed cube settings": """
        max                     in force
        mia                     in force
        bob                     stalls
        rex                     stalls
        kit                     stalls
        box                     stalls
        alice                   stalls
                                stalls
    """,
}


def cells() -> list[Any]:
    """One parameter a line: the file, its signers, the answer."""
    found = []
    for file, table in TABLES.items():
        for line in filter(str.strip, table.splitlines()):
            row = line[8:]
            signers, answer = row[:24].split(), row[24:37].strip()
            found.append(pytest.param(file, signers, answer, id=f"{file}: {' '.join(signers)}"))
    return found


class Town:
    """The base of every row; `judge` looks at one commit on top of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.library = Library(world.repository)
        _populate(world)

    def statements(
        self, path: str, data: bytes, signers: list[str], *, number: int = 1
    ) -> dict[str, bytes]:
        """The statements of these signers over a file, as their marks say."""
        found: dict[str, bytes] = {}
        for word in signers:
            name, _, key = word.partition("=")
            found |= self.world.approval(
                path,
                PEOPLE[name.rstrip("~@-")],
                data=data + b"# other\n" if "~" in name else data,
                number=number,
                decision="revoke" if "-" in name else "approve",
                key=PEOPLE[key] if key else None,
                registry=OTHER_ID if "@" in name else None,
            )
        return found

    def judge(self, changes: Mapping[str, bytes | Entry | None], *, by: str | None) -> View | None:
        """The view at a commit with these changes, merged as a proposal; None where it stalls."""
        world = self.world
        assert world.tip is not None
        branch = world.propose(changes, by=by)
        tip = world.commit(changes, parents=[world.tip, branch], move=False)
        try:
            return open_view(world.repository, tip, library=self.library)
        except StalledError as error:
            if error.reason != "signature":
                raise
            return None


def _populate(world: World) -> None:
    """Everybody of `PEOPLE`, a benchmark, a model and a dataset that take part, and more."""
    lost = {"state": "compromised", "since": world.root}
    people = {
        "alice": [key_entry("committee/alice")],
        "anna": [key_entry("committee/anna")],
        "carl": [key_entry("committee/carl")],
        "rita": [key_entry("committee/rita", "retired")],
        "kim": [key_entry("committee/kim", **lost)],
    }
    world.change_owner(owner_manifest("committee", people, serial=2), "committee/alice")
    admins = ["committee/alice", "committee/anna", "committee/rita", "committee/kim"]
    both = ("committee/alice", "committee/anna")
    world.change_registry(*both, admins={"threshold": 2, "members": admins})
    _join(world, "uni", dict.fromkeys(("first", "uwe", "ulla"), "active"), {"lab": "active"})
    _join(world, "guild", {"gil": "active", "ruth": "retired"})
    modelers = {"max": "active", "mia": "active", "rex": "retired", "kit": "compromised"}
    _join(world, "modeler", modelers, {"box": "active"})
    _join(world, "hospital", {"bob": "active"}, {"ward": "active", "porch": "retired"})
    _join(world, "gone", {"gus": "active"})
    retired = {"gus": [key_entry("gone/gus", "retired")]}
    world.change_owner(owner_manifest("gone", retired, serial=2), "gone/gus", "committee/alice")
    world.add_benchmark(
        CXR,
        signed_by=("uni/first", "uni/uwe", *both),
        settings={"committee": COMMITTEE, "approve": NEVER},
    )
    for name in ("resnet", "fresh"):
        world.add_cube(f"modeler/{name}")
    path = paths.settings_path(paths.cube_path("modeler/resnet"))
    world.merge({path: object_settings(1)}, by="modeler/max")
    for name in ("chest", "scans"):
        commitment = ("a" if name == "chest" else "b") * 64
        world.add_dataset(f"hospital/{name}", preparator="uni/prep", commitment=commitment)
    committee = ["uni/first", "uni/uwe"]
    world.associate("modeler/resnet", CXR, signed_by=["modeler/max", *committee])
    world.associate("hospital/chest", CXR, signed_by=["hospital/bob", *committee])


def _join(
    world: World, owner: str, members: Mapping[str, str], sites: Mapping[str, str] | None = None
) -> None:
    """A new owner whose people and machines have keys in these states."""

    def keys(names: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [
                key_entry(f"{owner}/{name}", state, world.root if state == "compromised" else None)
            ]
            for name, state in names.items()
        }

    path = paths.owner_path(owner)
    data = documents.dump(owner_manifest(owner, keys(members), keys(sites or {})))
    who = [f"{owner}/{next(iter(members))}", "committee/alice", "committee/anna"]
    world.merge({path: data, **world.approval(path, *who, data=data)}, by=who[0])


def object_settings(serial: int) -> bytes:
    """A cube's settings."""
    spec = {"serial": serial, "description": f"Words {serial}."}
    return documents.dump({"apiVersion": API, "kind": "Settings", "spec": spec})


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    world = World(tmp_path_factory.mktemp("town"))
    yield Town(world)
    world.close()


def test_the_town_is_in_force(town: Town) -> None:
    view = town.judge({}, by=None)
    assert view is not None
    assert sorted(view.owners) == ["committee", "gone", "guild", "hospital", "modeler", "uni"]
    assert dict(view.pending) == {}
    assert [one.state for one in view.associations] == ["approved"] * 3


@pytest.mark.parametrize(("file", "signers", "answer"), cells())
def test_each_cell(town: Town, file: str, signers: list[str], answer: str) -> None:
    assert ANSWERS[file](town, signers) == answer


# ----------------------------------------------------------------- one function for each file


def new_owner(town: Town, signers: list[str]) -> str:
    path = paths.owner_path("new")
    data = documents.dump(owner_manifest("new", ["joe", "jil"]))
    view = town.judge({path: data, **town.statements(path, data, signers)}, by="new/joe")
    assert view is not None
    return "in force" if "new" in view.owners else "waits" if path in view.pending else "ignored"


def changed_owner(town: Town, signers: list[str], owner: str = "modeler") -> str:
    path = paths.owner_path(owner)
    before = documents.load(town.world.files[path], file=path).parsed.value
    number = before["spec"]["serial"] + 1
    spec = {**before["spec"], "serial": number}
    if owner == "gone":
        person = {"name": "gerd", "keys": [key_entry("gone/gerd")]}
        spec["members"] = [*spec["members"], person]
    data = documents.dump({**before, "spec": spec})
    changes = {path: data, **town.statements(path, data, signers, number=number)}
    return _changed(town.judge(changes, by=None))


def changed_registry(town: Town, signers: list[str], **spec: Any) -> str:
    before: Any = town.world.registry
    number = before["spec"]["serial"] + 1
    changed = spec or {"checkpoints": {"maxAgeDays": 7}}
    data = documents.dump({**before, "spec": {**before["spec"], "serial": number, **changed}})
    statements = town.statements("registry.yaml", data, signers, number=number)
    return _changed(town.judge({"registry.yaml": data, **statements}, by=None))


def changed_admins(town: Town, signers: list[str]) -> str:
    return changed_registry(town, signers, admins={"threshold": 1, "members": ["committee/carl"]})


def _changed(view: View | None) -> str:
    return "stalls" if view is None else "in force"


def new_benchmark(town: Town, signers: list[str], *, settings_too: bool = True) -> str:
    path = paths.benchmark_path("uni/two")
    manifest = town.world.benchmark_manifest(CXR)
    manifest["metadata"] = {"name": "two", "owner": "uni", "description": "Another."}
    settings = paths.settings_path(path)
    files = {
        path: documents.dump(manifest),
        settings: documents.dump(settings_manifest(committee=COMMITTEE)),
    }
    changes = dict(files)
    for name, data in files.items():
        if settings_too or name == path:
            changes |= town.statements(name, data, signers)
    view = town.judge(changes, by="uni/first")
    assert view is not None
    return "in force" if "uni/two" in view.benchmarks else "waits"


def changed_settings(town: Town, signers: list[str], **spec: Any) -> str:
    path = paths.settings_path(paths.benchmark_path(CXR))
    data = documents.dump(
        settings_manifest(**{"serial": 2, "committee": COMMITTEE, "approve": NEVER, **spec})
    )
    changes = {path: data, **town.statements(path, data, signers, number=2)}
    return _changed(town.judge(changes, by=None))


def association(town: Town, signers: list[str], component: str = "modeler/fresh") -> str:
    path, data = town.world.association(component, CXR)
    view = town.judge({path: data, **town.statements(path, data, signers)}, by=None)
    assert view is not None
    return view.ledger.association_state(path).state


def association_on_the_list(town: Town, signers: list[str]) -> str:
    world = town.world
    tip, files = world.tip, dict(world.files)
    try:
        world.change_settings(
            CXR,
            "uni/first",
            "uni/uwe",
            committee=COMMITTEE,
            approve={"models": ["modeler"], "datasets": "never"},
        )
        return association(town, signers)
    finally:
        assert tip is not None
        world.move(tip)
        world.files = files


def result(town: Town, signers: list[str]) -> str:
    (word,) = signers
    name, _, key = word.partition("=")
    by = PEOPLE[name.rstrip("@")]
    changes = town.world.result(benchmark=CXR, key=PEOPLE[key] if key else by, by=by)
    if "@" in name:
        path, data = next((path, data) for path, data in changes.items() if path.endswith(".yaml"))
        changes[paths.result_signature_path(path)] = make_result(
            signer(by),
            by=by,
            registry=OTHER_ID,
            run_key=documents.load(data, file=path).parsed.value["spec"]["runKey"],
            subject_name=path.rpartition("/")[2],
            data=data,
        )
    view = town.judge(changes, by=None)
    assert view is not None
    (found,) = view.results.values()
    return found.answer


def cube(town: Town, signers: list[str]) -> str:
    path = paths.cube_path("modeler/new")
    data = documents.dump(cube_manifest("modeler/new", "model"))
    view = town.judge({path: data}, by=_one(signers))
    assert view is not None
    return _noted(view, path)


def cube_settings(town: Town, signers: list[str]) -> str:
    path = paths.settings_path(paths.cube_path("modeler/fresh"))
    view = town.judge({path: object_settings(1)}, by=_one(signers))
    assert view is not None
    return _noted(view, path)


def changed_cube_settings(town: Town, signers: list[str]) -> str:
    path = paths.settings_path(paths.cube_path("modeler/resnet"))
    return _changed(town.judge({path: object_settings(2)}, by=_one(signers)))


def _one(signers: list[str]) -> str | None:
    return PEOPLE[signers[0]] if signers else None


def _noted(view: View, path: str) -> str:
    kinds = {note.kind for note in view.notes if note.path == path}
    return "unsigned" if "unsigned" in kinds else "ignored" if kinds else "in force"


ANSWERS: dict[str, Any] = {
    "new owner": new_owner,
    "changed owner": changed_owner,
    "changed owner without a living key": lambda town, who: changed_owner(town, who, "gone"),
    "changed registry": changed_registry,
    "changed admins": changed_admins,
    "new benchmark": new_benchmark,
    "new benchmark, its settings unsigned": lambda town, who: new_benchmark(
        town, who, settings_too=False
    ),
    "settings: who takes part": lambda town, who: changed_settings(
        town, who, approve={"models": "always", "datasets": "never"}
    ),
    "settings: texts and priorities": lambda town, who: changed_settings(
        town, who, description="New words.", priorities={"modeler/resnet": 5}, active=False
    ),
    "association of a model": association,
    "association of a dataset": lambda town, who: association(town, who, "hospital/scans"),
    "association of a model on the allow-list": association_on_the_list,
    "result": result,
    "cube": cube,
    "cube settings": cube_settings,
    "changed cube settings": changed_cube_settings,
}


def test_every_file_of_the_table_has_its_rows() -> None:
    assert ANSWERS.keys() == TABLES.keys()
    assert len(cells()) > 140


# ------------------------------------------------------------- what happens one after another

SEQUENCES = {
    # what happens to an association of a model, in this order → how it stands then
    "approve": "approved",
    "approve, retire": "approved",
    "retire, approve": "pending",
    "approve, compromise from the beginning": "pending",
    "approve, compromise from here on": "approved",
    "compromise from here on, approve": "pending",
    "approve, revoke": "revoked",
    "revoke, approve": "revoked",
    "approve, revoke, approve": "revoked",
    "approve, revoke, next round": "pending",
    "approve, revoke, next round, approve": "approved",
    "approve, next round": "pending",
    "approve, leave the committee": "approved",
    "leave the committee, approve": "pending",
    "approve, close the benchmark": "invalid",
}


@pytest.mark.parametrize("steps", SEQUENCES)
def test_each_sequence(town: Town, tmp_path: Path, steps: str) -> None:
    """`max` and `first` have signed from the start; what is said is of the committee's `uwe`."""
    world = town.world.copy(tmp_path)
    path, data = world.association("modeler/fresh", CXR)
    world.commit({path: data, **world.approval(path, "modeler/max", "uni/first", data=data)})
    story = Story(world, path)
    for step in steps.split(", "):
        story.tell(step)
    assert world.view().ledger.association_state(path).state == SEQUENCES[steps]
    world.close()


class Story:
    """One association, and what happens to it and to `uwe`."""

    def __init__(self, world: World, path: str) -> None:
        self.world = world
        self.path = path
        self.round = 1
        self.approvals = 0

    def tell(self, step: str) -> None:
        world = self.world
        if step == "approve":
            by = "guild/gil" if self.approvals and self.round == 1 else "uni/uwe"
            world.sign(self.path, by, number=self.round)
            self.approvals += 1
        elif step == "revoke":
            world.revoke(self.path, "modeler/mia", number=self.round)
        elif step == "next round":
            self.round += 1
            signed = ["modeler/max", "uni/first"]
            _, data = world.association("modeler/fresh", CXR, number=self.round)
            world.commit(
                {
                    self.path: data,
                    **world.approval(self.path, *signed, data=data, number=self.round),
                }
            )
        elif step == "leave the committee":
            self._settings(committee={**COMMITTEE, "members": ["uni/first", "guild/gil"]})
        elif step == "close the benchmark":
            self._settings(active=False)
        else:
            self._key(step)

    def _settings(self, **spec: Any) -> None:
        changed = {"committee": COMMITTEE, "approve": NEVER, **spec}
        self.world.change_settings(CXR, "uni/first", "uni/uwe", **changed)

    def _key(self, step: str) -> None:
        """Another state of uwe's key, signed by a member of uni and an admin."""
        world = self.world
        state = "retired" if step == "retire" else "compromised"
        when = world.root if step.endswith("from the beginning") else None
        if step.endswith("from here on"):  # a commit itself is among what is added from it on
            when = world.commit({"README.md": f"{step}\n".encode()})
        path = paths.owner_path("uni")
        before = documents.load(world.files[path], file=path).parsed.value
        for member in before["spec"]["members"]:
            if member["name"] == "uwe":
                member["keys"] = [key_entry("uni/uwe", state, when)]
        before["spec"]["serial"] += 1
        world.change_owner(before, "uni/first", "committee/alice")
