"""What is said of a proposal: valid, waits for whom, or failed; and nothing valid stalls a site."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.git import Entry
from medperf.registry.validate import Verdict, validate, validate_files, validate_tree
from medperf.schemas import documents
from medperf.schemas.errors import RegistryError

from .world import (
    World,
    cube_manifest,
    digest_of,
    key_entry,
    owner_manifest,
    settings_manifest,
)

CXR = "committee/cxr"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
CHEST = "datasets/hospital/chest.yaml"
NULL = "sha256:" + "0" * 64
BOTH = ("modeler/max", "committee/alice")


def judged(
    world: World, changes: Mapping[str, bytes | Entry | None], *, by: str | None = "modeler/max"
) -> Verdict:
    """The verdict on a proposal; a valid one is merged, and stalls nobody."""
    assert world.tip is not None
    head = world.propose(changes, by=by)
    verdict = validate(world.repository, world.tip, head)
    if verdict.answer == "valid":
        world.commit(changes, parents=[world.tip, head])
        assert [note for note in world.view().notes if note.kind == "ignored"] == []
    return verdict


def failure(verdict: Verdict) -> str:
    assert verdict.answer == "failed", verdict.sentence
    return "\n".join(str(problem) for problem in verdict.problems)


def cube(ref: str = "modeler/next", role: str = "model", **spec: Any) -> dict[str, bytes]:
    return {paths.cube_path(ref): documents.dump(cube_manifest(ref, role, **spec))}


# What is valid


def test_new_objects_are_valid_if_their_owner_signed_the_commit(world: World) -> None:
    verdict = judged(world, {**cube(), **cube("modeler/last")})
    assert (verdict.answer, verdict.kind) == ("valid", "objects")


@pytest.mark.parametrize("by", [None, "hospital/bob", "evil/eve"])
def test_objects_that_their_owner_did_not_sign_wait(world: World, by: str | None) -> None:
    verdict = judged(world, cube(), by=by)
    assert verdict.answer == "waits"
    assert verdict.waits_for == (
        "next.yaml: a member of modeler who signs the commit that adds it",
    )


def test_an_association_waits_for_both_and_is_valid_with_both(world: World) -> None:
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next")
    verdict = judged(world, {path: data})
    assert (verdict.answer, verdict.kind) == ("waits", "association")
    assert verdict.waits_for == (
        "a member of modeler",
        "a member of the committee of committee/cxr",
    )
    signed = {path: data, **world.approval(path, *BOTH, data=data)}
    assert judged(world, signed).answer == "valid"


def test_the_next_round_of_a_revoked_association_is_an_association(world: World) -> None:
    world.revoke(RESNET, "modeler/max")
    path, data = world.association("modeler/resnet", number=2)
    changes = {path: data, **world.approval(path, *BOTH, data=data, number=2)}
    verdict = judged(world, changes)
    assert (verdict.answer, verdict.kind) == ("valid", "association")


def test_a_dataset_comes_with_its_association(world: World) -> None:
    data = world.files[CHEST].replace(b"name: chest", b"name: more")
    data = data.replace(data.split(b"commitment: ")[1][:64], b"ab" * 32)
    path = paths.dataset_path("hospital/more")
    world.files[path] = data
    association, bytes_ = world.association("hospital/more")
    changes = {path: data, association: bytes_}
    changes |= world.approval(association, "hospital/bob", "committee/alice", data=bytes_)
    verdict = judged(world, changes, by="hospital/bob")
    assert (verdict.answer, verdict.kind) == ("valid", "objects")


def test_statements_alone_are_valid_if_they_count(world: World) -> None:
    world.add_cube("modeler/next")
    world.associate("modeler/next", signed_by=["modeler/max"])
    path = "associations/committee/cxr/models/modeler__next.yaml"
    verdict = judged(world, world.approval(path, "committee/alice"))
    assert (verdict.answer, verdict.kind) == ("valid", "statements")
    revocation = world.approval(path, "modeler/max", decision="revoke")
    assert judged(world, revocation).answer == "valid"


def test_a_statement_that_does_not_count_fails(world: World) -> None:
    changes = world.approval(RESNET, "hospital/bob", key="evil/eve")
    assert "does not count: its key" in failure(judged(world, changes))


def test_a_new_owner_waits_for_the_admins(world: World) -> None:
    data = documents.dump(owner_manifest("clinic", ["first"]))
    path = "owners/clinic.yaml"
    changes = {path: data, **world.approval(path, "clinic/first", data=data)}
    verdict = judged(world, changes, by="clinic/first")
    assert (verdict.kind, verdict.waits_for) == ("owner", ("an admin",))
    changes |= world.approval(path, "committee/alice", data=data)
    assert judged(world, changes, by="clinic/first").answer == "valid"


def test_a_changed_owner_waits_where_a_site_would_stall(world: World) -> None:
    keys = [key_entry("modeler/max"), key_entry("modeler/max#2")]
    data = documents.dump(owner_manifest("modeler", {"max": keys}, serial=2))
    path = "owners/modeler.yaml"
    verdict = judged(world, {path: data})
    assert (verdict.kind, verdict.waits_for) == ("owner", ("a member of modeler", "an admin"))
    changes = {path: data, **world.approval(path, *BOTH, data=data, number=2)}
    assert judged(world, changes).answer == "valid"


def benchmark(world: World, ref: str = "hospital/ct", *members: str) -> dict[str, bytes]:
    owner = ref.split("/")[0]
    for name, role in (("prep", "preparator"), ("ref", "model"), ("eval", "evaluator")):
        world.add_cube(f"{owner}/{name}", role)
    path = paths.benchmark_path(ref)
    council = {"threshold": 1, "members": list(members or ["hospital/bob"])}
    world.files[path] = documents.dump(world.benchmark_manifest(ref))
    association, data = world.association(f"{owner}/ref", ref)
    return {
        path: world.files[path],
        paths.settings_path(path): documents.dump(settings_manifest(committee=council)),
        association: data,
    }


def test_a_benchmark_waits_for_its_owner_the_admins_and_its_committee(world: World) -> None:
    changes = benchmark(world)
    verdict = judged(world, changes, by="hospital/bob")
    assert (verdict.answer, verdict.kind) == ("waits", "benchmark")
    assert verdict.waits_for == (
        "a member of hospital (over its reference association)",
        "a member of the committee of hospital/ct (over its reference association)",
        "a member of hospital",
        "an admin",
        "a member of hospital (over its settings)",
        "an admin (over its settings)",
    )
    for path in list(changes):
        changes |= world.approval(path, "hospital/bob", "committee/alice", data=changes[path])
    assert judged(world, changes, by="hospital/bob").sentence == "valid (benchmark)"


def test_a_benchmark_comes_with_settings(world: World) -> None:
    changes = benchmark(world)
    path = paths.benchmark_path("hospital/ct")
    text = failure(judged(world, {path: changes[path]}, by="hospital/bob"))
    assert "benchmarks/hospital/ct.yaml:4: metadata.name: has no settings." in text


def test_settings_wait_for_the_committee(world: World) -> None:
    path = "benchmarks/committee/cxr.settings.yaml"
    data = documents.dump(settings_manifest(serial=2, active=False))
    verdict = judged(world, {path: data})
    assert (verdict.kind, verdict.answer) == ("settings", "waits")
    changes = {path: data, **world.approval(path, "committee/alice", data=data, number=2)}
    assert judged(world, changes).answer == "valid"


def test_results_of_a_site_are_valid(world: World) -> None:
    changes = {**world.result(), **world.result(model="committee/ref")}
    verdict = judged(world, changes, by="hospital/ward")
    assert (verdict.answer, verdict.kind) == ("valid", "results")


def test_a_withdrawal_is_statements(world: World) -> None:
    files = world.result()
    world.commit(files)
    changes = world.approval(next(iter(files)), "hospital/bob", decision="revoke")
    assert judged(world, changes).kind == "statements"


def test_files_of_the_registry_itself_are_the_admins(world: World) -> None:
    changes: dict[str, bytes | Entry | None] = {"README.md": None, "CODEOWNERS": b"* @alice\n"}
    assert judged(world, changes, by="modeler/max").answer == "waits"
    verdict = judged(world, changes, by="committee/alice")
    assert (verdict.answer, verdict.kind) == ("valid", "registry")


def test_a_proposal_without_changes_is_valid(world: World) -> None:
    assert world.tip is not None
    verdict = validate(world.repository, world.tip, world.tip)
    assert (verdict.answer, verdict.kind, verdict.changes) == ("valid", "nothing", ())


def test_what_main_has_already_is_no_change(world: World) -> None:
    assert world.tip is not None
    head = world.propose(cube(), by="modeler/max")
    base = world.commit(cube(), parents=[world.tip, head])
    other = world.propose({}, by="modeler/max")
    assert validate(world.repository, base, other).kind == "nothing"


# What fails


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({CHEST: None}, "datasets/hospital/chest.yaml: is deleted."),
        ({CHEST: b"kind: Dataset\n"}, "is modified: a dataset is add-only"),
        ({"cubes/modeler/x.txt": b"x"}, "is no path of an object of a registry"),
        ({"cubes/modeler/x.yaml": b"a: &a [*a]\n"}, "cubes/modeler/x.yaml:1"),
        ({"cubes/modeler/x.yaml": b"kind: Cubes\n"}, "Did you mean Cube?"),
        ({RESNET: b"kind: Association\n"}, RESNET),
        ({"owners/hospital.yaml": b"kind: Owner\n"}, "owners/hospital.yaml"),
    ],
)
def test_what_may_not_change_or_is_no_document_fails(
    world: World, changes: dict[str, bytes | None], words: str
) -> None:
    assert words in failure(judged(world, changes))


@pytest.mark.parametrize(("mode", "word"), [("100755", "executable"), ("120000", "symbolic link")])
@pytest.mark.parametrize("path", ["cubes/modeler/x.yaml", CHEST])
def test_odd_modes_fail(world: World, path: str, mode: str, word: str) -> None:
    entry = Entry(mode, "blob", world.repository.write_blob(b"x"))
    assert word in failure(judged(world, {path: entry}))


def test_a_submodule_and_a_link_at_the_top_fail(world: World) -> None:
    oid = world.repository.write_blob(b"x")
    assert "submodule" in failure(judged(world, {"vendor": Entry("160000", "commit", world.root)}))
    assert "symbolic" in failure(judged(world, {"LINK": Entry("120000", "blob", oid)}))


def test_a_rename_is_a_deletion(world: World) -> None:
    changes = {CHEST: None, "datasets/hospital/other.yaml": world.files[CHEST]}
    assert "is deleted" in failure(judged(world, changes))


def test_names_that_differ_by_case_fail(world: World) -> None:
    text = failure(judged(world, {"readme.md": b"x\n"}, by="committee/alice"))
    assert "readme.md: is like README.md but for case." in text


@pytest.mark.parametrize(
    "second",
    [
        "cubes/hospital/next.yaml",
        "owners/clinic.yaml",
        "registry.yaml",
        "README.md",
        "benchmarks/modeler/b.yaml",
    ],
)
def test_mixed_proposals_fail(world: World, second: str) -> None:
    assert "is mixed with others" in failure(judged(world, {**cube(), second: b"x\n"}))


def test_a_serial_that_jumps_fails(world: World) -> None:
    path = "benchmarks/committee/cxr.settings.yaml"
    data = documents.dump(settings_manifest(serial=3, active=False))
    changes = {path: data, **world.approval(path, "committee/alice", data=data, number=3)}
    assert "goes from 1 to 3, and must go to 2" in failure(judged(world, changes))


def test_anothers_path_fails_by_what_it_says(world: World) -> None:
    data = cube()[paths.cube_path("modeler/next")]
    text = failure(judged(world, {"cubes/hospital/next.yaml": data}))
    assert "metadata.owner: is 'modeler', and the path says 'hospital'" in text


def test_a_pin_of_other_bytes_fails_with_its_line(world: World) -> None:
    world.add_cube("modeler/next")
    path, data = world.association("modeler/next", model={"ref": "modeler/next", "digest": NULL})
    problem = judged(world, {path: data}).problems[0]
    assert (problem.field, problem.line) == ("spec.model.digest", 10)
    assert problem.fix.startswith("Write sha256:")


def test_names_that_are_not_there_fail_with_the_nearest(world: World) -> None:
    data = world.files[CHEST].replace(b"committee/prep", b"committee/pref")
    data = data.replace(b"name: chest", b"name: more")
    text = failure(judged(world, {"datasets/hospital/more.yaml": data}, by="hospital/bob"))
    assert "is committee/pref: there is no such cube. Did you mean committee/" in text
    assert "spec.commitment: is that of hospital/chest already" in text


def test_undeclared_statistics_fail(world: World) -> None:
    data = world.files[CHEST].replace(b"name: chest", b"name: more")
    data = data.replace(b"cases: 200", b"mean-age: 61")
    text = failure(judged(world, {"datasets/hospital/more.yaml": data}, by="hospital/bob"))
    assert "spec.statistics.mean-age: is not declared by the preparator." in text


def test_a_committee_of_nobody_fails(world: World) -> None:
    changes = benchmark(world, "hospital/ct", "hospital/rob")
    text = failure(judged(world, changes, by="hospital/bob"))
    assert "is hospital/rob, who is not in the registry. Did you mean hospital/bob?" in text


def test_a_taken_key_fails(world: World) -> None:
    keys = {"first": [key_entry("hospital/bob")]}
    data = documents.dump(owner_manifest("clinic", keys))
    assert "which hospital has already" in failure(judged(world, {"owners/clinic.yaml": data}))


def test_invalid_results_fail(world: World) -> None:
    text = failure(judged(world, world.result(key="evil/eve")))
    assert "is not valid: its signature is by the key of nobody" in text


def test_results_without_signatures_or_of_two_sites_fail(world: World) -> None:
    path, data = next(iter(world.result().items()))
    assert "comes without its site's signature" in failure(judged(world, {path: data}))
    other = path.replace("hospital__chest", "clinic__chest")
    assert "is one of results of 2 owners" in failure(judged(world, {path: data, other: data}))


def test_results_of_two_sites_of_one_owner_fail(world: World) -> None:
    sites = {name: [key_entry(f"hospital/{name}")] for name in ("icu", "ward")}
    manifest = owner_manifest("hospital", {"bob": [key_entry("hospital/bob")]}, sites, serial=2)
    world.change_owner(manifest, "hospital/bob", "committee/alice")
    changes = {**world.result(), **world.result(model="committee/ref", key="hospital/icu")}
    text = failure(judged(world, changes, by="hospital/ward"))
    assert "unlike others of this proposal. Propose the results of one site." in text


def test_too_many_results_fail(world: World) -> None:
    path = next(iter(world.result()))
    many = {path.replace(path[-21:-5], f"{number:016x}"): b"x" for number in range(101)}
    assert "is one of 101 results" in failure(judged(world, many))


def test_what_main_changed_meanwhile_fails(world: World) -> None:
    base = world.tip
    path, data = world.association("modeler/resnet", number=2)
    head = world.propose({path: data, **cube()}, by="modeler/max")
    world.associate("modeler/resnet", number=2, trial={"medperf": "0.3.0"})
    world.commit({name: data + b"# other\n" for name, data in cube().items()})
    assert world.tip is not None
    assert base != world.tip
    text = failure(validate(world.repository, world.tip, head))
    assert f"{path}: was changed on main meanwhile" in text
    assert "is on main already, with other bytes" in text


def test_another_history_is_refused(world: World) -> None:
    head = world.commit({"README.md": b"x\n"}, parents=[], move=False)
    assert world.tip is not None
    with pytest.raises(RegistryError, match="no history in common"):
        validate(world.repository, world.tip, head)


# Whole trees


def checkout(world: World, folder: Path) -> Path:
    for path, data in world.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_good_tree_has_no_problems(world: World, tmp_path: Path) -> None:
    world.commit(world.result())
    assert world.tip is not None
    assert validate_tree(world.repository, world.tip) == []
    assert validate_files(checkout(world, tmp_path / "work")) == []


def test_a_work_tree_is_checked_without_history(world: World, tmp_path: Path) -> None:
    root = checkout(world, tmp_path / "work")
    (root / "cubes/modeler/bad.yaml").write_text("kind: Cube\nkind: Cube\n")
    (root / "cubes/modeler/notes.txt").write_text("x")
    (root / "cubes/modeler/link.yaml").symlink_to("resnet.yaml")
    (root / "benchmarks/committee/cxr.yaml").write_bytes(
        world.files["benchmarks/committee/cxr.yaml"].replace(b"committee/eval", b"committee/evil")
    )
    found = [str(problem) for problem in validate_files(root)]
    for words in (
        "cubes/modeler/bad.yaml:2",
        "cubes/modeler/link.yaml: is a symbolic link.",
        "cubes/modeler/notes.txt: is no path",
        "there is no such cube. Did you mean committee/eval?",
    ):
        assert any(words in text for text in found), words


def test_who_refers_to_a_broken_file_is_not_told_that_it_is_missing(
    world: World, tmp_path: Path
) -> None:
    root = checkout(world, tmp_path / "work")
    file = root / "cubes/committee/eval.yaml"
    file.write_bytes(file.read_bytes().replace(b"role:", b"rolle:"))
    (problem,) = validate_files(root)
    assert (problem.file, problem.field) == ("cubes/committee/eval.yaml", "spec.rolle")
    file.unlink()
    assert {one.file for one in validate_files(root)} == {"benchmarks/committee/cxr.yaml"}


def test_a_tree_shows_every_problem(world: World) -> None:
    cube_data = documents.dump(cube_manifest("modeler/x", "model", replaces="modeler/none"))
    commit = world.commit(
        {
            "cubes/modeler/x.yaml": cube_data,
            "cubes/modeler/X.yaml": b"x",
            "cubes/modeler/none.settings.yaml": documents.dump(
                {"apiVersion": "medperf/v1alpha1", "kind": "Settings", "spec": {"serial": 1}}
            ),
            "cubes/nobody/y.yaml": documents.dump(cube_manifest("nobody/y", "model")),
        }
    )
    text = "\n".join(str(problem) for problem in validate_tree(world.repository, commit))
    for words in (
        "is modeler/none: there is no such cube",
        "but for case",
        "belongs to cubes/modeler/none.yaml, which is not there",
        "is nobody, who is not in the registry",
    ):
        assert words in text
    assert digest_of("x") not in text


def test_beside_a_compromised_key_a_proposal_is_judged_as_a_site_does(world: World) -> None:
    keys = [key_entry("modeler/max", "compromised", world.root), key_entry("modeler/max#2")]
    manifest = owner_manifest("modeler", {"max": keys}, serial=2)
    world.change_owner(manifest, *BOTH)
    path = "owners/modeler.yaml"
    data = documents.dump({**manifest, "spec": {**manifest["spec"], "serial": 3}})
    verdict = judged(world, {path: data})
    assert verdict.waits_for == (
        "a member of modeler",
        "an admin",
        "the joining member of modeler",
    )
    signed = {path: data, **world.approval(path, "committee/alice", data=data, number=3)}
    signed |= world.approval(path, "modeler/max", data=data, number=3, key="modeler/max#2")
    assert world.tip is not None
    head = world.propose(signed, by="modeler/max#2")
    assert validate(world.repository, world.tip, head).answer == "valid"
