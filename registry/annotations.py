"""What a verdict says as GitHub's workflow commands: remarks on the right file and line.

A runner takes every line of a job's output that starts with `::` or holds `##[` for a command, so
a stranger's text must not reach a line of its own, nor end a field. Everything that the rules found
is escaped as GitHub describes it; `##[`, the older form, has no escape and is broken up.
"""

import re
from collections.abc import Iterator, Sequence

from ..schemas.errors import Problem

MOST = 50  # GitHub shows ten of each kind a step; the summary has them all
_LONGEST = 1000
_OLD_FORM = re.compile(r"##(?=\[)")
_COLONS = re.compile(r":(?=:)")


def annotations(problems: Sequence[Problem], waits_for: Sequence[str] = ()) -> Iterator[str]:
    """Lines for a job's output: errors for what is wrong, notices for what is waited for."""
    for problem in problems[:MOST]:
        where = f"file={_field(problem.file)}"
        if problem.line is not None:
            where += f",line={problem.line}"
        field = f"{problem.field}: " if problem.field else ""
        words = " ".join(part for part in (f"{field}{problem.found}", problem.fix) if part)
        yield f"::error {where},title=medperf::{_text(words)}"
    if len(problems) > MOST:
        yield f"::error title=medperf::{len(problems) - MOST} more problems: see the summary."
    for wait in waits_for[:MOST]:
        yield f"::notice title=medperf::{_text(f'waits for {wait}')}"


def harmless(text: str) -> str:
    """Lines of a log in which no line is a command to the runner."""
    return "\n".join(_OLD_FORM.sub("# #", _indented(line)) for line in text.splitlines())


def _indented(line: str) -> str:
    # The runner trims a line before it looks for `::`, so spaces before it do not help.
    return f"| {line}" if line.lstrip().startswith("::") else line


def _text(text: str) -> str:
    """The message of a command."""
    text = _OLD_FORM.sub("# #", _encodable(text)[:_LONGEST])
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return _COLONS.sub(": ", text)


def _field(text: str) -> str:
    """A value between the commas of a command."""
    return _text(text).replace(":", "%3A").replace(",", "%2C")


def _encodable(text: str) -> str:
    """`text` with what is no UTF-8, or acts on a terminal, shown as an escape."""
    return "".join(
        char if char.isprintable() or char in "\r\n" else ascii(char)[1:-1] for char in text
    )
