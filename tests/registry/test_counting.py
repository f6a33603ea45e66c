"""Rule 6 on real registries: which statements count, and from when on a key does not."""

import base64
import json
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.statements import make_approval, make_result
from medperf.registry.view import View
from medperf.schemas import documents

from .world import OTHER_ID, World, key_entry, owner_manifest, signer

CXR = "committee/cxr"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
OTHER = "associations/committee/cxr/models/modeler__other.yaml"
MAX = paths.statement_path(OTHER, 1, "modeler", "max")


def texts(view: View) -> list[str]:
    return [str(note) for note in view.notes]


def state(world: World, path: str = OTHER) -> str:
    return world.view().ledger.association_state(path).state


def propose(world: World, *signed_by: str) -> None:
    world.add_cube("modeler/other")
    world.associate("modeler/other", signed_by=signed_by)


@pytest.fixture
def waiting(world: World) -> World:
    """An association that only the modeler's signature is missing from."""
    propose(world, "committee/alice")
    return world


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"registry": OTHER_ID}, "a statement of another registry"),
        ({"key": "hospital/bob"}, "is that of hospital/bob, not of the member modeler/max"),
        ({"key": "hospital/ward"}, "is that of hospital/ward, not of the member modeler/max"),
        ({"key": "evil/eve"}, "of nobody who is in the registry"),
    ],
)
def test_a_statement_that_does_not_count_is_shown(
    waiting: World, options: dict[str, Any], words: str
) -> None:
    waiting.sign(OTHER, "modeler/max", **options)
    assert words in texts(waiting.view())[0]
    assert state(waiting) == "pending"


def test_a_statement_under_anothers_name_does_not_count(waiting: World) -> None:
    (data,) = waiting.approval(OTHER, "hospital/bob").values()
    waiting.commit({MAX: data})
    assert state(waiting) == "pending"


def test_an_approval_under_the_name_of_a_revocation_does_not_count(world: World) -> None:
    (data,) = world.approval(RESNET, "modeler/max").values()
    world.commit({paths.statement_path(RESNET, 1, "modeler", "max", True): data})
    assert "says approve, and its name does not" in texts(world.view())[0]
    assert state(world, RESNET) == "approved"


def test_a_statement_over_another_file_does_not_count(waiting: World) -> None:
    (data,) = waiting.approval(RESNET, "modeler/max").values()
    waiting.commit({MAX: data})
    assert "lies beside 'modeler__other.yaml'" in texts(waiting.view())[0]
    assert state(waiting) == "pending"


def test_a_statement_over_other_bytes_does_not_count(waiting: World) -> None:
    waiting.sign(OTHER, "modeler/max", data=waiting.files[OTHER] + b"\n")
    assert state(waiting) == "pending"


def test_a_results_statement_is_no_approval(waiting: World) -> None:
    bundle = list(waiting.result().values())[1]
    waiting.commit({MAX: bundle})
    assert state(waiting) == "pending"


@pytest.mark.parametrize("data", [b"{}\n", b"", b"\xff", b"[" * 20_000])
def test_a_bundle_that_is_none_does_not_count(waiting: World, data: bytes) -> None:
    waiting.commit({MAX: data})
    assert len(waiting.view().notes) == 1


def modeler(*keys: dict[str, Any]) -> dict[str, Any]:
    return owner_manifest("modeler", {"max": keys}, serial=2)


def test_a_retired_key_keeps_what_it_signed_before(waiting: World) -> None:
    keys = key_entry("modeler/max", "retired"), key_entry("modeler/max#2")
    waiting.change_owner(modeler(*keys), "modeler/max", "committee/alice")
    assert state(waiting, RESNET) == "approved"
    waiting.sign(OTHER, "modeler/max")
    assert state(waiting) == "pending"
    assert "the key of modeler/max was retired by then" in texts(waiting.view())[0]


def test_a_new_key_signs_from_then_on(waiting: World) -> None:
    keys = key_entry("modeler/max", "retired"), key_entry("modeler/max#2")
    waiting.change_owner(modeler(*keys), "modeler/max", "committee/alice")
    waiting.sign(OTHER, "modeler/max", key="modeler/max#2")
    assert state(waiting) == "approved"


def compromised(world: World, since: str | None) -> None:
    keys = key_entry("modeler/max", "compromised", since), key_entry("modeler/max#2")
    world.change_owner(modeler(*keys), "modeler/max", "committee/alice")


def test_a_compromised_key_counts_up_to_then(world: World) -> None:
    propose(world, "committee/alice")
    world.sign(OTHER, "modeler/max")
    since = world.tip
    assert state(world) == "approved"
    compromised(world, since)
    assert state(world, RESNET) == "approved"
    assert state(world) == "pending"
    assert any("was compromised by then" in text for text in texts(world.view()))


def test_a_key_compromised_at_an_unknown_commit_never_counted(world: World) -> None:
    compromised(world, "f" * 40)
    found = world.view().ledger.association_state(RESNET)
    assert found.state == "invalid"
    assert "the owner modeler is not in the registry, or not signed yet" in found.reasons


def test_an_owner_who_joined_with_a_compromised_key_joins_again(world: World) -> None:
    compromised(world, world.root)
    view = world.view()
    assert view.owners.keys() >= {"committee", "hospital"}
    assert "modeler" not in view.owners  # its joining was signed with that key
    keys = key_entry("modeler/max", "compromised", world.root), key_entry("modeler/max#2")
    path = "owners/modeler.yaml"
    data = documents.dump({**owner_manifest("modeler", {"max": keys}, serial=3)})
    statements = world.approval(path, "modeler/max", data=data, number=3, key="modeler/max#2")
    statements |= world.approval(path, "committee/alice", data=data, number=3)
    world.commit({path: data, **statements})
    assert "modeler" in world.view().owners


def test_settings_by_a_compromised_key_are_not_in_force(world: World) -> None:
    two = {"threshold": 1, "members": ["committee/alice", "modeler/max"]}
    world.change_settings(CXR, "committee/alice", committee=two)
    since = world.tip
    always = {"models": "always", "datasets": "always"}
    world.commit({"README.md": b"later\n"})
    world.change_settings(CXR, "modeler/max", serial=3, committee=two, approve=always)
    world.add_dataset("hospital/other")
    world.associate("hospital/other", signed_by=["hospital/bob"])
    path = "associations/committee/cxr/datasets/hospital__other.yaml"
    assert state(world, path) == "approved"
    compromised(world, since)
    view = world.view()
    assert view.benchmark_settings(CXR).serial == 2
    assert any(note.kind == "compromised" for note in view.notes)
    assert state(world, path) == "pending"


def test_cube_settings_by_a_compromised_key_are_not_in_force(world: World) -> None:
    from .test_signing import cube_settings

    path = "cubes/modeler/resnet.settings.yaml"
    world.merge({path: cube_settings(1)}, by="modeler/max")
    world.commit({"README.md": b"later\n"})
    since = world.tip
    world.merge({path: cube_settings(2)}, by="modeler/max")
    compromised(world, since)
    settings = world.view().cube_settings("modeler/resnet")
    assert settings is not None
    assert settings.serial == 1


def test_a_members_key_signs_in_his_own_name_only(waiting: World) -> None:
    data = make_approval(
        signer("modeler/max"),
        by="modeler/moritz",
        registry=waiting.id,
        subject_name="modeler__other.yaml",
        data=waiting.files[OTHER],
    )
    waiting.commit({MAX: data})
    assert "it is by modeler/moritz, and its name says modeler/max" in texts(waiting.view())[0]
    assert state(waiting) == "pending"


def test_a_members_result_statement_is_no_approval(waiting: World) -> None:
    data = make_result(
        signer("modeler/max"),
        by="modeler/max",
        registry=waiting.id,
        run_key="0" * 64,
        subject_name="modeler__other.yaml",
        data=waiting.files[OTHER],
    )
    waiting.commit({MAX: data})
    assert "a statement of another kind" in texts(waiting.view())[0]
    assert state(waiting) == "pending"


def test_a_changed_signature_does_not_count(waiting: World) -> None:
    (data,) = waiting.approval(OTHER, "modeler/max").values()
    bundle = json.loads(data)
    signature = bundle["dsseEnvelope"]["signatures"][0]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[0] ^= 1
    signature["sig"] = base64.b64encode(bytes(raw)).decode()
    waiting.commit({MAX: json.dumps(bundle).encode()})
    assert "does not hold" in texts(waiting.view())[0]
    assert state(waiting) == "pending"
