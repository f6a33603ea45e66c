"""A stranger's commit says how large it is; what is read of it at once is bounded all the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.registry import git_process, git_reading, ledger, snapshot, validate
from medperf.registry.git import MAIN, Repository
from medperf.registry.git_reading import BLOB_CAP
from medperf.registry.history import walk
from medperf.registry.ledger import Note
from medperf.registry.snapshot import Library
from medperf.schemas.documents import MOST_PROBLEMS, load
from medperf.schemas.errors import InvalidDocumentError, RegistryError
from medperf.schemas.manifests import MANIFEST_LIMIT

from .world import World

MIB = 1 << 20


def cubes(count: int, size: int) -> dict[str, bytes]:
    """So many files of so many bytes each, none of them a document."""
    return {
        f"cubes/modeler/n{number}.yaml": b"# %d\n" % number + b"a" * size for number in range(count)
    }


def commit_with(url: Path, tip: str, *, message: bytes = b"Add", blob: bytes = b"x") -> None:
    """Main with one more commit, by Git itself, which takes any size."""
    stream = b"commit refs/heads/main\ncommitter a <a@b.invalid> 1800000000 +0000\n"
    stream += b"data %d\n%b\nfrom %b\n" % (len(message), message, tip.encode())
    stream += b"M 100644 inline cubes/x/y.yaml\ndata %d\n%b\n\ndone\n" % (len(blob), blob)
    command = ["git", "-C", str(url), "fast-import", "--quiet", "--done"]
    subprocess.run(command, input=stream, check=True)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git ends where it would take 16 MiB in one piece."""
    monkeypatch.setitem(git_process._NEUTRAL, "GIT_ALLOC_LIMIT", "16m")


@pytest.mark.usefixtures("strict")
def test_a_large_file_on_main_is_fetched_and_refused_without_being_held(
    world: World, tmp_path: Path
) -> None:
    commit_with(world.repository.folder, world.tip or "", blob=b"a" * (48 * MIB))
    with Repository.create(tmp_path / "clone.git") as clone:
        clone.fetch(f"file://{world.repository.folder}", [f"+{MAIN}:{MAIN}"])
        tip = clone.resolve(MAIN) or ""
        entry = clone.tree(tip)["cubes/x/y.yaml"]
        assert len(clone.blob(entry.oid)) == BLOB_CAP + 1
        notes: list[Note] = walk(clone, tip).ledger.notes
    assert [note.path for note in notes] == ["cubes/x/y.yaml"]
    assert "has more than 65536 bytes" in notes[0].text


@pytest.mark.usefixtures("strict")
def test_a_commit_that_unpacks_to_more_than_git_may_take_is_an_error_that_says_so(
    world: World, tmp_path: Path
) -> None:
    commit_with(world.repository.folder, world.tip or "", message=b"a" * (48 * MIB))
    with (
        Repository.create(tmp_path / "clone.git") as clone,
        pytest.raises(RegistryError, match="attempting to allocate"),
    ):
        clone.fetch(f"file://{world.repository.folder}", [f"+{MAIN}:{MAIN}"])


def test_of_what_a_remote_says_only_the_end_is_kept(world: World) -> None:
    noise = "alias.noise=!yes remote: words | head -c 3000000 >&2; echo fatal: end >&2; exit 3"
    done = world.repository._runner.watched("-c", noise, "noise", what="Fetching")
    assert done.status == 3
    assert done.err.endswith("fatal: end")
    assert len(done.err) <= 1 << 16


def test_files_are_read_ahead_only_as_far_as_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "ROOM", 3 * MANIFEST_LIMIT)
    files = cubes(8, MIB)
    tip = world.commit(files, by=None)
    tree = world.repository.tree(tip)
    oids = [tree[path].oid for path in files]
    library = Library(world.repository)
    library.prepare(oids)
    assert 0 < library._held <= 4 * (MANIFEST_LIMIT + 1)
    assert {len(library.data(oid)) for oid in oids} == {MANIFEST_LIMIT + 1}
    assert library._held <= 4 * (MANIFEST_LIMIT + 1)
    library.forget()
    assert library._held == 0


def test_history_is_read_some_commits_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        world.commit({f"README-{number}.md": b"x\n"})
    tip = world.tip or ""
    whole = world.repository.first_parents(tip)
    monkeypatch.setattr(git_reading, "_TOGETHER", 2)
    asked: list[int] = []
    read = Repository._changes

    def counted(
        self: Repository, commits: Iterator[tuple[str, tuple[str, ...]]], limits: list[str]
    ) -> object:
        some = list(commits)
        asked.append(len(some))
        return read(self, some, limits)

    monkeypatch.setattr(Repository, "_changes", counted)
    chain = world.repository.chain(tip)
    assert not any(step.changes for step in chain)
    assert list(world.repository.changed(chain)) == whole
    assert max(asked) == 2
    assert sum(asked) == len(whole)


def test_a_commit_that_changes_more_than_fits_is_refused_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = world.commit(cubes(4, 1), by=None)
    monkeypatch.setattr(git_reading, "MOST_CHANGES", 3)
    with pytest.raises(RegistryError, match=r"changes more than 3 files.*smaller ones"):
        walk(world.repository, tip)


def test_a_proposal_of_more_files_than_anybody_reviews_fails_before_they_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "MOST_FILES", 3)
    head = world.propose(cubes(4, 1), by="modeler/max")
    verdict = validate.validate(world.repository, world.tip or "", head)
    assert verdict.answer == "failed"
    assert "is one of 4 files that are changed at once" in verdict.sentence
    assert "Propose at most 3" in verdict.sentence


def test_of_a_commit_full_of_junk_so_much_is_told_as_anybody_reads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_IGNORED", 3)
    world.commit(cubes(5, 1), by=None)
    tip = world.commit({"cubes/modeler/late.yaml": b"x"}, by=None)
    notes: list[Note] = walk(world.repository, tip).ledger.notes
    told = [note.path.rpartition("/")[2] for note in notes]
    assert told == ["n0.yaml", "n1.yaml", "n2.yaml", "late.yaml"]
    assert notes[2].text.endswith(
        "More of this commit may be ignored: it is not told file by file."
    )
    head = world.propose(
        {f"cubes/modeler/m{number}.yaml": b"x" for number in range(5)}, by="modeler/max"
    )
    verdict = validate.validate(world.repository, tip, head)
    assert verdict.answer == "failed"


def test_of_a_document_with_thousands_of_mistakes_a_hundred_are_told() -> None:
    head = "apiVersion: medperf/v1alpha1\nkind: Cube\n"
    text = head + "".join(f"k{number}: 1\n" for number in range(3000))
    with pytest.raises(InvalidDocumentError) as caught:
        load(text.encode(), file="cubes/x/y.yaml")
    problems = caught.value.problems
    assert len(problems) == MOST_PROBLEMS + 1
    assert "more problems" in problems[-1].found
