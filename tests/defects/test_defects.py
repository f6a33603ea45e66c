"""Known defects of MedPerf that must not come back: each with the tests that would catch it.

`DEFECTS` names the tests, here or where the subject is tested; a test that is renamed or removed is
missed here. What no other room tests stands below.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from medperf.reconciler.execute import execution
from medperf.reconciler.mixing import Shelf
from medperf.reconciler.offline import offline_workplace
from medperf.reconciler.settings import Home
from medperf.reconciler.workplace import Workplace
from medperf.runner.cubes import ReadyCube
from medperf.runner.task_run import run_task

TESTS = Path(__file__).resolve().parents[1]

DEFECTS = {
    "label swaps, renames and moves do not change its dataset hash": (
        "runner/test_content.py::test_swapped_labels_are_seen_and_named",
        "runner/test_content.py::test_a_rename_is_seen_and_named",
    ),
    "priorities are ignored": (
        "reconciler/test_passes.py::test_runs_go_by_priority_then_by_name",
        "reconciler/test_settings_changes.py::test_priorities_order_the_runs_and_can_be_taken_back",
    ),
    "exit 0 when all models fail": (
        "cli/test_runs.py::test_a_failed_run_ends_with_1_in_its_own_pass_only_and_can_be_retried",
    ),
    "an approved association cannot be revoked": (
        "reconciler/test_settings_changes.py"
        "::test_a_revoked_association_needs_a_new_round_that_is_approved_again",
    ),
    "reference-model results need no association": (
        "registry/test_results.py::test_a_result_of_what_was_never_associated_is_invalid",
        "registry/test_what_may_be_there.py"
        "::test_a_result_is_valid_where_both_associations_are_approved_before_it",
    ),
    "any client-supplied test result is believed": (
        "reconciler/test_approving.py::test_a_trial_on_other_data_is_not_believed",
    ),
    "images run by tag after a separate digest query": (
        "defects/test_image_pins.py::test_a_tag_becomes_a_digest_and_nothing_else",
        "defects/test_image_pins.py::test_a_tag_without_a_digest_is_refused_with_what_was_found",
    ),
    "unfiltered tar extraction, extracted files never checked again": (
        "runner/test_archives.py::test_hostile_entries_are_refused_by_name",
        "runner/test_archives.py::test_a_tree_that_was_changed_since_is_unpacked_anew",
    ),
    "the environment of one run leaks into the next": (
        "defects/test_defects.py::test_the_environment_of_one_run_does_not_reach_the_next",
    ),
    "inputs are writable, a site lost its prepared data": (
        "defects/test_defects.py::test_a_task_cannot_change_its_inputs",
    ),
    "Ctrl-C leaves containers running": (
        "cli/test_app.py::test_an_interrupted_site_ends_with_130_and_leaves_nothing_running",
    ),
    "root-owned outputs that cannot be deleted": (
        "defects/test_defects.py::test_outputs_belong_to_the_caller_and_can_be_deleted",
    ),
    "results without provenance or signature": (
        "registry/test_results.py::test_what_makes_a_result_invalid",
        "registry/test_results.py::test_a_result_by_a_site_is_valid",
    ),
    "model owners cannot see their own results": (
        "defects/test_own_results.py::test_a_model_owner_lists_the_results_of_his_models",
    ),
    "wrong count of skipped partial results": (
        "reconciler/test_partial.py::test_the_command_prints_medperfs_table_with_right_counts",
    ),
    "every command takes 3.6 s to start": (
        "cli/test_app.py::test_help_starts_nearly_as_fast_as_click_itself",
        "cli/test_app.py::test_the_first_answers_import_no_heavy_room",
        "cli/test_app.py::test_listings_and_plans_start_no_engine_and_no_other_program",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_known_defect_has_tests_that_would_catch_it(defect: str) -> None:
    for named in DEFECTS[defect]:
        file, _, function = named.partition("::")
        source = (TESTS / file).read_text("utf-8")
        assert re.search(rf"^def {function}\(", source, re.MULTILINE), named


# --------------------------------------------------------------------------- real tasks


@pytest.fixture
def place(home: Path) -> Iterator[Workplace]:
    with offline_workplace(Home(home), engine="sandbox") as opened:
        yield opened


def model(place: Workplace, folder: Path, program: str, docker: str = "") -> ReadyCube:
    """A model that is this program."""
    folder.mkdir()
    (folder / "main.py").write_text(program)
    (folder / "mlcube.yaml").write_text(
        f"name: model\n{docker}tasks:\n  infer:\n    parameters:\n"
        "      inputs: {data_path: data/}\n      outputs: {output_path: predictions/}\n"
    )
    part = Shelf(place, place.view).part(str(folder), "model")
    return place.ready(part.cube, part.digest)


def infer(place: Workplace, ready: ReadyCube, data: Path, folder: Path) -> Path:
    """The model's predictions on the data."""
    how = execution(place, "defect", folder / "logs", None)
    target = folder / "predictions"
    outcome = run_task(
        ready,
        "infer",
        {"data_path": data},
        {"output_path": target},
        how,
        work=folder / "work",
    )
    assert outcome.reason == "done", outcome.log_tail
    return target


OUT = """\
import os, sys
from pathlib import Path
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
data, output = Path(given["data_path"]), Path(given["output_path"])
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "case.txt").write_text("one")
    return folder


def test_the_environment_of_one_run_does_not_reach_the_next(
    place: Workplace, data: Path, tmp_path: Path
) -> None:
    tell = OUT + "(output / 'seen').write_text(os.environ.get('TOKEN', 'nothing'))\n"
    first = model(place, tmp_path / "a", tell, docker="docker: {env_args: {TOKEN: mine}}\n")
    second = model(place, tmp_path / "b", tell)
    assert (infer(place, first, data, tmp_path / "1") / "seen").read_text() == "mine"
    assert (infer(place, second, data, tmp_path / "2") / "seen").read_text() == "nothing"


def test_a_task_cannot_change_its_inputs(place: Workplace, data: Path, tmp_path: Path) -> None:
    destroy = (
        OUT
        + """
for change in (
    lambda: (data / "case.txt").write_text("gone"),
    lambda: (data / "case.txt").unlink(),
    lambda: (data / "new.txt").write_text("new"),
    lambda: (data / "case.txt").rename(data / "other.txt"),
    lambda: os.chmod(data, 0o777),
):
    try:
        change()
    except OSError:
        continue
    (output / "changed").touch()
(output / "done").touch()
"""
    )
    written = infer(place, model(place, tmp_path / "a", destroy), data, tmp_path / "1")
    assert [path.name for path in written.iterdir()] == ["done"]
    assert {path.name: path.read_text() for path in data.iterdir()} == {"case.txt": "one"}


def test_outputs_belong_to_the_caller_and_can_be_deleted(
    place: Workplace, data: Path, tmp_path: Path
) -> None:
    lock = (
        OUT
        + """
deep = output / "a" / "b"
deep.mkdir(parents=True)
(deep / "file").write_text("x")
os.chmod(deep / "file", 0)
os.chmod(deep, 0o500)
os.chmod(output / "a", 0o500)
"""
    )
    written = infer(place, model(place, tmp_path / "a", lock), data, tmp_path / "1")
    me = tmp_path.stat().st_uid
    assert {path.stat().st_uid for path in [written, *written.rglob("*")]} == {me}
    assert (written / "a/b/file").read_text() == "x"
    shutil.rmtree(written)
