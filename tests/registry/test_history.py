"""Rules 1, 2 and 6 on real registries: what stalls, what is ignored, what counts."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.git import Entry
from medperf.registry.pinned import Pinned
from medperf.registry.snapshot import Library
from medperf.registry.view import View, open_view
from medperf.schemas.errors import StalledError

from .world import OTHER_ID, World, signer

CXR = "committee/cxr"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
CHEST = "associations/committee/cxr/datasets/hospital__chest.yaml"


def stall(world: World, **options: Any) -> tuple[str, str]:
    with pytest.raises(StalledError) as caught:
        world.view(**options)
    assert caught.value.commit
    return caught.value.reason, str(caught.value)


def texts(view: View) -> list[str]:
    return [str(note) for note in view.notes]


def state(world: World, path: str = RESNET) -> str:
    return world.view().ledger.association_state(path).state


# ------------------------------------------------------------------------------ the usual


def test_the_usual_registry_is_in_force(world: World) -> None:
    view = world.view(pinned=world.pinned)
    assert view.notes == ()
    assert dict(view.pending) == {}
    assert sorted(view.owners) == ["committee", "hospital", "modeler"]
    assert [one.sentence for one in view.associations] == ["approved"] * 3
    assert [(run.dataset, run.model) for run in view.runs(CXR)] == [
        ("hospital/chest", "committee/ref"),
        ("hospital/chest", "modeler/resnet"),
    ]


def test_a_result_by_a_site_is_valid(world: World) -> None:
    world.commit(world.result(), by="hospital/ward")
    view = world.view()
    (found,) = view.results.values()
    assert (found.answer, found.reasons, found.signed_by) == ("valid", (), "hospital/ward")
    assert view.results_of(CXR, "hospital/chest") == [found]
    assert view.standing(found.path) == "current"


def test_priorities_order_the_runs(world: World) -> None:
    world.change_settings(CXR, "committee/alice", priorities={"modeler/resnet": 5})
    assert [run.model for run in world.view().runs(CXR)] == ["modeler/resnet", "committee/ref"]


def test_a_tip_can_be_opened_again_with_what_was_read(world: World) -> None:
    library = Library(world.repository)
    assert world.tip is not None
    one = open_view(world.repository, world.tip, library=library)
    two = open_view(world.repository, world.tip, library=library, verified=world.tip)
    assert one.snapshot.cubes == two.snapshot.cubes


# ------------------------------------------------------------------- rule 1: what may change


def test_deleting_stalls(world: World) -> None:
    world.commit({paths.cube_path("modeler/resnet"): None})
    reason, text = stall(world)
    assert reason == "history"
    assert "deletes cubes/modeler/resnet.yaml" in text


@pytest.mark.parametrize(
    "path",
    [
        "cubes/modeler/resnet.yaml",
        "datasets/hospital/chest.yaml",
        "benchmarks/committee/cxr.yaml",
        paths.statement_path(RESNET, 1, "modeler", "max"),
    ],
)
def test_modifying_what_is_add_only_stalls(world: World, path: str) -> None:
    world.commit({path: world.files[path] + b"\n"})
    assert stall(world)[0] == "history"


def test_a_mode_that_changes_stalls(world: World) -> None:
    oid = world.repository.write_blob(world.files[RESNET])
    world.commit({RESNET: Entry("100755", "blob", oid)})
    assert stall(world)[0] == "history"


def test_a_file_that_becomes_a_link_stalls(world: World) -> None:
    oid = world.repository.write_blob(b"elsewhere.yaml")
    world.commit({RESNET: Entry("120000", "blob", oid)})
    assert stall(world)[0] == "history"


@pytest.mark.parametrize("serial", [1, 3, 4])
def test_a_serial_goes_up_by_one(world: World, serial: int) -> None:
    world.change_settings(CXR, "committee/alice", serial=serial, active=False)
    reason, text = stall(world)
    assert reason == "history"
    if serial > 1:  # else its statement's file would change, which stalls all the same
        assert f"from 1 to {serial}, and must go to 2" in text


def test_a_round_goes_up_by_one(world: World) -> None:
    world.associate("modeler/resnet", number=3)
    assert stall(world)[0] == "history"


def test_of_an_association_only_round_and_trial_change(world: World) -> None:
    world.associate("modeler/resnet", number=2, model=world.pin("cubes", "modeler/resnet"))
    world.view()
    other = {"ref": "modeler/resnet", "digest": "sha256:" + "0" * 64}
    world.associate("modeler/resnet", number=3, model=other)
    reason, text = stall(world)
    assert reason == "history"
    assert "its model changes" in text


def test_an_odd_path_is_shown_so_that_a_terminal_may_print_it(world: World) -> None:
    """Our own writer refuses such a path, so Git itself makes the commit."""
    stream = (
        "commit refs/heads/main\ncommitter x <x@y> 1790000000 +0000\ndata 1\nx\n"
        f"from {world.tip}\n"
        'M 100644 inline "cubes/modeler/\\033[31m\\377.yaml"\ndata 1\nx\n'
    )
    folder = str(world.repository.folder)
    command = ["git", "--git-dir", folder, "fast-import", "--quiet"]
    subprocess.run(command, input=stream.encode(), check=True)
    world.tip = world.repository.resolve("refs/heads/main")
    (text,) = texts(world.view())
    assert text.isprintable()
    assert text.startswith("cubes/modeler/\\x1b[31m\\udcff.yaml: is no path")


def test_files_that_no_site_reads_may_change_and_go(world: World) -> None:
    world.commit({"README.md": b"Other words.\n", "schemas/cube.json": b"{}\n"})
    world.commit({"README.md": None, ".github/workflows/check.yaml": b"on: push\n"})
    assert world.view().notes == ()


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("cubes/modeler/bad.yaml", b"kind: [\n", "cubes/modeler/bad.yaml"),
        ("cubes/modeler/Bad.yaml", b"x\n", "no path of an object"),
        ("cubes/modeler/deep/er/bad.yaml", b"x\n", "no path of an object"),
        ("results/notes.txt", b"hello\n", "no path of an object"),
        ("datasets/hospital/large.yaml", b"# " + b"x" * 70_000 + b"\n", "65536"),
    ],
)
def test_an_invalid_new_file_is_ignored_and_shown(
    world: World, path: str, data: bytes, words: str
) -> None:
    world.commit({path: data})
    (text,) = texts(world.view())
    assert text.startswith(path)
    assert words in text


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("100755", "blob", "executable"),
        ("120000", "blob", "link"),
        ("160000", "commit", "submodule"),
    ],
)
def test_a_new_file_that_is_no_plain_file_is_ignored(
    world: World, mode: str, kind: str, words: str
) -> None:
    oid = world.root if kind == "commit" else world.repository.write_blob(b"x")
    world.commit({"cubes/modeler/odd.yaml": Entry(mode, kind, oid)})
    (text,) = texts(world.view())
    assert words in text
    assert "modeler/odd" not in world.view().cubes


def test_what_a_file_says_and_its_path_agree(world: World) -> None:
    data = world.files["cubes/modeler/resnet.yaml"]
    world.commit({"cubes/modeler/other.yaml": data, "cubes/hospital/resnet.yaml": data})
    found = texts(world.view())
    assert any("metadata.name: is 'resnet', and the path says 'other'" in text for text in found)
    assert any("metadata.owner: is 'modeler'" in text for text in found)
    assert sorted(world.view().cubes) == [
        "committee/eval",
        "committee/prep",
        "committee/ref",
        "modeler/resnet",
    ]


def test_a_new_file_starts_at_one(world: World) -> None:
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next", number=2)
    world.commit({path: data})
    assert "is 2 in a new file" in texts(world.view())[0]


def test_a_commitment_counts_once_an_owner(world: World) -> None:
    commitment = "ab" * 32
    world.add_dataset("hospital/one", commitment=commitment)
    world.add_dataset("hospital/two", commitment=commitment)
    view = world.view()
    assert "hospital/one" in view.datasets
    assert "hospital/two" not in view.datasets
    assert "the commitment of hospital/one" in texts(view)[0]


def test_modifying_an_ignored_file_stalls(world: World) -> None:
    world.commit({"owners/odd.yaml": b"kind: Owner\n"})
    world.view()
    world.commit({"owners/odd.yaml": b"kind: Owners\n"})
    assert stall(world)[0] == "history"


# ------------------------------------------------------------- rule 1: which chain it is


def test_a_site_accepts_a_tip_that_has_what_it_verified(world: World) -> None:
    verified = world.tip
    world.commit(world.result(), by="hospital/ward")
    assert world.view(verified=verified).tip == world.tip


def test_a_rollback_stalls(world: World) -> None:
    before = world.tip
    assert before is not None
    world.revoke(RESNET, "modeler/max")
    verified = world.tip
    world.move(before)
    reason, text = stall(world, verified=verified)
    assert reason == "history"
    assert "is not on the first-parent chain" in text


def test_a_foxtrot_stalls(world: World) -> None:
    """A branch from before a revocation, with main merged into it, passes as a fast-forward."""
    old = world.tip
    assert old is not None
    world.revoke(RESNET, "committee/alice")
    verified = world.tip
    assert verified is not None
    branch = world.commit({"README.md": b"evil\n"}, parents=[old], move=False)
    merged = world.commit({}, parents=[branch, verified], base=verified, move=False)
    assert world.repository.is_ancestor(verified, merged)
    world.move(merged)
    assert stall(world, verified=verified)[0] == "history"


def test_a_tag_named_main_is_not_main(world: World) -> None:
    evil = world.commit({RESNET: None}, move=False)
    world.repository.set_ref("refs/tags/main", evil)
    assert world.repository.resolve("refs/heads/main") == world.tip


def test_another_root_stalls(world: World, new: Callable[..., World]) -> None:
    reason, text = stall(new(registry_id=OTHER_ID), pinned=world.pinned)
    assert reason == "history"
    assert "root commit" in text


def test_a_shallow_history_is_refused(world: World) -> None:
    (world.repository.folder / "shallow").write_text(f"{world.tip}\n")
    with pytest.raises(Exception, match="shallow clone"):
        world.view()


# ------------------------------------------------------------------------- the root commit


def test_the_root_is_signed_by_a_pinned_key(world: World) -> None:
    pinned = Pinned(world.id, world.root, frozenset([signer("evil/eve").fingerprint]), "signed")
    assert stall(world, pinned=pinned)[0] == "signature"


def test_a_site_that_pinned_signed_does_not_believe_a_merge(new: Callable[..., World]) -> None:
    world = new()
    pinned = world.pinned
    world.change_registry("committee/alice", approval="merge")
    assert world.view().ledger.believed
    reason, text = stall(world, pinned=pinned)
    assert reason == "signature"
    assert "enrolled with `signed`" in text


def test_another_id_than_the_pinned_one_stalls(world: World) -> None:
    pinned = Pinned(OTHER_ID, world.root, world.pinned.admins, "signed")
    assert "it is another registry" in stall(world, pinned=pinned)[1]


def root(world: World, changes: dict[str, bytes], by: str | None) -> None:
    world.root = world.commit(changes, by=by, parents=[])


def test_an_unsigned_root_stalls(world: World) -> None:
    root(world, dict(world.files), None)
    assert stall(world)[0] == "signature"


def test_a_root_by_somebody_who_is_no_admin_stalls(world: World) -> None:
    root(world, dict(world.files), "modeler/max")
    assert stall(world)[0] == "signature"


def test_a_root_without_the_admins_statements_stalls(world: World) -> None:
    files = {path: data for path, data in world.files.items() if "registry.1." not in path}
    root(world, files, "committee/alice")
    assert "has not signed its registry.yaml" in stall(world)[1]


def test_a_root_without_a_registry_stalls(world: World) -> None:
    root(world, {"README.md": b"x\n"}, "committee/alice")
    assert stall(world)[0] == "history"


# --------------------------------------------------------------------- approval: merge


def test_a_merge_is_believed_for_all_but_results(new: Callable[..., World]) -> None:
    world = new(approval="merge")
    world.join("modeler", ["max"], signed_by=[])
    world.join("hospital", ["bob"], ["ward"], signed_by=[])
    world.add_benchmark(signed_by=[])
    world.add_cube("modeler/resnet", by=None)
    world.add_dataset("hospital/chest")
    world.associate("modeler/resnet")
    world.associate("hospital/chest")
    world.change_settings(CXR, priorities={"modeler/resnet": 1})
    view = world.view(pinned=world.pinned)
    assert view.notes == ()
    assert [one.state for one in view.associations] == ["approved"] * 3
    world.commit(world.result(key="hospital/bob"), by=None)
    assert [one.answer for one in world.view().results.values()] == ["invalid"]
    world.revoke(RESNET, "modeler/max")
    assert state(world) == "revoked"


# --------------------------------------------------------------------------- how fast it is


def test_many_commits_are_judged_in_one_go(world: World) -> None:
    for number in range(100):
        world.commit({f"cubes/modeler/odd{number}.txt": b"x"})
    start = time.perf_counter()
    assert len(world.view().notes) == 100
    assert time.perf_counter() - start < 5
