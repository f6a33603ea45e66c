"""A registry's repository: what is written is sound, what is read is exact, nobody loses work."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medperf.registry.git import MAIN, Author, Entry, Repository, check_ref
from medperf.registry.git_objects import object_id
from medperf.registry.git_process import remote_address
from medperf.registry.keys import FileSigner, allowed_signers_line
from medperf.schemas.errors import ConflictError, RegistryError, UsageError

ALICE = Author("committee/alice", "alice@committee.invalid")
MIRROR = "+refs/heads/*:refs/remotes/origin/*"
Make = Callable[[str], FileSigner]


def git(folder: Path, *arguments: str, data: bytes | None = None, status: int = 0) -> str:
    """Git itself, as anybody runs it."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=data, capture_output=True)
    assert done.returncode == status, done.stderr.decode()
    return (done.stdout + done.stderr).decode(errors="surrogateescape")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository."""
    with Repository.create(tmp_path / "mine.git") as made:
        yield made


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """An empty bare repository that Git itself made."""
    folder = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(folder))
    return folder


def commit(
    repo: Repository,
    parents: list[str],
    changes: dict[str, bytes | Entry | None],
    signer: FileSigner | None = None,
    message: str = "Change",
) -> str:
    base = parents[0] if parents else None
    return repo.commit(
        parents, base, changes, message=message, author=ALICE, signer=signer, date=1_700_000_000
    )


def test_an_object_has_the_id_that_git_gives_it(tmp_path: Path) -> None:
    with Repository.create(tmp_path / "r.git") as repository:
        assert repository.write_blob(b"text\n") == object_id("blob", b"text\n")
        tree = repository.write_tree(None, {"a/b": b"text\n"})
    said = subprocess.run(
        ["git", "-C", tmp_path / "r.git", "cat-file", "tree", tree], capture_output=True, check=True
    )
    assert object_id("tree", said.stdout) == tree


def test_what_is_written_passes_fsck(repo: Repository, make_signer: Make) -> None:
    first = commit(repo, [], {"b.yaml": b"1", "b/c/d.yaml": b"2", "a/x": b"3"}, make_signer("a/b"))
    second = commit(repo, [first], {"b/c/d.yaml": None, "b-c": b"4", "b/c.d": b"5"})
    repo.set_ref(MAIN, second)
    assert "error" not in git(repo.folder, "fsck", "--strict", "--full")
    assert sorted(repo.tree(second)) == ["a/x", "b-c", "b.yaml", "b/c.d"]
    assert git(repo.folder, "ls-tree", "-r", "--name-only", second).split() == sorted(
        repo.tree(second)
    )
    assert git(repo.folder, "status", "--porcelain", status=128)  # bare: nothing is checked out


def test_git_accepts_the_signature_of_a_commit(
    repo: Repository, tmp_path: Path, make_signer: Make
) -> None:
    signer = make_signer("committee/alice")
    made = commit(repo, [], {"a": b"1"}, signer, "Add a\n\nWith a body.\n")
    allowed = tmp_path / "allowed"
    allowed.write_text(allowed_signers_line("alice", signer.public_key) + "\n")
    options = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}")
    assert 'Good "git" signature for alice' in git(repo.folder, *options, "verify-commit", made)
    other = commit(repo, [], {"a": b"1"}, make_signer("committee/eve"))
    git(repo.folder, *options, "verify-commit", other, status=1)


def test_the_author_cannot_break_out_of_his_line(repo: Repository) -> None:
    author = Author("Eve <x>\nparent 0\u202e", "a b\n<c>")
    made = repo.commit([], None, {"a": b""}, message="m\0m", author=author, signer=None, date=5)
    text = repo.commit_bytes(made).decode()
    assert "author Eve x parent 0 <a b c> 5 +0000\n" in text
    assert text.endswith("\n\nm m\n")
    empty = Author("", "<>")
    made = repo.commit([], None, {"a": b""}, message="m", author=empty, signer=None)
    assert "author unknown <unknown> " in repo.commit_bytes(made).decode()


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".git/hooks/post-checkout", "a\nb", ""])
def test_a_path_that_leaves_the_tree_is_not_written(repo: Repository, path: str) -> None:
    with pytest.raises(UsageError, match="not a path"):
        commit(repo, [], {path: b"x"})


def test_a_file_and_a_folder_cannot_share_a_name(repo: Repository) -> None:
    first = commit(repo, [], {"a/b": b"1"})
    for changes in ({"a": b"2"}, {"a/b/c": b"2"}, {"x": b"1", "x/y": b"2"}):
        with pytest.raises(RegistryError, match="a file"):
            commit(repo, [first], dict(changes))


def test_a_file_is_found_by_path(repo: Repository) -> None:
    link = Entry("120000", "blob", repo.write_blob(b"/etc/passwd"))
    made = commit(repo, [], {"a/b.yaml": b"x\n", "link": link, "a/link": link})
    assert repo.file(made, "a/b.yaml") == b"x\n"
    for path in ("a", "a/c", "b/c", "a/b.yaml/c", "link", "a/link"):
        assert repo.file(made, path) is None


def test_blobs_come_in_order_and_large_ones_cut(repo: Repository) -> None:
    contents = [bytes([65 + n % 26]) * n for n in range(1200)]
    oids = [repo.write_blob(contents[n]) for n in (0, 5, 1199)]
    asked = oids * 700
    assert [data for _, data in repo.blobs(asked, cap=2000)] == [
        contents[n] for n in (0, 5, 1199)
    ] * 700
    assert repo.blob(oids[2], cap=10) == contents[1199][:11]
    assert repo.blob(oids[1]) == b"FFFFF"
    large = repo.write_blob(b"x" * 3_000_000)
    assert len(repo.blob(large)) == (1 << 20) + 1
    assert repo.blob(oids[0]) == b""


def test_a_missing_object_is_said_and_harms_no_later_reading(repo: Repository) -> None:
    kept = repo.write_blob(b"x")
    with pytest.raises(RegistryError, match="is missing"):
        list(repo.blobs([kept, "0" * 40, kept]))
    assert repo.blob(kept) == b"x"
    made = commit(repo, [], {"a": b"1"})
    with pytest.raises(RegistryError, match="is a commit, not a blob"):
        repo.blob(made)
    with pytest.raises(RegistryError, match="is a commit, not a file"):
        list(repo.blobs([made]))
    with pytest.raises(RegistryError, match="not a commit"):
        repo.commit_bytes(kept)
    with pytest.raises(RegistryError, match="not a tree"):
        repo._trees.entries(kept)


def test_a_reader_left_halfway_disturbs_nothing(repo: Repository) -> None:
    oids = [repo.write_blob(str(n).encode()) for n in range(3)]
    for _oid, data in repo.blobs(oids):
        assert data == b"0"
        break
    assert repo.blob(oids[2]) == b"2"


@pytest.mark.parametrize(
    "oid", ["main", "HEAD", "-x", "0" * 39, "0" * 41, "A" * 40, "0" * 40 + "\n"]
)
def test_only_full_object_ids_are_asked_for(repo: Repository, oid: str) -> None:
    for ask in (repo.tree, repo.blob, repo.first_parents, repo.commit_bytes):
        with pytest.raises(RegistryError, match="40 hex digits"):
            ask(oid)


@pytest.mark.parametrize(
    "ref",
    ["main", "HEAD", "refs", "refs/", "refs/heads/", "refs/heads/-x", "refs/heads/a..b",
     "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a b", "refs/heads/a\n", "refs/x/.y"],
)  # fmt: skip
def test_only_full_reference_names_are_asked_for(repo: Repository, ref: str) -> None:
    with pytest.raises(RegistryError, match="full name"):
        repo.resolve(ref)
    assert check_ref("refs/heads/proposals/a/b-1.x") == "refs/heads/proposals/a/b-1.x"


def test_a_tag_called_main_is_never_taken_for_the_branch(repo: Repository, remote: Path) -> None:
    good = commit(repo, [], {"a": b"1"})
    evil = commit(repo, [], {"a": b"evil"})
    repo.push(str(remote), {MAIN: (good, None)})
    repo.push(
        str(remote),
        {"refs/tags/main": (evil, None), "refs/tags/refs/remotes/origin/gone": (evil, None)},
    )
    repo.fetch(str(remote), [MIRROR])
    assert repo.resolve("refs/remotes/origin/main") == good
    assert repo.refs("refs/tags") == {}
    repo.set_ref("refs/tags/refs/remotes/origin/gone", evil)
    assert repo.resolve("refs/remotes/origin/gone") is None
    assert repo.fetch_ref(str(remote), MAIN) == good


def test_the_chain_gives_each_commit_its_changes(repo: Repository) -> None:
    one = commit(repo, [], {"a": b"1", "d/b": b"2"})
    two = commit(repo, [one], {"a": b"3", "d/b": None})
    side = commit(repo, [one], {"s": b"side"})
    merged = repo.commit(
        [two, side], two, {"s": b"side"}, message="Merge", author=ALICE, signer=None
    )
    empty = commit(repo, [merged], {})
    link = Entry("120000", "blob", repo.write_blob(b"x"))
    last = commit(repo, [empty], {"a": link, "m": Entry("160000", "commit", one)})
    steps = repo.first_parents(last)
    assert [step.commit for step in steps] == [one, two, merged, empty, last]
    seen = [[(c.status, c.path, c.mode) for c in step.changes] for step in steps]
    assert seen == [
        [("A", "a", "100644"), ("A", "d/b", "100644")],
        [("M", "a", "100644"), ("D", "d/b", "100644")],
        [("A", "s", "100644")],
        [],
        [("T", "a", "120000"), ("A", "m", "160000")],
    ]
    assert steps[2].parents == (two, side)
    assert steps[0].parents == ()
    assert steps[2].tree == repo.tree_of(merged)
    assert repo.parents(merged) == (two, side)
    assert [step.commit for step in repo.first_parents(last, since=merged)] == [empty, last]
    assert repo.first_parents(last, since=last) == []
    assert repo.diff(None, one) == steps[0].changes
    assert repo.diff(two, merged) == steps[2].changes
    assert repo.diff(two, two) == ()
    assert set(repo.commits_between(two, last)) == {side, merged, empty, last}
    assert repo.merge_base(two, side) == one


def test_a_foxtrot_is_an_ancestor_but_not_on_the_chain(repo: Repository) -> None:
    root = commit(repo, [], {"a": b"1"})
    main = commit(repo, [root], {"b": b"1"})
    side = commit(repo, [root], {"c": b"1"})
    foxtrot = repo.commit(
        [side, main], side, {"b": b"1"}, message="Merge main", author=ALICE, signer=None
    )
    assert repo.is_ancestor(main, foxtrot)
    assert not repo.is_on_chain(main, foxtrot)
    assert repo.is_on_chain(root, foxtrot)
    assert repo.is_on_chain(main, main)
    assert not repo.is_on_chain(foxtrot, main)
    with pytest.raises(RegistryError, match="not on the first-parent chain"):
        repo.first_parents(foxtrot, since=main)
    unrelated = commit(repo, [], {"z": b"1"})
    assert not repo.is_on_chain(unrelated, main)
    assert repo.merge_base(unrelated, main) is None


def test_hostile_file_names_are_read_as_they_are(repo: Repository) -> None:
    names = [b"a\nb", b":100644", b"\xff\xfe", b"tab\there", b" lead", b'"q"', b"-rf", b"0" * 40]
    blob = repo.write_blob(b"x")
    raw = b"".join(b"100644 " + name + b"\0" + bytes.fromhex(blob) for name in sorted(names))
    tree = git(repo.folder, "hash-object", "-w", "-t", "tree", "--stdin", data=raw).strip()
    evil = git(
        repo.folder, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", "-m", "x", tree
    )
    expected = {name.decode(errors="surrogateescape") for name in names}
    assert set(repo.tree(evil.strip())) == expected
    step = repo.first_parents(evil.strip())[0]
    assert {change.path for change in step.changes} == expected
    after = commit(repo, [evil.strip()], {"new": b"1"})
    assert set(repo.tree(after)) == expected | {"new"}
    assert [change.path for change in repo.first_parents(after)[1].changes] == ["new"]


def test_objects_that_fsck_refuses_are_not_fetched(repo: Repository, remote: Path) -> None:
    blob = git(remote, "hash-object", "-w", "--stdin", data=b"x").strip()
    raw = b"100644 .git\0" + bytes.fromhex(blob)
    tree = git(remote, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", data=raw)
    evil = git(
        remote, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", "-m", "x", tree.strip()
    )
    git(remote, "update-ref", MAIN, evil.strip())
    with pytest.raises(RegistryError, match="malformed objects"):
        repo.fetch(str(remote), [MIRROR])
    assert repo.refs("refs/remotes") == {}


def test_a_push_is_compare_and_swap(repo: Repository, remote: Path) -> None:
    one = commit(repo, [], {"a": b"1"})
    two = commit(repo, [one], {"a": b"2"})
    three = commit(repo, [one], {"a": b"3"})
    branch = "refs/heads/proposals/a/b"
    repo.push(str(remote), {MAIN: (one, None)})
    for updates in (
        {MAIN: (two, None)},
        {MAIN: (two, two)},
        {MAIN: (None, two)},
        {MAIN: (two, one), branch: (None, one)},
    ):
        with pytest.raises(ConflictError):
            repo.push(str(remote), updates)
        assert repo.remote_refs(str(remote)) == {MAIN: one}
    repo.push(str(remote), {MAIN: (two, one), branch: (three, None)})
    with pytest.raises(ConflictError, match="does not build on"):
        repo.push(str(remote), {MAIN: (three, two)})
    repo.push(str(remote), {branch: (None, three)})
    assert repo.remote_refs(str(remote)) == {MAIN: two}


def test_a_branch_gone_at_the_remote_goes_here_too(repo: Repository, remote: Path) -> None:
    one = commit(repo, [], {"a": b"1"})
    repo.push(str(remote), {MAIN: (one, None), "refs/heads/sites/x": (one, None)})
    repo.fetch(str(remote), [MIRROR])
    repo.push(str(remote), {"refs/heads/sites/x": (None, one)})
    repo.push(str(remote), {"refs/heads/sites/x/y": (one, None)})
    repo.fetch(str(remote), [MIRROR])
    assert set(repo.refs("refs/remotes/origin")) == {
        "refs/remotes/origin/main",
        "refs/remotes/origin/sites/x/y",
    }
    assert repo.fetch_ref(str(remote), "refs/heads/none") is None
    with pytest.raises(RegistryError, match="not a refspec"):
        repo.fetch(str(remote), ["main"])


def test_eight_writers_at_once_lose_nothing(
    remote: Path, tmp_path: Path, make_signer: Make
) -> None:
    with Repository.create(tmp_path / "seed.git") as seed:
        seed.push(str(remote), {MAIN: (commit(seed, [], {"start": b""}), None)})

    def add(number: int, repo: Repository) -> None:
        for turn in range(2):
            path = f"cubes/o{number}/c{turn}.yaml"

            def build(base: str | None, path: str = path) -> str:
                assert base is not None
                return commit(repo, [base], {path: path.encode()}, make_signer(str(number)))

            repo.write(str(remote), MAIN, build, tries=60)

    def add_alone(number: int) -> None:
        with Repository.create(tmp_path / f"writer-{number}.git") as own:
            add(number, own)

    with Repository.create(tmp_path / "shared.git") as shared, ThreadPoolExecutor(8) as pool:
        doing = [pool.submit(add, number, shared) for number in range(2)]
        doing += [pool.submit(add_alone, number) for number in range(2, 8)]
        for done in doing:
            done.result()
        tip = shared.fetch_ref(str(remote), MAIN)
        assert tip is not None
        assert len(shared.first_parents(tip)) == 17
        assert len(shared.tree(tip)) == 17
    assert "error" not in git(remote, "fsck", "--strict")


def test_a_writer_whose_answer_was_lost_does_not_write_twice(
    repo: Repository, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Repository.push
    calls: list[str] = []

    def deaf(self: Repository, url: str, updates: dict[str, tuple[str | None, str | None]]) -> None:
        push(self, url, updates)
        raise ConflictError("the answer was lost")

    def build(base: str | None) -> str:
        calls.append(base or "")
        return commit(repo, [base] if base else [], {"a": b"1"})

    monkeypatch.setattr(Repository, "push", deaf)
    made = repo.write(str(remote), MAIN, build)
    assert repo.remote_refs(str(remote)) == {MAIN: made}
    assert len(calls) == 1


def test_writing_ends_when_there_is_nothing_to_do_or_no_hope(
    repo: Repository, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = commit(repo, [], {"a": b"1"})
    repo.push(str(remote), {MAIN: (one, None)})
    assert repo.write(str(remote), MAIN, lambda base: base or one) == one

    def refused(*_: object) -> None:
        raise ConflictError("too late")

    monkeypatch.setattr(Repository, "push", refused)
    with pytest.raises(ConflictError, match=r"not written in 3 tries.*too late"):
        repo.write(str(remote), MAIN, lambda _: commit(repo, [one], {"b": b"1"}), tries=3)


def test_a_hook_at_the_remote_refuses_in_its_own_words(repo: Repository, remote: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho only on Sundays >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RegistryError, match="only on Sundays") as caught:
        repo.push(str(remote), {MAIN: (commit(repo, [], {"a": b"1"}), None)})
    assert "Open a proposal" in str(caught.value)
    assert not isinstance(caught.value, ConflictError)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_remote_of_another_user_is_used_once_it_is_declared_safe(
    repo: Repository, remote: Path, home: Path
) -> None:
    made = commit(repo, [], {"a": b"1"})
    for entry in (remote, *remote.rglob("*")):
        os.chown(entry, 12345, 12345)
    with pytest.raises(RegistryError, match=r"belongs to another user.*safe\.directory"):
        repo.push(str(remote), {MAIN: (made, None)})
    (home / ".gitconfig").write_text(f"[safe]\n\tdirectory = {remote}\n")
    with Repository.open(repo.folder) as again:
        again.push(str(remote), {MAIN: (made, None)})
        assert again.fetch_ref(str(remote), MAIN) == made


def test_a_lock_that_a_dead_git_left_is_named(repo: Repository, remote: Path) -> None:
    one = commit(repo, [], {"a": b"1"})
    (remote / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(ConflictError, match=r"remove the \.lock file.*main\.lock"):
        repo.push(str(remote), {MAIN: (one, None)})
    (remote / "refs" / "heads" / "main.lock").unlink()
    repo.push(str(remote), {MAIN: (one, None)})
    repo.fetch(str(remote), [MIRROR])
    repo.push(str(remote), {MAIN: (commit(repo, [one], {"a": b"2"}), one)})
    (repo.folder / "refs" / "remotes" / "origin" / "main.lock").touch()
    with pytest.raises(RegistryError, match=r"remove the \.lock file"):
        repo.fetch(str(remote), [MIRROR])


def test_a_writer_killed_anywhere_leaves_a_sound_registry(
    repo: Repository, remote: Path, tmp_path: Path
) -> None:
    repo.push(str(remote), {MAIN: (commit(repo, [], {"start": b""}), None)})
    code = (
        "import sys; from pathlib import Path\n"
        "from medperf.registry.git import MAIN, Author, Repository\n"
        "with Repository.create(Path(sys.argv[1])) as repo:\n"
        "    for n in range(1000):\n"
        "        def build(base):\n"
        "            return repo.commit([base], base, {f'cubes/{sys.argv[3]}/{n}': b'x'},\n"
        "                message='m', author=Author('a', 'b'), signer=None)\n"
        "        repo.write(sys.argv[2], MAIN, build)\n"
        "        print(n, flush=True)\n"
    )
    for turn in range(3):
        arguments = [sys.executable, "-c", code, str(tmp_path / "w.git"), str(remote), str(turn)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(0.03 * turn)
            writer.kill()
            told = 1 + len(writer.stdout.readlines())
        time.sleep(0.3)  # the Git that the writer had started ends by itself
        tip = repo.fetch_ref(str(remote), MAIN)
        assert tip
        kept = [path for path in repo.tree(tip) if path.startswith(f"cubes/{turn}/")]
        assert told <= len(kept) <= told + 1
    assert "error" not in git(remote, "fsck", "--strict")


def test_a_branch_cannot_be_a_folder_of_branches(repo: Repository, remote: Path) -> None:
    made = commit(repo, [], {"a": b"1"})
    repo.push(str(remote), {"refs/heads/sites/x": (made, None)})
    with pytest.raises(RegistryError, match="Choose another name"):
        repo.push(str(remote), {"refs/heads/sites/x/y": (made, None)})


def test_errors_of_reaching_a_remote_say_what_to_do(repo: Repository, tmp_path: Path) -> None:
    for url, words in {
        str(tmp_path / "none.git"): "no repository that you may read",
        (tmp_path / "none.git").as_uri(): "no repository that you may read",
        "https://nowhere.invalid/x.git": "host is not known",
        "https://127.0.0.1:1/x.git": "down. Try again later",
        "ssh://git@127.0.0.1:1/x.git": "down. Try again later",
    }.items():
        with pytest.raises(RegistryError, match=words):
            repo.fetch(url, [MIRROR])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/x", "no way to a registry"),
        ("git://example.com/x", "no way to a registry"),
        ("ext::sh -c evil", "not the address"),
        ("", "not the address"),
        ("https://bob:secret@example.com/x", "holds credentials"),
        ("https://token@example.com/x", "holds credentials"),
        ("ssh://git:secret@example.com/x", "holds credentials"),
        ("https:///x", "not the address"),
        ("https://example.com", "not the address"),
        ("a\nb", "not the address"),
    ],
)
def test_an_address_that_is_unsafe_is_refused(repo: Repository, url: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words) as caught:
        repo.fetch(url, [MIRROR])
    assert "secret" not in str(caught.value)


def test_addresses_are_paths_or_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert remote_address("x.git") == str(tmp_path / "x.git")
    assert remote_address("-x") == str(tmp_path / "-x")
    assert remote_address("git@forge.example:a/b.git") == "git@forge.example:a/b.git"
    assert remote_address("ssh://git@forge.example/a") == "ssh://git@forge.example/a"


def test_opening_says_what_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not a Git repository"):
        Repository.open(tmp_path)
    with pytest.raises(RegistryError, match="not a Git repository"):
        Repository.open(tmp_path / "none" / "at-all")
    for number, link in enumerate((b"gitdir: /nowhere", b"gitdir: ../..", b"\xff", b"")):
        folder = tmp_path / f"broken-{number}"
        folder.mkdir()
        (folder / ".git").write_bytes(link)
        with pytest.raises(RegistryError, match="not a Git repository"):
            Repository.open(folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RegistryError, match="is no Git repository"):
        Repository.create(tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="is no Git repository"):
        Repository.create(tmp_path / "file")
    with pytest.raises(RegistryError, match="Cannot make"):
        Repository.create(tmp_path / "file" / "below")


def test_a_repository_of_ours_has_no_hooks(tmp_path: Path) -> None:
    with Repository.create(tmp_path / "deep" / "r.git") as made:
        assert not (made.folder / "hooks").exists()
        assert (made.folder / "HEAD").read_text() == "ref: refs/heads/main\n"
        assert not made.is_shallow
    with Repository.create(tmp_path / "deep" / "r.git") as again:
        assert again.refs("refs/heads") == {}
    with Repository.open(tmp_path / "deep" / "r.git") as opened:
        assert opened.resolve(MAIN) is None


def test_a_checkout_and_a_worktree_can_be_opened(remote: Path, tmp_path: Path) -> None:
    with Repository.create(tmp_path / "mine.git") as mine:
        one = commit(mine, [], {"a/b": b"1"})
        mine.push(str(remote), {MAIN: (one, None)})
    clone, tree = tmp_path / "clone", tmp_path / "tree"
    git(tmp_path, "clone", "-q", str(remote), str(clone))
    git(clone, "worktree", "add", "-q", str(tree), "-b", "topic")
    for place in (clone, clone / "a", tree):
        with Repository.open(place) as opened:
            assert opened.resolve(MAIN) == one
            assert opened.file(one, "a/b") == b"1"


def test_the_surroundings_cannot_point_git_elsewhere(
    repo: Repository, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook, where Git itself sets these."""
    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "init", "-q", str(elsewhere))
    for name, value in {
        "GIT_DIR": str(elsewhere / ".git"),
        "GIT_WORK_TREE": str(elsewhere),
        "GIT_INDEX_FILE": str(elsewhere / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(elsewhere / ".git" / "objects"),
        "GIT_COMMON_DIR": str(elsewhere / ".git"),
        "GIT_NAMESPACE": "foo",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bare",
        "GIT_CONFIG_VALUE_0": "banana",
    }.items():
        monkeypatch.setenv(name, value)
    with Repository.open(repo.folder.parent / "mine.git") as opened:
        assert opened.folder == repo.folder
    one = commit(repo, [], {"a": b"1"})
    repo.push(str(remote), {MAIN: (one, None)})
    repo.fetch(str(remote), [MIRROR])
    monkeypatch.undo()
    assert (remote / "refs" / "heads" / "main").read_text().strip() == one
    assert repo.resolve("refs/remotes/origin/main") == one
    assert not list((elsewhere / ".git" / "objects").glob("??"))


def test_only_what_reaching_needs_is_taken_from_the_users_configuration(
    repo: Repository, remote: Path, home: Path, tmp_path: Path
) -> None:
    (home / ".gitconfig").write_text(
        '[credential "https://x.example"]\n\thelper = "!echo \\"a b\\""\n'
        "[safe]\n\tdirectory = /srv/registry.git\n"
        f'[url "{tmp_path}/evil"]\n\tinsteadOf = {remote}\n'
        "[push]\n\tgpgSign = true\n[user]\n\tname = Private Person\n"
    )
    repo.push(str(remote), {MAIN: (commit(repo, [], {"a": b"1"}), None)})
    (made,) = repo.folder.glob("medperf-network-*.gitconfig")
    assert git(tmp_path, "config", "-f", str(made), "credential.https://x.example.helper") == (
        '!echo "a b"\n'
    )
    assert git(tmp_path, "config", "-f", str(made), "safe.directory") == "/srv/registry.git\n"
    assert "BatchMode" in git(tmp_path, "config", "-f", str(made), "core.sshCommand")
    assert "Private" not in made.read_text()
    assert "insteadOf" not in made.read_text()


def test_a_machine_without_git_is_told_so(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medperf.registry.git import Repository\n"
        "from medperf.schemas.errors import RegistryError\n"
        "try: Repository.create(Path(sys.argv[1]))\n"
        "except RegistryError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "r.git")],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "git is not found: install Git" in done.stdout, done.stderr
