"""A person's or a site's settings: `config.yaml` below `$MEDPERF_HOME`, one profile a registry.

Read once by the command line and handed down frozen; written only by `login`, `registry init` and
`profile`, with comments kept. Design §12 is the contract.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ..schemas.errors import DataError, UsageError
from ..schemas.manifests import Bytes, Commit, Many, Name, Ref, RegistryId, TaskName

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def in_bytes(text: str) -> int:
    """`8Gi` as a number of bytes."""
    return int(text[:-2]) * _UNITS[text[-2:]]


def in_seconds(text: str) -> int:
    """`24h`, `7d`, `90m` or `30s` as a number of seconds."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        raise ValueError("write a whole number and s, m, h or d, as in 24h")
    return int(match[1]) * _SPANS[match[2]]


def _span(text: str) -> str:
    in_seconds(text)
    return text


Span = Annotated[str, AfterValidator(_span)]


def _room(text: str) -> str:
    """Every engine refuses a task with less."""
    if in_bytes(text) < in_bytes("64Ki"):
        raise ValueError("a task needs room for 64Ki or more")
    return text


Room = Annotated[Bytes, AfterValidator(_room)]


def _gpu(given: object) -> object:
    """The number of a GPU as text, as engines and NVIDIA's own tools want it; ids stay."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Gpu = Annotated[str, BeforeValidator(_gpu)]


class Part(BaseModel):
    """A strict, frozen part of the settings."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        defer_build=True,  # a command pays for what it reads
    )


class Enrolment(Part):
    """What was compared out of band when this registry was first trusted (design §6)."""

    url: Annotated[str, Field(min_length=1)]
    id: RegistryId
    root: Commit
    admins: Many[str]
    approval: Literal["signed", "merge"]


class Identity(Part):
    """A name in the owner's file, and where its private key is: a file, or `agent`."""

    name: Name
    key: str


class Me(Part):
    """Who acts: the member signs statements and objects, the site signs results."""

    owner: Name
    member: Identity | None = None
    site: Identity | None = None


class Policy(Part):
    """What this site lets happen, on top of what the registry approves."""

    consent: Literal["association", "cube"] = "association"
    release: Literal["manual", "automatic"] | Annotated[Many[Ref], Field(min_length=1)] = "manual"
    releasers: Annotated[int, Field(ge=1, le=2)] = 1
    k: Annotated[int, Field(ge=3)] = 10
    bits_per_run: Annotated[int, Field(ge=1)] = 256
    sandbox_foreign: bool = False
    benchmarks: Annotated[Many[Ref], Field(min_length=1)] | None = None
    owners: Annotated[Many[Name], Field(min_length=1)] | None = None
    files: Many[str] = ()
    hosts: Many[str] = ()
    results_per_benchmark: Annotated[int, Field(ge=1)] | None = None
    results_per_model_owner: Annotated[int, Field(ge=1)] | None = None
    max_age: Span | None = None
    require: Many[Literal["memory", "processes", "cpus", "output_bytes", "output_files"]] = ()

    @model_validator(mode="after")
    def _whoever_releases_is_asked(self) -> Self:
        if self.releasers > 1 and self.release == "automatic":
            raise ValueError("releasers: 2 asks two people, and release: automatic asks nobody")
        return self


class SiteLimits(Part):
    """What runs may use: jobs at once, GPUs; and a task: memory, seconds, what it may write."""

    jobs: Annotated[int, Field(ge=1, le=256)] = 1
    gpus: Many[Gpu] = ()
    memory: Bytes = "8Gi"
    output: Room = "10Gi"
    output_files: Annotated[int, Field(ge=1)] = 200_000
    timeout: dict[TaskName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


class Notify(Part):
    """Whom to tell of new work: a command of this site, with its words, told on its input."""

    command: Many[str] = ()


class Profile(Part):
    """One registry, as one person or site sees it."""

    registry: Enrolment
    me: Me
    storage: str
    engine: Literal["docker", "singularity", "sandbox"]
    policy: Policy = Field(default_factory=Policy)
    limits: SiteLimits = Field(default_factory=SiteLimits)
    notify: Notify = Field(default_factory=Notify)


class Config(Part):
    """The whole of config.yaml."""

    active: str
    profiles: dict[str, Profile]


def home_folder(environ: Mapping[str, str]) -> Path:
    """`$MEDPERF_HOME`, or the platform's folder for user data."""
    if chosen := environ.get("MEDPERF_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("medperf")).absolute()


@dataclass(frozen=True)
class Home:
    """The folder of `config.yaml` and `keys/`."""

    path: Path

    @property
    def file(self) -> Path:
        """Where the settings are."""
        return self.path / "config.yaml"

    def read(self) -> Config | None:
        """The settings, or None where nobody has logged in; DataError for a wrong field."""
        from ..schemas.yaml_subset import parse

        if not self.file.exists():
            return None
        parsed = parse(self.file.read_bytes(), file=str(self.file))
        try:
            return Config.model_validate(parsed.value)
        except ValidationError as error:
            lines = [_sentence(self.file, parsed.line, dict(item)) for item in error.errors()]
            raise DataError("\n".join(lines)) from error

    def profile(self, name: str | None = None) -> tuple[str, Profile]:
        """The profile called `name`, or the active one, with its name."""
        config = self.read()
        if config is None:
            raise UsageError(
                f"There are no settings in {self.path}: "
                "run 'medperf login REGISTRY', or 'medperf registry init' for a new registry."
            )
        name = name or config.active
        if name not in config.profiles:
            known = ", ".join(sorted(config.profiles)) or "none"
            raise UsageError(f"There is no profile {name!r} in {self.file} (there are: {known}).")
        return name, config.profiles[name]

    def resolve(self, path: str) -> Path:
        """A path of the settings: relative ones are below the home folder."""
        return (self.path / Path(path).expanduser()).absolute()

    def save(self, name: str, profile: Profile, *, activate: bool = False) -> None:
        """Writes `profile` under `name`; comments elsewhere stay.

        With `activate`, or where there is no other, it becomes the active one.
        """
        self.read()  # a file that cannot be read is not overwritten
        yaml = _yaml()
        document: Any = yaml.load(self.file.read_text("utf-8")) if self.file.exists() else {}
        if activate or "active" not in document:
            document["active"] = name
        fields = profile.model_dump(by_alias=True, exclude_none=True, mode="json")
        document.setdefault("profiles", {})[name] = fields
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write(yaml, document)

    def forget(self, name: str) -> None:
        """Takes a profile out of the file; a UsageError for the active one, if there are others."""
        config = self.read()
        if config is None or name not in config.profiles:
            raise UsageError(f"There is no profile {name!r} in {self.file}.")
        if config.active == name and len(config.profiles) > 1:
            raise UsageError(
                f"{name!r} is the active profile: 'medperf profile activate' another one first."
            )
        if len(config.profiles) == 1:
            self.file.unlink()
            return
        yaml = _yaml()
        document: Any = yaml.load(self.file.read_text("utf-8"))
        del document["profiles"][name]
        self._write(yaml, document)

    def _write(self, yaml: "YAML", document: Any) -> None:
        beside = self.file.with_name(f"config.yaml.{os.getpid()}.tmp")
        with beside.open("w", encoding="utf-8") as stream:
            yaml.dump(document, stream)
        beside.replace(self.file)


def _yaml() -> "YAML":
    """What keeps a person's comments, and writes in the form that every command reads at once."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _sentence(file: Path, line_of: Any, item: dict[str, Any]) -> str:
    where = tuple(item["loc"])
    field = ".".join(str(part) for part in where)
    line = line_of(where) or line_of(where[:-1])
    found = "" if item["type"] in ("missing", "extra_forbidden") else f" (found {item['input']!r})"
    what = {"missing": "is missing", "extra_forbidden": "is not a setting"}.get(
        item["type"], str(item["msg"]).removeprefix("Value error, ")
    )
    place = f"{file}:{line}" if line else str(file)
    return f"{place}: {field}: {what}{found}. See 'medperf profile --help' for the settings."
