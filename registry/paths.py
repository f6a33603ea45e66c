"""Where each object of a registry lies: what a path names, who owns it, how large it may be.

One object a file; the path names the object and its owner (design §3). Everything here is pure:
paths are `/`-separated text as Git has it, bytes that are no UTF-8 come as lone surrogates and are
the path of nothing. A path below the governed folders that names nothing is kind `other`: it is
shown and ignored, but a change of it still counts as one in the history.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from ..schemas.errors import UsageError
from ..schemas.manifests import MANIFEST_LIMIT, RESULT_LIMIT
from ..schemas.names import DEVICES, NAME_PATTERN, is_name, split_ref

PlaceKind = Literal[
    "registry",
    "owner",
    "cube",
    "dataset",
    "benchmark",
    "settings",
    "association",
    "result",
    "statement",
    "handover",
    "other",
]
Side = Literal["models", "datasets"]

REGISTRY = "registry.yaml"
ADMINS = ""  # stands for the admins among the owners of a path
GOVERNED = ("owners", "cubes", "datasets", "benchmarks", "associations", "results")
HANDOVERS = "handovers"  # see handover.py, which alone reads what lies there
OTHER_LIMIT = 1024 * 1024
_OBJECTS: dict[str, PlaceKind] = {"cubes": "cube", "datasets": "dataset", "benchmarks": "benchmark"}
SIDES: dict[str, Side] = {"models": "models", "datasets": "datasets"}
_BUNDLE = ".sigstore.json"
_ONE = NAME_PATTERN.removeprefix("^").removesuffix("$").replace("(", "(?:")
# most files of a large registry are results and their signatures: one look says what they are
_RESULT = re.compile(
    rf"results/({_ONE})/({_ONE})/({_ONE})__({_ONE})/({_ONE})__({_ONE})/([0-9a-f]{{16}})"
    r"(\.yaml|\.sigstore\.json)\Z"
)
_HANDOVER = re.compile(HANDOVERS + r"/[1-9][0-9]{0,2}(\.[a-z0-9-]+\.[a-z0-9-]+\.sigstore)?\.json\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


class Place(NamedTuple):
    """What lies at a path, as far as the path can tell.

    `owner` and `name`: of the object (an association and a result: of the benchmark). `subject`:
    the manifest that settings or a statement belong to. A statement has `number` (serial, round or
    1) and `by` (owner/member); the signature of a result itself has number 0 and nobody in `by`,
    since the site's name stands inside it.
    """

    kind: PlaceKind
    path: str
    governed: bool
    owner: str = ""
    name: str = ""
    side: Side | None = None
    component: str = ""
    dataset: str = ""
    model: str = ""
    run: str = ""
    subject: str = ""
    number: int = 0
    by: str = ""
    revoke: bool = False

    @property
    def ref(self) -> str:
        """`owner/name` of the object; of an association and a result: of the benchmark."""
        return f"{self.owner}/{self.name}" if self.name else self.owner

    @property
    def benchmark(self) -> str:
        """The benchmark of an association or a result, as owner/name."""
        return self.ref if self.kind in ("association", "result") else ""

    @property
    def modifiable(self) -> bool:
        """Whether the history may change this file: §3 lets it for four kinds only."""
        return self.kind in ("registry", "owner", "settings", "association")

    @property
    def limit(self) -> int:
        """The most bytes that a file here may have."""
        if self.kind in ("result", "statement"):
            return RESULT_LIMIT
        return OTHER_LIMIT if self.kind == "other" else MANIFEST_LIMIT


def classify(path: str) -> Place:
    """What `path` names; kind `other` if it names nothing."""
    return _classified(path)


@lru_cache(maxsize=4096)  # each step of judging a commit asks for the same paths again
def _classified(path: str) -> Place:
    if path.startswith(HANDOVERS) and _HANDOVER.match(path):
        place: Place | None = Place("handover", path, True)
    elif match := _RESULT.match(path):
        place = _result(path, match)
    elif path.endswith(_BUNDLE):
        place = _statement(path)
    elif path.endswith(".yaml"):
        place = _manifest(path)
    else:
        place = None
    return place or Place("other", path, is_governed(path))


def is_governed(path: str) -> bool:
    """Whether the registry's rules know this path: `classify(path).governed`, for less."""
    top, slash, _ = path.partition("/")
    # The admins' statements over registry.yaml lie beside it, at the top.
    beside = not slash and path.startswith("registry.") and path.endswith(_BUNDLE)
    return path == REGISTRY or beside or (top in (*GOVERNED, HANDOVERS) and bool(slash))


def _manifest(path: str) -> Place | None:
    if path == REGISTRY:
        return Place("registry", path, True)
    parts = path.removesuffix(".yaml").split("/")
    if parts[0] == "owners" and len(parts) == 2 and is_name(parts[1]):
        return Place("owner", path, True, owner=parts[1])
    if parts[0] in _OBJECTS and len(parts) == 3:
        return _object(path, parts)
    if parts[0] == "associations" and len(parts) == 5:
        return _association(path, parts)
    return None


def _object(path: str, parts: list[str]) -> Place | None:
    top, owner, stem = parts
    name, dot, extra = stem.partition(".")
    if not (is_name(owner) and is_name(name)):
        return None
    if not dot:
        return Place(_OBJECTS[top], path, True, owner=owner, name=name)
    if extra != "settings":
        return None
    subject = f"{top}/{owner}/{name}.yaml"
    return Place("settings", path, True, owner=owner, name=name, subject=subject)


def _association(path: str, parts: list[str]) -> Place | None:
    _, owner, name, side, stem = parts
    component = _component(stem)
    if not (is_name(owner) and is_name(name) and component):
        return None
    if side not in SIDES:
        return None
    return Place("association", path, True, owner, name, side=SIDES[side], component=component)


def _result(path: str, match: re.Match[str]) -> Place | None:
    """A result or its own signature, which may not have a device's name anywhere."""
    *names, run, end = match.groups()
    if not DEVICES.isdisjoint(names):
        return None
    owner, name, data_owner, dataset, model_owner, model = names
    if end == _BUNDLE:
        subject = path.removesuffix(_BUNDLE) + ".yaml"
        return Place("statement", path, True, owner, name, subject=subject)
    return Place(
        "result",
        path,
        True,
        owner,
        name,
        dataset=f"{data_owner}/{dataset}",
        model=f"{model_owner}/{model}",
        run=run,
    )


def _component(stem: str) -> str:
    owner, joint, name = stem.partition("__")
    return f"{owner}/{name}" if joint and is_name(owner) and is_name(name) else ""


def _statement(path: str) -> Place | None:
    folder, slash, stem = path.removesuffix(_BUNDLE).rpartition("/")
    parts = stem.split(".")
    words = 2 if len(parts) > 1 and parts[1] == "settings" else 1
    subject = folder + slash + ".".join(parts[:words]) + ".yaml"
    about = classify(subject)  # which comes with it, or was just asked for
    if about.kind == "other":
        return None
    tail = parts[words:]
    revoke = len(tail) == 4 and tail[3] == "revoke"
    if not (len(tail) == 3 or revoke) or not _NUMBER.match(tail[0]):
        return None
    if not (is_name(tail[1]) and is_name(tail[2])):
        return None
    return Place(
        "statement",
        path,
        True,
        about.owner,
        about.name,
        subject=subject,
        number=int(tail[0]),
        by=f"{tail[1]}/{tail[2]}",
        revoke=revoke,
    )


def owners_of(path: str) -> frozenset[str]:
    """The owners who may change `path` (design §4); `""` stands for the admins."""
    place = classify(path)
    if place.kind == "statement":
        about = classify(place.subject)
        # A result's own signature belongs to whom the result belongs to.
        signer = place.by or about.dataset
        return frozenset([signer.partition("/")[0]])
    if place.kind == "association":
        return frozenset([place.owner, place.component.partition("/")[0]])
    if place.kind == "result":
        return frozenset([place.dataset.partition("/")[0]])
    parts = path.split("/")
    if parts[0] in _OBJECTS and len(parts) > 2 and is_name(parts[1]):
        return frozenset([parts[1]])
    return frozenset([place.owner if place.kind == "owner" else ADMINS])


def owner_path(owner: str) -> str:
    """The path of an owner's manifest."""
    return f"owners/{owner}.yaml"


def cube_path(ref: str) -> str:
    """The path of a cube's manifest."""
    return _object_path("cubes", ref)


def dataset_path(ref: str) -> str:
    """The path of a dataset's manifest."""
    return _object_path("datasets", ref)


def benchmark_path(ref: str) -> str:
    """The path of a benchmark's manifest."""
    return _object_path("benchmarks", ref)


def _object_path(top: str, ref: str) -> str:
    owner, name = split_ref(ref)
    return f"{top}/{owner}/{name}.yaml"


def settings_path(object_path: str) -> str:
    """The path of the settings of the cube, dataset or benchmark at `object_path`."""
    return object_path.removesuffix(".yaml") + ".settings.yaml"


def association_path(benchmark: str, side: Side, component: str) -> str:
    """The path of the association of a model or a dataset with a benchmark."""
    return _association_path(benchmark, side, component)


@lru_cache(maxsize=4096)  # each result is asked for its two, several times
def _association_path(benchmark: str, side: Side, component: str) -> str:
    owner, name = split_ref(benchmark)
    return f"associations/{owner}/{name}/{side}/{_joined(component)}.yaml"


def associations_start(benchmark: str, side: Side, owner: str = "") -> str:
    """What the paths of a benchmark's associations begin with; with `owner`, of his components."""
    whose, name = split_ref(benchmark)
    return f"associations/{whose}/{name}/{side}/" + (f"{owner}__" if owner else "")


def result_path(benchmark: str, dataset: str, model: str, run_key: str) -> str:
    """The path of a run's result; `run_key` has 64 hex digits, or the 16 of the path."""
    return f"{results_folder(benchmark, dataset)}{_joined(model)}/{run_key[:16]}.yaml"


def results_folder(benchmark: str, dataset: str) -> str:
    """The folder of a dataset's results of a benchmark, with a slash at its end."""
    owner, name = split_ref(benchmark)
    return f"results/{owner}/{name}/{_joined(dataset)}/"


def _joined(ref: str) -> str:
    return "__".join(split_ref(ref))


def statement_path(
    manifest_path: str, n: int, owner: str, member: str, revoke: bool = False
) -> str:
    """The path of a member's statement over the file that had serial, round or version `n`."""
    end = ".revoke" + _BUNDLE if revoke else _BUNDLE
    return f"{manifest_path.removesuffix('.yaml')}.{n}.{owner}.{member}{end}"


def result_signature_path(result: str) -> str:
    """The path of a result's own signature, by the site that made it."""
    return result.removesuffix(".yaml") + _BUNDLE


def check_path(path: str) -> str:
    """`path`, if a file may be written there on every file system; else a UsageError."""
    parts = path.split("/")
    printable = path.isprintable() and "\\" not in path
    ordinary = all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts)
    if not (printable and ordinary and unicodedata.is_normalized("NFC", path)):
        raise UsageError(
            f"{path!r} is not a path in a registry: write folders and a file name, separated by /."
        )
    return path


def clashes(paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of paths (files or folders) that some file systems cannot tell apart."""
    seen: dict[str, set[str]] = {}
    folders: set[str] = set()
    for path in paths:
        seen.setdefault(_folded(path), set()).add(path)
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            seen.setdefault(_folded(folder), set()).add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(tuple(sorted(group)) for group in seen.values() if len(group) > 1)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
