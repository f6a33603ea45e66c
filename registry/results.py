"""Rule 5 of the registry (design §5): which results are valid.

A result is valid iff a site of the dataset's owner has signed it, and both associations were
approved at the first parent of the commit that added it; if its signature came later, of the commit
at which both are there. So these functions are asked before that commit is taken into the ledger.
"""

from collections.abc import Callable

from ..schemas import digests
from ..schemas import manifests as kinds
from ..schemas.errors import SignatureError
from .ledger import Holder, Ledger, ResultAnswer, ResultState
from .paths import Place, association_path, dataset_path
from .snapshot import Item
from .statements import Bundle, Checked


def judge_result(
    ledger: Ledger,
    item: Item[kinds.Result],
    bundle: Callable[[], Bundle | Checked] | None,
    index: int,
) -> ResultState:
    """Whether a result that is there with its signature from the chain's commit `index` on counts.

    `bundle` reads the signature, if there is one. The ledger is that of the commit before.
    """
    paths = association_paths(item.place)
    problems = _content_problems(ledger, item, index, paths)
    signed_by = key = ""
    if bundle is None:
        problems.append("its site has not signed it: the file .sigstore.json beside it is missing")
    else:
        try:
            holder, key = check_result_signature(ledger, item, bundle(), index)
            signed_by = holder.by
        except SignatureError as error:
            problems.append(str(error).rstrip("."))
    problems += _association_problems(ledger, item, paths)
    answer: ResultAnswer = "invalid" if problems else "valid"
    approvals: tuple[tuple[str, str], ...] = ()
    if not problems:
        approvals = tuple((path, ledger.association_state(path).approval) for path in paths)
    said = item.manifest.spec.run_key
    return ResultState(item.path, answer, tuple(problems), signed_by, key, index, approvals, said)


def check_result_signature(
    ledger: Ledger, item: Item[kinds.Result], bundle: Bundle | Checked, index: int
) -> tuple[Holder, str]:
    """The site that signed these bytes, and its key; a SignatureError that says why it is none."""
    owner = item.place.dataset.partition("/")[0]
    holder = ledger.holder(bundle.fingerprint)
    if holder is None or holder.role != "site" or holder.owner != owner:
        whose = f"{holder.by}, " if holder else "nobody "
        whose += "which is no site of" if holder else "among the sites of"
        raise SignatureError(f"its signature is by the key of {whose} {owner}.")
    if holder.key.state != "active" or not ledger.counts_from(bundle.fingerprint, index):
        state = holder.key.state if holder.key.state != "active" else "compromised"
        raise SignatureError(f"its signature is by a key of {holder.by} that was {state} then.")
    statement = bundle.verify(holder.key.public_key)
    if statement.kind != "result":
        raise SignatureError("its signature is a statement of another kind.")
    spec = item.manifest.spec
    for field, said, wanted in (
        ("by", statement.by, holder.by),
        ("registry", statement.registry, ledger.spec.id),
        ("runKey", statement.run_key, spec.run_key),
        ("subject", statement.subject, item.path.rpartition("/")[2]),
        ("digest", statement.digest, item.digest),
    ):
        if said != wanted:
            raise SignatureError(f"its signature says {field} {said!r}, and should say {wanted!r}.")
    return holder, bundle.fingerprint


def _content_problems(
    ledger: Ledger, item: Item[kinds.Result], index: int, paths: tuple[str, str]
) -> list[str]:
    """What the result says of itself that does not agree with the registry."""
    spec, place = item.manifest.spec, item.place
    found = []
    if spec.registry.id != ledger.spec.id:
        key = digests.run_key(
            registry=ledger.spec.id,
            benchmark=spec.benchmark.digest,
            dataset=spec.dataset.digest,
            model=spec.model.digest,
            partial=spec.run.partial,
        )
        found.append(f"it is of another registry, {spec.registry.id}")
        # no document says another key than that of its own pins: meaning.py has looked
        found.append(f"its runKey is not that of its pins, {key[:16]}…")
    planned = ledger.index_of.get(spec.registry.commit)
    if planned is None or planned >= index:
        found.append(f"its registry.commit {spec.registry.commit[:12]} is not on main before it")
    else:
        found += _planned_problems(ledger, spec, planned, paths)
    benchmark = ledger.benchmarks.get(place.ref)
    if benchmark is not None:
        found += _benchmark_problems(spec, benchmark.manifest.spec)
    return found


def _planned_problems(
    ledger: Ledger, spec: kinds.ResultSpec, planned: int, paths: tuple[str, str]
) -> list[str]:
    pairs = (("model", spec.associations.model), ("dataset", spec.associations.dataset))
    found = []
    for (part, digest), path in zip(pairs, paths, strict=True):
        version = ledger.version_at(path, planned)
        if version is None or version.digest != digest:
            found.append(f"its associations.{part} is not {path} at its registry.commit")
    return found


def _benchmark_problems(spec: kinds.ResultSpec, benchmark: kinds.BenchmarkSpec) -> list[str]:
    from ..schemas.metrics import implausible

    found = list(implausible(spec, benchmark))
    if spec.run.engine not in benchmark.accepted_engines():
        found.append(f"the benchmark does not accept the engine {spec.run.engine}")
    if spec.run.partial and not benchmark.allow_partial:
        found.append("the benchmark does not accept partial results")
    return found


def _association_problems(
    ledger: Ledger, item: Item[kinds.Result], paths: tuple[str, str]
) -> list[str]:
    spec, place = item.manifest.spec, item.place
    found = []
    pins = (spec.model, spec.dataset)
    for path, pin in zip(paths, pins, strict=True):
        try:
            state = ledger.association_state(path)
        except LookupError:
            found.append(f"there was no {path} when it was added")
            continue
        manifest = state.item.manifest
        if state.state != "approved":
            found.append(f"{path} was not approved when it was added, but {state.sentence}")
        if not _same(manifest.component, pin):
            found.append(f"it pins {pin.ref} with other bytes than {path}")
        if not _same(manifest.spec.benchmark, spec.benchmark):
            found.append(f"it pins {spec.benchmark.ref} with other bytes than {path}")
    dataset = ledger.item(dataset_path(place.dataset))
    if dataset is not None and dataset.digest != spec.dataset.digest:
        found.append(f"it pins {place.dataset} with other bytes than the registry has")
    return found


def _same(one: kinds.Pin, other: kinds.Pin) -> bool:
    # what == of models says, in a tenth of its time: a pin has no other field
    return one.digest == other.digest and one.ref == other.ref


def association_paths(result: Place) -> tuple[str, str]:
    """The two associations that let a result be: the model's and the dataset's."""
    return (
        association_path(result.ref, "models", result.model),
        association_path(result.ref, "datasets", result.dataset),
    )
