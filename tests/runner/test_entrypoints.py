"""A task's own entrypoint: called without the task's name, or with it where it takes that."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from medperf.runner.engines.protocol import Outcome, Reason, Task
from tests.runner.recorded_tasks import MLCUBE, Recorder, call, cube, parts, ready

__all__ = ["parts"]
NAME = "evaluate"


@dataclass
class Program(Recorder):
    """A program that works if it is called in its custom, and else ends with `status`."""

    takes_name: bool = False
    status: int = 2
    writes: str = ""
    broken: bool = False

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        del stop
        self.tasks.append(task)
        named = task.arguments[0] == NAME
        well = named == self.takes_name and not self.broken
        folder = next(mount.source for mount in task.mounts if mount.writable)
        if well or self.writes:
            folder.joinpath("results.yaml").write_text("well" if well else self.writes)
        task.log.write_text(f"called {'with' if named else 'without'} its name")
        code = 0 if well else self.status
        reason = "done" if well else "exit"
        return Outcome(code, reason, 1.0, None, frozenset(), "")  # type: ignore[arg-type]


@dataclass
class Check(Program):
    """A program that has nothing to write, and finds something wrong."""

    def run(self, task: Task, *, stop: threading.Event | None = None) -> Outcome:
        del stop
        self.tasks.append(task)
        task.log.write_text("")
        return Outcome(self.status, "exit", 1.0, None, frozenset(), "")


def run(tmp_path: Path, parts: Path, program: Program, text: str = MLCUBE) -> Outcome:
    return call(tmp_path, ready(parts, cube(text, "evaluator")), NAME, program)


@pytest.mark.parametrize("status", [1, 2, 64])
@pytest.mark.parametrize("takes_name", [False, True])
def test_both_customs_run(tmp_path: Path, parts: Path, takes_name: bool, status: int) -> None:
    program = Program(takes_name=takes_name, status=status)
    assert run(tmp_path, parts, program).reason == "done"
    assert len(program.tasks) == 1 + takes_name
    assert (tmp_path / "out").read_text() == "well"


def test_a_program_that_fails_in_both_customs_is_judged_by_the_first(
    tmp_path: Path, parts: Path
) -> None:
    program = Program(broken=True, status=1)
    assert run(tmp_path, parts, program).exit == 1
    assert len(program.tasks) == 2
    assert (tmp_path / "logs/evaluate.log").read_text() == "called without its name"
    assert not (tmp_path / "out").exists()


def test_what_has_written_something_was_called_rightly(tmp_path: Path, parts: Path) -> None:
    for status in (1, 2):
        program = Program(broken=True, status=status, writes="half")
        assert run(tmp_path, parts, program).exit == status
        assert len(program.tasks) == 1


@pytest.mark.parametrize("reason", ["interrupted", "timeout", "memory"])
def test_how_a_second_call_was_ended_is_told(
    tmp_path: Path, parts: Path, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(takes_name=True)
    first = program.run

    def then(task: Task, *, stop: threading.Event | None = None) -> Outcome:
        outcome = first(task, stop=stop)
        return replace(outcome, reason=reason, exit=137) if len(program.tasks) > 1 else outcome

    monkeypatch.setattr(program, "run", then)
    assert run(tmp_path, parts, program).reason == reason


def test_a_check_is_asked_again_only_where_it_does_not_know_its_arguments(
    tmp_path: Path, parts: Path
) -> None:
    """Else data that were found wrong might be found right by a program called wrongly."""
    text = (
        "tasks:\n"
        "  evaluate: {entrypoint: bash check.sh, parameters: {inputs: {labels: labels.csv}}}\n"
    )
    for status, calls in ((1, 1), (2, 2)):
        program = Check(status=status)
        assert run(tmp_path, parts, program, text).exit == status
        assert len(program.tasks) == calls
