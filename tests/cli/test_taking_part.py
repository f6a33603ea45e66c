"""Cubes, benchmarks, datasets and associations: proposed, reviewed, approved, revoked."""

import json
from pathlib import Path

import pytest

from medperf.cli.app import run

from ..reconciler.world import METRICS, PROGRAM, TASKS, pack, raw_data
from .conftest import Desks


@pytest.fixture
def cube(desks: Desks, tmp_path: Path) -> tuple[str, ...]:
    """The options of a model's files, as a person has them beside each other."""
    desks.world.set("modeler", f"policy.files=[{json.dumps(str(tmp_path))}, {_assets(desks)}]")
    desks.world.set("committee", f"policy.files=[{json.dumps(str(tmp_path))}, {_assets(desks)}]")
    desks.world.set("hospital", f"policy.files=[{json.dumps(str(tmp_path))}, {_assets(desks)}]")
    (tmp_path / "mlcube.yaml").write_text(f"name: toy\ntasks:\n{TASKS['model']}")
    (tmp_path / "parameters.yaml").write_text("{}\n")
    pack(tmp_path / "cube.tar.gz", {"main.py": PROGRAM.encode()})
    return (
        "--mlcube-file", "mlcube.yaml", "--parameters-file", "parameters.yaml",
        "--image-file", "sandbox=cube.tar.gz", "--sandbox-command", "python3 main.py",
    )  # fmt: skip


def _assets(desks: Desks) -> str:
    return json.dumps(str(desks.world.assets))


def test_a_model_goes_from_its_files_to_an_approved_association(
    desks: Desks, cube: tuple[str, ...]
) -> None:
    asked = desks.modeler("mlcube", "submit", "--name", "mine", *cube)
    assert asked.code == 2
    assert "cubes/modeler/mine.yaml" in asked.err
    assert desks.world.url in asked.err
    assert desks.modeler("proposal", "ls", "--json").json == []

    submitted = desks.modeler("mlcube", "submit", "--name", "mine", *cube, "-y")
    assert submitted.code == 0, submitted.err
    assert "medperf proposal merge modeler/cube-mine" in submitted.out
    assert "cube-mine" in desks.committee("proposal", "ls").out
    seen = desks.committee("proposal", "view", "modeler/cube-mine")
    assert "The rules say: valid" in seen.out
    assert desks.committee("proposal", "view", "cube-mine", "--json").code in (0, 2)
    assert desks.modeler("proposal", "merge", "modeler/cube-mine", "-y").code == 0
    assert "modeler/mine" in desks.modeler("mlcube", "ls", "--mine").out
    assert desks.modeler("mlcube", "view", "mine", "--json").json["manifest"]["spec"]["role"] == (
        "model"
    )

    associated = desks.modeler("mlcube", "associate", "--benchmark=toy", "--model_uid=mine", "-y")
    assert associated.code == 0, associated.err
    assert "Compatibility test passed" in associated.err
    pending = desks.committee("association", "ls", "--pending", "--benchmark", "toy", "--json").json
    assert [one["component"] for one in pending] == ["modeler/mine"]
    words = ("--benchmark", "toy", "--model_uid", "mine")
    asked = desks.committee("association", "approve", *words)
    assert asked.code == 2
    assert "committee/alice would sign" in asked.err
    approved = desks.committee("association", "approve", *words, "-y")
    assert approved.code == 0, approved.err
    assert "mine takes part in toy" in approved.out
    assert "modeler/mine" in desks.hospital("plan").out

    again = desks.modeler("mlcube", "associate", "--benchmark=toy", "--model_uid=mine", "-y")
    assert again.code == 2
    assert "already" in again.err

    revoked = desks.committee("association", "revoke", *words, "--reason", "wrong weights", "-y")
    assert revoked.code == 0, revoked.err
    assert "wrong weights" in desks.hospital("plan").said or "revoked" in desks.hospital("plan").out
    assert "revoked" in desks.modeler("association", "ls", "--revoked").out


def test_a_proposal_can_be_rejected_or_closed(desks: Desks, cube: tuple[str, ...]) -> None:
    assert desks.modeler("mlcube", "submit", "--name", "mine", *cube, "-y").code == 0
    asked = desks.modeler("proposal", "close", "modeler/cube-mine")
    assert asked.code == 2
    closed = desks.modeler("proposal", "close", "modeler/cube-mine", "--reason", "no", "-y")
    assert closed.out == "Closed modeler/cube-mine.\n"
    assert desks.modeler("proposal", "merge", "modeler/cube-mine", "-y").code == 2
    assert desks.modeler("mlcube", "submit", "--name", "mine", *cube, "-y").code == 0
    assert desks.modeler("proposal", "merge", "modeler/cube-mine", "-y").code == 0
    assert (
        desks.modeler("mlcube", "associate", "--benchmark=toy", "--model_uid=mine", "-y").code == 0
    )
    words = ("--benchmark", "toy", "--model_uid", "mine")
    rejected = desks.committee("association", "reject", *words, "--reason", "too slow", "-y")
    assert rejected.code == 0, rejected.err
    assert desks.committee("proposal", "ls", "--json").json == []


def test_sides_of_an_association_are_named_one_at_a_time(desks: Desks) -> None:
    for words in ((), ("--model_uid", "a", "--data_uid", "b")):
        answer = desks.committee("association", "approve", "--benchmark", "toy", *words)
        assert answer.code == 2
        assert "either --model_uid or --data_uid" in answer.err


def test_a_dataset_is_prepared_submitted_and_associated(desks: Desks, tmp_path: Path) -> None:
    raw = raw_data(tmp_path / "more", cases=12)
    words = ("--name", "second", "--location", "Ulm", "--benchmark", "toy")
    data = ("--data_path", str(raw / "data"), "--labels_path", str(raw / "labels.csv"))
    created = desks.hospital("dataset", "create", *words, *data)
    assert created.code == 0, created.err
    assert "Its uid is" in created.out
    local = desks.hospital("dataset", "ls", "--local", "--json").json
    assert {one["name"]: one["registered"] for one in local} == {"chest": "merged", "second": "no"}
    asked = desks.hospital("dataset", "submit", "--data_uid", "second")
    assert asked.code == 2
    assert "commitment" in asked.err
    assert str(tmp_path) not in asked.err.replace(desks.world.url, "")
    assert desks.hospital("dataset", "submit", "--data_uid", "second", "-y").code == 0
    (_, pending) = desks.hospital("dataset", "ls", "--local").out.splitlines()[1:]
    assert pending.split()[1:4] == ["second", "prepared", "proposed"]
    assert desks.hospital("proposal", "merge", "hospital/dataset-second", "-y").code == 0
    assert "cases 12" in desks.committee("dataset", "ls").said
    assert "hospital/second" in desks.hospital("dataset", "ls", "--mine").out
    assert desks.hospital("dataset", "view", "second", "--json").json["path"]
    associate = ("dataset", "associate", "--benchmark_uid", "toy", "--data_uid", "second", "-y")
    associated = desks.hospital(*associate)
    assert associated.code == 0, associated.err
    approve = ("association", "approve", "--benchmark", "toy", "--data_uid", "hospital/second")
    assert desks.committee(*approve, "-y").code == 0
    assert "hospital/second" in desks.hospital("plan").said.replace(" ", "")


def test_a_benchmark_is_tried_before_it_is_proposed(desks: Desks, tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_bytes(METRICS)
    view = desks.world.committee.view()
    demo = view.benchmark("committee/toy").manifest.spec.demo_dataset.url.removeprefix("file://")
    spec = view.benchmark("committee/toy").manifest.spec
    words = (
        "benchmark", "submit", "--name", "second", "--demo-url", demo, "--metrics", "metrics.yaml",
        "--data-preparation-mlcube", spec.preparator.ref, "--reference_model_mlcube",
        spec.reference_model.ref, "--evaluator-mlcube", spec.evaluator.ref,
    )  # fmt: skip
    submitted = desks.committee(*words, "-y")
    assert submitted.code == 0, submitted.err
    assert desks.committee("proposal", "merge", "committee/benchmark-second", "-y").code == 0
    listed = desks.modeler("benchmark", "ls")
    assert "committee/second" in listed.out
    assert len(desks.modeler("benchmark", "ls", "--json").json) == 2
    assert desks.modeler("benchmark", "ls", "--mine").out == ""
    shown = desks.modeler("benchmark", "view", "second")
    assert "kind: Settings" in shown.out
    assert desks.modeler("benchmark", "view", "second", "--json").json["manifest"]
    tested = desks.modeler("test", "run", "--benchmark", "second", "--json")
    assert tested.json["outcome"] == "passed"


@pytest.mark.parametrize("kind", ["mlcube", "dataset", "benchmark", "owner"])
def test_unknown_names_and_numbers_are_answered_with_the_nearest(desks: Desks, kind: str) -> None:
    wrong = {"mlcube": "reff", "dataset": "chset", "benchmark": "toi", "owner": "hospitl"}[kind]
    answer = desks.hospital(kind, "view", wrong)
    assert answer.code == 2
    assert "id you mean" in answer.err
    assert desks.hospital(kind, "view", "12").code == 2


LISTED = {
    ("mlcube", "ls"): "ref digest role deprecated",
    ("dataset", "ls"): "dataset preparator statistics location",
    ("dataset", "ls", "--local"): "uid name state registered benchmark location",
    ("benchmark", "ls"): "benchmark active models datasets description",
    ("association", "ls"): "benchmark component part state why path",
    ("owner", "ls"): "apiVersion kind metadata spec",
    ("proposal", "ls"): "branch head base title address",
    (
        "result",
        "ls",
    ): "name path benchmark dataset model answer marks signed_by day metrics suppressed",
    ("result", "ls", "--local"): "name pair state metrics suppressed bits withheld agreed before",
    ("storage", "ls"): "kind name path size again about",
    (
        "test",
        "ls",
    ): "id key outcome engine medperf benchmark names preparator model evaluator "
    "images data metrics declared not_computable seconds",
    ("registry", "log"): "",
}  # what programs read: a key that goes is a change to be told in CHANGELOG.md
VIEWED = {
    ("mlcube", "view", "prep"): "path digest manifest",
    ("benchmark", "view", "toy"): "path digest manifest",
    ("benchmark", "settings", "toy"): "path digest manifest",
    ("dataset", "view", "hospital/chest"): "path digest manifest",
    ("owner", "view", "hospital"): "apiVersion kind metadata spec",
    ("proposal", "view", "open"): "proposal verdict paths",
    ("result", "view", "toy.ref.chest"): "path benchmark dataset model answer marks signed_by day "
    "metrics suppressed",
    ("profile", "view"): "name registry me storage engine policy limits notify",
    ("profile", "ls"): "active profiles",
    ("status",): "",
    ("plan",): "",
}


def test_every_listing_and_view_is_json_alone_with_keys_that_stay(published: Desks) -> None:
    desks = published
    desks.world.add_model("further")
    assert desks.hospital("reconcile").code == 0
    assert desks.hospital("test", "run", "--benchmark", "toy").code == 0
    desks.world.modeler.propose("open", {"README.md": b"x"}, "Open")
    for words, keys in LISTED.items():
        found = desks.hospital(*words, "--json").json
        assert found, words
        for one in found if keys else ():
            assert set(keys.split()) <= set(one), words
    for words, keys in VIEWED.items():
        found = desks.hospital(*words, "--json").json
        assert set(keys.split()) <= set(found), words


def test_a_list_that_is_empty_is_json_too(desks: Desks) -> None:
    for words in ("proposal ls", "result ls", "result ls --local", "test ls"):
        assert desks.hospital(*words.split(), "--json").json == []


def test_only_the_models_of_a_file_are_run(desks: Desks, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        desks.world.add_model(name)
    run_ = ("benchmark", "run", "-b", "toy", "-d", "chest", "--json")
    (tmp_path / "wrong.txt").write_text("modeler/one, modeler/tow\n")
    wrong = desks.hospital(*run_, "--models-from-file", "wrong.txt")
    assert (wrong.code, "modeler/two" in wrong.said) == (2, True)
    (tmp_path / "models.txt").write_text("modeler/one, two\n")
    ran = desks.hospital(*run_, "--models-from-file", "models.txt")
    assert ran.code == 0, ran.err
    runs = desks.hospital("plan", "--json").json["runs"]
    plan = {one["pair"]["model"]: one["state"] for one in runs}
    assert plan["modeler/one"] == plan["modeler/two"] == "awaiting-release"
    assert plan["modeler/three"] == plan["committee/ref"] == "due"


def test_strangers_words_do_not_act_on_a_terminal(desks: Desks) -> None:
    place = desks.world.modeler
    proposal = place.propose("x", {"README.md": b"x"}, "Title \x1b]0;owned\x07 of a stranger")
    assert run(["--help"]) == 0
    for words in (("proposal", "ls"), ("proposal", "view", proposal.id)):
        answer = desks.committee(*words)
        assert "\x1b" not in answer.out + answer.err
        assert "\x07" not in answer.out + answer.err
        assert "owned" in answer.out


def test_what_a_cube_needs_is_in_its_manifest(desks: Desks, cube: tuple[str, ...]) -> None:
    needs = (
        "--memory=4Gi", "--shm=1Gi", "--gpus=2", "--timeout=infer=60", "--scratch-root",
        "--operational",
    )  # fmt: skip
    submitted = desks.modeler("mlcube", "submit", "--name", "mine", *cube, *needs, "-y")
    assert submitted.code == 0, submitted.err
    assert desks.modeler("proposal", "merge", "modeler/cube-mine", "-y").code == 0
    manifest = desks.modeler("mlcube", "view", "mine", "--json").json["manifest"]
    assert manifest["spec"]["resources"] == {
        "memory": "4Gi",
        "shm": "1Gi",
        "gpus": 2,
        "timeout": {"infer": 60},
        "scratchRoot": True,
    }


@pytest.mark.parametrize(
    "wrong",
    ["--memory=4Q", "--shm=-1", "--timeout=infer", "--timeout=infer=0", "--timeout=inf=5"],
)
def test_what_a_cube_cannot_need_is_refused(
    desks: Desks, cube: tuple[str, ...], wrong: str
) -> None:
    answer = desks.modeler("mlcube", "submit", "--name", "mine", *cube, wrong, "-y")
    assert answer.code in (1, 2), answer.said
    assert wrong.partition("=")[0].removeprefix("--") in answer.err
    assert desks.modeler("proposal", "ls", "--json").json == []


def test_a_registered_model_is_tried_on_the_dataset_of_this_machine(desks: Desks) -> None:
    words = ("test", "run", "--benchmark", "toy", "--data_uid", "chest", "--json")
    answer = desks.hospital(*words)
    assert answer.code == 0, answer.err
    assert answer.json["outcome"] == "passed"
    local = desks.hospital("dataset", "ls", "--local", "--json").json
    assert answer.json["data"].startswith(f"sha256:{local[0]['uid']}")
    refused = desks.hospital(*words, "--model", "committee/reference", "--model_parameters=a")
    assert refused.code == 2
    assert "pinned" in refused.said


def test_results_are_listed_by_benchmark_model_and_dataset(published: Desks) -> None:
    (whole,) = published.hospital("result", "ls", "--json").json
    for option, value in (("-b", "toy"), ("-m", whole["model"]), ("-d", whole["dataset"])):
        assert published.hospital("result", "ls", option, value, "--json").json == [whole]
        wrong = published.hospital("result", "ls", option, f"{value}x")
        assert (wrong.code, "Did you mean" in wrong.err) == (2, True)
    assert published.hospital("result", "ls", "-m", "committee/prep", "--json").json == []


def test_what_is_registered_is_not_proposed_again(
    published: Desks, cube: tuple[str, ...], tmp_path: Path
) -> None:
    desks = published
    desks.world.add_model("mine")
    refused = desks.modeler("mlcube", "submit", "--name", "mine", *cube, "-y")
    assert (refused.code, "is in the registry already" in refused.err) == (2, True)
    assert "--replaces" in refused.err
    wrong = desks.modeler("mlcube", "submit", "--name=new", *cube, "--replaces=modeler/mien", "-y")
    assert (wrong.code, "Did you mean modeler/mine?" in wrong.err) == (2, True)
    again = desks.hospital("dataset", "submit", "--data_uid", "chest", "-y")
    assert (again.code, "is in the registry already" in again.err) == (2, True)
    for asked in (
        desks.hospital("dataset", "associate", "-b", "toy", "-d", "chest", "-y"),
        desks.modeler("mlcube", "associate", "-b", "toy", "-m", "mine", "-y"),
    ):
        assert asked.code == 2
        assert "is associated with committee/toy already: it is approved." in asked.err
        assert "Compatibility test" not in asked.err, "nothing is run for it"
    (tmp_path / "metrics.yaml").write_bytes(METRICS)
    words = ("benchmark", "submit", "--demo-url=demo.tar.gz", "--metrics=metrics.yaml", "-y")
    cubes = {"-p": "prep", "-m": "ref", "-e": "eval"}
    pack(tmp_path / "demo.tar.gz", {"paths.yaml": b"data_path: d\nlabels_path: l\n"})

    def submit(name: str, *more: str, **other: str) -> str:
        chosen = {**cubes, **{f"-{key}": value for key, value in other.items()}}
        parts = [word for pair in chosen.items() for word in pair]
        answer = desks.committee(*words, "--name", name, *parts, *more)
        assert answer.code == 2, answer.said
        return answer.err

    assert "is in the registry already" in submit("toy")
    assert "is a cube of the role evaluator, and a preparator is wanted" in submit("x", p="eval")
    assert "Did you mean committee/alice?" in submit("x", "--committee", "committee/alise")
    settings = ("benchmark", "settings", "toy", "--add-member", "committee/alise", "-y")
    assert "Did you mean committee/alice?" in desks.committee(*settings).err
    assert desks.committee("proposal", "ls", "--json").json == []


def test_names_are_answered_with_the_nearest_everywhere(published: Desks) -> None:
    desks = published
    for words, told in (
        (("result", "view", "toy.rfe.chest"), "Did you mean toy.ref.chest?"),
        (("result", "withdraw", "toy.rfe.chest", "-y"), "Did you mean toy.ref.chest"),
        (("result", "release", "toy.rfe.chest"), "Did you mean toy.ref.chest?"),
        (("result", "submit", "--result", "toy.rfe.chest"), "Did you mean toy.ref.chest?"),
        (("retry", "toy.rfe.chest"), "Did you mean toy.ref.chest?"),
        (("approve-run", "toy.rfe.chest"), "Did you mean toy.ref.chest?"),
        (("explain", "toy.rfe.chest"), "Did you mean toy.ref.chest"),
        (("reconcile", "--benchmark", "tyo"), "Did you mean committee/toy?"),
        (("reconcile", "--model", "rfe"), "Did you mean committee/ref?"),
        (("benchmark", "run", "-b", "toy", "-d", "chset"), "Did you mean"),
        (("benchmark", "run", "-b", "toy", "-d", "chest", "-m", "rfe"), "Did you mean"),
        (("dataset", "check", "-d", "chset"), "Did you mean chest?"),
        (("dataset", "export", "-d", "chset", "-o", "x"), "Did you mean chest?"),
        (("dataset", "settings", "chset"), "Did you mean hospital/chest?"),
        (("owner", "view", "hospitl"), "Did you mean hospital?"),
        (("mlcube", "view", "prpe"), "Did you mean committee/prep?"),
        (("mlcube", "settings", "prpe"), "Did you mean committee/prep?"),
        (("proposal", "view", "prpe"), "There is no open proposal 'prpe': none is open."),
        (("test", "view", "rfe"), "There is no report"),
        (("association", "ls", "--benchmark", "tyo"), "Did you mean committee/toy?"),
        (("association", "ls", "--model_uid", "rfe"), "Did you mean committee/ref?"),
        (("association", "ls", "--data_uid", "chset"), "Did you mean hospital/chest?"),
        (("result", "ls", "--dataset", "chset"), "Did you mean hospital/chest?"),
    ):
        answer = desks.hospital(*words)
        assert answer.code == 2, (words, answer.said)
        assert told in answer.said, (words, answer.said)
    unmerged = desks.modeler("mlcube", "associate", "-b", "toy", "-m", "not-yet-merged")
    assert "What is not merged yet is in 'medperf proposal ls'" in unmerged.said
    listed = desks.modeler("association", "ls", "--model_uid", "committee/prep")
    assert (listed.code, "none is among those" in listed.err) == (0, True)
    role = desks.modeler("mlcube", "associate", "-b", "toy", "-m", "committee/prep")
    assert (role.code, "of the role preparator, no model" in role.said) == (2, True)
    rule = ("benchmark", "settings", "toy", "--approve-datasets", "hospitl")
    assert "no owner 'hospitl' yet. Did you mean hospital?" in desks.committee(*rule).said
    never = ("benchmark", "settings", "toy", "--approve-datasets", "alwys")
    assert "Did you mean always?" in desks.committee(*never).said
    admin = ("registry", "change", "--add-admin", "committee/alise")
    assert "Did you mean committee/alice?" in desks.committee(*admin).said


def test_a_withdrawn_result_is_struck_out_everywhere(published: Desks) -> None:
    words = ("result", "withdraw", "toy.ref.chest", "--reason", "wrong labels", "-y")
    assert published.hospital(*words).code == 0
    (line,) = published.modeler("result", "ls").out.splitlines()[1:]
    assert line.split().count("withdrawn") == 1
    plan = published.hospital("plan").out
    assert "published  withdrawn" in plan
    assert published.hospital("dataset", "check", "-d", "chest", "--against", "toy.ref.chest").code
