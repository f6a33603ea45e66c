"""What holds for any value: canonical forms, the pin graph, and readers of anything.

The YAML subset's and the disclosure rules' properties stand beside their other tests, in
`tests/schemas/test_yaml_subset.py` and `tests/schemas/test_metrics.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry import rules
from medperf.registry.snapshot import Snapshot
from medperf.schemas.digests import canonical_json, commitment, content_lines, run_key

from ..registry.world import REGISTRY_ID, World, digest_of, everything
from .fuzz import fuzz, targets

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json_has_one_form_for_one_value(value: Any) -> None:
    data = canonical_json_or_none(value)
    if data is None:
        return
    back = json.loads(data)
    assert back == value
    assert canonical_json(back) == data
    assert b"\n" not in data


def canonical_json_or_none(value: Any) -> bytes | None:
    """None for half characters, which are no text."""
    try:
        return canonical_json(value)
    except UnicodeEncodeError:
        return None


@given(VALUES, VALUES)
def test_two_values_never_share_a_canonical_form(one: Any, other: Any) -> None:
    first, second = canonical_json_or_none(one), canonical_json_or_none(other)
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    if first is not None and second is not None:
        assert (first == second) == same


HEX = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.lists(HEX, min_size=3, max_size=3), st.booleans(), st.integers(0, 2))
def test_a_run_key_changes_with_each_thing_that_it_names(
    digests: list[str], partial: bool, at: int
) -> None:
    names = ("benchmark", "dataset", "model")
    pins = dict(zip(names, (f"sha256:{one}" for one in digests), strict=True))
    key = run_key(registry=REGISTRY_ID, partial=partial, **pins)
    assert run_key(registry=REGISTRY_ID, partial=not partial, **pins) != key
    other = {**pins, names[at]: "sha256:" + ("0" * 64 if digests[at] != "0" * 64 else "1" * 64)}
    assert run_key(registry=REGISTRY_ID, partial=partial, **other) != key


FILES = st.dictionaries(st.text("abcé /._-", min_size=1, max_size=12), HEX, min_size=2, max_size=6)


@given(FILES, st.data())
def test_content_lines_do_not_depend_on_order_and_see_every_swap(
    files: dict[str, str], data: st.DataObject
) -> None:
    rows = [(sha, 1, name) for name, sha in files.items()]
    lines = content_lines(rows)
    assert content_lines(data.draw(st.permutations(rows))) == lines
    one, other = data.draw(st.permutations(sorted(files)))[:2]
    swapped = {**files, one: files[other], other: files[one]}
    same = files[one] == files[other]
    assert (content_lines((sha, 1, name) for name, sha in swapped.items()) == lines) == same


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_commitment_does_not_tell_its_content(secret: bytes, content: bytes) -> None:
    made = commitment(secret, content)
    assert len(made) == 64
    assert content.hex() not in made
    assert commitment(bytes([secret[0] ^ 1]) + secret[1:], content) != made


# ------------------------------------------------------------------------------ pin graph


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    world = everything(World(tmp_path_factory.mktemp("pins")))
    yield world.view().snapshot
    world.close()


BREAKS = ("benchmark", "component", "preparator", "inactive", "trial", "outcome", "absent")


@given(
    side=st.sampled_from(["models/modeler__resnet", "datasets/hospital__chest"]),
    broken=st.sets(st.sampled_from(BREAKS)),
)
def test_an_association_holds_only_if_every_pin_of_it_does(
    snapshot: Snapshot, side: str, broken: set[str]
) -> None:
    item = snapshot.associations[f"associations/committee/cxr/{side}.yaml"]
    manifest, benchmark = item.manifest, snapshot.benchmarks["committee/cxr"]
    of_dataset = side.startswith("datasets")
    dataset = snapshot.datasets["hospital/chest"].manifest.spec if of_dataset else None
    component = (
        snapshot.datasets["hospital/chest"] if of_dataset else snapshot.cubes["modeler/resnet"]
    )
    if "preparator" in broken and dataset is not None:
        pin = dataset.preparator.model_copy(update={"digest": digest_of("other")})
        dataset = dataset.model_copy(update={"preparator": pin})
    trial: dict[str, Any] = {}
    if "trial" in broken:
        trial = {"run_key": "0" * 64} if of_dataset else {"data": digest_of("other")}
    if "outcome" in broken:
        trial["outcome"] = "failed"
    changed = manifest.spec.trial.model_copy(update=trial)
    manifest = manifest.model_copy(
        update={"spec": manifest.spec.model_copy(update={"trial": changed})}
    )
    absent = "absent" in broken
    problems = rules.pin_problems(
        manifest,
        benchmark=None if absent else benchmark.manifest.spec,
        benchmark_digest=digest_of("other") if "benchmark" in broken else benchmark.digest,
        active="inactive" not in broken,
        component_digest=digest_of("other") if "component" in broken else component.digest,
        dataset=dataset,
        registry=REGISTRY_ID,
    )
    harmless = set() if of_dataset else {"preparator"}
    assert bool(problems) == bool(broken - harmless)


# ---------------------------------------------------------------------------- any bytes


def test_no_reader_breaks_on_strange_bytes(tmp_path: Path) -> None:
    """Briefly, with the same inputs each time; `fuzz.py` goes on for as long as it is told."""
    for target in targets(tmp_path):
        figures = fuzz(target, seconds=0.15)
        assert figures.findings == (), figures.name
        assert figures.executions >= 20
