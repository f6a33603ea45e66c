"""Work side by side: questions, failures, interrupts."""

import threading
import time

import pytest

from medperf.reconciler.crew import Ask, Crew
from medperf.schemas.errors import DataError


def nothing(_: str) -> None:
    """No objection."""


def test_pieces_of_work_go_side_by_side_and_end_in_any_order() -> None:
    crew: Crew[str] = Crew(threading.Event())
    first = threading.Event()

    def slow(_: Ask) -> str:
        assert first.wait(10)
        return "slow"

    def fast(_: Ask) -> str:
        return "fast"

    crew.start("a", slow)
    crew.start("b", fast)
    assert crew.wait(nothing) == ("b", "fast")
    first.set()
    assert crew.wait(nothing) == ("a", "slow")
    assert len(crew) == 0


def test_questions_are_answered_in_the_thread_that_waits() -> None:
    crew: Crew[str] = Crew(threading.Event())
    asked: list[tuple[str, int]] = []

    def work(ask: Ask) -> str:
        try:
            ask()
        except DataError as error:
            return str(error)
        return "yes"

    def answer(name: str) -> None:
        asked.append((name, threading.get_ident()))
        if name == "b":
            raise DataError("no")

    crew.start("a", work)
    crew.start("b", work)
    assert dict([crew.wait(answer), crew.wait(answer)]) == {"a": "yes", "b": "no"}
    assert sorted(asked) == [("a", threading.get_ident()), ("b", threading.get_ident())]


def test_who_waits_gets_what_was_raised_and_the_others_may_end() -> None:
    crew: Crew[None] = Crew(threading.Event())
    go = threading.Event()
    ended: list[str] = []

    def bad(_: Ask) -> None:
        raise DataError("broken")

    def good(ask: Ask) -> None:
        assert go.wait(10)
        ask()
        ended.append("good")

    crew.start("bad", bad)
    crew.start("good", good)
    with pytest.raises(DataError, match="broken"):
        crew.wait(nothing)
    go.set()
    crew.finish(nothing)
    assert ended == ["good"]


def test_nobody_waits_for_an_answer_that_will_not_come() -> None:
    stop = threading.Event()
    crew: Crew[None] = Crew(stop)
    seen: list[str] = []

    def work(ask: Ask) -> None:
        try:
            ask()
        except KeyboardInterrupt:
            seen.append("interrupted")

    crew.start("a", work)
    began = time.monotonic()
    crew.close()
    assert stop.is_set()
    assert seen == ["interrupted"]
    assert time.monotonic() - began < 5
