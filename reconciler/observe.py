"""What the registry asks of this site and what the site has, read fresh from Git and from files.

Two functions with plain values out: `asked` looks at the registry, `here` at the machine; `observe`
puts both into a plan. Nothing is remembered between passes but the records of `records.py`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..registry.paths import result_path
from ..registry.snapshot import Item
from ..registry.view import AssociationState, ResultState, View, standing_of
from ..schemas.digests import run_key
from ..schemas.errors import WithheldError
from ..schemas.manifests import BenchmarkSpec, Cube
from .held import held_back
from .lock import worked_on
from .partial import is_begun, partial_of
from .plan import Asked, Here, Pair, Plan, make_plan
from .policy import benchmark_obstacle, cube_obstacle
from .proposed import proposed_paths
from .records import Record, RunFolder
from .settings import Profile
from .workplace import Workplace


def look(place: Workplace, *, fetch: bool = True) -> tuple[View, Plan]:
    """The registry as it is now, and the plan for this site."""
    view = place.view(fetch=fetch)
    return view, observe(place, view, now=time.time())


def observe(place: Workplace, view: View, *, now: float) -> Plan:
    """The plan for this site's datasets at `view`; `now` in seconds since 1970."""
    results = _Results(view)
    questions = list(_asked(view, place.owner, results))
    questions += list(_partials(place, view, questions, results))
    plan = make_plan(view.tip, questions, here(place, view, questions), now=now)
    return held_back(place, view, plan, now=now)


def make_pair(view: View, *, benchmark: str, dataset: str, dataset_digest: str, model: str) -> Pair:
    """The pair for a benchmark, a dataset with its manifest's digest, and a model, at `view`."""
    return _pair(
        view.registry.id,
        (benchmark, view.benchmark(benchmark).digest),
        (dataset, dataset_digest),
        (model, view.cube(model).digest),
    )


_Known = tuple[str, str]  # owner/name, and the digest of its manifest


def _pair(registry: str, benchmark: _Known, dataset: _Known, model: _Known) -> Pair:
    names, digests = zip(benchmark, dataset, model, strict=True)
    key = run_key(
        registry=registry,
        benchmark=digests[0],
        dataset=digests[1],
        model=digests[2],
        partial=False,
    )
    return Pair(key, *names, *digests)


def _asked(view: View, owner: str, results: "_Results") -> Iterator[Asked]:
    """Every pair of `owner`'s datasets with the models of the benchmarks they take part in.

    A site may have ten thousand: what is the same for many of them is looked up once.
    """
    registry = view.registry.id
    for ref, benchmark in sorted(view.benchmarks.items()):
        mine = _with_digests(view.associations_of(ref, "datasets", owner=owner), view.datasets)
        if not mine:
            continue
        settings = view.benchmark_settings(ref)
        priorities = settings.priorities or {}
        engines = tuple(benchmark.manifest.spec.accepted_engines())
        models = _with_digests(view.associations_of(ref, "models"), view.cubes)
        for data, dataset in mine:
            for model, cube in models:
                pair = _pair(registry, (ref, benchmark.digest), dataset, cube)
                found, marks = results.found(pair, data, model)
                obstacle, missing = _obstacle(data, model, active=settings.active)
                yield Asked(
                    pair,
                    found=found,
                    marks=marks,
                    obstacle=obstacle,
                    missing=missing,
                    priority=priorities.get(model.component, 0),
                    engines=engines,
                )


def _with_digests(
    associations: Sequence[AssociationState], known: Mapping[str, Item[Any]]
) -> list[tuple[AssociationState, _Known]]:
    """These associations with what takes part, as far as it is in the registry."""
    found = ((one, known.get(one.component)) for one in associations)
    return [(one, (one.component, item.digest)) for one, item in found if item is not None]


def _partials(
    place: Workplace, view: View, questions: Sequence[Asked], results: "_Results"
) -> Iterator[Asked]:
    """The partial runs of these pairs: in the registry, or begun here where that is allowed."""
    allowing = {
        ref: view.benchmark(ref).manifest.spec.allow_partial
        for ref in {one.pair.benchmark for one in questions}
    }
    for one in questions:
        allowed = allowing[one.pair.benchmark]
        if not allowed and not results.has_more(one.pair):
            continue
        pair = partial_of(one.pair, view.registry.id)
        found, marks = results.found(pair)
        if found or (allowed and is_begun(place.runs, pair)):
            yield replace(one, pair=pair, found=found, marks=marks)


class _Results:
    """What stands at runs' paths in the registry, read for each dataset and benchmark at once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._read: dict[tuple[str, str], Mapping[str, ResultState]] = {}
        self._left: dict[tuple[str, str], set[str]] = {}

    def found(self, pair: Pair, *associations: AssociationState) -> tuple[str, tuple[str, ...]]:
        """`result`, `other` or nothing; and the result's marks.

        `associations` are those of the pair, where somebody has them.
        """
        where = (pair.benchmark, pair.dataset)
        if where not in self._read:
            self._read[where] = self._view.results_at(*where)
            self._left[where] = set(self._read[where])
        path = result_path(pair.benchmark, pair.dataset, pair.model, pair.key)
        state = self._read[where].get(path)
        if state is None:
            return "", ()
        self._left[where].discard(path)
        if state.answer == "invalid" or state.run_key != pair.key:
            return "other", ()
        if state.answer == "withdrawn":
            return "result", ("withdrawn",)
        standing = standing_of(associations) if associations else self._view.standing(path)
        return "result", () if standing == "current" else (standing,)

    def has_more(self, pair: Pair) -> bool:
        """Whether something stands beside this pair's result that nobody has asked for yet."""
        return bool(self._left[pair.benchmark, pair.dataset])


def _obstacle(
    data: AssociationState, model: AssociationState, *, active: bool
) -> tuple[str, tuple[str, ...]]:
    """A machine word for what the registry does not allow yet, and the sentences about it."""
    if not active:
        return "benchmark-inactive", ("The benchmark is not active.",)
    for what, state in (("dataset", data), ("model", model)):
        if state.state != "approved":
            text = f"The association of {state.component} is {state.sentence}."
            return f"{what}-{state.state}", (text,)
    return "", ()


def here(place: Workplace, view: View, questions: Sequence[Asked]) -> Mapping[str, Here]:
    """What this machine has of each pair, by run key."""
    proposed: Mapping[str, str] = {}
    if place.profile.me.site is not None:
        by = f"{place.owner}/{place.profile.me.site.name}"
        proposed = proposed_paths(place.repository, by)
    around = _Around(
        proposed=proposed,
        commitments=frozenset(found.commitment() for found in place.datasets.prepared()),
        running=worked_on(place.storage),
    )
    return {one.pair.key: _here(place, view, one, around) for one in questions if not one.found}


@dataclass(frozen=True)
class _Around:
    """What is looked up once for all runs: what is proposed, data here, another pass's runs."""

    proposed: Mapping[str, str]
    commitments: frozenset[str]
    running: frozenset[str]


def _here(place: Workplace, view: View, asked: Asked, around: _Around) -> Here:
    pair = asked.pair
    benchmark = view.benchmark(pair.benchmark).manifest.spec
    folder = place.runs.folder(pair)
    record = place.runs.record(pair)
    obstacle, problem = _site_obstacle(place, view, asked, around.commitments)
    finished = record.done is not None and folder.results.exists()
    last = record.attempts[-1] if record.attempts else None
    decision = record.decision
    declined = decision is not None and decision.answer == "declined"
    two = place.profile.policy.releasers > 1
    path = result_path(pair.benchmark, pair.dataset, pair.model, pair.key)
    proposed = path in around.proposed
    withheld: tuple[str, ...] = ()
    shown = ""
    if finished and not (proposed or declined):  # else it is settled already
        withheld, shown = _disclosure(folder, benchmark, place.profile, record)
    agreed: tuple[str, ...] = ()
    if two and finished:
        from .second_person import who_agreed

        agreed = who_agreed(view, place.owner, record, shown)
    return Here(
        obstacle=obstacle,
        problem=last.problem if last and not obstacle else problem,
        proposed=proposed,
        closed=around.proposed.get(path, ""),
        running=pair.key in around.running,
        finished=finished,
        withheld=withheld,
        released=_released(place.profile, pair, record, shown, agreed),
        agreed=agreed if two else (),
        declined=declined,
        consented=_consented(place.profile, record),
        failure=last.failure if last else "",
        transient=last.transient if last else False,
        attempts=len(record.attempts),
        next_try=record.next_try(),
    )


def _disclosure(
    folder: RunFolder, benchmark: BenchmarkSpec, profile: Profile, record: Record
) -> tuple[tuple[str, ...], str]:
    """Why the check keeps a finished run; where people decided, the digest of what it lets out."""
    from .disclosure import check_results, shown_digest

    try:
        found = check_results(folder.results, benchmark, profile.policy, record.done)
    except WithheldError as error:
        return error.reasons, ""
    return (), shown_digest(found) if record.decision is not None else ""


def _released(
    profile: Profile, pair: Pair, record: Record, shown: str, agreed: Sequence[str]
) -> bool:
    """Whether the result may leave: by policy, or by those who saw exactly these numbers."""
    policy, decision = profile.policy.release, record.decision
    if policy == "automatic" or (policy != "manual" and pair.benchmark in policy):
        return True
    if profile.policy.releasers > 1:
        return len(agreed) >= profile.policy.releasers
    return decision is not None and decision.answer == "released" and decision.shown == shown


def _consented(profile: Profile, record: Record) -> bool:
    return profile.policy.consent == "association" or record.consented


def _site_obstacle(
    place: Workplace, view: View, asked: Asked, commitments: frozenset[str]
) -> tuple[str, str]:
    """Why this site cannot or will not run a pair: a machine word and a sentence."""
    pair, engine = asked.pair, place.profile.engine
    word, sentence = benchmark_obstacle(place.profile, pair.benchmark)
    if word:
        return word, sentence
    if view.dataset(pair.dataset).manifest.spec.commitment not in commitments:
        return "no-data", f"The data of {pair.dataset} are not on this machine."
    if engine not in asked.engines:
        accepted = ", ".join(asked.engines)
        return "engine", f"The benchmark accepts results of {accepted}, this site runs {engine}."
    for cube in (view.cube(pair.model), evaluator_of(view, pair.benchmark)):
        word, sentence = cube_obstacle(place.profile, cube.manifest)
        if word:
            return word, sentence
    return "", ""


def evaluator_of(view: View, benchmark: str) -> Item[Cube]:
    """The benchmark's evaluator, as pinned."""
    return view.cube(view.benchmark(benchmark).manifest.spec.evaluator.ref)


def mirrors_of(view: View, pair: Pair) -> dict[str, tuple[str, ...]]:
    """Other addresses of a run's assets, by digest, from the settings of all that it takes."""
    found: dict[str, tuple[str, ...]] = {}
    evaluator = view.benchmark(pair.benchmark).manifest.spec.evaluator.ref
    for settings in (
        view.benchmark_settings(pair.benchmark),
        view.cube_settings(pair.model),
        view.cube_settings(evaluator),
    ):
        for pinned, urls in ((settings.mirrors if settings else None) or {}).items():
            found[pinned] = (*found.get(pinned, ()), *urls)
    return found


def associations_of(view: View, pair: Pair) -> tuple[str, str]:
    """The digests of the model's and the dataset's association as they are at `view`."""
    model = view.association(pair.benchmark, "models", pair.model)
    dataset = view.association(pair.benchmark, "datasets", pair.dataset)
    assert model is not None and dataset is not None, "only associated pairs are planned"  # noqa: S101, PT018
    return model.item.digest, dataset.item.digest
