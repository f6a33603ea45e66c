"""The pure rules of the disclosure check (design §10): which numbers of a run may leave a site.

In this order: each leaf of the evaluator's file is declared or ignored, else the run is withheld;
each declared metric has its type and range, or is absent (null, NaN) and so not computable; it is
rounded; counts under k are suppressed with all that rests on them, and, if only one count was, the
next smallest with what rests on it, lest the one follow from a total. What is left is written anew.

Values never stand in a reason, keys only sanitised and cut: the file is a stranger's text. The same
rules serve validators, who see only the result: `implausible`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import isnan
from typing import Any

from .errors import WithheldError
from .evaluator_file import parse_evaluator_file
from .manifests import BenchmarkSpec, Metric, ResultSpec, Suppressed
from .yaml_subset import shown

__all__ = [
    "LEAST_K",
    "Disclosed",
    "check_metrics",
    "check_statistics",
    "implausible",
    "max_bits",
    "parse_evaluator_file",
    "round_half_even",
]

LEAST_K = 3
MOST_REASONS = 20
_CASES = Metric.model_validate(
    {"from": ["cases"], "type": "integer", "min": 0, "max": 10**15, "kind": "count"}
)

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Disclosed:
    """What may leave of one run: metrics by name, what was suppressed, and how many bits leave."""

    metrics: Mapping[str, Decimal | int]
    suppressed: tuple[Suppressed, ...]
    bits: int


def check_metrics(
    raw: object, declared: Mapping[str, Metric], *, ignore: Sequence[Sequence[str]], k: int
) -> Disclosed:
    """What may leave of an evaluator's numbers, or a WithheldError with the reasons why nothing."""
    _check_k(k)
    dropped = {tuple(prefix) for prefix in ignore}
    reasons = list(_undeclared(raw, {metric.source for metric in declared.values()}, dropped))
    return _disclose(raw, declared, k, reasons)


def check_statistics(
    raw: object, declared: Mapping[str, Metric] | None, *, k: int, cases: int
) -> Disclosed:
    """What may leave of a dataset's statistics: what the preparator declares, else the cases.

    Unlike an evaluator's, undeclared keys are no reason to withhold: they just stay at the site.
    """
    _check_k(k)
    if declared is None:
        return _disclose({"cases": cases}, {"cases": _CASES}, k, [])
    return _disclose(raw, declared, k, [])


def _check_k(k: int) -> None:
    if k < LEAST_K:
        raise ValueError(f"k is {k}: a count under {LEAST_K} never leaves a site")


def _disclose(raw: object, declared: Mapping[str, Metric], k: int, reasons: list[str]) -> Disclosed:
    values: dict[str, Decimal | int] = {}
    absent: list[str] = []
    for name, metric in declared.items():
        try:
            value = _checked(_at(raw, metric.source), metric)
        except _RefusedError as refused:
            reasons.append(f"{name}: {refused}")
            continue
        if value is None:
            absent.append(name)
        else:
            values[name] = value
    if reasons:
        raise WithheldError(_bounded(reasons))
    why = _suppressed(values, absent, declared, k)
    kept = {name: values[name] for name in sorted(values) if name not in why}
    return Disclosed(
        metrics=kept,
        suppressed=tuple(
            Suppressed.model_validate({"metric": name, "reason": why[name]}) for name in sorted(why)
        ),
        bits=max_bits({name: declared[name] for name in kept}),
    )


def _bounded(reasons: list[str]) -> list[str]:
    rest = len(reasons) - MOST_REASONS
    return [*reasons[:MOST_REASONS], f"and {rest} more"] if rest > 0 else reasons


# Which leaves are there, and may they be


def _undeclared(raw: object, sources: set[Keys], dropped: set[Keys]) -> Iterator[str]:
    if not isinstance(raw, dict):
        yield f"the evaluator's file holds {_sort_of(raw)}, not a mapping"
        return
    on_the_way = {source[:end] for source in sources for end in range(len(source))}
    todo: list[tuple[tuple[Any, ...], object]] = [((), raw)]
    while todo:
        keys, value = todo.pop()
        if keys in dropped or keys in sources or (value is None and keys in on_the_way):
            continue
        if isinstance(value, dict) and (value or keys in on_the_way):
            todo += [((*keys, key), item) for key, item in reversed(value.items())]
        else:
            yield f"{_shown_keys(keys)} is neither declared nor ignored by the benchmark"


def _shown_keys(keys: tuple[Any, ...]) -> str:
    text = " → ".join(shown(str(key)[:40], most=40, quotes=False) for key in keys)
    return text if len(text) <= 120 else text[:120] + "…"


def _at(raw: object, source: Keys) -> object:
    """The value at a path of keys; None if it is not there."""
    for key in source:
        if not isinstance(raw, dict):
            return None
        raw = raw.get(key)
    return raw


# One value


class _RefusedError(Exception):
    """A value that may not be published as what was declared."""


def _checked(value: object, metric: Metric) -> Decimal | int | None:
    """The value in its type and range, rounded; None if it could not be computed."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _RefusedError(f"is {_sort_of(value)}, not a number")
    if metric.type == "integer" and not isinstance(value, int):
        raise _RefusedError("is not a whole number, as declared")
    if not metric.min <= value <= metric.max:
        raise _RefusedError(f"is outside of {metric.min} to {metric.max}")
    if isinstance(value, int) and metric.type == "integer":
        return value
    rounded = round_half_even(value, metric.decimals or 0)
    if not _exact(metric.min) <= rounded <= _exact(metric.max):
        raise _RefusedError(f"is outside of {metric.min} to {metric.max} once rounded")
    return rounded


def round_half_even(value: float, decimals: int) -> Decimal:
    """The number as it is written (the shortest that reads back as this float), rounded; no -0."""
    with localcontext(prec=400):
        rounded = _exact(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    return rounded.copy_abs() if rounded == 0 else rounded


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))


def _sort_of(value: object) -> str:
    for kind, words in ((bool, "true or false"), (str, "a text"), (list, "a list")):
        if isinstance(value, kind):
            return words
    return "a mapping" if isinstance(value, dict) else "nothing" if value is None else "a number"


# Suppression


def _suppressed(
    values: Mapping[str, Decimal | int],
    absent: Sequence[str],
    declared: Mapping[str, Metric],
    k: int,
) -> dict[str, str]:
    """Which metrics do not leave, with the reason.

    1. Counts under k (0 too), and what rests on them: small-cells; also where nothing was computed,
       so that a small group does not show whether it was.
    2. What is absent, and what rests on it: not-computable.
    3. If step 1 took one count only, the next smallest and what rests on it: complement.
    """
    counts = {name: values[name] for name in values if declared[name].kind == "count"}
    why: dict[str, str] = {}
    _spread([name for name, count in counts.items() if count < k], "small-cells", declared, why)
    small = [name for name in counts if name in why]
    _spread(absent, "not-computable", declared, why)
    left = [name for name in counts if name not in why]
    if len(small) == 1 and left:
        smallest = min(left, key=lambda name: (counts[name], name))
        _spread([smallest], "complement", declared, why)
    return why


def _spread(
    names: Sequence[str], reason: str, declared: Mapping[str, Metric], why: dict[str, str]
) -> None:
    """Suppress these and, step by step, all that rests on them."""
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in why:
            why[name] = reason
            todo += [other for other, metric in declared.items() if metric.support == name]


# Bits


def max_bits(declared: Mapping[str, Metric]) -> int:
    """⌈Σ log2((max - min)·10^decimals + 1)⌉ over these metrics, exactly: no float is involved."""
    metrics = declared.values()
    return _bits(tuple((repr(one.min), repr(one.max), one.decimals or 0) for one in metrics))


@lru_cache(maxsize=256)  # the results of a benchmark mostly carry the same metrics
def _bits(ranges: tuple[tuple[str, str, int], ...]) -> int:
    # ranges as they are written: a large whole number and a float may be equal and not the same
    product = Fraction(1)
    for least, most, decimals in ranges:
        product *= _values(least, most, decimals)
    above, below = product.numerator, product.denominator
    bits = max(0, above.bit_length() - below.bit_length() - 1)
    while below << bits < above:
        bits += 1
    return bits


@lru_cache(maxsize=4096)
def _values(least: str, most: str, decimals: int) -> Fraction:
    """How many values a metric can have."""
    steps: int = 10**decimals
    return (Fraction(most) - Fraction(least)) * steps + 1


# What a validator can see


def implausible(result: ResultSpec, benchmark: BenchmarkSpec) -> list[str]:
    """What in a result cannot come from the disclosure check; empty if nothing."""
    declared, values, said = benchmark.metrics, result.metrics, result.disclosure
    why = {item.metric: item.reason for item in said.suppressed}
    found = [
        f"{name} is not declared by the benchmark"
        for name in sorted({*values, *why} - declared.keys())
    ]
    if len(why) != len(said.suppressed):
        found.append("a metric is suppressed twice")
    if said.k < LEAST_K:
        found.append(f"k is {said.k}, under {LEAST_K}")
    for name, metric in declared.items():
        if (name in values) == (name in why):
            found.append(f"{name} must be either written or suppressed")
        elif name in why:
            found += _implausibly_suppressed(name, why, declared)
        else:
            found += _implausible_value(name, values[name], metric, said.k)
            if metric.support in why:
                found.append(f"{name} is written although its support {metric.support} is not")
    if why:
        found += _no_complement(why, declared)
    bits = max_bits({name: metric for name, metric in declared.items() if name in values})
    if said.bits != bits:
        found.append(f"bits is {said.bits}, but these metrics carry {bits}")
    return found


def _implausible_value(name: str, value: float, metric: Metric, k: int) -> Iterator[str]:
    if not metric.min <= value <= metric.max:
        yield f"{name} is {value}, outside of {metric.min} to {metric.max}"
    if metric.type == "integer" and not isinstance(value, int):
        yield f"{name} is {value}, not a whole number"
    elif _too_fine(value, metric.decimals or 0):
        yield f"{name} is {value}, which has more than {metric.decimals or 0} decimals"
    if metric.kind == "count" and value < k:
        yield f"{name} is {value}, a count under k = {k}"


@lru_cache(maxsize=4096)  # rounded numbers come again and again
def _too_fine(value: float, decimals: int) -> bool:
    exact = _exact(value)
    written: int = exact.as_tuple().exponent  # type: ignore[assignment]  # a finite number's
    return written < -decimals and exact != round_half_even(value, decimals)


def _implausibly_suppressed(
    name: str, why: Mapping[str, str], declared: Mapping[str, Metric]
) -> Iterator[str]:
    metric = declared[name]
    rests_on_it = metric.support is not None and why.get(metric.support) == why[name]
    if why[name] != "not-computable" and metric.kind != "count" and not rests_on_it:
        yield f"{name} is suppressed as {why[name]}, but no count that it rests on is"


def _no_complement(why: Mapping[str, str], declared: Mapping[str, Metric]) -> Iterator[str]:
    counts = [name for name, metric in declared.items() if metric.kind == "count"]
    suppressed = [name for name in counts if name in why]
    if len(suppressed) == 1 < len(counts) and why[suppressed[0]] == "small-cells":
        yield f"{suppressed[0]} is the only suppressed count: the next smallest must be too"
