"""Every path of the registry names one thing, or nothing."""

import pytest

from medperf.registry import paths
from medperf.registry.paths import Place, classify
from medperf.schemas.errors import UsageError

KEY = "4ec7aeb55ce722e4"
RESULT = f"results/committee/cxr/hospital__chest/modeler__resnet/{KEY}.yaml"
MODEL = "associations/committee/cxr/models/modeler__resnet.yaml"
DATASET = "associations/committee/cxr/datasets/hospital__chest.yaml"


@pytest.mark.parametrize(
    ("path", "kind", "ref"),
    [
        ("registry.yaml", "registry", ""),
        ("owners/hospital.yaml", "owner", "hospital"),
        ("cubes/modeler/resnet.yaml", "cube", "modeler/resnet"),
        ("datasets/hospital/chest.yaml", "dataset", "hospital/chest"),
        ("benchmarks/committee/cxr.yaml", "benchmark", "committee/cxr"),
        ("cubes/modeler/resnet.settings.yaml", "settings", "modeler/resnet"),
        (MODEL, "association", "committee/cxr"),
        (DATASET, "association", "committee/cxr"),
        (RESULT, "result", "committee/cxr"),
    ],
)
def test_a_path_of_the_layout_names_its_object(path: str, kind: str, ref: str) -> None:
    place = classify(path)
    assert (place.kind, place.ref, place.governed) == (kind, ref, True)


@pytest.mark.parametrize(
    ("path", "governed"),
    [
        ("README.md", False),
        ("schemas/cube.json", False),
        (".github/workflows/validate.yml", False),
        ("Registry.yaml", False),
        ("registry.yml", False),
        ("Owners/hospital.yaml", False),
        ("owners", False),
        ("owners/Hospital.yaml", True),
        ("owners/con.yaml", True),
        ("owners/hospital/x.yaml", True),
        ("owners/hospital.settings.yaml", True),
        ("cubes/modeler.yaml", True),
        ("cubes/modeler/resnet.yml", True),
        ("cubes/modeler/resnet.other.yaml", True),
        ("cubes/modeler/a/b.yaml", True),
        ("cubes/modeler/res\nnet.yaml", True),
        ("cubes/modeler/resnet.yaml\n", True),
        ("cubes/modeler/\udcff.yaml", True),
        ("associations/committee/cxr/cubes/modeler__resnet.yaml", True),
        ("associations/committee/cxr/models/resnet.yaml", True),
        ("associations/committee/cxr/models/a__b__c.yaml", True),
        (RESULT.replace(KEY, KEY.upper()), True),
        (RESULT.replace(KEY, KEY + "0"), True),
        (RESULT.replace("hospital__chest", "chest"), True),
        ("cubes/modeler/resnet.sigstore.json", True),
        ("cubes/modeler/resnet.0.modeler.eve.sigstore.json", True),
        ("cubes/modeler/resnet.01.modeler.eve.sigstore.json", True),
        ("cubes/modeler/resnet.1.modeler.sigstore.json", True),
        ("cubes/modeler/resnet.1.modeler.eve.undo.sigstore.json", True),
        ("cubes/modeler/resnet.1.MODELER.eve.sigstore.json", True),
        ("README.1.modeler.eve.sigstore.json", False),
        ("registry.sigstore.json", True),
    ],
)
def test_any_other_path_names_nothing(path: str, governed: bool) -> None:
    assert classify(path) == Place("other", path, governed)


@pytest.mark.parametrize(
    "subject",
    [
        "registry.yaml",
        "owners/hospital.yaml",
        "cubes/modeler/resnet.yaml",
        "benchmarks/committee/cxr.settings.yaml",
        MODEL,
        DATASET,
        RESULT,
    ],
)
@pytest.mark.parametrize("revoke", [False, True])
@pytest.mark.parametrize("member", ["alice", "revoke", "settings", "1"])
def test_a_statement_names_its_subject_and_its_signer(
    subject: str, revoke: bool, member: str
) -> None:
    path = paths.statement_path(subject, 12, "committee", member, revoke)
    place = classify(path)
    assert place.kind == "statement"
    assert place.governed
    assert (place.subject, place.number) == (subject, 12)
    assert (place.by, place.revoke) == (f"committee/{member}", revoke)


def test_statement_paths_are_those_of_the_golden_files() -> None:
    folder = "associations/committee/cxr/models/modeler__resnet"
    assert paths.statement_path(MODEL, 1, "committee", "alice") == (
        f"{folder}.1.committee.alice.sigstore.json"
    )
    assert paths.statement_path(MODEL, 1, "committee", "alice", revoke=True) == (
        f"{folder}.1.committee.alice.revoke.sigstore.json"
    )


def test_a_results_own_signature_names_no_member() -> None:
    place = classify(paths.result_signature_path(RESULT))
    assert (place.kind, place.subject, place.by, place.number) == ("statement", RESULT, "", 0)


def test_builders_and_classify_agree() -> None:
    cube = classify(paths.cube_path("modeler/resnet"))
    dataset = classify(paths.dataset_path("hospital/chest"))
    benchmark = classify(paths.benchmark_path("committee/cxr"))
    assert [place.kind for place in (cube, dataset, benchmark)] == ["cube", "dataset", "benchmark"]
    settings = classify(paths.settings_path(benchmark.path))
    assert (settings.kind, settings.subject) == ("settings", benchmark.path)
    model = classify(paths.association_path("committee/cxr", "models", "modeler/resnet"))
    assert (model.path, model.side, model.component) == (MODEL, "models", "modeler/resnet")
    assert model.benchmark == "committee/cxr"
    result = classify(
        paths.result_path("committee/cxr", "hospital/chest", "modeler/resnet", KEY + "0" * 48)
    )
    assert result.path == RESULT
    assert (result.dataset, result.model, result.run) == ("hospital/chest", "modeler/resnet", KEY)
    assert classify(paths.owner_path("hospital")).ref == "hospital"
    with pytest.raises(UsageError, match="owner/name"):
        paths.cube_path("resnet")


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("registry.yaml", {""}),
        ("schemas/cube.json", {""}),
        ("CODEOWNERS", {""}),
        ("owners/hospital.yaml", {"hospital"}),
        ("owners/Hospital.yaml", {""}),
        ("cubes/modeler/resnet.yaml", {"modeler"}),
        ("cubes/modeler/resnet.settings.yaml", {"modeler"}),
        ("cubes/modeler/notes.txt", {"modeler"}),
        ("cubes/Modeler/resnet.yaml", {""}),
        ("datasets/hospital/chest.yaml", {"hospital"}),
        ("benchmarks/committee/cxr.settings.yaml", {"committee"}),
        (MODEL, {"committee", "modeler"}),
        (DATASET, {"committee", "hospital"}),
        (RESULT, {"hospital"}),
        (paths.result_signature_path(RESULT), {"hospital"}),
        (paths.statement_path(MODEL, 1, "uni", "carol"), {"uni"}),
        (paths.statement_path("registry.yaml", 1, "committee", "alice"), {"committee"}),
    ],
)
def test_a_path_belongs_to_its_owners(path: str, owners: set[str]) -> None:
    assert paths.owners_of(path) == owners


def test_only_four_kinds_may_change() -> None:
    changing = ["registry.yaml", "owners/a.yaml", "cubes/a/b.settings.yaml", MODEL]
    assert all(classify(path).modifiable for path in changing)
    fixed = ["cubes/a/b.yaml", "datasets/a/b.yaml", "benchmarks/a/b.yaml", RESULT, "cubes/x"]
    assert not any(classify(path).modifiable for path in fixed)


def test_each_kind_has_its_size() -> None:
    assert classify("cubes/a/b.yaml").limit == 64 * 1024
    assert classify(RESULT).limit == 16 * 1024
    assert classify(paths.result_signature_path(RESULT)).limit == 16 * 1024
    assert classify("README.md").limit == 1024 * 1024


def test_paths_that_differ_only_in_case_or_form_clash() -> None:
    assert paths.clashes(["README.md", "owners/a.yaml", "cubes/a/b.yaml"]) == []
    assert paths.clashes(["README.md", "readme.md"]) == [("README.md", "readme.md")]
    assert paths.clashes(["Cubes/x", "cubes/y"]) == [("Cubes", "cubes")]
    assert paths.clashes(["caf\u00e9", "cafe\u0301"]) == [("cafe\u0301", "caf\u00e9")]


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a/./b", ".git/config", "a/.GIT/x", "a\\b", "a\nb", "\udcff"],
)
def test_a_path_that_could_leave_the_registry_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="not a path"):
        paths.check_path(path)


def test_an_ordinary_path_is_accepted() -> None:
    assert paths.check_path(".github/workflows/validate.yml") == ".github/workflows/validate.yml"
