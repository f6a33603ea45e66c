"""The local forge: branches are proposals, and what is strange among them is passed over."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.registry import git_reading, proposals
from medperf.registry.forges import Closing, Merge, forge_of
from medperf.registry.forges.local import LocalForge
from medperf.registry.git import MAIN, Author, Repository
from medperf.schemas.errors import ConflictError, RegistryError

ALICE = Author("committee/alice", "alice@committee.invalid")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.create(tmp_path / "mine.git") as made:
        yield made


@pytest.fixture
def url(tmp_path: Path) -> str:
    Repository.create(tmp_path / "remote.git").close()
    return (tmp_path / "remote.git").as_uri()


def commit(repo: Repository, *parents: str, **files: bytes) -> str:
    base = parents[0] if parents else None
    return repo.commit(parents, base, files, message="m", author=ALICE, signer=None)


def test_any_git_remote_is_a_forge(repo: Repository, url: str) -> None:
    forge = forge_of(repo, url)
    assert forge.name == "local"
    assert forge.heads() == {}
    assert list(forge.closings()) == []
    assert forge.open("proposals/a/b", head="0" * 40, title="x") == ""


def test_heads_are_the_branches_of_proposals_only(repo: Repository, url: str) -> None:
    root = commit(repo, a=b"1")
    change = commit(repo, root, b=b"1")
    branches = ["proposals/a/b", "sites/a/b", "approvals/x", "topic/a/b", "proposals/odd"]
    repo.push(url, {MAIN: (root, None)})
    repo.push(url, {f"refs/heads/{name}": (change, None) for name in branches})
    forge = LocalForge(repo, url)
    assert set(forge.heads()) == set(branches) - {"topic/a/b"}
    assert [one.branch for one in proposals.list_open(repo, url)] == [
        "approvals/x",
        "proposals/a/b",
        "sites/a/b",
    ]


def test_a_merge_is_all_or_nothing(repo: Repository, url: str) -> None:
    root = commit(repo, a=b"1")
    change = commit(repo, root, b=b"1")
    merge = repo.commit([root, change], root, {"b": b"1"}, message="M", author=ALICE, signer=None)
    branch = "proposals/a/b"
    repo.push(url, {MAIN: (root, None), f"refs/heads/{branch}": (change, None)})
    forge = LocalForge(repo, url)
    with pytest.raises(ConflictError):
        forge.merge(Merge(branch, change, root, merge, {branch: root}))
    assert repo.remote_refs(url) == {MAIN: root, f"refs/heads/{branch}": change}
    assert forge.merge(Merge(branch, change, root, merge, {branch: change})) == merge
    assert repo.remote_refs(url) == {MAIN: merge}


def test_a_record_of_another_shape_is_passed_over(repo: Repository, url: str) -> None:
    root = commit(repo, a=b"1")
    change = commit(repo, root, b=b"1")
    record = commit(repo, change)
    branch = "proposals/a/b"
    closed = "refs/medperf/closed"
    repo.push(url, {f"{closed}/odd": (record, None), f"{closed}/{branch}/x": (root, None)})
    repo.push(url, {f"refs/heads/{branch}": (change, None)})
    forge = LocalForge(repo, url)
    forge.close(Closing(branch, change, record))
    assert forge.heads() == {}
    assert list(forge.closings()) == [Closing(branch, change, record)]


MALFORMED = b"""tree %s
parent %s
author x<x@x> 1 +0000
committer x <x@x> 1 +0000

no space before the address
"""


def malformed(url: str, parent: str) -> str:
    """A commit at the remote that Git's own check refuses."""
    tree = ask(url, "rev-parse", f"{parent}^{{tree}}")
    words = ("hash-object", "-w", "--literally", "-t", "commit", "--stdin")
    return ask(url, *words, data=MALFORMED % (tree.encode(), parent.encode()))


def place_at(url: str, ref: str, text: str) -> None:
    """A reference of the remote as a file that was copied there, whatever it says."""
    file = Path(url.removeprefix("file://")) / ref
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def ask(url: str, *words: str, data: bytes = b"") -> str:
    """What Git answers in the remote."""
    plumb = ("git", "-C", url.removeprefix("file://"), "-c", "user.name=x", "-c", "user.email=x@x")
    done = subprocess.run([*plumb, *words], input=data, capture_output=True, check=True)
    return done.stdout.strip().decode()


def incomplete(url: str, parent: str, *, what: str) -> str:
    """A commit at the remote whose `tree`, `file` or `parent` is not there."""
    tree = ask(url, "rev-parse", f"{parent}^{{tree}}")
    if what == "file":
        lost = b"100644 blob " + b"3" * 40 + b"\tx\n"
        tree = ask(url, "mktree", "--missing", data=lost)
        return ask(url, "commit-tree", tree, "-p", parent, data=b"m")
    lines = {"tree": tree, "parent": parent, what: "2" * 40}
    text = "".join(f"{name} {oid}\n" for name, oid in lines.items())
    text += "author x <x@x> 1 +0000\ncommitter x <x@x> 1 +0000\n\nm\n"
    words = ("hash-object", "-w", "--literally", "-t", "commit", "--stdin")
    return ask(url, *words, data=text.encode())


def set_at(url: str, ref: str, oid: str | None) -> None:
    """Moves a reference of the remote, or takes it away."""
    words = ["update-ref", ref, oid] if oid else ["update-ref", "-d", ref]
    subprocess.run(["git", "-C", url.removeprefix("file://"), *words], check=True)


def test_a_malformed_branch_is_told_and_the_others_are_seen(repo: Repository, url: str) -> None:
    root = commit(repo, a=b"1")
    first, second = commit(repo, root, b=b"1"), commit(repo, root, c=b"1")
    repo.push(url, {MAIN: (root, None), "refs/heads/proposals/a/gone": (first, None)})
    repo.push(url, {"refs/heads/proposals/a/mine": (first, None)})
    assert len(proposals.list_open(repo, url)) == 2
    set_at(url, "refs/heads/proposals/a/gone", None)
    set_at(url, "refs/heads/proposals/a/mine", malformed(url, first))
    repo.push(url, {"refs/heads/proposals/b/new": (second, None)})
    said: list[str] = []
    (only,) = proposals.list_open(repo, url, say=said.append)
    assert (only.branch, only.head) == ("proposals/b/new", second)
    (line,) = said
    assert line.startswith("proposals/a/mine is left out: ")
    assert "malformed" in line
    assert proposals.find(repo, url, "b/new") == only
    with pytest.raises(RegistryError, match="proposals/a/mine cannot be looked at"):
        proposals.find(repo, url, "a/mine")
    set_at(url, "refs/heads/proposals/a/mine", first)
    assert len(proposals.list_open(repo, url, say=said.append)) == 2
    assert len(said) == 1, "mended: nothing is said"


@pytest.mark.parametrize("what", ["nothing", "words", "tree", "file", "parent", "blob", "tag"])
def test_a_branch_of_a_damaged_registry_is_told_and_hides_no_other(
    repo: Repository, url: str, what: str
) -> None:
    """A copy onto a share or a stick was cut: a branch names what is not there, or no commit."""
    root = commit(repo, a=b"1")
    good = commit(repo, root, b=b"1")
    repo.push(url, {MAIN: (root, None), "refs/heads/proposals/b/good": (good, None)})
    tag = f"object {root}\ntype commit\ntag x\ntagger x <x@x> 1 +0000\n\nm\n".encode()
    if what in ("tree", "file", "parent"):
        oid = incomplete(url, root, what=what)
    else:
        oid = {
            "nothing": "1" * 40,
            "words": "<<<<<<< HEAD",
            "blob": ask(url, "hash-object", "-w", "--stdin", data=b"x"),
            "tag": ask(url, "mktag", data=tag),
        }[what]
    place_at(url, "refs/heads/proposals/a/mine", f"{oid}\n")
    for _ in range(2):
        said: list[str] = []
        (only,) = proposals.list_open(repo, url, say=said.append)
        assert (only.branch, only.head) == ("proposals/b/good", good)
        (line,) = said
        assert line.startswith("proposals/a/mine is left out: ")
        expected = f"It names a {what}, not a commit" if what in ("blob", "tag") else "git fsck"
        assert expected in line
    with pytest.raises(RegistryError, match="proposals/a/mine cannot be looked at"):
        proposals.find(repo, url, "a/mine")
    place_at(url, "refs/heads/proposals/a/mine", f"{good}\n")
    assert len(proposals.list_open(repo, url)) == 2


def test_a_record_that_is_no_commit_or_of_too_much_hides_no_other_rejection(
    repo: Repository, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may push can put anything below refs/medperf: Git guards branches alone."""
    root = commit(repo, a=b"1")
    small, large = commit(repo, root, b=b"1"), commit(repo, root, **{f"f{n}": b"1" for n in "123"})
    closed = "refs/medperf/closed/proposals/a"
    records = {f"{closed}/small/1": commit(repo, small), f"{closed}/large/2": commit(repo, large)}
    repo.push(url, {MAIN: (root, None), **{ref: (oid, None) for ref, oid in records.items()}})
    words = ("git", "-C", str(repo.folder), "push", "--quiet", url)
    subprocess.run([*words, f"{repo.write_blob(b'x')}:{closed}/odd/3"], check=True)
    monkeypatch.setattr(git_reading, "MOST_CHANGES", 2)
    said: list[str] = []
    proposals.list_open(repo, url, say=said.append)
    assert said == [f"{closed}/odd/3 is left out: It names a blob, not a commit."]
    found = {one.branch: one.paths for one in proposals.list_rejected(repo, url)}
    assert found == {"proposals/a/small": ("b",), "proposals/a/large": ()}


def test_a_malformed_main_is_never_taken(repo: Repository, url: str) -> None:
    root = commit(repo, a=b"1")
    repo.push(url, {MAIN: (root, None)})
    proposals.list_open(repo, url)
    set_at(url, MAIN, malformed(url, root))
    with pytest.raises(RegistryError):
        proposals.list_open(repo, url)
