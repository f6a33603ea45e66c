"""What was rejected is told to whom it concerns; a stranger's branch cannot hide the rest."""

import subprocess
from pathlib import Path

from medperf.reconciler.explaining import explain
from medperf.reconciler.passes import look
from medperf.reconciler.rejections import rejections
from medperf.reconciler.reviewing import close_proposal

from .world import World


def test_an_owner_is_told_what_of_his_was_rejected_and_why(world: World) -> None:
    place = world.modeler
    files, path = world._model_files("new", None, owner="modeler", images=None)
    proposal = place.propose("new", files, "Add new")
    close_proposal(world.committee, proposal.id, "The licence forbids it.")
    rejected = rejections(place, say=print)
    assert rejected[path] == "The licence forbids it."
    view, plan = look(place)
    (told,) = explain(place, view, plan.runs, rejected=rejected)
    assert (told.model, told.state) == ("modeler/new", "rejected")
    assert told.missing == ("Its proposal was rejected: The licence forbids it.",)
    # nobody else is asked to care, and what is proposed once more is not rejected
    assert explain(world.hospital, view, plan.runs, rejected=rejected) == explain(
        world.hospital, view, plan.runs
    )
    place.propose("again", files, "Add new, once more")
    assert rejections(place, say=print) == {}


def test_a_broken_branch_of_a_stranger_hides_nothing_and_is_told(world: World) -> None:
    files, path = world._model_files("new", None, owner="modeler", images=None)
    proposal = world.modeler.propose("new", files, "Add new")
    close_proposal(world.committee, proposal.id, "Too large.")
    plumb = ("git", "-C", world.url)
    blob = subprocess.run(
        [*plumb, "hash-object", "-w", "--stdin"], input=b"x", capture_output=True, check=True
    ).stdout.strip()
    raw = b"100644 .git\0" + bytes.fromhex(blob.decode())
    write = [*plumb, "hash-object", "-w", "--literally", "-t", "tree", "--stdin"]
    tree = subprocess.run(write, input=raw, capture_output=True, check=True).stdout.decode()
    author = ("-c", "user.name=e", "-c", "user.email=e@e.invalid")
    made = [*plumb, *author, "commit-tree", "-m", "x", tree.strip()]
    commit = subprocess.run(made, capture_output=True, check=True).stdout.decode().strip()
    ref = Path(world.url) / "refs" / "heads" / "proposals" / "evil" / "x"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit + "\n")
    said: list[str] = []
    assert rejections(world.hospital, say=said.append)[path] == "Too large."
    assert said[0].startswith("proposals/evil/x is left out: ")
    done = world.medperf("explain")
    assert done.returncode == 0
    assert "committee/ref" in done.stdout
