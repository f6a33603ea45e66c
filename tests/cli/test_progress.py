"""The terminal's line for long work: it comes late, fits, and leaves nothing behind."""

import io
import os
import pty
import subprocess
import sys
import time

from medperf.cli.progress import Foot, foot
from medperf.schemas.progress import Work

WIPE = "\r\x1b[K"


def test_short_work_is_never_drawn() -> None:
    stream = io.StringIO()
    line = Foot(stream)
    one = Work("Fetching x", 10)
    line.begin(one)
    line.draw(one.began + 0.9)
    line.end(one)
    assert stream.getvalue() == ""


def test_long_work_is_drawn_over_itself_and_wiped_at_its_end() -> None:
    stream = io.StringIO()
    line = Foot(stream)
    outer, inner = Work("Judging", 10, "commits"), Work("Fetching x", 2_000_000)
    line.begin(outer)
    line.draw(outer.began + 1)
    line.begin(inner)
    inner.advance(1_000_000)
    line.draw(inner.began + 4)
    line.end(inner)
    line.wipe()
    line.draw(outer.began + 6)
    line.end(outer)
    first, second = "Judging: 0 of 10 commits", "Fetching x: 1.0 of 2.0 MB, about 0:04 left"
    assert stream.getvalue() == f"{WIPE}{first}{WIPE}{second}{WIPE}{WIPE}{first}{WIPE}"


def test_a_strangers_name_neither_acts_on_the_terminal_nor_breaks_the_line() -> None:
    stream = io.StringIO()
    line = Foot(stream, width=30)
    one = Work("Fetching a\x1b[2J\r\n" + "b" * 100)
    line.begin(one)
    line.draw(one.began + 2)
    drawn = stream.getvalue().removeprefix(WIPE)
    assert drawn.isprintable()
    assert len(drawn) < 30
    line.end(one)


def test_a_terminal_that_went_away_stops_no_work() -> None:
    stream = io.StringIO()
    line = Foot(stream)
    one = Work("Judging")
    line.begin(one)
    stream.close()
    line.draw(one.began + 2)
    line.end(one)


def test_where_standard_error_is_no_terminal_there_is_no_line() -> None:
    assert foot() is None


SCRIPT = """
import time
from medperf.cli import app, output
from medperf.schemas.progress import work
with app._watched(), work("Packing", 100, "files") as one:
    one.advance(40)
    time.sleep({seconds})
    output.say("said")
output.print_text("done")
"""


def test_at_a_terminal_it_is_shown_and_what_is_said_stands_on_a_line_of_its_own() -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", SCRIPT.format(seconds=2)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        told = b""
        start = time.monotonic()
        while time.monotonic() - start < 60:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            told += piece
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b"done\n"
    assert b"Packing: 40 of 100 files" in told
    assert told.endswith(WIPE.encode() + b"said\r\n")


def test_into_a_file_only_what_is_said_goes() -> None:
    words = [sys.executable, "-c", SCRIPT.format(seconds=0)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "said\n")
