"""The kinds of manifest (design §3) as strict models: one class a kind, nothing else allowed.

Attribute names are the YAML names in snake_case (`publicKey` is `public_key`). What one field can
tell stands here and, generated from here, in the JSON Schemas; what takes two fields or the path
(a threshold above the number of members, a trial without its run key) is in `documents.py`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints
from pydantic.alias_generators import to_camel

from .digests import DIGEST_PATTERN
from .names import DEVICES, NAME_PATTERN

DEVICE_PATTERN = r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])$"
API_VERSION: Literal["medperf/v1alpha1"] = "medperf/v1alpha1"
MANIFEST_LIMIT = 64 * 1024
RESULT_LIMIT = 16 * 1024
TASKS = ("prepare", "sanity_check", "statistics", "infer", "evaluate")

T = TypeVar("T")


def _no_device(name: str) -> str:
    if name in DEVICES:
        raise ValueError("Windows keeps this name for a device")
    return name


def _unique(items: tuple[T, ...]) -> tuple[T, ...]:
    if any(item in items[:at] for at, item in enumerate(items)):
        raise ValueError("the same item stands here twice")
    return items


_ONE = NAME_PATTERN.removeprefix("^").removesuffix("$")
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    AfterValidator(_no_device),
    Field(json_schema_extra={"not": {"pattern": DEVICE_PATTERN}}),
]
Ref = Annotated[str, StringConstraints(pattern=f"^{_ONE}/{_ONE}$")]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
RegistryId = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    ),
]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\n]+$")]
Text = Annotated[str, StringConstraints(max_length=4000)]
Url = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^(https://|file:///)[!-;=?-\[\]_a-z~]+$")
]
PublicKey = Annotated[str, StringConstraints(pattern=r"^ssh-ed25519 [A-Za-z0-9+/]{68}$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}(Ki|Mi|Gi)$")]
Day = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
]
Version = Annotated[str, StringConstraints(max_length=40, pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$")]
Number = int | float
FORGE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$"
IMAGE_PATTERN = r"^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$"
PLATFORM_PATTERN = r"^linux/(amd64|arm64|arm/v7|ppc64le|s390x)$"
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Size = Annotated[int, Field(ge=0, le=1 << 50)]
EngineName = Literal["docker", "singularity", "sandbox"]
TaskName = Literal["prepare", "sanity_check", "statistics", "infer", "evaluate"]
FileName = Literal["mlcube.yaml", "container_config.yaml", "parameters.yaml"]
Many = Annotated[tuple[T, ...], Strict(False)]
KeyPath = Annotated[Many[Line], Field(min_length=1, max_length=8)]
Unique = Annotated[
    tuple[T, ...],
    Strict(False),
    AfterValidator(_unique),
    Field(json_schema_extra={"uniqueItems": True}),
]


class Model(BaseModel):
    """A strict, frozen part of a manifest."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        allow_inf_nan=False,
        defer_build=True,  # a command pays for the kinds that it reads, not for all
    )


class Pin(Model):
    """One object and the bytes that are meant: its name and its manifest's digest."""

    ref: Ref
    digest: Digest


class Asset(Model):
    """A file by address: fetched by URL, believed by digest and size in bytes."""

    url: Url
    digest: Digest
    size: Size


class Metadata(Model):
    """The name of a registry or an owner, and a text for people."""

    name: Name
    description: Text


class ObjectMetadata(Metadata):
    """The name of an owner's object, and a text for people."""

    owner: Name


class LabelledMetadata(ObjectMetadata):
    """The name of an owner's object, with labels for people to search by."""

    labels: dict[Name, Line] | None = None


class Council(Model):
    """Members of whom `threshold` must sign."""

    threshold: Positive
    members: Annotated[Unique[Ref], Field(min_length=1, max_length=100)]


class Checkpoints(Model):
    """How old a site's view of the registry may be before it starts nothing new."""

    max_age_days: Annotated[int, Field(ge=1, le=3650)]


class RegistrySpec(Model):
    """Identity and constitution of a registry."""

    id: RegistryId
    serial: Positive
    approval: Literal["signed", "merge"]
    admins: Council
    checkpoints: Checkpoints | None = None


class Registry(Model):
    """registry.yaml: what this registry is and who its admins are."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Registry"]
    metadata: Metadata
    spec: RegistrySpec


class Key(Model):
    """An Ed25519 public key in OpenSSH form; `since`: the commit from which it was compromised."""

    public_key: PublicKey
    state: Literal["active", "retired", "compromised"]
    since: Commit | None = None


class Member(Model):
    """A person of an owner: signs statements. `forge` is the login there, to ask for reviews."""

    name: Name
    forge: Annotated[str, StringConstraints(pattern=FORGE_PATTERN)] | None = None
    keys: Annotated[Many[Key], Field(min_length=1, max_length=50)]


class Site(Model):
    """A machine of an owner: signs results, and nothing else."""

    name: Name
    keys: Annotated[Many[Key], Field(min_length=1, max_length=50)]


class OwnerSpec(Model):
    """The people and machines of an owner."""

    serial: Positive
    members: Annotated[Many[Member], Field(min_length=1, max_length=200)]
    sites: Annotated[Many[Site], Field(max_length=200)]


class Owner(Model):
    """owners/<owner>.yaml: an organisation with its members and sites."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Owner"]
    metadata: Metadata
    spec: OwnerSpec


class Image(Model):
    """What one engine runs: an image by content, or an archive by URL, digest and size."""

    engine: EngineName
    image: Annotated[str, StringConstraints(max_length=300, pattern=IMAGE_PATTERN)] | None = None
    archive: Asset | None = None
    platform: Annotated[str, StringConstraints(pattern=PLATFORM_PATTERN)] | None = None
    command: Annotated[Many[Line], Field(min_length=1, max_length=50)] | None = None


class Resources(Model):
    """What a cube asks of a site: bytes of memory and /dev/shm, GPUs, seconds a task."""

    memory: Bytes | None = None
    shm: Bytes | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    timeout: dict[TaskName, Annotated[int, Field(ge=1, le=2_592_000)]] | None = None
    scratch_root: bool | None = None


class Metric(Model):
    """What of an evaluator's (or preparator's) file may leave: where it stands, and its range.

    `from` is the path of keys in the file. A `number` has `decimals`, an `integer` has none.
    `support` names the metric of kind `count` under which this one is suppressed.
    """

    source: Annotated[KeyPath, Field(alias="from")]
    type: Literal["number", "integer"]
    min: Number
    max: Number
    decimals: Annotated[int, Field(ge=0, le=6)] | None = None
    direction: Literal["higher", "lower"] | None = None
    support: Name | None = None
    kind: Literal["count"] | None = None


class CubeSpec(Model):
    """The files, images and wishes of a cube."""

    role: Literal["preparator", "model", "evaluator"]
    format: Literal["mlcube", "container-config"]
    files: dict[FileName, Annotated[str, StringConstraints(min_length=1, max_length=48_000)]]
    images: Annotated[Many[Image], Field(min_length=1, max_length=20)]
    additional_files: Asset | None = None
    resources: Resources | None = None
    statistics: dict[Name, Metric] | None = None
    replaces: Ref | None = None


class Cube(Model):
    """cubes/<owner>/<cube>.yaml: a preparator, model or evaluator that engines can run."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Cube"]
    metadata: LabelledMetadata
    spec: CubeSpec


class BenchmarkSpec(Model):
    """Three cubes, a demo dataset, and the metrics that may leave a site."""

    preparator: Pin
    reference_model: Pin
    evaluator: Pin
    demo_dataset: Asset
    data_format: Text | None = None
    engines: Annotated[Unique[EngineName], Field(min_length=1)] | None = None
    allow_partial: bool | None = None
    metrics: Annotated[dict[Name, Metric], Field(min_length=1, max_length=200)]
    ignore: Annotated[Many[KeyPath], Field(max_length=200)] | None = None
    replaces: Ref | None = None

    def accepted_engines(self) -> Sequence[str]:
        """The engines whose results count; the default leaves the sandbox out."""
        return self.engines or ("docker", "singularity")


class Benchmark(Model):
    """benchmarks/<owner>/<benchmark>.yaml."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Benchmark"]
    metadata: ObjectMetadata
    spec: BenchmarkSpec


Rule = Literal["never", "always"] | Annotated[Unique[Name], Field(min_length=1, max_length=1000)]


class Approve(Model):
    """Whose components need no signature of the committee: never, always, or these owners'."""

    models: Rule
    datasets: Rule


Mirrors = dict[Digest, Annotated[Many[Url], Field(min_length=1, max_length=20)]]


class SettingsSpec(Model):
    """What may change of a cube or dataset after the merge."""

    serial: Positive
    deprecated: bool | None = None
    description: Text | None = None
    labels: dict[Name, Line] | None = None
    mirrors: Mirrors | None = None


class Settings(Model):
    """<cube or dataset>.settings.yaml."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Settings"]
    spec: SettingsSpec


class BenchmarkSettingsSpec(Model):
    """What may change of a benchmark: its committee, what it approves by itself, priorities."""

    serial: Positive
    active: bool
    committee: Council
    approve: Approve
    priorities: dict[Ref, Annotated[int, Field(ge=-1_000_000, le=1_000_000)]] | None = None
    description: Text | None = None
    labels: dict[Name, Line] | None = None
    mirrors: Mirrors | None = None


class BenchmarkSettings(Model):
    """<benchmark>.settings.yaml."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Settings"]
    spec: BenchmarkSettingsSpec


class DatasetSpec(Model):
    """A dataset's metadata: where it is, who prepared it how, and what binds its content."""

    location: Line
    preparator: Pin
    commitment: Hex64
    statistics: dict[Name, Number]
    replaces: Ref | None = None


class Dataset(Model):
    """datasets/<owner>/<dataset>.yaml: metadata only, never data."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Dataset"]
    metadata: LabelledMetadata
    spec: DatasetSpec


class Trial(Model):
    """The compatibility test's outcome: of a model with metrics, of a dataset with a run key."""

    medperf: Version
    engine: EngineName
    outcome: Literal["passed", "failed"]
    data: Digest | None = None
    metrics: dict[Name, Number] | None = None
    run_key: Hex64 | None = None


class AssociationSpec(Model):
    """A benchmark and the one model or dataset that takes part, with its trial."""

    round: Positive
    benchmark: Pin
    model: Pin | None = None
    dataset: Pin | None = None
    trial: Trial


class Association(Model):
    """associations/<owner>/<benchmark>/{models,datasets}/<owner>__<name>.yaml."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Association"]
    spec: AssociationSpec

    @property
    def component(self) -> Pin:
        """The pin of the model or dataset that takes part."""
        pin = self.spec.model or self.spec.dataset
        assert pin is not None, "documents.load refuses an association without a component"  # noqa: S101
        return pin


class ResultRegistry(Model):
    """The registry and its main when the run was planned."""

    id: RegistryId
    commit: Commit


class ResultAssociations(Model):
    """Digests of the two associations that let the run happen."""

    model: Digest
    dataset: Digest


class ResultImages(Model):
    """Digests of the images (or their archives) that ran."""

    model: Digest
    evaluator: Digest


class ResultRun(Model):
    """By what the run was made, on which day in UTC."""

    medperf: Version
    engine: EngineName
    images: ResultImages
    partial: bool
    day: Day


class Suppressed(Model):
    """A declared metric that did not leave, and why."""

    metric: Name
    reason: Literal["small-cells", "complement", "not-computable"]


class Disclosure(Model):
    """What the disclosure check did: threshold k, bits that left, metrics that did not."""

    k: Annotated[int, Field(ge=3, le=1_000_000)]
    bits: Annotated[int, Field(ge=0, le=1_000_000)]
    suppressed: Many[Suppressed]


class ResultSpec(Model):
    """One run: what it was computed from, how, what was held back, and the metrics."""

    run_key: Hex64
    registry: ResultRegistry
    benchmark: Pin
    dataset: Pin
    model: Pin
    associations: ResultAssociations
    run: ResultRun
    disclosure: Disclosure
    metrics: dict[Name, Number]


class Result(Model):
    """results/<owner>/<benchmark>/<dataset>/<model>/<16 hex>.yaml."""

    api_version: Literal["medperf/v1alpha1"]
    kind: Literal["Result"]
    spec: ResultSpec


Manifest = (
    Registry
    | Owner
    | Cube
    | Benchmark
    | Settings
    | BenchmarkSettings
    | Dataset
    | Association
    | Result
)
KINDS: tuple[type[Any], ...] = (
    Registry,
    Owner,
    Cube,
    Benchmark,
    Settings,
    BenchmarkSettings,
    Dataset,
    Association,
    Result,
)
