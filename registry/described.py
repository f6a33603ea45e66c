"""What a document means to the person who decides about it: names and values. Pure."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..schemas import manifests as kinds
from ..schemas.digests import digest
from ..schemas.metrics import max_bits
from .snapshot import Item

_LICENCE = ("licence", "license")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_LONG = 200


def facts(item: Item[Any]) -> Iterator[tuple[str, str]]:
    """Name and value of what matters in a document."""
    manifest = item.manifest
    metadata = getattr(manifest, "metadata", None)
    if metadata is not None and metadata.description:
        yield "description", metadata.description
    for kind, describe in _DESCRIBERS.items():
        if isinstance(manifest, kind):
            yield from describe(manifest)


def _cube(cube: kinds.Cube) -> Iterator[tuple[str, str]]:
    spec = cube.spec
    yield "role", spec.role
    yield "licence", _licence(cube.metadata.labels)
    if spec.replaces:
        yield "replaces", spec.replaces
    for name, text in spec.files.items():
        yield name, f"{digest(text.encode())}, {len(text.encode())} bytes, inside the manifest"
    if spec.additional_files:
        one = spec.additional_files
        yield "additional files", f"{one.digest}, {size(one.size)}, from {host(one.url)}"
    yield from _resources(spec.resources)


def _resources(asked: kinds.Resources | None) -> Iterator[tuple[str, str]]:
    if asked is None:
        yield "asks for", "no special resources"
        return
    wishes = {
        "memory": asked.memory,
        "shared memory": asked.shm,
        "GPUs": asked.gpus,
        "seconds": ", ".join(f"{task} {most}" for task, most in (asked.timeout or {}).items()),
        "a writable root": "yes, thrown away after the run" if asked.scratch_root else None,
    }
    for name, value in wishes.items():
        if value is not None and value != "":
            yield f"asks for {name}", str(value)


def _dataset(dataset: kinds.Dataset) -> Iterator[tuple[str, str]]:
    spec = dataset.spec
    yield "location", spec.location
    yield "licence", _licence(dataset.metadata.labels)
    yield "prepared with", f"{spec.preparator.ref}, {spec.preparator.digest}"
    yield "commitment", spec.commitment
    for name, value in spec.statistics.items():
        yield f"statistics: {name}", str(value)
    if spec.replaces:
        yield "replaces", spec.replaces


def _benchmark(benchmark: kinds.Benchmark) -> Iterator[tuple[str, str]]:
    spec = benchmark.spec
    for name in ("preparator", "reference_model", "evaluator"):
        pin = getattr(spec, name)
        yield name.replace("_", " "), f"{pin.ref}, {pin.digest}"
    demo = spec.demo_dataset
    yield "demo dataset", f"{demo.digest}, {size(demo.size)}, from {host(demo.url)}"
    yield "engines", ", ".join(spec.accepted_engines())
    yield (
        "what may leave",
        f"{len(spec.metrics)} metrics, at most {max_bits(spec.metrics)} bits a run",
    )
    for name, metric in spec.metrics.items():
        decimals = f", {metric.decimals} decimals" if metric.decimals is not None else ""
        yield f"metric {name}", f"{metric.min} to {metric.max}{decimals}"


def _settings(settings: kinds.BenchmarkSettings) -> Iterator[tuple[str, str]]:
    spec = settings.spec
    yield "active", "yes" if spec.active else "no"
    members = ", ".join(spec.committee.members)
    yield "committee", f"{spec.committee.threshold} of {members}"
    for name in ("models", "datasets"):
        rule = getattr(spec.approve, name)
        said = rule if isinstance(rule, str) else ", ".join(rule)
        yield f"approves {name} by itself", said


def _owner(owner: kinds.Owner) -> Iterator[tuple[str, str]]:
    from .public_keys import fingerprint

    for kind, holders in (("member", owner.spec.members), ("site", owner.spec.sites)):
        for holder in holders:
            keys = "; ".join(f"{fingerprint(one.public_key)} {one.state}" for one in holder.keys)
            login = getattr(holder, "forge", None)
            yield f"{kind} {holder.name}", f"{keys} (login {login})" if login else keys


def _registry(registry: kinds.Registry) -> Iterator[tuple[str, str]]:
    spec = registry.spec
    yield "id", spec.id
    yield "approval", spec.approval
    yield "admins", f"{spec.admins.threshold} of {', '.join(spec.admins.members)}"


def _association(association: kinds.Association) -> Iterator[tuple[str, str]]:
    spec, trial = association.spec, association.spec.trial
    yield "round", str(spec.round)
    yield "benchmark", f"{spec.benchmark.ref}, {spec.benchmark.digest}"
    component = association.component
    yield ("model" if spec.model else "dataset"), f"{component.ref}, {component.digest}"
    yield "compatibility test", f"{trial.outcome}, engine {trial.engine}, medperf {trial.medperf}"
    if trial.data:
        yield "on the demo dataset", trial.data
    if trial.run_key:
        yield "reference run", trial.run_key


def _result(result: kinds.Result) -> Iterator[tuple[str, str]]:
    spec = result.spec
    for name in ("benchmark", "dataset", "model"):
        pin = getattr(spec, name)
        yield name, f"{pin.ref}, {pin.digest}"
    yield "computed", f"{spec.run.day}, engine {spec.run.engine}, medperf {spec.run.medperf}"
    yield "disclosed", f"{spec.disclosure.bits} bits, k {spec.disclosure.k}"
    for name, value in spec.metrics.items():
        yield name, str(value)
    for one in spec.disclosure.suppressed:
        yield one.metric, f"suppressed: {one.reason}"


_DESCRIBERS: dict[type[Any], Any] = {
    kinds.Cube: _cube,
    kinds.Dataset: _dataset,
    kinds.Benchmark: _benchmark,
    kinds.BenchmarkSettings: _settings,
    kinds.Owner: _owner,
    kinds.Registry: _registry,
    kinds.Association: _association,
    kinds.Result: _result,
}


def images(spec: kinds.CubeSpec) -> Iterator[tuple[str, ...]]:
    """Engine, what runs, digest, size and where it comes from, of each image of a cube."""
    for one in spec.images:
        what = " ".join(one.command) if one.command else (one.platform or "")
        if one.image is not None:
            name, _, found = one.image.partition("@")
            yield one.engine, what, found, "said by the image registry", name
        elif one.archive is not None:
            file = one.archive
            yield one.engine, what, file.digest, size(file.size), host(file.url)


def differences(before: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Field, old value and new value of all that differs, apart from the manifests' own names."""
    old, new = dict(_flat(before)), dict(_flat(now))
    for name in [*new, *(one for one in old if one not in new)]:
        if old.get(name) != new.get(name) and name not in _OWN:
            yield name, old.get(name, ""), new.get(name, "")


_OWN = ("metadata.name", "spec.replaces", "spec.serial", "spec.round")


def _flat(manifest: Any) -> Iterator[tuple[str, str]]:
    fields = manifest.model_dump(by_alias=True, exclude_none=True, mode="json")
    yield from _leaves(fields, "")


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from _leaves(one, f"{name}[{at}]")
    else:
        text = str(value)
        # a file inside the manifest is told by its digest, as it is pinned
        yield name, text if len(text) <= _LONG else digest(text.encode())


def _licence(labels: dict[str, str] | None) -> str:
    found = [(labels or {}).get(name) for name in _LICENCE]
    return next((one for one in found if one), "not said (no label `licence`)")


def host(url: str) -> str:
    """Where an address leads: its host, or the local folder that it is a file of."""
    parts = urlsplit(url)
    return parts.hostname or f"a local file ({parts.path})"


def size(count: int) -> str:
    """Bytes as people say them."""
    amount, at = float(count), 0
    while amount >= 1024 and at < len(_UNITS) - 1:
        amount, at = amount / 1024, at + 1
    return f"{count} bytes" if at == 0 else f"{amount:.1f} {_UNITS[at]}"
