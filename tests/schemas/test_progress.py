"""Long work tells how far it is, and how much is left, to whoever listens."""

import threading

import pytest

from medperf.schemas.progress import Work, is_watched, listening, work
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("one", "seconds", "text"),
    [
        (Work("Fetching", 512_000_000, done=128_000_000), 40, "128.0 of 512.0 MB, about 2:00 left"),
        (Work("Fetching", 512_000_000, done=128_000_000), 1, "128.0 of 512.0 MB"),
        (Work("Fetching", 4_000_000_000), 40, "0.0 of 4.0 GB"),
        (Work("Fetching", 1_000, done=1_000), 40, "1.0 of 1.0 kB"),
        (Work("Fetching", 900, start=300, done=600), 10, "0.6 of 0.9 kB, about 0:10 left"),
        (Work("Judging", 100, "commits", 20), 1000, "20 of 100 commits, about 1:06:40 left"),
        (Work("Judging", 20_000, "commits"), 9, "0 of 20,000 commits"),
        (Work("Judging", 10, "commits", 99), 9, "10 of 10 commits"),
        (Work("Building"), 75, "1:15 so far"),
        (Work("Building", None, "bytes", 5_000_000), 75, "5.0 MB, 1:15 so far"),
    ],
)  # fmt: skip
def test_the_line_says_how_far_and_how_long(one: Work, seconds: float, text: str) -> None:
    assert one.text(one.began + seconds) == f"{one.what}: {text}"


def test_work_is_told_from_its_beginning_to_its_end_also_if_it_fails() -> None:
    recorder = Recorder()

    def fail() -> None:
        with work("A", 3, "files") as one:
            one.advance()
            one.advance(2)
            raise ValueError("x")

    with listening(recorder), pytest.raises(ValueError, match="x"):
        fail()
    assert recorder.begun == recorder.ended
    assert recorder.told("A") == [(3, 3, "files")]


def test_nobody_is_told_outside_nor_from_other_threads() -> None:
    recorder = Recorder()
    seen: list[bool] = []
    assert not is_watched()
    with listening(recorder):
        assert is_watched()
        thread = threading.Thread(target=lambda: seen.append(is_watched()))
        thread.start()
        thread.join()
    with work("A") as one:
        one.advance()
    assert seen == [False]
    assert recorder.begun == []
