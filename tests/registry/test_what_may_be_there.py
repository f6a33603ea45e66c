"""Rules 1, 4, 5 and 7 of design §5 as complete tables, judged on real commits.

`test_who_signs_what.py` has the tables of signing (§5.2, 5.3, 5.6). Here: what may happen to a file
of which kind; what an association must pin; whose results are valid in which states of both
associations; in which order runs are made, and what counts once.
"""

from collections.abc import Callable
from typing import Any

import pytest

from medperf.registry import paths
from medperf.registry.git import Entry
from medperf.schemas import documents
from medperf.schemas.errors import StalledError

from .world import (
    API,
    World,
    digest_of,
    key_entry,
    owner_manifest,
    settings_manifest,
)

CXR = "committee/cxr"
RESNET = "associations/committee/cxr/models/modeler__resnet.yaml"
REFERENCE = "associations/committee/cxr/models/committee__ref.yaml"
CHEST = "associations/committee/cxr/datasets/hospital__chest.yaml"

# ------------------------------------------------------------------- rule 1: files and changes

CUBE_SETTINGS = "cubes/modeler/resnet.settings.yaml"


def _settings(serial: int) -> bytes:
    return documents.dump({"apiVersion": API, "kind": "Settings", "spec": {"serial": serial}})


def _result(world: World) -> str:
    return next(path for path in world.files if paths.classify(path).kind == "result")


KINDS: dict[str, Callable[[World], str]] = {
    "registry": lambda _: "registry.yaml",
    "owner": lambda _: "owners/hospital.yaml",
    "cube": lambda _: "cubes/modeler/resnet.yaml",
    "dataset": lambda _: "datasets/hospital/chest.yaml",
    "benchmark": lambda _: "benchmarks/committee/cxr.yaml",
    "benchmark settings": lambda _: "benchmarks/committee/cxr.settings.yaml",
    "cube settings": lambda _: CUBE_SETTINGS,
    "association": lambda _: RESNET,
    "result": _result,
    "statement": lambda _: paths.statement_path(RESNET, 1, "modeler", "max"),
    "schema": lambda _: "schemas/cube.json",
    "codeowners": lambda _: "CODEOWNERS",
    "workflow": lambda _: ".github/workflows/validate.yaml",
    "readme": lambda _: "README.md",
}
FREE = ("schema", "codeowners", "workflow", "readme")
NUMBERED = ("registry", "owner", "benchmark settings", "cube settings", "association")


def happens(world: World, changes: dict[str, Any], *, by: str | None = None) -> str:
    """What a site says of one more commit: goes on, or why it is stalled."""
    before = set(world.view().snapshot.results)
    world.commit(changes, by=by)
    try:
        view = world.view()
    except StalledError as error:
        return f"stalled({error.reason})"
    assert before <= set(view.results)
    return "goes on"


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, template: World) -> World:
    """The usual registry with one file of every kind."""
    world = template.copy(tmp_path_factory.mktemp("full") / "registry")
    world.commit(world.result(), by="hospital/ward")
    world.merge({CUBE_SETTINGS: _settings(1)}, by="modeler/max")
    free = {KINDS[kind](world): b"x\n" for kind in FREE}
    world.commit({path: data for path, data in free.items() if path not in world.files})
    assert world.view().notes == ()
    return world


def _copy(full: World, tmp_path: Any) -> World:
    return full.copy(tmp_path / "registry")


@pytest.mark.parametrize("change", ["deleted", "executable", "a link", "other bytes"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_stays_whoever_changes_it(
    full: World, tmp_path: Any, kind: str, change: str
) -> None:
    world = _copy(full, tmp_path)
    path = KINDS[kind](world)
    assert path in world.files
    blob = world.repository.write_blob(world.files[path])
    other: dict[str, Any] = {
        "deleted": None,
        "executable": Entry("100755", "blob", blob),
        "a link": Entry("120000", "blob", blob),
        "other bytes": world.files[path] + b"\n",
    }
    said = happens(world, {path: other[change]}, by="committee/alice")  # an admin's, signed
    assert said == ("goes on" if kind in FREE else "stalled(history)")
    world.close()


def numbered(world: World, kind: str, number: int) -> dict[str, bytes]:
    """The file of a numbered kind with another number, and all the signatures that it wants."""
    if kind == "registry":
        spec = {**world.registry["spec"], "serial": number}  # type: ignore[dict-item]
        data = documents.dump({**world.registry, "spec": spec})
        signed = world.approval("registry.yaml", "committee/alice", data=data, number=number)
        return {"registry.yaml": data, **signed}
    if kind == "owner":
        path = "owners/hospital.yaml"
        data = documents.dump(owner_manifest("hospital", ["bob"], ["ward"], serial=number))
        both = ("hospital/bob", "committee/alice")
        return {path: data, **world.approval(path, *both, data=data, number=number)}
    if kind == "benchmark settings":
        path = "benchmarks/committee/cxr.settings.yaml"
        data = documents.dump(settings_manifest(serial=number, description=f"{number}"))
        return {path: data, **world.approval(path, "committee/alice", data=data, number=number)}
    if kind == "association":
        path, data = world.association("modeler/resnet", number=number)
        both = ("modeler/max", "committee/alice")
        return {path: data, **world.approval(path, *both, data=data, number=number)}
    return {CUBE_SETTINGS: _settings(number)}


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", NUMBERED)
def test_what_may_change_goes_up_by_one_and_is_signed(
    full: World, tmp_path: Any, kind: str, number: int
) -> None:
    signed = _copy(full, tmp_path / "signed")
    path = KINDS[kind](signed)
    changes = numbered(signed, kind, number)
    changes = {name: data for name, data in changes.items() if signed.files.get(name) != data}
    if changes:  # else these are the bytes that are there
        said = happens(signed, changes, by="modeler/max")
        assert said == ("goes on" if number == 2 else "stalled(history)")
    unsigned = _copy(full, tmp_path / "unsigned")
    if path in changes:
        alone = happens(unsigned, {path: changes[path]})
        # a round that nobody has signed is pending: it takes part in nothing, and stops nobody
        wanted = "goes on" if kind == "association" else "stalled(signature)"
        assert alone == (wanted if number == 2 else "stalled(history)")
        if kind == "association" and number == 2:
            assert unsigned.view().ledger.association_state(RESNET).state == "pending"
    signed.close()
    unsigned.close()


@pytest.mark.parametrize(
    "path",
    [
        "owners/new.yaml",
        "cubes/modeler/new.yaml",
        "datasets/hospital/new.yaml",
        "benchmarks/committee/new.yaml",
        "benchmarks/committee/new.settings.yaml",
        "cubes/modeler/new.settings.yaml",
        "associations/committee/cxr/models/modeler__new.yaml",
        "results/committee/cxr/hospital__chest/modeler__resnet/0123456789abcdef.yaml",
        paths.statement_path(RESNET, 1, "committee", "new"),
        "cubes/modeler/deep/er.yaml",
        "results/anything.txt",
    ],
)
def test_a_new_file_that_says_nothing_valid_is_ignored_and_shown(
    full: World, tmp_path: Any, path: str
) -> None:
    world = _copy(full, tmp_path)
    assert happens(world, {path: b"kind: Nonsense\n"}) == "goes on"
    view = world.view()
    assert any(path.rpartition("/")[2][:10] in str(note) for note in view.notes)
    assert [run.model for run in view.runs(CXR)] == ["committee/ref", "modeler/resnet"]
    world.close()


# ------------------------------------------------------------------- rule 4: what is pinned

NULL = "sha256:" + "0" * 64
BOTH = {
    "modeler/next": ("modeler/max", "committee/alice"),
    "hospital/next": ("hospital/bob", "committee/alice"),
}


def pinned(world: World, component: str, wrong: str) -> tuple[str, list[str]]:
    """State and reasons of an association that both sides signed, with one thing wrong."""
    model = component == "modeler/next"
    part = "model" if model else "dataset"
    changes: dict[str, Any] = {}
    if model:
        world.add_cube(component)
    else:
        preparator = "committee/other" if wrong == "another preparator" else "committee/prep"
        if preparator == "committee/other":
            world.add_cube(preparator, "preparator")
        world.add_dataset(component, preparator=preparator)
    here = {part: world.pin("cubes" if model else "datasets", component)}
    if wrong == "other bytes of the benchmark":
        changes["benchmark"] = {"ref": CXR, "digest": NULL}
    elif wrong == "other bytes of the component":
        changes[part] = {**here[part], "digest": NULL}
    elif wrong == "a trial that failed":
        changes["trial"] = {"outcome": "failed"}
    elif wrong == "a trial of something else":
        changes["trial"] = {"data": NULL} if model else {"runKey": "0" * 64}
    elif wrong == "an inactive benchmark":
        world.change_settings(CXR, "committee/alice", active=False)
    base = world.association(component)[1]
    trial = documents.load(base, file="x").manifest.spec.trial  # type: ignore[union-attr]
    if "trial" in changes:
        kept = trial.model_dump(by_alias=True, exclude_none=True, mode="json")
        changes["trial"] = {**kept, **changes["trial"]}
    path, data = world.association(component, **changes)
    signed = world.approval(path, *BOTH[component], data=data)
    world.merge({path: data, **signed}, by=BOTH[component][0])
    state = world.view().ledger.association_state(path)
    return state.state, list(state.reasons)


NO_PREPARATOR = ("modeler/next", "another preparator")  # only data are prepared
PINS = {
    "nothing": "",
    "other bytes of the benchmark": "the benchmark committee/cxr is pinned as",
    "other bytes of the component": "is pinned as",
    "a trial that failed": "its trial did not pass",
    "a trial of something else": "its trial",
    "an inactive benchmark": "is not active",
    "another preparator": "was prepared with committee/other",
}


@pytest.mark.parametrize(
    ("component", "wrong"),
    [(one, wrong) for one in BOTH for wrong in PINS if (one, wrong) != NO_PREPARATOR],
)
def test_an_association_pins_what_is_there(world: World, component: str, wrong: str) -> None:
    state, reasons = pinned(world, component, wrong)
    if wrong == "nothing":
        assert (state, reasons) == ("approved", [])
        return
    assert state == "invalid"
    assert any(PINS[wrong] in reason for reason in reasons), reasons


@pytest.mark.parametrize("component", BOTH)
@pytest.mark.parametrize("what", ["benchmark", "component"])
def test_what_is_pinned_must_be_in_the_registry(world: World, component: str, what: str) -> None:
    if component == "modeler/next":
        world.add_cube(component)
    else:
        world.add_dataset(component)
    path, data = world.association(component)
    if what == "benchmark":
        path = path.replace("committee/cxr", "committee/gone")
        data = data.replace(b"committee/cxr", b"committee/gone")
    else:
        path, data = path.replace("next", "gone"), data.replace(b"/next", b"/gone")
    world.commit({path: data, **world.approval(path, *BOTH[component], data=data)})
    view = world.view()
    states = [one.state for one in view.associations if one.path == path]
    assert states in ([], ["invalid"])
    assert not [run for run in view.runs(CXR) if "gone" in run.model + run.dataset]


# --------------------------------------------------------- rule 5: results, by both associations

STATES = ("approved", "pending", "revoked", "revoked, then asked again", "approved in round 2")


def bring(world: World, component: str, state: str) -> None:
    """The association of a component, from approved in its first round into another state."""
    side = "hospital/bob" if component.startswith("hospital/") else f"{component.split('/')[0]}/max"
    side = "committee/alice" if component.startswith("committee/") else side
    path = world.association(component)[0]
    if state.startswith("revoked"):
        world.revoke(path, side)
    if state in ("pending", "revoked, then asked again"):
        world.associate(component, number=2)
    if state == "approved in round 2":
        world.associate(component, number=2, signed_by=sorted({side, "committee/alice"}))
    wanted = {"revoked, then asked again": "pending", "approved in round 2": "approved"}
    assert world.view().ledger.association_state(path).state == wanted.get(state, state)


@pytest.mark.parametrize("data", STATES)
@pytest.mark.parametrize("model", STATES)
@pytest.mark.parametrize("which", ["modeler/resnet", "committee/ref"])
def test_a_result_is_valid_where_both_associations_are_approved_before_it(
    world: World, which: str, model: str, data: str
) -> None:
    bring(world, which, model)
    bring(world, "hospital/chest", data)
    files = world.result(model=which)
    world.commit(files, by="hospital/ward")
    (found,) = world.view().results.values()
    both = model.startswith("approved") and data.startswith("approved")
    assert found.answer == ("valid" if both else "invalid"), found.reasons
    # what comes after it changes nothing of that
    for component, state in ((which, model), ("hospital/chest", data)):
        if not state.startswith("revoked"):
            path = world.association(component)[0]
            at = world.view().ledger.association_state(path).item.manifest.spec.round
            world.revoke(path, "committee/alice", number=at)
    (later,) = world.view().results.values()
    assert later.answer == found.answer


SIGNERS = {
    "hospital/ward": "valid",
    "hospital/bob": "invalid",  # a person of the dataset's owner
    "modeler/max": "invalid",
    "committee/alice": "invalid",  # admin and committee
    "modeler/box": "invalid",  # another owner's site
    "hospital/stolen": "invalid",  # a key of nobody
}


@pytest.mark.parametrize("signed_by", SIGNERS)
def test_a_result_is_signed_by_a_site_of_the_datasets_owner(world: World, signed_by: str) -> None:
    boxes = owner_manifest("modeler", ["max"], ["box"], serial=2)
    world.change_owner(boxes, "modeler/max", "committee/alice")
    world.commit(world.result(key=signed_by), by="hospital/ward")
    (found,) = world.view().results.values()
    assert found.answer == SIGNERS[signed_by]


@pytest.mark.parametrize("claimed", ["valid", "stolen"])
@pytest.mark.parametrize("state", ["active", "retired", "compromised"])
def test_a_result_of_a_sites_key_in_every_state(world: World, state: str, claimed: str) -> None:
    files = world.result()
    if state != "active":
        since = world.tip if state == "compromised" else None
        ward = [key_entry("hospital/ward", state, since), key_entry("hospital/ward#2")]
        world.change_owner(
            owner_manifest("hospital", ["bob"], {"ward": ward}, serial=2),
            "hospital/bob",
            "committee/alice",
        )
    if claimed == "stolen":  # the new key's owner says that it is the old one's result
        files = world.result(key="hospital/ward#3", by="hospital/ward")
    world.commit(files, by="hospital/ward")
    (found,) = world.view().results.values()
    assert found.answer == ("valid" if (state, claimed) == ("active", "valid") else "invalid")


WITHDRAWERS = {
    "hospital/bob": "withdrawn",
    "modeler/max": "valid",
    "committee/alice": "valid",
    "hospital/ward": "valid",  # a machine signs no statements
}


@pytest.mark.parametrize("who", WITHDRAWERS)
def test_only_a_member_of_the_datasets_owner_withdraws_a_result(world: World, who: str) -> None:
    world.commit(world.result(), by="hospital/ward")
    world.revoke(_result(world), who)
    (found,) = world.view().results.values()
    assert found.answer == WITHDRAWERS[who]


def test_closing_a_benchmark_leaves_its_results_and_asks_for_no_more(world: World) -> None:
    world.commit(world.result(), by="hospital/ward")
    late = world.result(model="committee/ref")
    world.change_settings(CXR, "committee/alice", active=False)
    world.commit(late, by="hospital/ward")
    answers = {one.path.split("/")[-2]: one.answer for one in world.view().results.values()}
    assert answers == {"modeler__resnet": "valid", "committee__ref": "invalid"}
    assert world.view().runs(CXR) == []


# ------------------------------------------------------------------- rule 7: order, and once

PRIORITIES: list[tuple[dict[str, int], list[str]]] = [
    ({}, ["committee/ref", "modeler/a", "modeler/resnet"]),
    ({"modeler/resnet": 1}, ["modeler/resnet", "committee/ref", "modeler/a"]),
    ({"modeler/resnet": 1, "modeler/a": 1}, ["modeler/a", "modeler/resnet", "committee/ref"]),
    ({"modeler/a": 2, "modeler/resnet": 3}, ["modeler/resnet", "modeler/a", "committee/ref"]),
    ({"committee/ref": -1}, ["modeler/a", "modeler/resnet", "committee/ref"]),
    ({"modeler/unknown": 9}, ["committee/ref", "modeler/a", "modeler/resnet"]),
]


@pytest.mark.parametrize(("priorities", "order"), PRIORITIES)
def test_higher_runs_first_and_ties_go_by_name(
    world: World, priorities: dict[str, int], order: list[str]
) -> None:
    world.add_cube("modeler/a")
    world.associate("modeler/a", signed_by=["modeler/max", "committee/alice"])
    if priorities:
        world.change_settings(CXR, "committee/alice", priorities=priorities)
    assert [run.model for run in world.view().runs(CXR)] == order


@pytest.mark.parametrize(
    ("second", "commitment", "counts"),
    [
        ("hospital/again", "the same", False),
        ("hospital/again", "another", True),
        ("modeler/again", "the same", True),  # another owner: anybody can copy what is public
    ],
)
def test_one_commitment_counts_once_an_owner(
    world: World, second: str, commitment: str, counts: bool
) -> None:
    first = documents.load(world.files["datasets/hospital/chest.yaml"], file="x").manifest
    same = first.spec.commitment  # type: ignore[union-attr]
    value = same if commitment == "the same" else digest_of("other").removeprefix("sha256:")
    world.add_dataset(second, commitment=value)
    assert (second in world.view().datasets) is counts
    assert "hospital/chest" in world.view().datasets
