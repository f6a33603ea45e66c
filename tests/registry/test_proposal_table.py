"""A table of proposals, good, waiting and hostile: the answer, the remarks and the summary of each.

One row a proposal: who signs the commit, what it changes, the answer and kind expected, and words
that the problems (or whose signature is missing) must hold. Every row is also written as remarks
and as a summary, which must say the same and stay harmless.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medperf.cli.output import _inert, clean
from medperf.registry import paths
from medperf.registry.annotations import annotations
from medperf.registry.automerge import refusal
from medperf.registry.git import Entry
from medperf.registry.summary import HEADLINES, summarize
from medperf.registry.summary_text import LIMIT, markdown, terminal
from medperf.registry.validate import validate
from medperf.schemas import documents
from medperf.schemas.digests import digest

from .test_summary import PLAIN, rendered
from .world import (
    World,
    association_manifest,
    cube_manifest,
    key_entry,
    owner_manifest,
    settings_manifest,
)

Changes = Mapping[str, bytes | Entry | None]
NEXT = paths.cube_path("modeler/next")
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
SETTINGS = "benchmarks/committee/cxr.settings.yaml"
ADMIN = "committee/alice"
HOSTILE = ("@", "<", "http", "javascript", "error", "evil")


@dataclass(frozen=True)
class Row:
    """A proposal and what must be said of it."""

    name: str
    make: Callable[[World], Changes]
    answer: str
    words: str = ""
    kind: str = ""
    by: str | None = "modeler/max"


def cube(ref: str = "modeler/next", **spec: Any) -> dict[str, bytes]:
    return {paths.cube_path(ref): documents.dump(cube_manifest(ref, "model", **spec))}


def owner(world: World, *signers: str, serial: int = 2) -> Changes:
    keys = [key_entry("modeler/max"), key_entry("modeler/max#2")]
    data = documents.dump(owner_manifest("modeler", {"max": keys}, serial=serial))
    path = "owners/modeler.yaml"
    return {path: data, **world.approval(path, *signers, data=data, number=serial)}


def clinic(world: World, *signers: str) -> Changes:
    data = documents.dump(owner_manifest("clinic", ["first"]))
    return {
        "owners/clinic.yaml": data,
        **world.approval("owners/clinic.yaml", *signers, data=data),
    }


def registry(world: World, *signers: str) -> Changes:
    new = {**world.registry, "spec": {**world.registry["spec"], "serial": 2}}  # type: ignore[dict-item]
    data = documents.dump(new)
    return {
        "registry.yaml": data,
        **world.approval("registry.yaml", *signers, data=data, number=2),
    }


def settings(world: World, *signers: str, **spec: Any) -> Changes:
    data = documents.dump(settings_manifest(serial=2, **spec))
    return {SETTINGS: data, **world.approval(SETTINGS, *signers, data=data, number=2)}


def association(world: World, *signers: str) -> Changes:
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    return {path: data, **world.approval(path, *signers, data=data)}


def link(world: World, path: str, mode: str = "120000") -> Changes:
    oid = world.tip if mode == "160000" else world.repository.write_blob(b"/etc/passwd")
    assert oid is not None
    return {path: Entry(mode, "commit" if mode == "160000" else "blob", oid)}


def executable(world: World) -> Changes:
    return {NEXT: Entry("100755", "blob", world.repository.write_blob(cube()[NEXT]))}


def renamed(world: World) -> Changes:
    old = paths.cube_path("modeler/resnet")
    return {old: None, NEXT: world.files[old]}


def dataset(world: World) -> Changes:
    before = dict(world.files)
    tip = world.tip
    world.add_dataset("hospital/next")
    path = paths.dataset_path("hospital/next")
    found = {path: world.files[path]}
    world.files = before
    assert tip is not None
    world.move(tip)
    return found


def deprecated() -> Changes:
    manifest = {
        "apiVersion": "medperf/v1alpha1",
        "kind": "Settings",
        "spec": {"serial": 1, "deprecated": True, "description": "See the next."},
    }
    path = paths.settings_path(paths.cube_path("modeler/resnet"))
    return {path: documents.dump(manifest)}


def benchmark(world: World, *signers: str) -> Changes:
    ref = "committee/ct"
    path = paths.benchmark_path(ref)
    data = documents.dump(world.benchmark_manifest(ref))
    pins = {
        "benchmark": {"ref": ref, "digest": digest(data)},
        "model": world.pin("cubes", "committee/ref"),
    }
    changes: dict[str, bytes] = {
        path: data,
        paths.settings_path(path): documents.dump(settings_manifest()),
        paths.association_path(ref, "models", "committee/ref"): documents.dump(
            association_manifest(1, **pins)
        ),
    }
    for name, one in list(changes.items()):
        changes |= world.approval(name, *signers, data=one)
    return changes


def second_round(world: World, *signers: str, number: int = 2) -> Changes:
    world.revoke(RESNET, "modeler/max")
    path, data = world.association("modeler/resnet", number=number)
    return {path: data, **world.approval(path, *signers, data=data, number=number)}


def admins(world: World, *signers: str) -> Changes:
    council = {"threshold": 2, "members": [ADMIN, "hospital/bob"]}
    spec = {**world.registry["spec"], "serial": 2, "admins": council}  # type: ignore[dict-item]
    data = documents.dump({**world.registry, "spec": spec})
    statements = world.approval("registry.yaml", *signers, data=data, number=2)
    return {"registry.yaml": data, **statements}


def foreign_result(world: World) -> Changes:
    return world.result(key="modeler/max", by="hospital/ward")


ROWS = (
    # the kinds of §4
    Row("objects", lambda _: {**cube(), **cube("modeler/last")}, "valid", kind="objects"),
    Row("objects unsigned", lambda _: cube(), "waits", "a member of modeler", "objects", None),
    Row("objects by another", lambda _: cube(), "waits", "a member of modeler", by="hospital/bob"),
    Row("association", lambda w: association(w, "modeler/max", ADMIN), "valid", kind="association"),
    Row("association of one side", lambda w: association(w, ADMIN), "waits", "member of modeler"),
    Row("association unsigned", lambda w: association(w), "waits", "committee of committee/cxr"),
    Row("settings", lambda w: settings(w, ADMIN, active=False), "valid", kind="settings"),
    Row("settings unsigned", lambda w: settings(w, active=False), "waits", kind="settings"),
    Row("owner, new", lambda w: clinic(w, "clinic/first", ADMIN), "valid", kind="owner"),
    Row("owner, new, not by himself", lambda w: clinic(w, ADMIN), "waits", "clinic"),
    Row("owner, new, no admin", lambda w: clinic(w, "clinic/first"), "waits", "an admin"),
    Row("owner, changed", lambda w: owner(w, "modeler/max", ADMIN), "valid", kind="owner"),
    Row("owner, changed by the admin alone", lambda w: owner(w, ADMIN), "waits", "of modeler"),
    Row("registry", lambda w: registry(w, ADMIN), "valid", kind="registry", by=ADMIN),
    Row("registry unsigned", lambda w: registry(w), "waits", "admin", by=ADMIN),
    Row("results", lambda w: w.result(), "valid", kind="results", by="hospital/ward"),
    Row("results of a person's key", foreign_result, "failed", "sign", by="hospital/ward"),
    Row(
        "statements",
        lambda w: w.approval(RESNET, "modeler/max", decision="revoke"),
        "valid",
        kind="statements",
    ),
    Row(
        "a statement of a stranger",
        lambda w: w.approval(RESNET, "hospital/bob", key="evil/eve"),
        "failed",
        "does not count",
    ),
    Row("dataset", lambda w: dataset(w), "valid", kind="objects", by="hospital/bob"),
    Row("cube's settings", lambda _: deprecated(), "valid", by="modeler/max"),
    Row("cube's settings by another", lambda _: deprecated(), "waits", "member of modeler",
        by="hospital/bob"),
    Row("benchmark", lambda w: benchmark(w, ADMIN), "valid", kind="benchmark", by=ADMIN),
    Row("benchmark unsigned", lambda w: benchmark(w), "waits", "admin", "benchmark", by=ADMIN),
    Row("a second round", lambda w: second_round(w, "modeler/max", ADMIN), "valid",
        kind="association"),
    Row("a second round of one side", lambda w: second_round(w, "modeler/max"), "waits",
        "committee"),
    Row("a round too far", lambda w: second_round(w, "modeler/max", ADMIN, number=3), "failed",
        "round"),
    Row("new admins, by the old alone", lambda w: admins(w, ADMIN), "waits", "admin", by=ADMIN),
    Row("new admins, by both", lambda w: admins(w, ADMIN, "hospital/bob"), "valid",
        kind="registry", by=ADMIN),
    Row("nothing", lambda _: {}, "valid", kind="nothing"),
    Row("a workflow by an admin", lambda _: {".github/workflows/x.yml": b"on: push\n"}, "valid",
        kind="registry", by=ADMIN),
    Row("a workflow by a stranger", lambda _: {".github/workflows/x.yml": b"on: push\n"}, "waits",
        "an admin who signs the commit"),
    Row("a schema by a stranger", lambda _: {"schemas/cube.json": b"{}"}, "waits", "an admin"),
    # hostile
    Row("a workflow beside a cube", lambda _: {**cube(), ".github/workflows/x.yml": b"x"},
        "failed", "is mixed with others"),
    Row("two owners' cubes", lambda _: {**cube(), **cube("hospital/x")}, "failed", "mixed"),
    Row("a foreign path", lambda _: {"src/evil.py": b"x"}, "waits", "an admin", "registry"),
    Row("a stray file", lambda _: {"cubes/modeler/notes.txt": b"x"}, "failed", ""),
    Row("renamed", renamed, "failed", "is deleted"),
    Row("deleted", lambda _: {paths.cube_path("modeler/resnet"): None}, "failed", "is deleted"),
    Row("modified", lambda _: {paths.cube_path("modeler/resnet"): b"x: 1\n"}, "failed", "add-only"),
    Row("executable", executable, "failed", "mode"),
    Row("a link", lambda w: link(w, NEXT), "failed", "link"),
    Row("a submodule", lambda w: link(w, NEXT, "160000"), "failed", "submodule"),
    Row("a link elsewhere", lambda w: link(w, "docs"), "failed", "link"),
    Row("a case clash", lambda _: {"cubes/Modeler/next.yaml": b"x"}, "failed", ""),
    Row("binary", lambda _: {NEXT: bytes(range(256))}, "failed", "UTF-8"),
    Row("huge", lambda _: {NEXT: b"# " + b"x" * 3_000_000}, "failed", "bytes"),
    Row("an unknown kind", lambda _: {NEXT: b"apiVersion: medperf/v1alpha1\nkind: Cub\n"},
        "failed", "Cub"),
    Row("commands", lambda _: {NEXT: b"kind: '::error::x ##[error]y @all <b>'\n"}, "failed", ""),
    Row("a serial too far", lambda w: owner(w, "modeler/max", ADMIN, serial=3), "failed", "serial"),
    Row("settings' serial", lambda w: {SETTINGS: w.files[SETTINGS] + b"# x\n"}, "failed", "serial"),
)  # fmt: skip


PATHS = {
    "Markdown": "a`b``|@team <img src=x> [x](javascript:1) http:/evil.example",
    "an image": "![x](http:/evil.example/a.png)\\|<img src=http:evil>|",
    "a command": "x\n::error file=a::evil\n##[error]evil",
    "a command alone": "::stop-commands::evil",
    "of a cube": "cubes/modeler/`\n```\n@evil <b>.yaml",
    "turned round": "a\u202egpj.evil\u200b",
    "no UTF-8": "a\udcff`@evil",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_a_stranger_chose_does_nothing(
    world: World, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PATHS[name]
    head = with_path(world, path, tmp_path / "index")
    assert world.tip is not None
    verdict = validate(world.repository, world.tip, head)
    assert verdict.answer in ("waits", "failed")
    assert refusal(verdict) != ""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for text in (refusal(verdict), verdict.sentence, *map(str, verdict.problems)):
        for line in _inert(clean(text, lines=True)).splitlines():
            assert not line.lstrip().startswith("::")
            assert "##[" not in line
    for remark in annotations(verdict.problems, verdict.waits_for):
        assert (len(remark.splitlines()), remark.count("::")) == (1, 2)
        assert "##[" not in remark
        remark.encode()
    tags, _, bare = rendered(markdown(summarize(world.repository, verdict, proposal="7")))
    assert tags <= PLAIN
    assert not any(hostile in bare for hostile in HOSTILE)


def with_path(world: World, path: str, index: Path) -> str:
    """A commit of a stranger's own Git that adds a file whose name medperf would never write."""

    def git(*words: str, data: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", world.repository.folder, *words],
            input=data,
            capture_output=True,
            check=True,
            env={**os.environ, "GIT_INDEX_FILE": str(index)},
        )
        return done.stdout.decode().strip()

    blob = git("hash-object", "-w", "--stdin", data=b"x")
    git("read-tree", str(world.tip))
    entry = f"100644 {blob}\t".encode() + os.fsencode(path) + b"\0"
    git("update-index", "-z", "--index-info", data=entry)
    author = ("-c", "user.name=e", "-c", "user.email=e@e.invalid")
    tree = git("write-tree")
    return git(*author, "commit-tree", tree, "-p", str(world.tip), "-m", "@evil\n\n::error::evil")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_proposal_gets_its_answer_its_remarks_and_its_summary(world: World, row: Row) -> None:
    changes = row.make(world)
    assert world.tip is not None
    head = world.propose(changes, by=row.by) if changes else world.tip
    verdict = validate(world.repository, world.tip, head)
    said = "\n".join([*map(str, verdict.problems), *verdict.waits_for])
    assert verdict.answer == row.answer, verdict.sentence
    assert row.words in said
    assert row.kind in ("", verdict.kind)

    remarks = list(annotations(verdict.problems, verdict.waits_for))
    assert len(remarks) == len(verdict.problems) + len(verdict.waits_for)
    for remark, problem in zip(remarks, verdict.problems, strict=False):
        name = problem.file.encode("utf-8", "surrogateescape")
        assert remark.startswith("::error file=")
        assert name.isascii() is False or problem.file in remark or ":" in problem.file
    for remark in remarks:
        assert len(remark.splitlines()) == 1
        assert remark.count("::") == 2
        remark.encode()

    summary = summarize(world.repository, verdict, proposal="7")
    text = markdown(summary)
    text.encode()
    assert text.startswith(f"## {HEADLINES[row.answer]}")
    assert len(text) <= LIMIT
    for change in verdict.changes:
        assert change.path.isascii() is False or change.path[:200] in text
    assert ("medperf proposal merge" in text or "association approve" in text) is (
        row.answer != "failed"
    )
    assert terminal(summary)
    # what GitHub makes of it: nothing that a stranger wrote stands outside code
    tags, _, bare = rendered(text)
    assert tags <= PLAIN
    assert not any(hostile in bare for hostile in HOSTILE)


def test_a_merge_commit_on_the_branch_is_judged_by_what_it_brings(world: World) -> None:
    first = world.propose(cube(), by="modeler/max")
    world.add_cube("modeler/other")
    assert world.tip is not None
    merged = world.repository.commit(
        [first, world.tip],
        first,
        {paths.cube_path("modeler/other"): world.files["cubes/modeler/other.yaml"]},
        message="Merge main",
        author=_author(),
        signer=None,
    )
    verdict = validate(world.repository, world.tip, merged)
    assert (verdict.answer, [one.path for one in verdict.changes]) == ("valid", [NEXT])
    assert "| nobody |" in markdown(summarize(world.repository, verdict))


def _author() -> Any:
    from medperf.registry.git import Author

    return Author.of("modeler/max")
