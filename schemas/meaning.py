"""What a manifest of the right form must still mean: rules over two fields or more (design §3).

Each kind has one function that yields complaints. Pure: no file, no other document; what takes the
path or another manifest (a pin that must hold, an owner that must exist) is the registry's.
"""

import base64
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from .complaints import Complaint
from .digests import run_key
from .manifests import (
    Asset,
    Association,
    Benchmark,
    BenchmarkSettings,
    Council,
    Cube,
    Dataset,
    Image,
    Key,
    Member,
    Metric,
    Mirrors,
    Owner,
    Registry,
    Result,
    Settings,
    Site,
)
from .yaml_subset import Path, shown

_KEY_START = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"
_FORMAT_FILE = {"mlcube": "mlcube.yaml", "container-config": "container_config.yaml"}


def complaints(manifest: Any) -> list[Complaint]:
    """What is wrong with the meaning of a manifest whose form is right."""
    return list(_RULES[type(manifest)](manifest))


def _registry(manifest: Registry) -> Iterator[Complaint]:
    yield from _council(manifest.spec.admins, ("spec", "admins"))


def _council(council: Council, path: Path) -> Iterator[Complaint]:
    if council.threshold > len(council.members):
        yield Complaint(
            (*path, "threshold"),
            f"is {council.threshold}, but {_people(len(council.members))}.",
            f"Write at most {len(council.members)}, or add members.",
        )


def _people(number: int) -> str:
    return "there is 1 member" if number == 1 else f"there are {number} members"


def _owner(manifest: Owner) -> Iterator[Complaint]:
    names: set[str] = set()
    keys: dict[str, str] = {}
    for group in ("members", "sites"):
        people: tuple[Member | Site, ...] = getattr(manifest.spec, group)
        for at, person in enumerate(people):
            path: Path = ("spec", group, at)
            if person.name in names:
                yield Complaint(
                    (*path, "name"),
                    f"is {shown(person.name)}, which another member or site is called.",
                    "Give each its own name.",
                )
            names.add(person.name)
            for number, key in enumerate(person.keys):
                yield from _key(key, (*path, "keys", number), keys, f"{group}: {person.name}")


def _key(key: Key, path: Path, keys: dict[str, str], whose: str) -> Iterator[Complaint]:
    blob = base64.b64decode(key.public_key.removeprefix("ssh-ed25519 "))
    if not (blob.startswith(_KEY_START) and len(blob) == len(_KEY_START) + 32):
        yield Complaint(
            (*path, "publicKey"),
            "is not an Ed25519 public key.",
            "Copy the first two words of the .pub file.",
        )
    if key.public_key in keys:
        yield Complaint(
            (*path, "publicKey"),
            f"already stands under {keys[key.public_key]}.",
            "One key belongs to one person or one site, and stands here once.",
        )
    keys.setdefault(key.public_key, whose)
    if key.state == "compromised" and key.since is None:
        yield Complaint(
            (*path, "since"),
            "is missing.",
            "Add it: the commit from which the key is compromised.",
        )
    if key.state != "compromised" and key.since is not None:
        yield Complaint(
            (*path, "since"),
            f"stands beside state: {key.state}.",
            "Only a compromised key has it: take it out, or write state: compromised.",
        )


def _cube(manifest: Cube) -> Iterator[Complaint]:
    spec = manifest.spec
    for form, name in _FORMAT_FILE.items():
        path: Path = ("spec", "files", name)
        if form == spec.format and name not in spec.files:
            yield Complaint(path, "is missing.", f"A cube of format {form} has this file.")
        if form != spec.format and name in spec.files:
            yield Complaint(
                path, f"belongs to format {form}.", f"Take it out, or write format: {form}."
            )
    for at, image in enumerate(spec.images):
        yield from _image(image, ("spec", "images", at))
        if image in spec.images[:at]:
            yield Complaint(("spec", "images", at), "stands here twice.", "Take one out.")
    if spec.additional_files:
        yield from _asset(spec.additional_files, ("spec", "additionalFiles"))
    if spec.statistics is not None:
        if spec.role != "preparator":
            yield Complaint(
                ("spec", "statistics"),
                f"stands in a cube of role {spec.role}.",
                "Only a preparator declares statistics: take it out.",
            )
        yield from _metrics(spec.statistics, ("spec", "statistics"))
    yield from _replaces(manifest, spec.replaces)


def _image(image: Image, path: Path) -> Iterator[Complaint]:
    """docker: image or archive, and platform; singularity: archive; sandbox: archive, command."""
    given = {
        "image": image.image,
        "archive": image.archive,
        "platform": image.platform,
        "command": image.command,
    }
    needed = {
        "docker": {"platform"},
        "singularity": {"archive"},
        "sandbox": {"archive", "command"},
    }[image.engine]
    allowed = needed | ({"image", "archive"} if image.engine == "docker" else set())
    for name, value in given.items():
        if name in needed and value is None:
            yield Complaint((*path, name), "is missing.", f"An entry for {image.engine} has it.")
        if name not in allowed and value is not None:
            yield Complaint(
                (*path, name), f"has no use for {image.engine}.", "Take it out of this entry."
            )
    if image.engine == "docker" and (image.image is None) == (image.archive is None):
        found = "is missing." if image.image is None else "stands beside archive."
        yield Complaint((*path, "image"), found, "Write either image or archive.")
    if image.archive:
        yield from _asset(image.archive, (*path, "archive"))


def _metrics(metrics: Mapping[str, Metric], path: Path) -> Iterator[Complaint]:
    sources: dict[tuple[str, ...], str] = {}
    for name, metric in metrics.items():
        here: Path = (*path, name)
        yield from _range(metric, here)
        if metric.source in sources:
            yield Complaint(
                (*here, "from"),
                f"is the same as that of {sources[metric.source]}.",
                "Two metrics cannot come from one place.",
            )
        sources.setdefault(metric.source, name)
        if metric.kind == "count" and (metric.type != "integer" or metric.min < 0):
            yield Complaint(
                (*here, "kind"),
                "is count, but the metric is not a whole number from 0 on.",
                "Write type: integer and min: 0, or take kind out.",
            )
        if metric.support is not None:
            support = metrics.get(metric.support)
            if support is None or support.kind != "count" or support is metric:
                yield Complaint(
                    (*here, "support"),
                    f"names {shown(metric.support)}, which is no other metric of kind count.",
                    "Declare that metric with type: integer and kind: count.",
                )
    for source, name in sources.items():
        if any(source[:end] in sources for end in range(1, len(source))):
            yield Complaint(
                (*path, name, "from"),
                "lies below the path of another metric.",
                "A metric's path ends at a number, so nothing lies below it.",
            )


def _range(metric: Metric, path: Path) -> Iterator[Complaint]:
    if not metric.min < metric.max:
        yield Complaint((*path, "max"), f"is {metric.max}.", f"Write more than min, {metric.min}.")
    if metric.type == "number" and metric.decimals is None:
        yield Complaint(
            (*path, "decimals"), "is missing.", "Add it: how many decimals may leave, 0 to 6."
        )
    if metric.type == "integer" and metric.decimals is not None:
        yield Complaint((*path, "decimals"), "stands in an integer.", "Take it out.")
    decimals = 0 if metric.type == "integer" else metric.decimals or 0
    for name, bound in (("min", metric.min), ("max", metric.max)):
        exact = Decimal(repr(bound)).scaleb(decimals)
        if abs(exact) > 10**18:
            yield Complaint((*path, name), f"is {bound}.", "Write a bound nearer to zero.")
        elif exact != exact.to_integral_value():
            what = f"a number of at most {decimals} decimals" if decimals else "a whole number"
            yield Complaint((*path, name), f"is {bound}.", f"Write {what}, as the metric has.")


def _benchmark(manifest: Benchmark) -> Iterator[Complaint]:
    spec = manifest.spec
    roles = {
        "preparator": spec.preparator.ref,
        "referenceModel": spec.reference_model.ref,
        "evaluator": spec.evaluator.ref,
    }
    for role, ref in roles.items():
        twin = next(name for name, other in roles.items() if other == ref)
        if twin != role:
            yield Complaint(
                ("spec", role, "ref"),
                f"is the same cube as {twin}.",
                "A cube has one role: name three different ones.",
            )
    yield from _asset(spec.demo_dataset, ("spec", "demoDataset"))
    yield from _metrics(spec.metrics, ("spec", "metrics"))
    sources = {metric.source for metric in spec.metrics.values()}
    for at, prefix in enumerate(spec.ignore or ()):
        if any(source[: len(prefix)] == prefix for source in sources):
            yield Complaint(
                ("spec", "ignore", at),
                "covers a declared metric.",
                "Take it out, or take the metric out.",
            )
    yield from _replaces(manifest, spec.replaces)


def _settings(manifest: Settings) -> Iterator[Complaint]:
    yield from _mirrors(manifest.spec.mirrors)


def _benchmark_settings(manifest: BenchmarkSettings) -> Iterator[Complaint]:
    yield from _council(manifest.spec.committee, ("spec", "committee"))
    yield from _mirrors(manifest.spec.mirrors)


def _mirrors(mirrors: Mirrors | None) -> Iterator[Complaint]:
    for digest, urls in (mirrors or {}).items():
        for at, url in enumerate(urls):
            yield from _url(url, ("spec", "mirrors", digest, at))


def _dataset(manifest: Dataset) -> Iterator[Complaint]:
    yield from _replaces(manifest, manifest.spec.replaces)


def _association(manifest: Association) -> Iterator[Complaint]:
    spec, trial = manifest.spec, manifest.spec.trial
    if (spec.model is None) == (spec.dataset is None):
        found = "is missing." if spec.model is None else "stands beside dataset."
        yield Complaint(("spec", "model"), found, "Write either model or dataset.")
        return
    what = "dataset" if spec.model is None else "model"
    needed = {"model": {"data", "metrics"}, "dataset": {"runKey"}}[what]
    if trial.outcome == "failed":
        needed = needed - {"metrics"}
    allowed = {"model": {"data", "metrics"}, "dataset": {"runKey"}}[what]
    given = {"data": trial.data, "metrics": trial.metrics, "runKey": trial.run_key}
    for name, value in given.items():
        path: Path = ("spec", "trial", name)
        if name in needed and value is None:
            yield Complaint(path, "is missing.", f"The trial of a {what} has it.")
        if name not in allowed and value is not None:
            yield Complaint(path, f"does not belong to the trial of a {what}.", "Take it out.")


def _result(manifest: Result) -> Iterator[Complaint]:
    spec = manifest.spec
    key = run_key(
        registry=spec.registry.id,
        benchmark=spec.benchmark.digest,
        dataset=spec.dataset.digest,
        model=spec.model.digest,
        partial=spec.run.partial,
    )
    if spec.run_key != key:
        yield Complaint(
            ("spec", "runKey"),
            f"is {spec.run_key}.",
            f"The pins, partial and the registry's id in this file give {key}.",
        )
    try:
        datetime.date.fromisoformat(spec.run.day)
    except ValueError:
        yield Complaint(("spec", "run", "day"), f"is {spec.run.day}.", "No calendar has this day.")
    yield from _in_order(spec.metrics, ("spec", "metrics"))
    suppressed = [item.metric for item in spec.disclosure.suppressed]
    yield from _in_order(suppressed, ("spec", "disclosure", "suppressed"))
    for at, name in enumerate(suppressed):
        if name in spec.metrics:
            yield Complaint(
                ("spec", "disclosure", "suppressed", at, "metric"),
                f"is {name}, which stands under metrics too.",
                "A metric is either written or suppressed.",
            )


def _in_order(names: Iterable[str], path: Path) -> Iterator[Complaint]:
    given = list(names)
    if given != sorted(set(given)):
        yield Complaint(path, "is not sorted by name, each once.", "Sort it.")


def _replaces(manifest: Cube | Benchmark | Dataset, replaced: str | None) -> Iterator[Complaint]:
    if replaced == f"{manifest.metadata.owner}/{manifest.metadata.name}":
        yield Complaint(
            ("spec", "replaces"), "is this object itself.", "A new version has a new name."
        )


def _asset(asset: Asset, path: Path) -> Iterator[Complaint]:
    yield from _url(asset.url, (*path, "url"))


def _url(url: str, path: Path) -> Iterator[Complaint]:
    """https or file, without credentials, fragment, or a way out of the folder it names."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no port is found only here
    except ValueError:
        yield Complaint(path, "is not an address.", "Write https://host/path.")
        return
    if parts.username is not None or parts.password is not None:
        yield Complaint(path, "has a user name or password in it.", "Take it out.")
    if "#" in url:
        yield Complaint(path, "has a fragment (#).", "Take it out.")
    if parts.scheme == "https" and not parts.hostname:
        yield Complaint(path, "names no host.", "Write https://host/path.")
    if parts.scheme == "file" and (parts.query or {".", ".."} & set(parts.path.split("/"))):
        yield Complaint(path, "has ? or a dot segment in it.", "Write the plain path.")


_RULES: dict[type[Any], Callable[[Any], Iterator[Complaint]]] = {
    Registry: _registry,
    Owner: _owner,
    Cube: _cube,
    Benchmark: _benchmark,
    Settings: _settings,
    BenchmarkSettings: _benchmark_settings,
    Dataset: _dataset,
    Association: _association,
    Result: _result,
}
