"""What people hand in, as the files of a proposal: cubes, benchmarks, datasets, associations.

Each function returns the exact files, by path, so that they can be shown before anything is sent.
Statements of the person who hands in are among them; others' follow at review.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from ..registry.paths import (
    association_path,
    benchmark_path,
    cube_path,
    dataset_path,
    settings_path,
)
from ..registry.view import View
from ..runner.named_images import named_image
from ..runner.packing import (
    CubeParts,
    Hosting,
    Role,
    asset_for,
    cube_manifest,
    image_for,
    small_text,
)
from ..schemas.digests import digest
from ..schemas.documents import dump, load
from ..schemas.errors import UsageError
from ..schemas.manifests import API_VERSION, Asset, Benchmark, Cube, Metric, Resources
from ..schemas.metrics import check_statistics, parse_evaluator_file
from ..schemas.names import check_name, resolve
from ..schemas.yaml_subset import parse
from .datasets import LocalDataset
from .disclosure import read_once
from .trials import Part, TrialReport, TrialSetup
from .workplace import Workplace

Files = dict[str, bytes]


def checked(path: str, document: object) -> bytes:
    """The bytes of a manifest, read back through the same checks as everybody's."""
    assert isinstance(document, BaseModel | Mapping)  # noqa: S101
    data = dump(document)
    load(data, file=path)
    return data


def cube_files(cube: Cube) -> Files:
    """A new cube."""
    ref = f"{cube.metadata.owner}/{cube.metadata.name}"
    path = cube_path(ref)
    return {path: checked(path, cube)}


def check_new_cube(view: View, owner: str, request: "CubeRequest") -> None:
    """A UsageError where the name is taken or wrong, or what it replaces is not there."""
    check_name(request.name, "cube's name")
    check_new(view, cube_path(f"{owner}/{request.name}"), "cube")
    if request.replaces is not None and request.replaces not in view.cubes:
        found = resolve(request.replaces, view.cubes, "cube")
        raise UsageError(f"--replaces is written in full: {found}.")


def check_new(view: View, path: str, what: str) -> None:
    """A UsageError if an object is in the registry already, where it never changes."""
    if view.file(path) is not None:
        ref = "/".join(path.removesuffix(".yaml").split("/")[1:])
        how = "submit it with another --name" + (" and --replaces" if what == "cube" else "")
        if what == "dataset":
            how = "create it with another --name"
        raise UsageError(
            f"The {what} {ref} is in the registry already, and what is there never changes. "
            f"Something else, or a new version: {how}. Texts: 'medperf "
            f"{'mlcube' if what == 'cube' else what} settings {ref}'."
        )


@dataclass(frozen=True)
class BenchmarkParts:
    """What a committee hands in: names, three cubes, the demo dataset, the metrics file."""

    name: str
    description: str
    preparator: str
    reference_model: str
    evaluator: str
    demo: Asset
    metrics_file: str
    metrics_data: bytes
    committee: tuple[str, ...]
    threshold: int = 1


def benchmark_manifest(view: View, owner: str, parts: BenchmarkParts) -> dict[str, Any]:
    """The benchmark's manifest; the metrics file brings metrics, ignore, engines, dataFormat."""
    given = parse(parts.metrics_data, file=parts.metrics_file).value
    allowed = ("metrics", "ignore", "engines", "dataFormat", "allowPartial")
    if not isinstance(given, dict) or "metrics" not in given or set(given) - set(allowed):
        raise UsageError(
            f"{parts.metrics_file} must have the field metrics, and may have "
            f"{', '.join(allowed[1:])}; see docs/registry.md."
        )
    pins = {}
    for field, role, uid in (
        ("preparator", "preparator", parts.preparator),
        ("referenceModel", "model", parts.reference_model),
        ("evaluator", "evaluator", parts.evaluator),
    ):
        item = view.cube(uid)
        found = item.manifest.spec.role
        if found != role:
            raise UsageError(f"{item.ref} is a cube of the role {found}, and a {role} is wanted.")
        pins[field] = {"ref": item.ref, "digest": item.digest}
    spec: dict[str, Any] = {
        **pins,
        "demoDataset": parts.demo.model_dump(by_alias=True),
        "metrics": given["metrics"],
    }
    for field in allowed[1:]:
        if field in given:
            spec[field] = given[field]
    return {
        "apiVersion": API_VERSION,
        "kind": "Benchmark",
        "metadata": {
            "name": check_name(parts.name, "benchmark's name"),
            "owner": owner,
            "description": parts.description,
        },
        "spec": spec,
    }


def check_members(view: View, members: Iterable[str]) -> None:
    """A UsageError for somebody who is no member of any owner, with the nearest who are."""
    known = {
        f"{owner}/{member.name}"
        for owner, item in view.owners.items()
        for member in item.manifest.spec.members
    }
    for member in members:
        if member not in known:
            found = resolve(member, known, "member")
            raise UsageError(f"A member is written in full: {found}.")


def benchmark_setup(view: View, data: bytes) -> TrialSetup:
    """The trial of a benchmark's reference model, from the manifest's bytes."""
    manifest = load(data, file="benchmark").manifest
    assert isinstance(manifest, Benchmark)  # noqa: S101
    return trial_setup(view, manifest, model=registered(view, manifest.spec.reference_model.ref))


def registered(view: View, uid: str) -> Part:
    """A registered cube as a part of a trial."""
    item = view.cube(uid)
    return Part(item.manifest, item.digest)


def trial_setup(view: View, benchmark: Benchmark, *, model: Part) -> TrialSetup:
    """The trial of `model` for a benchmark."""
    spec = benchmark.spec
    if model.cube.spec.role != "model":
        raise UsageError(f"{model.name} is a cube of the role {model.cube.spec.role}, no model.")
    return TrialSetup(
        preparator=registered(view, spec.preparator.ref),
        model=model,
        evaluator=registered(view, spec.evaluator.ref),
        demo=spec.demo_dataset,
        metrics=spec.metrics,
        ignore=spec.ignore or (),
        benchmark=f"{benchmark.metadata.owner}/{benchmark.metadata.name}",
    )


def benchmark_files(
    place: Workplace, view: View, data: bytes, parts: BenchmarkParts, trial: TrialReport
) -> Files:
    """The benchmark, its first settings, its reference association, and the member's statements."""
    ref = f"{place.owner}/{parts.name}"
    path = benchmark_path(ref)
    settings = settings_path(path)
    check_members(view, parts.committee)
    settings_data = checked(
        settings,
        {
            "apiVersion": API_VERSION,
            "kind": "Settings",
            "spec": {
                "serial": 1,
                "active": True,
                "committee": {"threshold": parts.threshold, "members": list(parts.committee)},
                "approve": {"models": "never", "datasets": "never"},
            },
        },
    )
    reference = view.cube(parts.reference_model)
    association = association_path(ref, "models", reference.ref)
    association_data = association_bytes(
        association,
        benchmark={"ref": ref, "digest": digest(data)},
        side="model",
        component={"ref": reference.ref, "digest": reference.digest},
        trial=trial.manifest(),
    )
    files = {path: data, settings: settings_data, association: association_data}
    for subject, content in dict(files).items():
        files.update(place.statement(subject, content))
    return files


def association_bytes(
    path: str,
    *,
    benchmark: Mapping[str, str],
    side: Literal["model", "dataset"],
    component: Mapping[str, str],
    trial: Mapping[str, object],
    round_: int = 1,
) -> bytes:
    """An association's manifest."""
    return checked(
        path,
        {
            "apiVersion": API_VERSION,
            "kind": "Association",
            "spec": {
                "round": round_,
                "benchmark": dict(benchmark),
                side: dict(component),
                "trial": dict(trial),
            },
        },
    )


def next_round(
    view: View, benchmark: str, part: Literal["models", "datasets"], component: str
) -> int:
    """The round that a new association of a component has; a UsageError if it has one already."""
    known = view.association(benchmark, part, component)
    if known is None:
        return 1
    if known.state != "revoked":
        raise UsageError(
            f"{component} is associated with {benchmark} already: it is {known.sentence}."
        )
    number: int = known.item.manifest.spec.round
    return number + 1


def association_files(
    place: Workplace,
    view: View,
    *,
    benchmark: str,
    side: Literal["model", "dataset"],
    component: Mapping[str, str],
    trial: Mapping[str, object],
) -> Files:
    """A new association, or the next round of a revoked one, with the member's statement."""
    part: Literal["models", "datasets"] = "models" if side == "model" else "datasets"
    round_ = next_round(view, benchmark, part, component["ref"])
    path = association_path(benchmark, part, component["ref"])
    data = association_bytes(
        path,
        benchmark={"ref": benchmark, "digest": view.benchmark(benchmark).digest},
        side=side,
        component=component,
        trial=trial,
        round_=round_,
    )
    return {path: data, **place.statement(path, data, number=round_)}


def dataset_files(place: Workplace, view: View, dataset: LocalDataset) -> Files:
    """A dataset's metadata: what the preparator's declaration lets out, and the commitment."""
    record = dataset.record
    preparator = view.cube(record.preparator.ref).manifest
    statistics = check_statistics(
        parse_evaluator_file(read_once(dataset.path / "statistics.yaml")),
        preparator.spec.statistics,
        k=place.profile.policy.k,
        cases=sum(
            line.split(b" ", 2)[2].startswith(b"data/") for line in dataset.lines.splitlines()
        ),
    )
    ref = f"{place.owner}/{record.name}"
    path = dataset_path(ref)
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {
            "name": record.name,
            "owner": place.owner,
            "description": record.description,
        },
        "spec": {
            "location": record.location,
            "preparator": record.preparator.model_dump(),
            "commitment": dataset.commitment(),
            "statistics": dict(statistics.metrics),
        },
    }
    return {path: checked(path, manifest)}


@dataclass(frozen=True)
class CubeRequest:
    """What a person hands to `mlcube submit`; `images` as `[ENGINE=]PATH|URL|NAME@sha256:…`.

    Files are paths or addresses. Without `images`, the one that the cube's own file names is meant.
    """

    name: str
    description: str
    cube_file: str
    images: tuple[str, ...]
    parameters_file: str | None = None
    additional_file: str | None = None
    role: Role | None = None
    sandbox_command: tuple[str, ...] = ()
    statistics: Path | None = None
    replaces: str | None = None
    resources: Resources | None = None
    host: Path | None = None
    host_url: str | None = None


def cube_of(place: Workplace, request: CubeRequest) -> Cube:
    """The cube's manifest: large files are fetched or read once for their digest and size."""
    check_name(request.name, "cube's name")
    if (request.host is None) != (request.host_url is None):
        raise UsageError("--host and --host-url belong together: a folder, and its address.")
    hosting = None
    if request.host is not None and request.host_url is not None:
        hosting = Hosting(request.host, request.host_url)
    # what is small comes first: nobody waits for gigabytes to hear of a misspelt name
    cube_file = _small_file(place, request.cube_file)
    parameters = request.parameters_file
    parameters_file = None if parameters is None else _small_file(place, parameters)
    statistics = _statistics(request.statistics)
    additional = request.additional_file
    if additional and "://" not in additional and not Path(additional).expanduser().is_file():
        raise UsageError(f"There is no file {additional}.")
    named = request.images or (named_image(cube_file, small_text(cube_file)),)
    images = tuple(
        image_for(where, place.assets, hosting, sandbox_command=request.sandbox_command)
        for where in named
    )
    return cube_manifest(
        CubeParts(
            name=request.name,
            owner=place.owner,
            description=request.description,
            cube_file=cube_file,
            parameters_file=parameters_file,
            role=request.role,
            images=images,
            additional_files=asset_for(additional, place.assets, hosting) if additional else None,
            statistics=statistics,
            resources=request.resources,
            replaces=request.replaces,
        )
    )


def _small_file(place: Workplace, where: str) -> Path:
    """A file whose text goes into the manifest: here, or fetched from its address."""
    if "://" in where:
        return place.assets.path(place.assets.pin(where).digest)
    file = Path(where).expanduser()
    if not file.is_file():
        raise UsageError(f"There is no file {where}.")
    return file


def _statistics(file: Path | None) -> dict[str, Metric] | None:
    """A preparator's declaration: a mapping of names to metrics, in a file of its own."""
    if file is None:
        return None
    value = parse(file.read_bytes(), file=str(file)).value
    if isinstance(value, dict) and set(value) == {"statistics"}:
        value = value["statistics"]
    if not isinstance(value, dict):
        raise UsageError(f"{file} must map each statistic's name to its declaration.")
    found = {}
    for name, one in value.items():
        try:
            found[name] = Metric.model_validate(one)
        except ValidationError as error:
            item = error.errors()[0]
            field = ".".join((name, *(str(part) for part in item["loc"])))
            raise UsageError(f"{file}: {field}: {item['msg']}.") from error
    return found
