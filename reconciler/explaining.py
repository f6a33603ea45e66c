"""Why a run is where it is: what the registry still lacks, from whom, and what this site adds.

For a data owner: each run of his datasets. For a model owner or a committee: the same pairs as far
as the registry tells, since what another site's policy says is that site's own.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..registry.paths import classify, result_path
from ..registry.view import AssociationState, ResultState, View
from ..schemas.errors import UsageError
from ..schemas.names import nearest
from .freshness import freshness
from .new_results import reviews
from .plan import PlannedRun, State
from .suspending import suspended
from .workplace import Workplace


@dataclass(frozen=True)
class Explained:
    """One pair: where it is, what is missing (a sentence each), and all that was looked at."""

    benchmark: str
    dataset: str
    model: str
    state: str
    missing: tuple[str, ...]
    registry: tuple[str, ...]
    site: tuple[str, ...] = ()


def explain(
    place: Workplace,
    view: View,
    runs: Sequence[PlannedRun],
    uid: str | None = None,
    *,
    rejected: Mapping[str, str] | None = None,
) -> list[Explained]:
    """The runs of this site that `uid` means, then other sites' pairs with this owner's models.

    And with a model that `uid` names, where it takes part.

    `rejected` has the files of closed proposals and why they were closed, as far as that is known.
    """
    rejected = rejected or {}
    found = [_of_run(place, view, run, rejected) for run in runs]
    found += [*_elsewhere(place, view, uid), *_rejected(place, view, rejected)]
    if uid is None:
        return found
    named = [run for run in runs if _means(uid, run)]
    chosen = [_of_run(place, view, run, rejected) for run in named]
    chosen += [
        one
        for one in found[len(runs) :]
        if any(_named(uid, ref) for ref in (one.model, one.dataset, one.benchmark))
    ]
    if chosen:
        return chosen
    names = [run.pair.local_name for run in runs] + [one.model for one in found]
    raise UsageError(_nothing(place, view, uid, names))


def _nothing(place: Workplace, view: View, uid: str, names: Sequence[str]) -> str:
    """Why no pair is meant: what `uid` is takes part in nothing yet, or cannot, or is not there.

    `names` are those of the pairs that there are.
    """
    known: tuple[Mapping[str, object], ...] = (view.cubes, view.datasets)
    for refs, command, option in zip(known, ("mlcube", "dataset"), ("model", "data"), strict=True):
        same = [ref for ref in refs if _named(uid, ref)]
        if not same:
            continue
        mine = [ref for ref in same if ref.startswith(f"{place.owner}/")]
        ref = (mine or same)[0]
        if command == "mlcube" and (role := view.cube(ref).manifest.spec.role) != "model":
            return f"{ref} is no model ({role}), and only models and datasets take part."
        if not mine:
            what = "with no model of yours" if command == "dataset" else "in no benchmark yet"
            return f"{ref} takes part {what}. All that takes part: 'medperf association ls'."
        return (
            f"{ref} takes part in no benchmark yet. What is asked for already: 'medperf "
            f"association ls --mine'; to ask: 'medperf {command} associate --benchmark B "
            f"--{option}_uid {ref}'."
        )
    for ref in view.benchmarks:
        if _named(uid, ref):
            return f"In {ref} no dataset of this site and no model of yours takes part."
    close = nearest(uid, sorted({*names, *view.benchmarks, *view.cubes, *view.datasets}))
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"There is no run, model or dataset {uid!r} here.{hint}"


def _means(uid: str, run: PlannedRun) -> bool:
    pair = run.pair
    refs = (pair.model, pair.dataset, pair.benchmark)
    names = (pair.local_name, *refs, *(ref.rpartition("/")[2] for ref in refs))
    return uid in names or (len(uid) >= 6 and pair.key.startswith(uid))


def _of_run(
    place: Workplace, view: View, run: PlannedRun, rejected: Mapping[str, str]
) -> Explained:
    pair = run.pair
    registry, missing = _registry(view, pair.benchmark, pair.dataset, pair.model)
    if run.state is State.PUBLISHED:
        missing = []
    elif run.state is State.PROPOSED and _path(run) in rejected:
        missing.append(f"The proposal of the result was rejected: {rejected[_path(run)]}")
        if run.reason:
            missing.append(run.explanation)
    elif not missing and run.explanation and run.state is not State.DUE:
        missing = [run.explanation]
    reason = f" ({run.reason})" if run.reason else ""
    return Explained(
        pair.benchmark,
        pair.dataset,
        pair.model,
        f"{run.state}{reason}",
        tuple(missing),
        tuple(registry),
        tuple(_site(place, view)),
    )


def _path(run: PlannedRun) -> str:
    pair = run.pair
    return result_path(pair.benchmark, pair.dataset, pair.model, pair.key)


def _rejected(place: Workplace, view: View, rejected: Mapping[str, str]) -> Iterator[Explained]:
    """This owner's associations that were rejected before they were anybody's."""
    for path, why in sorted(rejected.items()):
        spot = classify(path)
        if spot.side is None or not spot.component.startswith(f"{place.owner}/"):
            continue
        if view.association(spot.ref, spot.side, spot.component) is not None:
            continue
        model, dataset = spot.component, "-"
        if spot.side == "datasets":
            model, dataset = dataset, model
        yield Explained(
            spot.ref, dataset, model, "rejected", (f"Its proposal was rejected: {why}",), ()
        )


def _elsewhere(place: Workplace, view: View, uid: str | None) -> Iterator[Explained]:
    """Pairs of other owners' datasets with models of this owner, as the registry tells them.

    A committee asks so of others' models too, by a name (`uid`), in the benchmarks that it reviews.
    """
    for ref in sorted(view.benchmarks):
        named = uid if uid is not None and reviews(view, place.owner, ref) else None
        models = [
            one
            for one in view.associations_of(ref, "models")
            if one.component.startswith(f"{place.owner}/") or _named(named, one.component)
        ]
        if not models:
            continue
        all_ = [one.component for one in view.associations_of(ref, "datasets")]
        datasets = [one for one in all_ if not one.startswith(f"{place.owner}/")]
        published = _published(view, ref, {one.component for one in models})
        for model in models:
            for dataset in datasets:
                registry, missing = _registry(view, ref, dataset, model.component)
                result = published.get((dataset, model.component))
                state = f"published ({result.answer})" if result else "blocked"
                if not result and not missing:
                    state = f"asked of {dataset.partition('/')[0]}"
                yield Explained(
                    ref,
                    dataset,
                    model.component,
                    state,
                    () if result else tuple(missing),
                    tuple(registry),
                )
            if not all_:
                text = f"Nobody's dataset takes part in {ref} yet."
                yield Explained(ref, "-", model.component, "blocked", (text,), (_line(model),))


def _published(
    view: View, benchmark: str, models: Collection[str]
) -> dict[tuple[str, str], ResultState]:
    """The results of these models, by dataset and model; nothing is looked into but theirs."""
    folders = {f"/{model.replace('/', '__')}/" for model in models}
    found: dict[tuple[str, str], ResultState] = {}
    for path in view.ledger.paths_below(f"results/{benchmark}/"):
        if f"/{path.split('/')[-2]}/" in folders and path.endswith(".yaml"):
            place, state = classify(path), view.results.get(path)
            pair = place.dataset, place.model
            if state is not None and (pair not in found or state.answer == "valid"):
                found[pair] = state
    return found


def _named(uid: str | None, ref: str) -> bool:
    return uid is not None and uid in (ref, ref.rpartition("/")[2])


def _registry(view: View, benchmark: str, dataset: str, model: str) -> tuple[list[str], list[str]]:
    """What the registry says of a pair, and of that what is missing, a sentence each."""
    settings = view.benchmark_settings(benchmark)
    said = [f"benchmark {benchmark} is {'active' if settings.active else 'not active'}"]
    missing = [] if settings.active else [f"A member of the committee of {benchmark} activates it."]
    for part, component in (("datasets", dataset), ("models", model)):
        state = view.association(benchmark, "models" if part == "models" else "datasets", component)
        if state is None:
            missing.append(f"{component} is not associated with {benchmark}.")
            continue
        said.append(_line(state))
        if state.state == "pending":
            option = "--model_uid" if part == "models" else "--data_uid"
            missing += [f"{component} waits for {one}." for one in state.missing]
            missing.append(
                f"They sign with: medperf association approve --benchmark {benchmark} "
                f"{option} {component}"
            )
        elif state.state != "approved":
            missing.append(f"The association of {component} is {state.sentence}.")
    return said, missing


def _line(state: AssociationState) -> str:
    signed = f"; signed by {', '.join(state.signed)}" if state.signed else ""
    return f"{state.component}: {state.sentence}{signed} (round {state.item.manifest.spec.round})"


def _site(place: Workplace, view: View) -> Iterator[str]:
    """What this site's own settings add to what the registry approves."""
    policy, limits = place.profile.policy, place.profile.limits
    yield f"engine {place.profile.engine}, {limits.memory} of memory (engine, limits.memory)"
    if policy.consent == "cube":
        yield "each run needs 'medperf approve-run' (policy.consent: cube)"
    if policy.releasers > 1 and policy.release != "automatic":
        yield "two members must release a result (policy.releasers: 2)"
    if policy.benchmarks is not None:
        yield f"only for {', '.join(policy.benchmarks)} (policy.benchmarks)"
    if policy.owners is not None:
        yield f"only cubes of {', '.join(policy.owners)} and its own (policy.owners)"
    if policy.release == "manual":
        yield "a person releases each result (policy.release: manual)"
    elif policy.release == "automatic":
        yield "results leave without a person (policy.release: automatic)"
    else:
        yield f"results leave without a person for {', '.join(policy.release)} (policy.release)"
    yield f"fewer than {policy.k} cases are suppressed (policy.k)"
    yield f"at most {policy.bits_per_run} bits leave a run (policy.bitsPerRun)"
    yield f"the view of the registry: {freshness(place, view).sentence}"
    rest = suspended(place)
    if rest is not None:
        yield f"suspended: {rest}"
