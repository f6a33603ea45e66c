"""Reading ahead by a second process spares work and changes nothing."""

import base64
import io
import json
import marshal
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medperf.registry import ahead, history
from medperf.registry.index import Index
from medperf.registry.statements import Checked, Statement
from medperf.registry.view import open_view
from medperf.schemas import documents
from medperf.schemas.digests import digest
from medperf.schemas.errors import SignatureError
from medperf.schemas.manifests import RESULT_LIMIT
from tests.registry.test_index import Actor, everything_of
from tests.registry.world import World, cube_manifest, everything, signer

PORTION = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = everything(World(tmp_path_factory.mktemp("usual")))
    actor = Actor(world, 1)
    for _ in range(6):
        actor.join()
        actor.add_model()
        actor.result()
        actor.nonsense()
        actor.late_signature()
    yield world
    world.close()


@pytest.fixture(scope="module")
def hostile(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    other = world.copy(tmp_path_factory.mktemp("hostile"))
    misplaced(other)
    for number in range(4):
        forged(other, f"modeler/forged{number}")
    yield other
    other.close()


def large(name: str) -> bytes:
    """A cube with more bytes than a result may have."""
    cube = cube_manifest(f"modeler/{name}", "model")
    cube["spec"]["files"]["mlcube.yaml"] += "# " + "y" * RESULT_LIMIT
    return documents.dump(cube)


def misplaced(world: World) -> None:
    """Documents where others belong, each also where it does: what is right at one path only."""
    folder = "results/committee/cxr/hospital__chest/modeler__resnet"
    resnet = world.files["cubes/modeler/resnet.yaml"]
    statement = next(data for path, data in world.files.items() if path.endswith(".json"))
    new_portion = {f"notes/{number}.txt": b"x" for number in range(PORTION)}
    world.commit(new_portion)
    world.commit({f"{folder}/{'0' * 16}.yaml": large("near")})
    world.commit({"cubes/modeler/near.yaml": large("near")})
    world.commit({f"{folder}/{'1' * 16}.yaml": large("far")})
    world.commit({path: data + b"y" for path, data in new_portion.items()})
    world.commit({"cubes/modeler/far.yaml": large("far")})
    world.commit(
        {
            "cubes/modeler/both.yaml": large("both"),
            f"{folder}/{'2' * 16}.yaml": large("both"),
            f"{folder}/{'3' * 16}.yaml": resnet,
            "cubes/modeler/other.yaml": resnet,
            "owners/other.yaml": resnet,
            "datasets/hospital/other.yaml": world.files["owners/hospital.yaml"],
            "cubes/modeler/statement.yaml": statement,
            "cubes/modeler/near.1.modeler.max.sigstore.json": large("near"),
        }
    )


def forged(world: World, model: str) -> None:
    """A model whose association names the committee's key, under a signature that is not its."""
    world.add_cube(model)
    path, data = world.association(model)
    files = world.approval(path, "modeler/max", "committee/alice", data=data)
    for name in files:
        if "alice" in name:
            bundle = json.loads(files[name])
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
            files[name] = json.dumps(bundle).encode()
    world.merge({path: data, **files}, by="modeler/max")


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LEAST", 1)
    monkeypatch.setattr(history, "_PORTION", PORTION)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def check_same(world: World, index: Path) -> None:
    tip = world.tip or ""
    with pytest.MonkeyPatch.context() as without:
        without.setattr(ahead, "LEAST", 1_000_000)
        alone = everything_of(open_view(world.repository, tip).ledger)
    with Index(index) as opened:
        found = everything_of(open_view(world.repository, tip, index=opened).ledger)
    for name, value in alone.items():
        assert found[name] == value, name


def test_what_was_read_ahead_is_judged_as_what_was_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str] = []
    statements: list[Checked] = []
    take = ahead.Reader.take

    def noted(self: ahead.Reader) -> ahead._Found:
        found = take(self)
        kinds.extend(one.kind for one in found[0])
        statements.extend(one for _, one in found[1])
        return found

    monkeypatch.setattr(ahead.Reader, "take", noted)
    check_same(world, tmp_path / "index.sqlite")
    assert {"Owner", "Cube", "Association", "Result"} <= set(kinds)
    assert {one.statement.kind for one in statements} == {"approval", "result"}


def test_without_the_process_it_goes_on_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = ahead.Reader.send
    sent = []

    def killing(self: ahead.Reader, blobs: ahead.Blobs) -> None:
        send(self, blobs)
        sent.append(len(blobs))
        if len(sent) == 2 and self._process is not None:
            self._process.kill()

    monkeypatch.setattr(ahead.Reader, "send", killing)
    check_same(world, tmp_path / "index.sqlite")
    assert len(sent) > 3


def test_a_process_that_somebody_stopped_is_not_waited_for_for_ever(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ahead.Reader.__init__
    stopped: list[subprocess.Popen[bytes]] = []

    def stopping(self: ahead.Reader, folder: Path) -> None:
        begin(self, folder)
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        stopped.append(self._process)

    monkeypatch.setattr(ahead, "PATIENCE", 0.5)
    monkeypatch.setattr(ahead.Reader, "__init__", stopping)
    check_same(world, tmp_path / "index.sqlite")
    assert [process.poll() for process in stopped] == [-signal.SIGKILL]


def test_the_process_ends_with_its_input(world: World) -> None:
    reader = ahead.Reader(world.repository.folder)
    process = reader._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    reader.close()


def answer(world: World, blobs: ahead.Blobs) -> tuple[list[ahead.Read], list[Any]]:
    """What the second process says to one portion."""
    asked, answers = io.BytesIO(), io.BytesIO()
    marshal.dump(list(blobs), asked)
    asked.seek(0)
    ahead.serve(world.repository, asked, answers)
    answers.seek(0)
    read, statements = marshal.load(answers)  # noqa: S302 - written just now
    return [ahead.Read(*one) for one in read], statements


def test_what_is_no_document_and_whose_key_is_unknown_is_left_to_the_other(world: World) -> None:
    files = world.repository.tree(world.tip or "")
    blobs = [(path, one.oid) for path, one in files.items() if path.startswith("results/")]
    signature = next(oid for path, oid in blobs if path.endswith(".json"))
    blobs += [("cubes/modeler/odd.yaml", signature), ("README.md", files["registry.yaml"].oid)]
    found, statements = answer(world, blobs)
    assert {one.kind for one in found} == {"Result"}
    assert statements == []  # no owner's file was among them
    for one in found:
        data = world.repository.blob(one.oid)
        assert (one.digest, one.size) == (digest(data), len(data))


def test_a_statement_counts_by_the_key_of_an_owner_that_came_with_it(world: World) -> None:
    files = world.repository.tree(world.tip or "")
    blobs = [(path, one.oid) for path, one in files.items()]
    _, statements = answer(world, sorted(blobs, reverse=True))
    _, all_of_them = answer(world, blobs)
    assert sorted(map(str, statements)) == sorted(map(str, all_of_them))
    assert len(statements) > 5


def test_what_is_misplaced_or_forged_is_judged_as_without_it(
    hostile: World, tmp_path: Path
) -> None:
    check_same(hostile, tmp_path / "index.sqlite")


def test_of_a_forged_statement_it_says_nothing(hostile: World) -> None:
    files = hostile.repository.tree(hostile.tip or "")
    asked = [(path, one.oid) for path, one in files.items()]
    false = {oid for path, oid in asked if "modeler__forged" in path and "alice" in path}
    assert any(oid < ahead._SHARE for oid in false)
    _, statements = answer(hostile, asked)
    assert statements
    assert not false & {oid for oid, _ in statements}


def test_a_checked_signature_is_that_of_its_key_only() -> None:
    by = signer("hospital/ward")
    made = Statement("result", "hospital/ward", "id", "x.yaml", "sha256:0", by.fingerprint)
    assert Checked(made).verify(by.public_key) is made
    with pytest.raises(SignatureError, match="names the key"):
        Checked(made).verify(signer("hospital/bob").public_key)
