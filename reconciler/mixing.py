"""Putting a trial together: a benchmark's parts, other registered cubes, files on this machine.

Each of the three parts is said as the name of a registered cube, the manifest of one (a file), or
the MLCube file of a cube that nobody has submitted yet; the data as a demo dataset (by address or
path), as raw data of one's own, or as a dataset that is prepared on this machine. What is not said
is the benchmark's. Nothing here needs a registry unless a part is called by its name in one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..registry.view import View
from ..runner.local_cubes import NOTHING_EXTRA, Extras, local_cube, manifest_bytes
from ..runner.packing import Role
from ..runner.prepared import RawData
from ..schemas.digests import digest, file_digest
from ..schemas.documents import load
from ..schemas.errors import UsageError
from ..schemas.manifests import Asset, Benchmark, Cube, Metric
from ..schemas.yaml_subset import parse
from .datasets import LocalDataset
from .submissions import registered, trial_setup
from .trials import Part, TrialSetup
from .workplace import Workplace


@dataclass(frozen=True)
class Mix:
    """What a person says of a trial; what is None is the benchmark's."""

    benchmark: str | None = None
    preparator: str | None = None
    model: str | None = None
    evaluator: str | None = None
    demo: str | None = None
    data: Path | None = None
    labels: Path | None = None
    metadata: Path | None = None
    dataset: str | None = None
    prepared: bool = False
    extras: Mapping[Role, Extras] = field(default_factory=dict)
    metrics: Path | None = None
    sandbox_command: tuple[str, ...] = ()
    scratch_root: bool = False

    def check(self) -> None:
        """Data are said in one way, all of it; UsageError else."""
        raw = (self.data, self.labels)
        if (self.data is None) != (self.labels is None):
            raise UsageError("--data_path and --labels_path belong together.")
        if sum((raw != (None, None), self.demo is not None, self.dataset is not None)) > 1:
            raise UsageError(
                "Say which data once: --data_uid, or --demo_dataset_url, or --data_path with "
                "--labels_path."
            )
        if self.metadata is not None and self.data is None:
            raise UsageError("--metadata_path belongs to --data_path and --labels_path.")
        if self.prepared and self.dataset is not None:
            raise UsageError("A dataset of this machine is prepared already: leave that out.")


@dataclass(frozen=True)
class Shelf:
    """Where parts are found: this place, and the registry once a part is asked of it."""

    place: Workplace
    open_view: Callable[[], View]

    @cached_property
    def view(self) -> View:
        """The registry, read when it is first needed."""
        return self.open_view()

    def part(
        self,
        where: str,
        role: Role | None,
        command: tuple[str, ...] = (),
        *,
        scratch_root: bool = False,
        extras: Extras = NOTHING_EXTRA,
    ) -> Part:
        """The cube that is meant: a file or folder of that name if there is one, else by name.

        `command`, `scratch_root` and `extras` are for a cube that nobody has submitted yet.
        """
        path = Path(where).expanduser()
        if not path.exists():
            if path.suffix in (".yaml", ".yml") or where.startswith((".", "/", "~")):
                raise UsageError(f"There is no file {where}.")
            _check_none(extras, where)
            return registered(self.view, where)
        if path.is_file() and _is_manifest(path):
            _check_none(extras, where)
            return _manifest(path)
        cube = local_cube(
            path,
            self.place.profile.engine,
            self.place.assets,
            owner=self.place.owner,
            role=role,
            sandbox_command=command,
            scratch_root=scratch_root,
            extras=extras,
        )
        return Part(cube, digest(manifest_bytes(cube)), where)


def _check_none(extras: Extras, where: str) -> None:
    if extras != NOTHING_EXTRA:
        raise UsageError(
            f"{where} is a registered cube, whose parameters and additional files are pinned: "
            "name the MLCube file of a cube to try it with others."
        )


def _is_manifest(file: Path) -> bool:
    with file.open("rb") as source:
        return b"apiVersion:" in source.read(4096)


def _manifest(file: Path) -> Part:
    data = file.read_bytes()
    manifest = load(data, file=str(file)).manifest
    if not isinstance(manifest, Cube):
        raise UsageError(f"{file} is not the manifest of a cube.")
    return Part(manifest, digest(data), str(file))


def set_up(place: Workplace, mix: Mix, open_view: Callable[[], View]) -> TrialSetup:
    """The trial that `mix` means; a UsageError says what is missing."""
    mix.check()
    shelf = Shelf(place, open_view)
    base = _base(shelf, mix)
    parts: dict[str, Part] = {}
    roles: tuple[tuple[Role, str | None, str], ...] = (
        ("preparator", mix.preparator, "--data_preparation"),
        ("model", mix.model, "--model"),
        ("evaluator", mix.evaluator, "--evaluator"),
    )
    for role, where, option in roles:
        if where is not None:
            parts[role] = shelf.part(
                where,
                role,
                mix.sandbox_command,
                scratch_root=mix.scratch_root,
                extras=mix.extras.get(role, NOTHING_EXTRA),
            )
        elif role in mix.extras:
            raise UsageError(f"Say {option}: the MLCube file whose parameters or files these are.")
        elif base is not None:
            parts[role] = getattr(base, role)
        else:
            raise UsageError(f"Say {option} (a cube, or its mlcube.yaml), or a --benchmark.")
        _check_role(parts[role], role)
    metrics = base.metrics if base is not None else None
    ignore = base.ignore if base is not None else ()
    if mix.metrics is not None:
        metrics, ignore = _declared(mix.metrics)
    return TrialSetup(
        preparator=parts["preparator"],
        model=parts["model"],
        evaluator=parts["evaluator"],
        demo=_data(place, mix, base),
        metrics=metrics,
        ignore=ignore,
        mirrors=base.mirrors if base is not None else None,
        benchmark=base.benchmark if base is not None else "",
        prepared=mix.prepared,
    )


def _base(shelf: Shelf, mix: Mix) -> TrialSetup | None:
    if mix.benchmark is None:
        return None
    view = shelf.view
    manifest: Benchmark = view.benchmark(mix.benchmark).manifest
    return trial_setup(view, manifest, model=registered(view, manifest.spec.reference_model.ref))


def _check_role(part: Part, role: str) -> None:
    if part.cube.spec.role != role:
        raise UsageError(f"{part.name} is a {part.cube.spec.role}, not a {role}.")


def _data(place: Workplace, mix: Mix, base: TrialSetup | None) -> Asset | RawData | LocalDataset:
    if mix.dataset is not None:
        return place.datasets.find(mix.dataset)
    if mix.data is not None and mix.labels is not None:
        for path in (mix.data, mix.labels, mix.metadata):
            if path is not None and not path.exists():
                raise UsageError(f"There is nothing at {path}.")
        metadata = None if mix.metadata is None else mix.metadata.absolute()
        return RawData(mix.data.absolute(), mix.labels.absolute(), metadata)
    if mix.demo is not None:
        return _demo(place, mix.demo)
    if base is not None:
        return base.demo
    raise UsageError("Say --demo_dataset_url, or --data_path and --labels_path, or a --benchmark.")


def _demo(place: Workplace, where: str) -> Asset:
    if "://" in where:
        return place.assets.pin(where)
    file = Path(where).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"There is no file {where}.")
    known = Asset(url=file.as_uri(), digest=file_digest(file), size=file.stat().st_size)
    if not place.assets.path(known.digest).is_file():
        return place.assets.keep_copy(file, file.as_uri())
    return known


def _declared(file: Path) -> tuple[dict[str, Metric], tuple[tuple[str, ...], ...]]:
    """The metrics of a metrics file, as `benchmark submit --metrics` reads it."""
    from pydantic import TypeAdapter, ValidationError

    if file.is_dir() or not file.exists():  # a pipe is as good as a file
        wrong = (
            f"{file} is a folder: name the file" if file.is_dir() else f"There is no file {file}"
        )
        raise UsageError(f"{wrong}.")
    value = parse(file.read_bytes(), file=str(file)).value
    if not isinstance(value, dict) or "metrics" not in value:
        raise UsageError(f"{file} must have the field metrics.")
    field = "metrics"
    try:
        metrics = TypeAdapter(dict[str, Metric]).validate_python(value["metrics"])
        field = "ignore"
        ignore = TypeAdapter(list[list[str]]).validate_python(value.get("ignore") or [])
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join([field, *(str(part) for part in item["loc"])])
        raise UsageError(f"{file}: {where}: {item['msg']}.") from error
    return metrics, tuple(tuple(path) for path in ignore)
