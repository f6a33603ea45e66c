"""A text that is read by lines is read as libyaml's events would have it; nothing else is."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medperf.schemas.errors import InvalidDocumentError
from medperf.schemas.yaml_events import Builder, event_stream
from medperf.schemas.yaml_lines import read_lines
from medperf.schemas.yaml_subset import dump, parse

FIXTURES = Path(__file__).parent.parent / "fixtures" / "manifests"
RESULTS = sorted((FIXTURES / "valid" / "result").glob("*.yaml"))
assert RESULTS


def by_events(text: str) -> Any:
    return Builder("x", check_scalars=True).build(event_stream(text.encode()))


def same(text: str) -> bool:
    """Whether it is read by lines; if so, as by events, to the type of each value."""
    value = read_lines(text)
    if value is None:
        return False
    assert repr(value) == repr(by_events(text)), text
    return True


words = st.text("abztfn019./+-:@_=# ,'\"[]{}&*!|>%?~eE", min_size=1, max_size=8)
known = ["null", "true", "false", "1", "-1", "1.0", "1e5", "1e999", "-0", "01", "1_0", "0x1f", ".5"]
known += [
    "[]",
    "{}",
    '""',
    '"a:b"',
    "''",
    "'a:b'",
    "'1'",
    "---",
    "...",
    "- a",
    "-1a",
    "a: b",
    "a:",
    "a #b",
    "a#b",
    "<<",
]
known += ["yes", "~", "=", "2026-11-21", "12:30", "9" * 18, "9" * 19, "a  b", "a b", " a", "a "]
values = st.one_of(words, st.sampled_from(known))
keys = st.sampled_from(["a", "b", "c-d", "null", "y", "_x", "1", "<<", "a b", "k" * 100, "k" * 101])
lines = st.tuples(
    st.integers(0, 5), st.sampled_from(["", "", "- "]), keys, st.one_of(st.none(), values)
).map(lambda it: "  " * it[0] + it[1] + it[2] + ":" + (f" {it[3]}" if it[3] is not None else ""))


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(
        st.one_of(lines, st.sampled_from(["", " ", "- a", "  - 1", "    - b", "# x", " a: 1"])),
        max_size=8,
    )
)
@example(["a:", "  b: 1", "    c: 2"])
@example(["a:", "b: 1"])
@example(["a:", "  - b: 1", "    c: 2", "  - 3", "d: 4"])
@example(["a:", "- b"])
@example(["a:", "  - b", "    c: 1"])
@example(["a:", "  - b: 1", "  c: 1"])
@example(["a: 1", "  b"])
def test_lines_say_what_the_events_say(found: list[str]) -> None:
    same("\n".join(found) + "\n")


trees = st.recursive(
    st.one_of(st.integers(-(10**6), 10**6), st.booleans(), st.sampled_from(["", "a", "a b", "1"])),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcdef"), inner, min_size=1, max_size=4),
        st.lists(inner.filter(lambda item: not isinstance(item, list)), min_size=1, max_size=3),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), trees, min_size=1))
def test_plain_values_as_we_write_them_are_read_by_lines(value: dict[str, Any]) -> None:
    assert same(dump(value).decode())


def nested(levels: int) -> str:
    return "".join("  " * level + "a:\n" for level in range(levels)) + "  " * levels + "a: 1\n"


def items(levels: int) -> str:
    return "a:\n" + "".join("  " * (2 * at + 1) + "- a:\n" for at in range(levels))


def test_as_deep_as_a_manifest_may_be_and_no_deeper() -> None:
    assert same(nested(15))
    assert read_lines(nested(16)) is None
    assert read_lines(nested(15).replace("a: 1", "a: {}")) is None
    assert same(items(7) + "  " * 15 + "- 1\n")
    assert read_lines(items(7) + "  " * 15 + "- []\n") is None
    assert read_lines(nested(15).replace("a: 1", "a:") + "  " * 16 + "- 1\n") is None
    assert read_lines(items(7) + "  " * 15 + "- a: 1\n") is None
    with pytest.raises(InvalidDocumentError, match="deeper than 16"):
        by_events(nested(16))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_as_they_are_published_are_read_by_lines(path: Path) -> None:
    text = path.read_text()
    assert same(text)


@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "-" + "9" * 5000, "1." + "0" * 5000])
def test_a_number_of_any_length_is_left_to_the_events_which_refuse_it(number: str) -> None:
    assert read_lines(f"a: {number}\n") is None
    assert read_lines(f"a:\n  - {number}\n") is None
    with pytest.raises(InvalidDocumentError, match=r"more than 18 digits|too long or too large"):
        parse(f"a: {number}\n".encode(), file="x")


def test_a_long_text_that_is_wrong_at_its_end_costs_no_more_than_its_length() -> None:
    assert read_lines("a: b\n" * 12_000 + "a: b") is None
    assert read_lines("a: " + "b " * 30_000 + "\n") is None
    assert read_lines("a: " + "b" * 60_000 + ":\n") is None
