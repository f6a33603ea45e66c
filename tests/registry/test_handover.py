"""Which hand-overs count, by themselves and in a history: for anybody who has a clone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medperf.registry.erasing import left_out, made_again
from medperf.registry.handover import (
    Handed,
    Handover,
    handed_over,
    handover_path,
    read_handover,
    signature_path,
)
from medperf.registry.statements import make_approval, make_handover
from medperf.registry.validate import validate
from medperf.registry.verify import verify_registry
from medperf.registry.view import open_view
from medperf.schemas.digests import canonical_json
from medperf.schemas.errors import RegistryError, SignatureError, StalledError

from .world import World, signer

ALICE = "committee/alice"


def handed(
    world: World, *signed_by: str, change: Callable[[Handover], Handover] | None = None
) -> Handover:
    """Main on a history without README.md, which alice has made, with a hand-over."""
    steps = world.repository.first_parents(world.tip or "")
    made = made_again(world.repository, steps, ["README.md"], by=ALICE, signer=signer(ALICE))
    old = tuple(step.commit for step in steps)
    one = Handover(world.id, "A name in the README", old, made[0], made[-1])
    one = change(one) if change else one
    world.move(made[-1])
    sign(world, one, *signed_by)
    return one


def sign(world: World, one: Handover, *signed_by: str, number: int = 1) -> None:
    data = one.data()
    files: dict[str, Any] = {handover_path(number): data}
    for by in signed_by:
        files[signature_path(number, by)] = make_handover(
            signer(by), by=by, registry=world.id, subject_name=f"{number}.json", data=data
        )
    world.commit(files)


def counting(world: World) -> Handed:
    tip = world.tip or ""
    return handed_over(world.repository, tip, world.repository.first_parent_ids(tip))


def test_everything_is_valid_as_before_and_old_commits_are_known(world: World) -> None:
    world.commit(world.result(), by="hospital/ward")
    before = world.view()
    one = handed(world, ALICE)
    after = world.view()
    assert after.ledger.commits[0] == one.root != before.ledger.commits[0]
    assert after.results == before.results
    assert [(s.path, s.state) for s in after.associations] == [
        (s.path, s.state) for s in before.associations
    ]
    assert {key: after.ledger.index_of[key] for key in one.commits} == before.ledger.index_of
    assert [note.kind for note in after.notes] == [note.kind for note in before.notes]
    report = verify_registry(world.repository, world.tip or "")
    assert report.accepted, report
    assert one.commits[0][:12] in report.handovers[0]


def test_without_enough_signatures_results_of_the_old_history_do_not_count(
    world: World,
) -> None:
    world.commit(world.result(), by="hospital/ward")
    handed(world)
    assert counting(world) == Handed()
    report = verify_registry(world.repository, world.tip or "")
    assert not report.accepted
    assert "is not on main before it" in report.problems[0]


def test_a_stranger_cannot_make_a_root_of_his_own_with_a_hand_over(world: World) -> None:
    """The tree of the true root, made again and signed by somebody else."""
    steps = world.repository.first_parents(world.tip or "")
    mallory = signer("mallory/m")
    made = made_again(world.repository, steps, ["README.md"], by="mallory/m", signer=mallory)
    old = tuple(step.commit for step in steps)
    world.move(made[-1])
    sign(world, Handover(world.id, "R", old, made[0], made[-1]), "mallory/m")
    with pytest.raises(StalledError, match="which is no key of an admin"):
        world.view()


def test_it_counts_for_its_own_chain_only(world: World) -> None:
    for change, why in (
        (lambda one: replace(one, root="f" * 40), "another root"),
        (lambda one: replace(one, head=one.root), "another head"),
        (lambda one: replace(one, registry="0" * 8 + one.registry[8:]), "another registry"),
    ):
        tip = world.tip or ""
        handed(world, ALICE, change=change)
        assert counting(world) == Handed(), why
        world.move(tip)


def test_a_statement_of_another_form_hands_nothing_over(world: World) -> None:
    one = handed(world, ALICE)
    assert counting(world).all == (one,)
    tip = world.tip or ""
    statement = world.repository.file(tip, signature_path(1, ALICE))
    assert statement is not None
    said: dict[str, Any] = {"by": ALICE, "registry": world.id, "subject_name": "1.json"}
    for broken in (
        statement[:-20],
        b"{}",
        make_approval(signer(ALICE), data=one.data(), **said),
        make_handover(signer(ALICE), data=one.data() + b" ", **said),
        make_handover(signer(ALICE), data=one.data(), **{**said, "registry": "another"}),
        make_handover(signer(ALICE), data=one.data(), **{**said, "by": "committee/bob"}),
        make_handover(signer(ALICE), data=one.data(), **{**said, "subject_name": "2.json"}),
        make_handover(signer("mallory/m"), data=one.data(), **said),
    ):
        world.move(one.head)
        world.commit({handover_path(1): one.data(), signature_path(1, ALICE): broken})
        assert counting(world) == Handed()


def test_a_hand_over_is_neither_changed_nor_deleted_nor_proposed(world: World) -> None:
    one = handed(world, ALICE)
    tip = world.tip or ""
    for data in (one.data() + b" ", None):
        world.commit({handover_path(1): data})
        with pytest.raises(StalledError, match=r"(modifies|deletes) handovers/1\.json"):
            world.view()
        world.move(tip)
    head = world.propose({handover_path(2): one.data()}, by=ALICE)
    verdict = validate(world.repository, tip, head)
    assert verdict.answer == "failed"
    assert any("belongs to no proposal" in str(problem) for problem in verdict.problems)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: {**v, "more": 1}, "unknown field 'more'"),
        (lambda v: {k: w for k, w in v.items() if k != "reason"}, "no field 'reason'"),
        (lambda v: {**v, "reason": "\x1b[31m"}, "control or invisible"),
        (lambda v: {**v, "commits": []}, "no list of commits"),
        (lambda v: {**v, "commits": {"a": 1}}, "no list of commits"),
        (lambda v: {**v, "commits": [*v["commits"], "b" * 40]}, "do not begin and end"),
        (lambda v: {**v, "commits": [*v["commits"], 7]}, "is not text"),
        (lambda v: {**v, "old": {**v["old"], "root": "A" * 40}}, "not a commit of 40 hex"),
        (lambda v: {**v, "new": {"root": "a" * 40}}, "no field 'head'"),
    ],
)
def test_another_form_is_no_hand_over(change: Callable[[Any], Any], why: str) -> None:
    value = {
        "registry": "x",
        "reason": "R",
        "old": {"root": "a" * 40, "head": "c" * 40},
        "new": {"root": "d" * 40, "head": "e" * 40},
        "commits": ["a" * 40, "c" * 40],
    }
    assert read_handover(canonical_json(value)).data() == canonical_json(value)
    with pytest.raises(SignatureError, match=why):
        read_handover(canonical_json(change(value)))


def test_one_key_twice_is_no_hand_over() -> None:
    with pytest.raises(SignatureError, match="same JSON key twice"):
        read_handover(b'{"registry": "a", "registry": "b"}')


def test_a_history_that_differs_in_more_is_told(world: World) -> None:
    old = world.repository.first_parents(world.tip or "")
    world.commit({"README.md": b"Another.\n"})
    longer = world.repository.first_parents(world.tip or "")
    made = made_again(world.repository, longer, ["README.md"], by=ALICE, signer=signer(ALICE))
    new = world.repository.first_parents(made[-1])
    assert left_out(longer, new) == ("README.md",)
    assert left_out(old, old) == ()
    swapped = [replace(new[0], changes=longer[0].changes), *new[1:]]
    with pytest.raises(RegistryError, match=r"leaves out README\.md in one commit"):
        left_out(longer, swapped)
    added = [replace(new[0], changes=(*new[0].changes, new[0].changes[0]._replace(path="x")))]
    with pytest.raises(RegistryError, match="has another x than the old one"):
        left_out(longer, added)


def test_a_view_keeps_the_same_index_before_and_after(world: World, tmp_path: Any) -> None:
    """What an index has judged is judged anew with other hand-overs, never mixed."""
    from medperf.registry.index import Index

    world.commit(world.result(), by="hospital/ward")
    file = tmp_path / "index.sqlite"
    with Index(file) as index:
        before = open_view(world.repository, world.tip or "", index=index)
        results = dict(before.results)
    handed(world, ALICE)
    for _ in range(2):
        with Index(file) as index:
            view = open_view(world.repository, world.tip or "", index=index)
            assert dict(view.results) == results
