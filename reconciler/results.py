"""Results: local ones with what would leave, what a person decides, and published ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ..registry.paths import classify, result_path
from ..registry.view import View
from ..schemas.errors import UsageError, WithheldError
from ..schemas.manifests import Result, Suppressed
from ..schemas.metrics import Disclosed, parse_evaluator_file
from ..schemas.names import nearest
from .disclosure import check_results, read_once, shown_digest
from .observe import look
from .plan import CLOSED, Pair, PlannedRun, State
from .proposed import ask_forge, propose_again
from .release import publish_released as publish_released
from .second_person import sign_release, who_agreed
from .workplace import Actor, Workplace

Answer = Literal["released", "declined"]
_DEEP = 5  # folders above a result: results, owner, benchmark, dataset, model
_RAN = frozenset(
    (
        State.WITHHELD,
        State.AWAITING_RELEASE,
        State.PROPOSED,
        State.PUBLISHED,
        State.DECLINED,
    )
)


@dataclass(frozen=True)
class LocalResult:
    """A finished run of this site: where it stands, and exactly what would leave."""

    name: str
    pair: Pair
    state: str
    reason: str
    explanation: str
    metrics: Mapping[str, Decimal | int]
    suppressed: tuple[Suppressed, ...]
    bits: int
    withheld: tuple[str, ...]
    agreed: tuple[str, ...]  # where two people are asked: who has released these numbers by now
    before: Mapping[str, object]  # what the evaluator wrote for each metric, as it wrote it


@dataclass(frozen=True)
class PublishedResult:
    """A result in the registry, with what it is worth."""

    path: str
    benchmark: str
    dataset: str
    model: str
    answer: str
    reasons: tuple[str, ...]
    marks: tuple[str, ...]
    signed_by: str
    day: str
    metrics: Mapping[str, int | float]
    suppressed: tuple[Suppressed, ...]

    @property
    def name(self) -> str:
        """`<benchmark>.<model>.<dataset>` by bare names."""
        return ".".join(
            ref.rpartition("/")[2] for ref in (self.benchmark, self.model, self.dataset)
        )

    @property
    def sentence(self) -> str:
        """What it is worth, and by whom, as words for a person."""
        by = f", signed by {self.signed_by}" if self.signed_by else ""
        words = ", ".join(dict.fromkeys((self.answer, *self.marks)))
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{words}{by}{why}"


@dataclass(frozen=True)
class Filter:
    """Which results are meant; what is None is any."""

    benchmark: str | None = None
    model: str | None = None
    dataset: str | None = None

    def keeps(self, benchmark: str, model: str, dataset: str) -> bool:
        """Whether a result of these three is meant."""
        return (
            self.benchmark in (None, benchmark)
            and self.model in (None, model)
            and self.dataset in (None, dataset)
        )


def filter_of(
    view: View, *, benchmark: str | None, model: str | None, dataset: str | None
) -> Filter:
    """The filter for names as people write them; a UsageError with the nearest for a wrong one."""
    return Filter(
        None if benchmark is None else view.benchmark(benchmark).ref,
        None if model is None else view.cube(model).ref,
        None if dataset is None else view.dataset(dataset).ref,
    )


def published(
    view: View, *, owner: str | None = None, wanted: Filter | None = None
) -> list[PublishedResult]:
    """The results in the registry, by path; with `owner`, those of its datasets and models.

    Of what is not `wanted` nothing is looked into.
    """
    found = []
    for path in _paths(view, wanted or Filter()):
        place = classify(path)
        mine = owner in (place.dataset.partition("/")[0], place.model.partition("/")[0])
        if place.kind == "result" and (owner is None or mine):
            item = view.file(path)
            if item is not None:  # else it is no valid document, and told as ignored
                found.append(_published(view, path, item.manifest))
    return found


def find_published(view: View, uid: str) -> PublishedResult | None:
    """The published result that `uid` means: its path, the 16 digits in it, or its name.

    None if none is meant; a UsageError with the digits where a name means several.
    """
    paths = _paths(view, Filter())
    exact = [path for path in paths if uid == path or path.endswith(f"/{uid}.yaml")]
    named = exact or [path for path in paths if _name(path) == uid]
    items = [(path, view.file(path)) for path in named if classify(path).kind == "result"]
    known = [(path, item.manifest) for path, item in items if item is not None]
    if len(known) > 1:
        digits = " or ".join(classify(path).run for path, _ in known)
        raise UsageError(f"More than one result is called {uid!r}: write {digits}.")
    return _published(view, *known[0]) if known else None


def published_paths(view: View, *, run: str) -> list[str]:
    """Where results lie of a run key with these first digits, as far as their paths tell."""
    paths = _paths(view, Filter())
    return [path for path in paths if path.rpartition("/")[2].startswith(run[:16])]


def published_names(view: View) -> set[str]:
    """What the published results are called."""
    return {_name(path) for path in _paths(view, Filter())}


def _paths(view: View, wanted: Filter) -> list[str]:
    """Where results lie that a filter keeps, as far as their paths tell."""
    dataset, model = (ref and ref.replace("/", "__") for ref in (wanted.dataset, wanted.model))
    start = f"results/{wanted.benchmark}/" if wanted.benchmark else "results/"
    found = []
    for path in sorted(view.ledger.paths_below(start)):
        if path.endswith(".yaml") and path.count("/") == _DEEP:
            # a dataset and a model may have the same name: each is looked for in its own folder
            *_, its_dataset, its_model, _ = path.split("/")
            if dataset in (None, its_dataset) and model in (None, its_model):
                found.append(path)
    return found


def _name(path: str) -> str:
    """`<benchmark>.<model>.<dataset>` by bare names, from a result's path."""
    _, _, benchmark, dataset, model, _ = path.split("/")
    return ".".join((benchmark, model.partition("__")[2], dataset.partition("__")[2]))


def _published(view: View, path: str, result: Result) -> PublishedResult:
    spec, state = result.spec, view.results[path]
    standing = view.standing(path) if state.answer == "valid" else state.answer
    return PublishedResult(
        path=path,
        benchmark=spec.benchmark.ref,
        dataset=spec.dataset.ref,
        model=spec.model.ref,
        answer=state.answer,
        reasons=state.reasons,
        marks=() if standing in ("current", "invalid") else (standing,),
        signed_by=state.signed_by,
        day=spec.run.day,
        metrics=spec.metrics,
        suppressed=spec.disclosure.suppressed,
    )


def local(place: Workplace, view: View, runs: Sequence[PlannedRun]) -> list[LocalResult]:
    """The finished runs of this site that are not in the registry yet."""
    found = []
    for run in runs:
        folder = place.runs.folder(run.pair)
        if run.state is State.PUBLISHED or place.runs.record(run.pair).done is None:
            continue
        if folder.results.exists():
            found.append(_local(place, view, run))
    return found


def _local(place: Workplace, view: View, run: PlannedRun) -> LocalResult:
    folder = place.runs.folder(run.pair)
    benchmark = view.benchmark(run.pair.benchmark).manifest.spec
    before: object = {}
    try:
        before = parse_evaluator_file(read_once(folder.results))
        done = place.runs.record(run.pair).done
        kept = check_results(folder.results, benchmark, place.profile.policy, done)
        withheld: tuple[str, ...] = ()
    except WithheldError as error:
        kept, withheld = Disclosed({}, (), 0), error.reasons
    return LocalResult(
        name=run.pair.local_name,
        pair=run.pair,
        state=str(run.state),
        reason=run.reason,
        explanation=run.explanation,
        metrics=kept.metrics,
        suppressed=kept.suppressed,
        bits=kept.bits,
        withheld=withheld,
        agreed=_agreed(place, view, run, kept),
        before={
            name: _found(before, metric.source)
            for name, metric in benchmark.metrics.items()
            if _found(before, metric.source) is not None
        },
    )


def _agreed(place: Workplace, view: View, run: PlannedRun, kept: Disclosed) -> tuple[str, ...]:
    if place.profile.policy.releasers < 2:
        return ()
    return who_agreed(view, place.owner, place.runs.record(run.pair), shown_digest(kept))


def _found(raw: object, path: Sequence[str]) -> object:
    """What stands at a metric's place in the evaluator's file; None if nothing does."""
    for key in path:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw


def find_run(
    runs: Sequence[PlannedRun], uid: str, *, published: Collection[str] = ()
) -> PlannedRun:
    """The run that `uid` means: a local result's name, or the first digits of its run key.

    The `published` names are offered too where none is meant.
    """
    same = [run for run in runs if run.pair.local_name == uid]
    if not same and len(uid) >= 6:
        same = [run for run in runs if run.pair.key.startswith(uid)]
    if len(same) == 1:
        return same[0]
    if same:
        keys = " or ".join(run.pair.short for run in same)
        raise UsageError(f"More than one run is called {uid!r}: write {keys}.")
    close = nearest(uid, {*(run.pair.local_name for run in runs), *published})
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    where = "There is no result and this site has" if published else "This site has"
    hint = hint or " 'medperf plan' shows this site's runs, 'medperf result ls' what is published."
    raise UsageError(f"{where} no run {uid!r}.{hint}")


def awaiting(
    place: Workplace, uid: str | None, answer: Answer = "released"
) -> tuple[View, list[LocalResult]]:
    """The results that a person can decide about: the one that is named, or all that wait.

    One whose proposal was closed can be let out again, and no more be kept.
    """
    view, plan = look(place)
    results = local(place, view, plan.runs)
    if uid is not None:
        run = find_run(plan.runs, uid)
        if run.state is State.PROPOSED and ask_forge(place, say=lambda _: None):
            view, plan = look(place, fetch=False)
            run = find_run(plan.runs, uid)
        chosen = [one for one in results if one.pair.key == run.pair.key]
        if not chosen:
            raise UsageError(f"{uid} is {run.state}: {run.explanation}")
        again = run.reason == CLOSED and answer == "released"
        if run.state in (State.PROPOSED, State.PUBLISHED) and not again:
            raise UsageError(f"{uid} is {run.state} already: what has left cannot be changed.")
        return view, chosen
    return view, [one for one in results if one.state == State.AWAITING_RELEASE]


def decide(
    place: Workplace, result: LocalResult, answer: Answer, *, person: Actor | None = None
) -> tuple[str, ...]:
    """Writes down a person's answer about exactly the numbers in `result`.

    Where the policy asks for two people, he signs it (default: the profile's member); the answer
    is who has agreed by then, and empty where one person is enough.
    """
    if answer == "released":
        if result.withheld:
            raise WithheldError(result.withheld)
        pair = result.pair
        path = result_path(pair.benchmark, pair.dataset, pair.model, pair.key)
        propose_again(place, path)
    shown = Disclosed(result.metrics, result.suppressed, result.bits)
    digest = shown_digest(shown)
    if place.profile.policy.releasers < 2 or answer == "declined":
        place.runs.decided(result.pair, answer=answer, shown=digest)
        return ()
    view = place.view(fetch=False)
    signed = sign_release(view, person or place.member(), result.pair, shown)
    record = place.runs.decided(result.pair, answer=answer, shown=digest, signed=signed)
    return who_agreed(view, place.owner, record, digest)


def retry(place: Workplace, uid: str) -> str:
    """Forgets the failures of a run, so that it is due again."""
    _, plan = look(place, fetch=False)
    run = find_run(plan.runs, uid)
    record = place.runs.record(run.pair)
    if not record.attempts:
        return f"{uid} has not failed: it is {run.state}."
    place.runs.folder(run.pair).write(record.model_copy(update={"attempts": ()}))
    return f"{uid} will be tried again in the next pass."


def describe_run(place: Workplace, uid: str) -> str:
    """What a run would do, for the person who consents to it."""
    view, plan = look(place)
    run = find_run(plan.runs, uid)
    if run.state in _RAN:
        raise UsageError(f"{uid} is {run.state}: it has run, so nothing is left to consent to.")
    cube = view.cube(run.pair.model).manifest
    images = "\n".join(
        f"  image   {one.engine}: {one.image or (one.archive.digest if one.archive else '')}"
        for one in cube.spec.images
    )
    state = view.association(run.pair.benchmark, "models", run.pair.model)
    signed = ", ".join(state.signed) if state else "nobody"
    return (
        f"{run.pair.model} would run on {run.pair.dataset} for {run.pair.benchmark}.\n"
        f"  digest  {run.pair.model_digest}\n{images}\n"
        f"  signed  {signed}\n"
        f"It would see the prepared data without labels, no network, nothing else of this machine."
    )


def consent(place: Workplace, uid: str) -> str:
    """Writes down that a run may happen."""
    _, plan = look(place, fetch=False)
    run = find_run(plan.runs, uid)
    record = place.runs.record(run.pair)
    place.runs.folder(run.pair).write(record.model_copy(update={"consented": True}))
    return f"{uid} may run; the next pass runs it."
