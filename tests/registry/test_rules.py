"""Rules 2, 3 and 7 by tables, without a registry."""

from typing import Any

import pytest

from medperf.registry.rules import (
    Need,
    Signature,
    in_priority,
    increment_problem,
    judge_association,
    missing,
    needs_of_association,
    needs_of_changed_owner,
    needs_of_registry,
    needs_of_settings,
    number,
    signers,
)
from medperf.schemas.manifests import BenchmarkSettingsSpec, OwnerSpec, RegistrySpec

KEY = "ssh-ed25519 " + "A" * 68
ID = "3f6c1f0e-8d3b-4c55-9a51-0d6f5e7b2a10"


def sign(by: str, key: str = "", **roles: Any) -> Signature:
    return Signature(by, key or by, 1, **roles)


@pytest.mark.parametrize(
    ("pairs", "count"),
    [
        ([], 0),
        ([("a", "1")], 1),
        ([("a", "1"), ("a", "2")], 1),
        ([("a", "1"), ("b", "1")], 1),
        ([("a", "1"), ("b", "2")], 2),
        ([("a", "1"), ("a", "2"), ("b", "1")], 2),
        ([("a", "1"), ("a", "2"), ("b", "3"), ("c", "3")], 2),
        ([("a", "1"), ("b", "1"), ("c", "1"), ("c", "2")], 2),
        ([("b", "1"), ("a", "1"), ("a", "2"), ("c", "2"), ("c", "3")], 3),
    ],
)
def test_a_threshold_counts_distinct_members_and_distinct_keys(
    pairs: list[tuple[str, str]], count: int
) -> None:
    assert signers(sign(by, key) for by, key in pairs) == count


def test_one_key_under_two_names_does_not_reach_two() -> None:
    need = Need("admin", "the admins", threshold=2)
    two = [sign("a/x", "k", admin=True), sign("b/y", "k", admin=True)]
    assert need.missing(two) == "the admins: 1 of 2 signatures"
    assert need.missing([two[0], sign("b/y", "l", admin=True)]) is None


def test_a_revocation_is_no_signature() -> None:
    need = Need("member", "a member of o", owner="o")
    assert missing([need], [sign("o/m", decision="revoke")]) == ("a member of o",)


def test_a_role_counts_for_its_side_only() -> None:
    roles = {
        "member": sign("o/m"),
        "admin": sign("x/a", admin=True),
        "new-admin": sign("x/n", new_admin=True),
        "committee": sign("x/c", committee=True),
    }
    for side in roles:
        need = Need(side, side, owner="o")  # type: ignore[arg-type]
        assert [name for name, one in roles.items() if need.met_by(one)] == [side]


def registry(*admins: str, threshold: int = 1) -> RegistrySpec:
    council = {"threshold": threshold, "members": list(admins)}
    return RegistrySpec.model_validate(
        {"id": ID, "serial": 1, "approval": "signed", "admins": council}
    )


def test_a_changed_registry_is_signed_by_old_and_new() -> None:
    needs = needs_of_registry(registry("a/a"), registry("a/a", "b/b", threshold=2))
    assert [(need.side, need.threshold) for need in needs] == [("admin", 1), ("new-admin", 2)]


@pytest.mark.parametrize(
    ("state", "sides"),
    [("active", ["member", "admin"]), ("retired", ["admin"]), ("compromised", ["admin"])],
)
def test_who_signs_a_changed_owner(state: str, sides: list[str]) -> None:
    keys = [{"publicKey": KEY, "state": state}]
    members = [{"name": "m", "keys": keys}]
    owner = OwnerSpec.model_validate({"serial": 1, "members": members, "sites": []})
    needs = needs_of_changed_owner("o", owner, registry("a/a", "b/b", threshold=2))
    assert [need.side for need in needs] == sides
    assert needs[-1].threshold == (1 if state == "active" else 2)


def settings(**spec: Any) -> BenchmarkSettingsSpec:
    usual = {
        "serial": 1,
        "active": True,
        "committee": {"threshold": 2, "members": ["a/a", "b/b", "c/c"]},
        "approve": {"models": "never", "datasets": ["hospital"]},
    }
    return BenchmarkSettingsSpec.model_validate({**usual, **spec})


@pytest.mark.parametrize(
    ("change", "threshold"),
    [
        ({"serial": 2}, 1),
        ({"active": False}, 1),
        ({"priorities": {"a/b": 1}}, 1),
        ({"description": "x", "labels": {"a": "b"}}, 1),
        ({"committee": {"threshold": 1, "members": ["a/a"]}}, 2),
        ({"approve": {"models": "always", "datasets": "never"}}, 2),
        ({"approve": {"models": "always", "datasets": "never"}, "active": False}, 2),
    ],
)
def test_what_one_member_of_a_committee_may_change(change: dict[str, Any], threshold: int) -> None:
    (need,) = needs_of_settings("o/b", settings(), settings(**change))
    assert need.threshold == threshold


@pytest.mark.parametrize(
    ("part", "owner", "sides"),
    [
        ("models", "hospital", ["member", "committee"]),
        ("datasets", "hospital", ["member"]),
        ("datasets", "clinic", ["member", "committee"]),
    ],
)
def test_who_signs_an_association(part: str, owner: str, sides: list[str]) -> None:
    needs = needs_of_association("o/b", owner, settings(), part=part)
    assert [need.side for need in needs] == sides


OWNER = sign("o/m")
COMMITTEE = sign("c/c", committee=True)
ADMIN = sign("x/a", admin=True)
NEEDS = (Need("member", "a member of o", owner="o"), Need("committee", "the committee"))


def revoked(signature: Signature) -> Signature:
    return Signature(
        signature.by,
        signature.key,
        2,
        "revoke",
        admin=signature.admin,
        committee=signature.committee,
    )


@pytest.mark.parametrize(
    ("signatures", "problems", "believed", "state"),
    [
        ([], [], False, "pending"),
        ([OWNER], [], False, "pending"),
        ([COMMITTEE], [], False, "pending"),
        ([OWNER, COMMITTEE], [], False, "approved"),
        ([OWNER, ADMIN], [], False, "pending"),
        ([OWNER, COMMITTEE], ["pin"], False, "invalid"),
        ([], [], True, "approved"),
        ([], ["pin"], True, "invalid"),
        ([OWNER, COMMITTEE, revoked(OWNER)], [], False, "revoked"),
        ([OWNER, COMMITTEE, revoked(COMMITTEE)], ["pin"], False, "revoked"),
        ([revoked(ADMIN)], [], True, "revoked"),
        ([OWNER, COMMITTEE, revoked(sign("z/z"))], [], False, "approved"),
    ],
)
def test_the_state_of_an_association(
    signatures: list[Signature], problems: list[str], believed: bool, state: str
) -> None:
    verdict = judge_association(NEEDS, signatures, problems, component_owner="o", believed=believed)
    assert verdict.state == state


@pytest.mark.parametrize(
    ("old", "new", "fine"), [(1, 2, True), (1, 1, False), (1, 3, False), (2, 1, False)]
)
def test_a_serial_goes_up_by_one(old: int, new: int, fine: bool) -> None:
    assert (increment_problem(old, new, "serial") is None) == fine


def test_what_never_changes_has_the_number_one() -> None:
    assert number(object()) == 1
    assert number(settings(serial=7)) == 7


def test_priority_is_higher_first_then_by_name() -> None:
    refs = ["b/b", "a/a", "c/c", "d/d"]
    assert in_priority(refs, {"c/c": 5, "a/a": -1}) == ["c/c", "b/b", "d/d", "a/a"]
    assert in_priority(refs, None) == sorted(refs)
