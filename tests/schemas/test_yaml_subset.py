"""The YAML subset: what is refused and where, what is read, and that writing reads back."""

import contextlib
import math
import time
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medperf.schemas.errors import InvalidDocumentError, Problem
from medperf.schemas.yaml_subset import dump, field_name, parse
from medperf.schemas.yaml_text import REFUSED as REFUSED_CHARACTERS

VECTORS = Path(__file__).parent.parent / "vectors"


def problem_of(call: Callable[[], object]) -> Problem:
    with pytest.raises(InvalidDocumentError) as caught:
        call()
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-0", 0),
        ("17", 17),
        ("-123456789012345678", -123456789012345678),
        ("0.880", 0.88),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("no", "no"),
        ("True", "True"),
        ("~", "~"),
        ("2026-11-21", "2026-11-21"),
        ("0x1F", "0x1F"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        ("+1", "+1"),
        (".5", ".5"),
        ("'1'", "1"),
        ('"null"', "null"),
        ('"a\\nb"', "a\nb"),
        ("{image: name@sha256:ab}", {"image": "name@sha256:ab"}),
        ("[a, [b]]", ["a", ["b"]]),
        ("", ""),
    ],
)
def test_plain_scalars_follow_jsons_grammar_and_all_else_is_a_string(
    text: str, value: object
) -> None:
    read = parse(f"key: {text}\n".encode(), file="f.yaml").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_strings_as_written() -> None:
    value = parse(b"1: a\ntrue: b\nnull: c\n1.0: d\n", file="f.yaml").value
    assert value == {"1": "a", "true": "b", "null": "c", "1.0": "d"}


REFUSED = [
    (b"\xef\xbb\xbfa: 1\n", 1, "", "a byte order mark"),
    (b"a: 1\r\nb: 2\r\n", 1, "", "a carriage return"),
    (b"a: 1\n\tb: 2\n", 2, "", "a tab"),
    (b"a: 1\nb: \x1b[31m\n", 2, "", "U+001B"),
    (b"a: \xff\n", 1, "", "not UTF-8"),
    (b"a: \xed\xa0\x80\n", 1, "", "not UTF-8"),
    ("a: x\u200by\n".encode(), 1, "", "U+200B"),
    ("a: x\u202ey\n".encode(), 1, "", "U+202E"),
    ("a: 1\nb: x\u2028y\n".encode(), 2, "", "U+2028"),
    ("a: e\u0301\n".encode(), 1, "", "NFC"),
    ("a: 1\nb: \u0085\n".encode(), 2, "", "U+0085"),
    ("\ufeff".join(["a: 1\n", "b: 2\n"]).encode(), 2, "", "U+FEFF"),
    (b'a: 1\nb: "\\e[31m"\n', 2, "b", "U+001B, written as an escape"),
    (b'a: "\\t"\n', 1, "a", "a tab, written as an escape"),
    (b'a: "\\u202e"\n', 1, "a", "U+202E"),
    (b'a: "e\\u0301"\n', 1, "a", "NFC"),
    (b'"a\\u200b": 1\n', 1, "", "U+200B"),
    (b'"a\\nb": 1\n', 1, "", "more than one line"),
    (b"a: &x 1\n", 1, "a", "an anchor"),
    (b"a: *x\n", 1, "a", "an alias"),
    (b"*x : 1\n", 1, "", "an alias"),
    (b"a:\n  - !!str x\n", 2, "a[0]", "a tag"),
    (b"a: ! x\n", 1, "a", "a tag"),
    (b"!t a: 1\n", 1, "", "a tag"),
    (b"<<: {a: 1}\n", 1, "", "a merge key"),
    (b"a: 1\nb: 2\na: 3\n", 3, "a", "a second time"),
    (b"a:\n  - {c: 1, 'c': 2}\n", 2, "a[0].c", "a second time"),
    (b"%YAML 1.2\n---\na: 1\n", 1, "", "directive"),
    (b"a: 1\n---\nb: 1\n", 2, "", "a second document"),
    (b"", None, "", "is empty"),
    (b"# only a comment\n", None, "", "is empty"),
    (b"[a]: 1\n", 1, "", "as a key"),
    (b"? {a: 1}\n: 2\n", 1, "", "as a key"),
    (b"a: 1234567890123456789\n", 1, "a", "more than 18 digits"),
    (b"a: 1e999\n", 1, "a", "too large"),
    (b"a: 0." + b"1" * 60 + b"\n", 1, "a", "too long"),
    (b"a: b: c\n", 1, "", "not YAML"),
    (b"a: [1\n", 2, "", "not YAML"),
    (b'a: "\\ud800"\n', 1, "", "not YAML"),
    (b'a: "\\U00110000"\n', 1, "", "not YAML"),
    (b"a: " + b"[" * 16 + b"]" * 16 + b"\n", 1, "a" + "[0]" * 15, "deeper than 16"),
]


@pytest.mark.parametrize(("data", "line", "field", "found"), REFUSED)
def test_what_the_subset_leaves_out_is_refused_with_its_place(
    data: bytes, line: int | None, field: str, found: str
) -> None:
    problem = problem_of(lambda: parse(data, file="f.yaml"))
    assert (problem.file, problem.line, problem.field) == ("f.yaml", line, field)
    assert found in problem.found
    assert problem.fix


def test_a_depth_that_libyaml_itself_refuses_is_called_a_depth() -> None:
    problem = problem_of(lambda: parse(b"[" * 16_000, file="f.yaml"))
    assert (problem.line, problem.fix) == (1, "Write it flatter.")
    assert "deeper than 16" in problem.found


def test_without_libyaml_the_same_is_read_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    for path in VECTORS.glob("*.yaml"):
        data = path.read_bytes()
        fallback = parse(data, file=path.name)
        monkeypatch.setattr(yaml, "__with_libyaml__", True)
        assert parse(data, file=path.name).value == fallback.value
        monkeypatch.setattr(yaml, "__with_libyaml__", False)
    for data, *_ in REFUSED:
        with pytest.raises(InvalidDocumentError):
            parse(data, file="f.yaml")


def anchor_bomb() -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "data",
    [
        anchor_bomb(),
        b"[" * 1_000_000,
        b"[" * 65_000,
        b"{" * 65_000,
        b"- " * 32_000,
        b"? " * 32_000,
        b"a: '" + b"x" * 65_000,
        b"a: |\n" + b" x\n" * 20_000 + b"\x01",
        bytes(range(256)) * 256,
        b"&a" * 30_000,
        b"a:" * 30_000,
    ],
    ids=lambda data: f"{len(data)} bytes of {data[:4]!r}",
)
def test_bombs_and_junk_are_refused_quickly(data: bytes) -> None:
    start = time.process_time()
    problem_of(lambda: parse(data, file="f.yaml"))
    assert time.process_time() - start < 0.5


def test_a_manifest_is_read_in_well_under_a_millisecond() -> None:
    data = (VECTORS / "4ec7aeb55ce722e4.yaml").read_bytes()
    times = []
    for _ in range(50):
        start = time.process_time()
        parse(data, file="f.yaml")
        times.append(time.process_time() - start)
    assert min(times) < 0.001


def test_lines_are_known_for_every_path() -> None:
    parsed = parse(b"# c\na: 1\nb:\n  - x\n  - {c: [1,\n     2]}\nd: {}\ne: []\nf: g\n", file="f")
    expected = {(): 2, ("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 5, ("b", 1, "c"): 5}
    expected |= {("b", 1, "c", 0): 5, ("b", 1, "c", 1): 6, ("d",): 7, ("e",): 8, ("f",): 9}
    assert {path: parsed.line(path) for path in expected} == expected
    assert parsed.line(("b", 7, "nothing")) == 3
    assert field_name(("b", 1, "c", 0)) == "b[1].c[0]"
    assert "\x1b" not in field_name(("\x1b[31m" * 100,))


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_golden_manifests_are_written_byte_for_byte(path: Path) -> None:
    def fixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fixed(item) for key, item in value.items()}
        return Decimal(f"{value:.3f}") if isinstance(value, float) else value

    data = path.read_bytes()
    assert dump(fixed(parse(data, file=path.name).value)) == data


def test_decimals_keep_their_digits() -> None:
    assert dump({"a": Decimal("0.880"), "b": Decimal("1E+3"), "c": Decimal("5")}) == (
        b"a: 0.880\nb: 1000\nc: 5\n"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": math.nan}, "not finite"),
        ({"a": Decimal("Infinity")}, "not finite"),
        ({"a": 10**18}, "too many digits"),
        ({"a": "x\ty"}, "a tab"),
        ({"a": "x\u200by"}, "U+200B"),
        ({"x" * 501: 1}, "the key"),
        ({"a\nb": 1}, "the key"),
        ({"<<": 1}, "the key"),
    ],
)
def test_what_could_not_be_read_is_not_written(value: object, found: str) -> None:
    problem = problem_of(lambda: dump(value))
    assert problem.file == "new document"
    assert found in problem.found


def test_too_deep_a_value_is_not_written() -> None:
    value: list[Any] = []
    for _ in range(17):
        value = [value]
    assert "deeper" in problem_of(lambda: dump(value)).found


def test_what_is_no_document_is_a_bug() -> None:
    with pytest.raises(TypeError):
        dump({"a": object()})
    with pytest.raises(TypeError):
        dump({1: "a"})


MLCUBE_FILES = [
    "name: x\ntasks: {}\n",
    "no newline at the end",
    "two newlines at the end\n\n",
    "  indented first line\nrest\n",
    "\n\nblank lines first\n",
    "\n  blank, then indented\n",
    "spaces only in a line\n   \nrest\n   ",
    "a\n  ",
    "# comment\n--- # document\n...\n",
    "\n",
    "\n\n\n",
    " \n",
    " \n ",
    "trailing space \nkey: 'quotes' \"too\" \\n\n",
]


@pytest.mark.parametrize("text", MLCUBE_FILES)
def test_an_embedded_file_is_byte_exact_wherever_it_stands(text: str) -> None:
    value = {"files": {"mlcube.yaml": text, "after": [text, {"deep": [[text], text]}]}, "end": text}
    assert parse(dump(value), file="f").value == value
    assert parse(dump(text), file="f").value == text
    if "\n" in text and text.strip("\n"):
        assert b"mlcube.yaml: |" in dump(value)


TEXTS = st.text(
    st.one_of(
        st.sampled_from("ab \n:#-'\"|>&*!%@`{}[],?~.=<0123e+_\\x/é"),
        st.characters(exclude_categories=["Cs", "Cc"]),
    ),
    max_size=30,
).filter(
    lambda text: not REFUSED_CHARACTERS.search(text) and unicodedata.is_normalized("NFC", text)
)
KEYS = TEXTS.filter(lambda text: "\n" not in text and text != "<<")
NUMBERS = st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.sampled_from(["null", "true", "no", "~", "1", "-1.5e3", "2026-11-21", "0x1F", "- a"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | WORDS, inner, max_size=4),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    """Equal in value, type and order of keys."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@settings(max_examples=300, deadline=None)
@given(VALUES)
@example({"a": [[], {}, [{}]], "": ""})
def test_what_is_written_reads_back_the_same(value: object) -> None:
    data = dump(value)
    assert same(parse(data, file="f").value, value)
    assert dump(parse(data, file="f").value) == data


JUNK = st.binary(max_size=200) | st.text(max_size=100).map(
    lambda text: text.encode(errors="replace")
)


@settings(max_examples=200, deadline=None)
@given(JUNK)
def test_junk_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(InvalidDocumentError):
        value = parse(data, file="f").value
        assert same(parse(dump(value), file="f").value, value)
