"""Proposals on real repositories: made, signed, looked at, merged, closed, and all at once."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medperf.registry import proposals
from medperf.registry.git import MAIN, Author, Repository
from medperf.registry.keys import FileSigner
from medperf.registry.proposals import Proposal
from medperf.schemas.errors import RegistryError, UsageError

BOB = Author("hospital/bob", "bob@hospital.invalid")
ALICE = Author("committee/alice", "alice@committee.invalid")
BRANCH = "proposals/hospital/chest"
DATASET = "datasets/hospital/chest.yaml"


class World:
    """A remote with a root commit, two people's repositories, and their keys."""

    def __init__(self, folder: Path, make_signer: Callable[[str], FileSigner]) -> None:
        self.url = str(folder / "remote.git")
        Repository.create(folder / "remote.git").close()
        self.bob = Repository.create(folder / "bob.git")
        self.alice = Repository.create(folder / "alice.git")
        self.bobs, self.alices = make_signer("hospital/bob"), make_signer("committee/alice")
        self.root = self.alice.commit(
            [], None, {"registry.yaml": b"x\n"}, message="Init", author=ALICE, signer=self.alices
        )
        self.alice.push(self.url, {MAIN: (self.root, None)})

    def propose(self, branch: str = BRANCH, files: dict[str, bytes] | None = None) -> Proposal:
        return proposals.propose(
            self.bob,
            self.url,
            branch=branch,
            changes=files or {DATASET: b"data\n"},
            message="Add the dataset\n\nAs agreed.",
            author=BOB,
            signer=self.bobs,
        )

    def merge(self, proposal: Proposal, check: proposals.Check | None = None) -> str:
        return proposals.merge(
            self.alice, self.url, proposal=proposal, author=ALICE, signer=self.alices, check=check
        )

    def close(self, clone: Repository, proposal: Proposal) -> None:
        """Alice closes it, in this clone."""
        proposals.close(
            clone,
            self.url,
            proposal=proposal,
            reason="Too few cases.",
            author=ALICE,
            signer=self.alices,
        )

    def add_to_main(self, path: str, data: bytes) -> str:
        def build(base: str | None) -> str:
            assert base
            return self.alice.commit(
                [base], base, {path: data}, message="Other", author=ALICE, signer=None
            )

        tip = self.alice.write(self.url, MAIN, build)
        assert tip
        return tip

    def branches(self) -> set[str]:
        refs = self.alice.remote_refs(self.url)
        return {ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/")}

    def fsck(self) -> str:
        done = subprocess.run(
            ["git", "-C", self.url, "fsck", "--strict"], capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path, make_signer: Callable[[str], FileSigner]) -> Iterator[World]:
    made = World(tmp_path, make_signer)
    yield made
    made.bob.close()
    made.alice.close()


def test_a_proposal_is_a_signed_commit_on_a_branch(world: World) -> None:
    made = world.propose()
    assert (made.id, made.branch, made.base) == ("hospital/chest", BRANCH, world.root)
    assert made.title == "Add the dataset"
    assert world.branches() == {"main", BRANCH}
    found = proposals.list_open(world.alice, world.url)
    assert found == [made]
    seen = proposals.view(world.alice, made)
    assert [(change.status, change.path) for change in seen.changes] == [("A", DATASET)]
    assert [commit.signer for commit in seen.commits] == [world.bobs.public_key]
    assert seen.commits[0].author == "hospital/bob"
    assert seen.commits[0].message == "Add the dataset\n\nAs agreed.\n"


def test_proposing_again_adds_a_commit_and_the_same_adds_nothing(world: World) -> None:
    first = world.propose()
    assert world.propose() == first
    second = world.propose(BRANCH, {"cubes/hospital/prep": b"cube"})
    assert world.alice.fetch_ref(world.url, f"refs/heads/{BRANCH}") == second.head
    assert world.alice.parents(second.head) == (first.head,)
    assert len(proposals.view(world.alice, second).commits) == 2


def test_what_the_registry_has_already_cannot_be_proposed(world: World) -> None:
    with pytest.raises(UsageError, match="nothing to propose"):
        proposals.propose(
            world.bob,
            world.url,
            branch=BRANCH,
            changes={"registry.yaml": b"x\n"},
            message="m",
            author=BOB,
            signer=None,
        )
    assert world.branches() == {"main"}


def test_nothing_can_be_proposed_to_what_is_no_registry(world: World, tmp_path: Path) -> None:
    Repository.create(tmp_path / "empty.git").close()
    world.url = str(tmp_path / "empty.git")
    with pytest.raises(RegistryError, match="registry init"):
        world.propose()


@pytest.mark.parametrize(
    "branch",
    ["main", "proposals/x", "proposals/a/b/c", "proposals/A/b", "sites/x", "approvals/a/b", "x/y/z",
     "proposals/../main", "proposals//x", "proposals/con/x", "proposals/a/b.2", "sites/a/b.1",
     "sites/a/b.02", "sites/a/b.x", "sites/a.2/b", "sites/a/.2", "approvals/x.2"],
)  # fmt: skip
def test_only_some_branches_are_proposals(world: World, branch: str) -> None:
    with pytest.raises(UsageError, match="not the branch of a proposal"):
        world.propose(branch)


def test_a_site_may_have_further_branches() -> None:
    for branch in ("sites/a/b", "sites/a/b.2", "sites/a/b.10"):
        assert proposals.check_branch(branch) == branch


def test_a_branch_is_made_from_any_words() -> None:
    assert proposals.branch_for("hospital", "Chest X-ray: 2026!") == (
        "proposals/hospital/chest-x-ray-2026"
    )
    assert proposals.branch_for("hospital", "日本") == "proposals/hospital/change"
    assert len(proposals.branch_for("hospital", "x" * 200)) < 100


def test_a_proposal_is_found_by_id_branch_or_slug(world: World) -> None:
    made = world.propose()
    site = world.propose("sites/hospital/ward", {"results": b"1"})
    for uid in ("hospital/chest", BRANCH, "chest"):
        assert proposals.find(world.alice, world.url, uid) == made
    assert proposals.find(world.alice, world.url, "sites/hospital/ward") == site
    with pytest.raises(UsageError, match="Did you mean hospital/chest"):
        proposals.find(world.alice, world.url, "hospital/chset")


def test_merging_makes_a_merge_commit_and_ends_the_branch(world: World, tmp_path: Path) -> None:
    made = world.propose()
    moved = world.add_to_main("cubes/a/b.yaml", b"cube")
    asked: list[tuple[str, str]] = []
    tip = world.merge(made, lambda main, commit: asked.append((main, commit)))
    assert asked == [(moved, tip)]
    assert world.alice.parents(tip) == (moved, made.head)
    assert set(world.alice.tree(tip)) == {"registry.yaml", "cubes/a/b.yaml", DATASET}
    assert [change.path for change in world.alice.first_parents(tip)[-1].changes] == [DATASET]
    assert world.branches() == {"main"}
    assert proposals.list_open(world.alice, world.url) == []
    allowed = tmp_path / "allowed"
    allowed.write_text(f'alice namespaces="git" {world.alices.public_key}\n')
    config = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}"]
    subprocess.run(["git", *config, "-C", world.url, "verify-commit", tip], check=True)
    assert "error" not in world.fsck()


def test_main_moving_during_a_merge_is_asked_about_again(world: World) -> None:
    made = world.propose()
    asked: list[str] = []

    def check(main: str, _: str) -> None:
        if not asked:
            world.add_to_main("cubes/late/one.yaml", b"late")
        asked.append(main)

    tip = world.merge(made, check)
    assert len(asked) == 2
    assert world.alice.parents(tip)[0] == asked[1] != asked[0]
    assert "cubes/late/one.yaml" in world.alice.tree(tip)


def test_a_check_that_refuses_leaves_everything_as_it_was(world: World) -> None:
    made = world.propose()
    before = world.alice.remote_refs(world.url)

    def refuse(*_: str) -> None:
        raise RegistryError("a signature is missing")

    with pytest.raises(RegistryError, match="a signature is missing"):
        world.merge(made, refuse)
    assert world.alice.remote_refs(world.url) == before


def test_a_path_that_both_sides_changed_is_a_conflict(world: World) -> None:
    made = world.propose()
    world.add_to_main(DATASET, b"something else")
    with pytest.raises(RegistryError, match=f"{DATASET} was changed in the registry since"):
        world.merge(made)
    assert BRANCH in world.branches()


def test_the_same_change_on_both_sides_is_none(world: World) -> None:
    made = world.propose(BRANCH, {DATASET: b"data\n", "other": b"1"})
    world.add_to_main(DATASET, b"data\n")
    tip = world.merge(made)
    assert [change.path for change in world.alice.first_parents(tip)[-1].changes] == ["other"]


def test_a_file_where_main_has_a_folder_is_a_conflict(world: World) -> None:
    made = world.propose(BRANCH, {"cubes": b"file"})
    world.add_to_main("cubes/a/b.yaml", b"1")
    with pytest.raises(RegistryError, match="file and a folder"):
        world.merge(made)


def test_a_proposal_that_moved_is_not_merged_unseen(world: World) -> None:
    seen = world.propose()
    world.propose(BRANCH, {"evil": b"1"})
    with pytest.raises(RegistryError, match="look again"):
        world.merge(seen)
    assert world.alice.fetch_ref(world.url, MAIN) == world.root


def test_a_proposal_that_moves_during_the_merge_is_not_merged(world: World) -> None:
    seen = world.propose()

    def check(*_: str) -> None:
        world.propose(BRANCH, {"evil": b"1"})

    with pytest.raises(RegistryError, match="look again"):
        world.merge(seen, check)
    assert world.alice.fetch_ref(world.url, MAIN) == world.root


def test_a_statement_is_added_to_what_was_looked_at(world: World) -> None:
    made = world.propose()
    path = "datasets/hospital/chest.1.committee.alice.sigstore.json"

    def add(proposal: Proposal) -> Proposal:
        return proposals.add_statements(
            world.alice,
            world.url,
            proposal=proposal,
            statements={path: b"{}"},
            author=ALICE,
            signer=world.alices,
        )

    signed = add(made)
    assert signed.title == "Sign chest.1.committee.alice.sigstore.json"
    commits = proposals.view(world.alice, signed).commits
    assert [commit.signer for commit in commits] == [
        world.bobs.public_key,
        world.alices.public_key,
    ]
    with pytest.raises(RegistryError, match="look again"):
        add(made)
    assert add(signed) == signed


def test_an_approval_elsewhere_closes_both(world: World) -> None:
    made = world.propose()
    copy = "refs/heads/approvals/chest"
    world.alice.fetch_ref(world.url, f"refs/heads/{BRANCH}")
    signed = world.alice.commit(
        [made.head], made.head, {"s.json": b"{}"}, message="Sign", author=ALICE, signer=world.alices
    )
    world.alice.push(world.url, {copy: (signed, None)})
    approval = proposals.find(world.alice, world.url, "approvals/chest")
    world.merge(approval)
    assert world.branches() == {"main"}


def test_closing_keeps_the_reason_and_the_branch_may_come_again(world: World) -> None:
    made = world.propose()
    for _ in range(2):
        world.close(world.alice, made)
        assert world.branches() == {"main"}
        made = world.propose(BRANCH, {DATASET: b"more\n"})
    proposals.list_open(world.bob, world.url)
    rejected = proposals.list_rejected(world.bob, world.url)
    assert len(rejected) == 2
    assert {one.id for one in rejected} == {"hospital/chest"}
    assert {one.reason for one in rejected} == {"Too few cases."}
    assert {one.paths for one in rejected} == {(DATASET,)}
    assert {one.signer for one in rejected} == {world.alices.public_key}
    assert {one.author for one in rejected} == {"committee/alice"}
    assert "error" not in world.fsck()


def test_the_very_same_commit_may_be_closed_again(world: World) -> None:
    made = world.propose()
    for _ in range(3):
        world.bob.push(world.url, {f"refs/heads/{made.branch}": (made.head, None)})
        world.close(world.bob, made)
        assert world.branches() == {"main"}
        proposals.list_open(world.bob, world.url)
    assert len(proposals.list_rejected(world.bob, world.url)) == 3


def test_a_proposal_that_moved_is_not_closed_unseen(world: World) -> None:
    seen = world.propose()
    world.propose(BRANCH, {"more": b"1"})
    with pytest.raises(RegistryError, match="look again"):
        proposals.close(world.alice, world.url, proposal=seen, reason="", author=ALICE, signer=None)
    assert BRANCH in world.branches()


def test_a_foreign_history_cannot_be_merged(world: World) -> None:
    alien = world.bob.commit([], None, {"x": b"1"}, message="x\x1b[31m", author=BOB, signer=None)
    world.bob.push(world.url, {f"refs/heads/{BRANCH}": (alien, None)})
    made = proposals.find(world.alice, world.url, "chest")
    assert made.title == "x?[31m"
    with pytest.raises(RegistryError, match="no history in common"):
        world.merge(made)


def test_two_merges_at_once_both_land(world: World, tmp_path: Path) -> None:
    made = [world.propose(f"proposals/o{n}/x", {f"cubes/o{n}/x.yaml": b"1"}) for n in range(4)]

    def merge(number: int) -> str:
        with Repository.create(tmp_path / f"merger-{number}.git") as repo:
            proposal = made[number]
            return proposals.merge(
                repo, world.url, proposal=proposal, author=ALICE, signer=world.alices
            )

    with ThreadPoolExecutor(4) as pool:
        tips = list(pool.map(merge, range(4)))
    tip = world.alice.fetch_ref(world.url, MAIN)
    assert tip in tips
    assert set(world.alice.tree(tip)) == {"registry.yaml"} | {
        f"cubes/o{n}/x.yaml" for n in range(4)
    }
    assert world.branches() == {"main"}


def test_a_branch_merged_by_hand_and_left_starts_again_from_main(world: World) -> None:
    made = world.propose()
    world.alice.fetch_ref(world.url, f"refs/heads/{BRANCH}")
    world.alice.push(world.url, {MAIN: (made.head, world.root)})
    assert proposals.list_open(world.alice, world.url) == []
    later = world.add_to_main("later", b"1")
    again = world.propose(BRANCH, {"cubes/hospital/new.yaml": b"1"})
    assert again.base == later
    assert world.bob.parents(again.head) == (later,)
