"""The disclosure check's rules: what leaves, what is suppressed, what keeps a run at the site."""

import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medperf.schemas.documents import load_as
from medperf.schemas.errors import WithheldError
from medperf.schemas.manifests import Benchmark, BenchmarkSpec, Metric, Result, ResultSpec
from medperf.schemas.metrics import (
    Disclosed,
    check_metrics,
    check_statistics,
    implausible,
    max_bits,
    parse_evaluator_file,
    round_half_even,
)

TESTS = Path(__file__).parent.parent
BENCHMARK = load_as(
    (TESTS / "fixtures" / "manifests" / "valid" / "benchmark" / "usual.yaml").read_bytes(),
    Benchmark,
    file="cxr.yaml",
)
RESULT = load_as((TESTS / "vectors" / "4ec7aeb55ce722e4.yaml").read_bytes(), Result, file="r.yaml")


def number(*keys: str, support: str | None = None, decimals: int = 3, low: float = 0) -> Metric:
    return Metric.model_validate(
        {"from": list(keys), "type": "number", "min": low, "max": 1, "decimals": decimals}
        | ({"support": support} if support else {})
    )


def count(*keys: str) -> Metric:
    return Metric.model_validate(
        {"from": list(keys), "type": "integer", "min": 0, "max": 10_000, "kind": "count"}
    )


DECLARED = {
    "auc-a": number("AUC", "A", support="n-a"),
    "auc-b": number("AUC", "B", support="n-b"),
    "f1-a": number("F1", "A", support="n-a"),
    "n-a": count("n", "A"),
    "n-b": count("n", "B"),
    "n-c": count("n", "C"),
    "loss": number("loss"),
}


def usual(**n: int) -> dict[str, Any]:
    return {
        "AUC": {"A": 0.91349, "B": 0.5},
        "F1": {"A": 1},
        "n": {"A": 50, "B": 60, "C": 70} | n,
        "loss": 0.25,
    }


def check(raw: object, *, ignore: list[list[str]] | None = None, k: int = 10) -> Disclosed:
    return check_metrics(raw, DECLARED, ignore=ignore or [], k=k)


def reasons_of(raw: object, ignore: list[list[str]] | None = None) -> list[str]:
    with pytest.raises(WithheldError) as caught:
        check(raw, ignore=ignore)
    return list(caught.value.reasons)


def suppressed(disclosed: Disclosed) -> dict[str, str]:
    return {item.metric: item.reason for item in disclosed.suppressed}


def test_declared_numbers_leave_rounded_sorted_and_with_their_decimals() -> None:
    disclosed = check(usual())
    assert list(disclosed.metrics.items()) == [
        ("auc-a", Decimal("0.913")),
        ("auc-b", Decimal("0.500")),
        ("f1-a", Decimal("1.000")),
        ("loss", Decimal("0.250")),
        ("n-a", 50),
        ("n-b", 60),
        ("n-c", 70),
    ]
    assert [str(value) for value in disclosed.metrics.values()][1:4] == ["0.500", "1.000", "0.250"]
    assert disclosed.suppressed == ()
    assert disclosed.bits == math.ceil(4 * math.log2(1001) + 3 * math.log2(10_001))


@pytest.mark.parametrize(
    ("value", "decimals", "written"),
    [
        (0.0005, 3, "0.000"),
        (0.0015, 3, "0.002"),
        (0.0025, 3, "0.002"),
        (2.675, 2, "2.68"),
        (0.1 + 0.2, 3, "0.300"),
        (-0.0001, 3, "0.000"),
        (-0.0, 2, "0.00"),
        (0.5, 0, "0"),
        (1.5, 0, "2"),
        (1e-320, 6, "0.000000"),
        (1e308, 1, "1" + "0" * 308 + ".0"),
        (7, 2, "7.00"),
    ],
)
def test_rounding_is_half_even_of_the_number_as_it_is_written(
    value: float, decimals: int, written: str
) -> None:
    assert str(round_half_even(value, decimals)) == written


def test_a_count_under_k_goes_with_all_that_rests_on_it_and_the_next_smallest_too() -> None:
    disclosed = check(usual(A=9))
    assert suppressed(disclosed) == {
        "auc-a": "small-cells",
        "f1-a": "small-cells",
        "n-a": "small-cells",
        "n-b": "complement",
        "auc-b": "complement",
    }
    assert list(disclosed.metrics) == ["loss", "n-c"]


def test_no_complement_is_needed_where_two_counts_are_suppressed_anyway() -> None:
    disclosed = check(usual(A=9, B=0))
    assert set(suppressed(disclosed).values()) == {"small-cells"}
    assert list(disclosed.metrics) == ["loss", "n-c"]


def test_k_itself_is_enough_and_zero_is_under_it() -> None:
    assert suppressed(check(usual(A=10))) == {}
    assert suppressed(check(usual(C=0))) == {
        "n-c": "small-cells",
        "n-a": "complement",
        "auc-a": "complement",
        "f1-a": "complement",
    }


def test_a_tie_for_the_next_smallest_is_broken_by_name() -> None:
    assert "n-a" in suppressed(check(usual(A=50, B=50, C=3)))
    assert "n-b" not in suppressed(check(usual(A=50, B=50, C=3)))


@pytest.mark.parametrize("nothing", [None, math.nan, ...])
def test_what_is_absent_null_or_nan_is_not_computable(nothing: object) -> None:
    raw = usual()
    raw["AUC"]["A"] = nothing
    raw["n"]["B"] = nothing
    if nothing is ...:
        del raw["AUC"]["A"], raw["n"]["B"]
    disclosed = check(raw)
    assert suppressed(disclosed) == {
        "auc-a": "not-computable",
        "auc-b": "not-computable",
        "n-b": "not-computable",
    }


def test_a_small_group_does_not_show_whether_its_metric_could_be_computed() -> None:
    raw = usual(A=3)
    raw["AUC"]["A"] = None
    assert suppressed(check(raw))["auc-a"] == "small-cells"


def test_a_whole_branch_may_be_null_empty_or_missing() -> None:
    branches: list[object] = [None, {}, ...]
    for nothing in branches:
        raw = usual()
        raw["AUC"] = nothing
        if nothing is ...:
            del raw["AUC"]
        assert suppressed(check(raw)) == {"auc-a": "not-computable", "auc-b": "not-computable"}
    assert check({}).metrics == {}
    assert check({}).bits == 0


def test_what_rests_on_a_count_that_rests_on_another_goes_too() -> None:
    declared = {
        "n": count("n"),
        "positives": count("p").model_copy(update={"support": "n"}),
        "auc": number("auc", support="positives"),
    }
    disclosed = check_metrics({"n": 5, "p": 50, "auc": 1}, declared, ignore=[], k=10)
    assert set(suppressed(disclosed).values()) == {"small-cells"}
    assert disclosed.metrics == {}


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (["AUC", "A"], "0.9", "auc-a: is a text, not a number"),
        (["AUC", "A"], True, "auc-a: is true or false, not a number"),
        (["AUC", "A"], [0.9], "auc-a: is a list, not a number"),
        (["AUC", "A"], {"x": 1}, "auc-a: is a mapping, not a number"),
        (["AUC", "A"], math.inf, "auc-a: is outside of 0 to 1"),
        (["AUC", "A"], -math.inf, "auc-a: is outside of 0 to 1"),
        (["AUC", "A"], 1.0000001, "auc-a: is outside of 0 to 1"),
        (["AUC", "A"], -1e-300, "auc-a: is outside of 0 to 1"),
        (["n", "A"], 12.0, "n-a: is not a whole number, as declared"),
        (["n", "A"], 12.5, "n-a: is not a whole number, as declared"),
        (["n", "A"], -1, "n-a: is outside of 0 to 10000"),
        (["n", "A"], 10**400, "n-a: is outside of 0 to 10000"),
        (["AUC", "C"], 0.5, "AUC → C is neither declared nor ignored by the benchmark"),
        (["AUC"], 0.5, "AUC is neither declared nor ignored by the benchmark"),
        (["AUC"], [], "AUC is neither declared nor ignored by the benchmark"),
        (["more"], {}, "more is neither declared nor ignored by the benchmark"),
        (["more"], None, "more is neither declared nor ignored by the benchmark"),
        (["cases"], ["p1", "p2"], "cases is neither declared nor ignored by the benchmark"),
    ],
)
def test_a_run_is_withheld_with_the_reason(keys: list[str], value: object, reason: str) -> None:
    raw = usual()
    place = raw
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    assert reason in reasons_of(raw)


@pytest.mark.parametrize("raw", [None, [], "x", 1, [{"AUC": 1}]])
def test_what_is_no_mapping_is_withheld(raw: object) -> None:
    assert "not a mapping" in reasons_of(raw)[0]


def test_all_reasons_are_given_but_bounded_and_harmless_in_a_terminal() -> None:
    raw = usual() | {f"\x1b[31m{'secret' * 50}{n}": {"\n" * 90: "patient"} for n in range(100)}
    reasons = reasons_of(raw)
    assert len(reasons) == 21
    assert reasons[-1] == "and 80 more"
    assert all(len(reason) < 200 and "\x1b" not in reason for reason in reasons)
    assert "patient" not in str(reasons)
    assert "\n" not in "".join(reasons)


def test_ignored_keys_are_dropped_with_all_below_them() -> None:
    raw = usual() | {"curves": {"A": [[0, 1]], "B": "x"}, "meta": {"num": 3, "version": "1"}}
    assert check(raw, ignore=[["curves"], ["meta"]]) == check(usual())
    assert reasons_of(raw, [["curves"], ["meta", "num"]]) == [
        "meta → version is neither declared nor ignored by the benchmark"
    ]


def test_k_under_three_is_refused_outright() -> None:
    with pytest.raises(ValueError, match="k is 2"):
        check(usual(), k=2)
    with pytest.raises(ValueError, match="k is 0"):
        check_statistics({}, None, k=0, cases=3)


def test_of_statistics_only_what_is_declared_leaves() -> None:
    raw = {"cases": 200, "names": ["Bob"], "age": {"mean": 61.26, "all": [1]}}
    declared = {"cases": count("cases"), "mean-age": number("age", "mean", decimals=1)}
    declared["mean-age"] = declared["mean-age"].model_copy(update={"max": 120, "support": "cases"})
    disclosed = check_statistics(raw, declared, k=10, cases=200)
    assert disclosed.metrics == {"cases": 200, "mean-age": Decimal("61.3")}
    assert check_statistics(raw | {"cases": 9}, declared, k=10, cases=9).metrics == {}
    with pytest.raises(WithheldError):
        check_statistics(raw | {"cases": "many"}, declared, k=10, cases=200)


def test_of_statistics_nobody_declared_the_number_of_cases_leaves_unless_it_is_small() -> None:
    assert check_statistics({"names": ["Bob"]}, None, k=10, cases=200).metrics == {"cases": 200}
    assert check_statistics({"cases": 7}, None, k=10, cases=9).metrics == {}


# Bits


def test_bits_are_those_of_the_golden_result() -> None:
    declared = {name: number(name) for name in RESULT.spec.metrics}
    assert max_bits(declared) == RESULT.spec.disclosure.bits == 20


@pytest.mark.parametrize(
    ("steps", "bits"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (2**60 - 1, 60), (2**60, 61)]
)
def test_bits_are_exact_at_powers_of_two(steps: int, bits: int) -> None:
    metric = count("n").model_copy(update={"max": steps})
    assert max_bits({"n": metric}) == bits


def test_bits_do_not_depend_on_which_benchmark_was_asked_about_before() -> None:
    # equal in Python, but the float is written, and so means, 644436255899923500
    least, whole, written = 608407458880959489, 644436255899923456, 6.444362558999235e17
    metric = number("n").model_copy(update={"min": least, "decimals": 0})
    one, other = (metric.model_copy(update={"max": most}) for most in (whole, written))
    assert whole == written
    assert [max_bits({"n": one}), max_bits({"n": other})] == [55, 56]


def test_bits_of_a_range_that_the_decimals_do_not_divide() -> None:
    metric = number("x").model_copy(update={"max": 0.0015})
    assert max_bits({"x": metric}) == 2
    assert max_bits({}) == 0


# Properties

RAW_NUMBERS = st.integers(-5, 40) | st.floats(-0.1, 1.1) | st.sampled_from([None, math.nan, 0.5])
RAWS = st.fixed_dictionaries(
    {},
    optional={
        "AUC": st.dictionaries(st.sampled_from("AB"), RAW_NUMBERS),
        "F1": st.dictionaries(st.just("A"), RAW_NUMBERS),
        "n": st.dictionaries(st.sampled_from("ABC"), st.integers(0, 40) | st.none()),
        "loss": st.floats(0, 1),
    },
)


@settings(max_examples=300, deadline=None)
@given(RAWS, st.integers(3, 30))
def test_nothing_suppressed_and_nothing_that_rests_on_it_ever_leaves(
    raw: dict[str, Any], k: int
) -> None:
    try:
        disclosed = check_metrics(raw, DECLARED, ignore=[], k=k)
    except WithheldError:
        return
    why = suppressed(disclosed)
    assert sorted([*disclosed.metrics, *why]) == sorted(DECLARED)
    assert list(disclosed.metrics) == sorted(disclosed.metrics)
    assert [item.metric for item in disclosed.suppressed] == sorted(why)
    for name, value in disclosed.metrics.items():
        metric = DECLARED[name]
        assert metric.min <= value <= metric.max
        assert metric.support not in why
        if metric.kind == "count":
            assert value >= k
    hidden = [name for name in why if DECLARED[name].kind == "count"]
    shown = [name for name in disclosed.metrics if DECLARED[name].kind == "count"]
    assert not (len(hidden) == 1 and why[hidden[0]] == "small-cells" and shown)
    assert implausible(result_of(disclosed, k), benchmark_of(DECLARED)) == []


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-1e9, 1e9),
    st.integers(0, 6),
    st.integers(-(10**9), 10**9),
    st.integers(1, 10**9),
)
def test_rounding_stays_in_a_range_of_as_many_decimals(
    value: float, decimals: int, low: int, width: int
) -> None:
    bounds = [float(Decimal(edge).scaleb(-decimals)) for edge in (low, low + width)]
    clamped = min(max(value, bounds[0]), bounds[1])
    rounded = round_half_even(clamped, decimals)
    assert Decimal(repr(bounds[0])) <= rounded <= Decimal(repr(bounds[1]))
    assert rounded.as_tuple().exponent == -decimals
    assert not (rounded == 0 and rounded.is_signed())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 10**18), min_size=1, max_size=30))
def test_bits_only_grow_with_more_metrics_and_never_fall_short(steps: list[int]) -> None:
    metrics = {
        f"m{n}": count(f"m{n}").model_copy(update={"max": step}) for n, step in enumerate(steps)
    }
    grown = [max_bits(dict(list(metrics.items())[:size])) for size in range(len(metrics) + 1)]
    assert all(less <= more for less, more in pairwise(grown))
    assert 2 ** grown[-1] >= math.prod(step + 1 for step in steps) > 2 ** (grown[-1] - 1)


# What a validator can see


def result_of(disclosed: Disclosed, k: int) -> ResultSpec:
    """The golden result with other numbers, as it would read back from its file."""
    metrics = {
        name: value if isinstance(value, int) else float(value)
        for name, value in disclosed.metrics.items()
    }
    disclosure = RESULT.spec.disclosure.model_copy(
        update={"k": k, "bits": disclosed.bits, "suppressed": disclosed.suppressed}
    )
    return RESULT.spec.model_copy(update={"metrics": metrics, "disclosure": disclosure})


def benchmark_of(declared: Mapping[str, Metric]) -> BenchmarkSpec:
    return BENCHMARK.spec.model_copy(update={"metrics": dict(declared)})


def judged(n_a: int = 50, *, drop: str = "", k: int = 10, **changes: Any) -> list[str]:
    """What is implausible in an honest result in which some numbers were then changed."""
    spec = result_of(check(usual(A=n_a)), k)
    metrics = dict(spec.metrics) | {name.replace("_", "-"): x for name, x in changes.items()}
    metrics.pop(drop, None)
    return implausible(spec.model_copy(update={"metrics": metrics}), benchmark_of(DECLARED))


def test_an_honest_result_is_plausible() -> None:
    assert judged() == []
    assert judged(9) == []
    assert judged(0) == []


def test_a_dishonest_or_broken_result_is_not() -> None:
    assert judged(auc_a=0.9131) == ["auc-a is 0.9131, which has more than 3 decimals"]
    assert judged(auc_a=1.5) == ["auc-a is 1.5, outside of 0 to 1"]
    assert judged(n_a=9, n_c=5) == ["n-c is 5, a count under k = 10"]
    assert judged(n_b=60.5) == ["n-b is 60.5, not a whole number"]
    assert judged(k=60) == ["n-a is 50, a count under k = 60"]
    assert judged(k=2)[0] == "k is 2, under 3"
    assert judged(drop="loss") == [
        "loss must be either written or suppressed",
        "bits is 80, but these metrics carry 70",
    ]
    assert judged(secret=0.5) == ["secret is not declared by the benchmark"]
    assert "auc-a must be either written or suppressed" in judged(9, auc_a=0.9)
    [bits] = judged(9, drop="loss")[1:]
    assert bits.startswith("bits is ")


def with_suppressed(*items: tuple[str, str]) -> list[str]:
    """What is implausible where these metrics, and no others, are suppressed."""
    kept = check(usual()).metrics
    names = [name for name, _ in items]
    left = {name: value for name, value in kept.items() if name not in names}
    made = RESULT.spec.disclosure.model_validate(
        {
            "k": 10,
            "bits": max_bits({name: DECLARED[name] for name in left}),
            "suppressed": [{"metric": name, "reason": reason} for name, reason in items],
        }
    )
    return implausible(
        result_of(Disclosed(left, made.suppressed, made.bits), 10), benchmark_of(DECLARED)
    )


def test_what_rests_on_a_suppressed_count_must_be_suppressed_with_it() -> None:
    found = with_suppressed(("n-a", "small-cells"), ("n-b", "complement"))
    assert "auc-a is written although its support n-a is not" in found
    assert "auc-b is written although its support n-b is not" in found


def test_a_single_suppressed_count_could_be_found_by_subtraction() -> None:
    assert with_suppressed(("n-c", "small-cells")) == [
        "n-c is the only suppressed count: the next smallest must be too"
    ]


def test_a_metric_cannot_be_hidden_as_a_small_cell_without_a_small_count() -> None:
    assert with_suppressed(("loss", "small-cells")) == [
        "loss is suppressed as small-cells, but no count that it rests on is"
    ]
    assert with_suppressed(("auc-a", "complement")) == [
        "auc-a is suppressed as complement, but no count that it rests on is"
    ]
    assert with_suppressed(("loss", "not-computable")) == []
    twice = with_suppressed(("loss", "not-computable"), ("loss", "not-computable"))
    assert twice == ["a metric is suppressed twice"]


# The evaluator's file


def test_what_evaluators_write_is_read_as_it_was_meant() -> None:
    data = b"""---
AUC: {Edema: 0.9, "No Finding": .nan}
'quoted': 1.0e-05
sci: 1e-05
plus: +3
short: .5
long: 5.
whole: 7
text: abc
date: 2026-11-21
empty:
tilde: ~
word: null
inf: -.inf
truth: [true, False]
0: zero
huge: 123456789012345678901234567890
"""
    read = parse_evaluator_file(data)
    assert isinstance(read, dict)
    assert math.isnan(read["AUC"].pop("No Finding"))
    assert read == {
        "AUC": {"Edema": 0.9},
        "quoted": 1e-05,
        "sci": 1e-05,
        "plus": 3,
        "short": 0.5,
        "long": 5.0,
        "whole": 7,
        "text": "abc",
        "date": "2026-11-21",
        "empty": None,
        "tilde": None,
        "word": None,
        "inf": -math.inf,
        "truth": [True, False],
        "0": "zero",
        "huge": 123456789012345678901234567890.0,
    }


def test_json_files_are_read_with_tabs_nan_and_infinity() -> None:
    data = b'\xef\xbb\xbf{\r\n\t"AUC": {"A": NaN, "B": -Infinity, "C": 1e-5},\r\n\t"n": 12\r\n}\r\n'
    read = parse_evaluator_file(data)
    assert isinstance(read, dict)
    assert math.isnan(read["AUC"].pop("A"))
    assert read == {"AUC": {"B": -math.inf, "C": 1e-5}, "n": 12}
    huge = parse_evaluator_file(b'{"n": ' + b"9" * 5000 + b"}")
    assert huge == {"n": math.inf}
    assert parse_evaluator_file(b"{a: 1, b: [x]}") == {"a": 1, "b": ["x"]}


def test_what_pyyaml_dumps_reads_back() -> None:
    answer = {"AUC": {"A": 0.9134, "B": 1e-07, "C": 1e22}, "n": {"A": 12}, "e": 0.0, "s": "x: y"}
    assert parse_evaluator_file(yaml.safe_dump(answer).encode()) == answer
    assert parse_evaluator_file(yaml.safe_dump(answer, default_flow_style=True).encode()) == answer


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * (16 * 1024 + 1), "the file is 16385 bytes long"),
        (b"a: " + b"1" * 1_000_000, "bytes long"),
        (b"a: \xff", "not UTF-8"),
        (b"", "is empty"),
        (b"a: 1\na: 2\n", "line 2: the key 'a' a second time"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"a: &x {b: 1}\nc: *x\n", "line 1: an anchor"),
        (b"c: *x\n", "line 1: an alias"),
        (b"a: !!python/object/apply:numpy.core.multiarray.scalar [1]\n", "line 1: a tag"),
        (b"a: 1\n---\nb: 2\n", "line 2: a second document"),
        (b"a: [1\n", "not YAML"),
        (b"a: \x1b[31m\n", "not YAML"),
        (b'{"a": ' * 2700, "a level deeper than 16"),
        (b"[" * 16000, "a level deeper than 16"),
        (b"<<: {a: 1}\n", "a merge key"),
    ],
)
def test_a_file_of_another_form_keeps_the_run_at_the_site(data: bytes, reason: str) -> None:
    with pytest.raises(WithheldError, match=reason):
        parse_evaluator_file(data)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120))
def test_junk_is_read_or_withheld_and_never_leaves(data: bytes) -> None:
    try:
        disclosed = check(parse_evaluator_file(data))
    except WithheldError:
        return
    assert disclosed.metrics == {}
