"""What is measured is a real registry: every result of a generated one is valid."""

import sys
from pathlib import Path

from medperf.bench import measure, report, world
from medperf.registry.git import MAIN, Repository
from medperf.registry.view import View, open_view


def view(built: world.Built) -> View:
    with Repository.open(built.url) as repository:
        return open_view(repository, repository.resolve(MAIN) or "")


def test_a_generated_registry_is_valid_throughout_and_grows_by_what_was_held_back(
    tmp_path: Path,
) -> None:
    built = world.build(tmp_path, 200)
    before = view(built)
    assert not before.notes
    assert not before.pending
    assert all(state.state == "approved" for state in before.associations)
    assert {one.answer for one in before.results.values()} == {"valid"}
    built.grow()
    after = view(built)
    assert len(before.results) < len(after.results) == built.shape.results
    assert {one.answer for one in after.results.values()} == {"valid"}


def test_a_command_is_measured_by_its_own_memory_and_must_end_well() -> None:
    found = measure.command([sys.executable, "-c", "x = bytearray(60_000_000)"], runs=1)
    assert found.memory > 55
    assert measure.command([sys.executable, "-c", "pass"], runs=1).memory < 50


def test_the_report_has_a_row_a_case_and_says_on_what_it_was_measured(tmp_path: Path) -> None:
    cases = [report.Case("start", "1 s", "0.5 s", "<= 2 x", True), report.Case("later", "not yet")]
    growth = report.bars("plan", [(1000, 0.1), (10_000, 0.2)], "s")
    report.write(tmp_path / "report.md", cases, growth, 1.0)
    text = (tmp_path / "report.md").read_text()
    assert "| start | 1 s | 0.5 s | <= 2 x | yes |" in text
    assert "| later | not yet |  |  | — |" in text
    assert "Python" in text
