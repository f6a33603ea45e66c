"""The documents of a registry at one commit, read from Git objects, without a work tree.

A blob is read once and parsed once (`Library`, by blob id): what a blob says never changes, so the
index on disk (`index.py`) needs no other key. A file that is no document is left out of the
`Snapshot` and told in its `problems`; whether a document is accepted is asked in `history.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..schemas import manifests as kinds
from ..schemas.errors import InvalidDocumentError, Problem, SignatureError
from ..schemas.manifests import MANIFEST_LIMIT
from .paths import Place, classify
from .public_keys import key_blob
from .rules import number

if TYPE_CHECKING:
    from ..schemas.documents import Document, Known
    from .ahead import Read, Reader
    from .git import Repository
    from .index import Index
    from .statements import Bundle, Checked

REGULAR = "100644"
ROOM = 64 << 20
"""Bytes of blobs that are read ahead: strangers write them, and say how large they are."""
M = TypeVar("M", covariant=True)


@dataclass(frozen=True)
class Item(Generic[M]):
    """A document at its path: what it says, and the digest of its bytes."""

    place: Place
    manifest: M
    digest: str
    data: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """The file's path in the registry."""
        return self.place.path

    @property
    def ref(self) -> str:
        """`owner/name` (an owner: its name; an association, a result: of the benchmark)."""
        return self.place.ref


class StoredItem(Item[Any]):
    """A document that is read when somebody looks into it."""

    def __init__(self, path: str, oid: str, digest: str, library: "Library") -> None:
        vars(self).update(place=classify(path), digest=digest, oid=oid, _library=library)

    def __getattr__(self, name: str) -> Any:
        known = vars(self)
        library: Library = known["_library"]
        if name == "manifest":
            known[name] = library.manifest(known["oid"])
            return known[name]
        if name == "data":
            return library.bytes_of(known["oid"])
        raise AttributeError(name)


@dataclass(frozen=True)
class Snapshot:
    """Every document at one commit, by name; associations and results by path.

    `settings` are by the path of the cube, dataset or benchmark that they belong to.
    """

    commit: str
    registry: Item[kinds.Registry] | None
    owners: Mapping[str, Item[kinds.Owner]]
    cubes: Mapping[str, Item[kinds.Cube]]
    datasets: Mapping[str, Item[kinds.Dataset]]
    benchmarks: Mapping[str, Item[kinds.Benchmark]]
    settings: Mapping[str, Item[kinds.Settings | kinds.BenchmarkSettings]]
    associations: Mapping[str, Item[kinds.Association]]
    results: Mapping[str, Item[kinds.Result]]
    problems: tuple[Problem, ...] = ()

    def datasets_of(self, owner: str) -> Sequence[str]:
        """The datasets of one owner, as owner/name."""
        return self._datasets.get(owner, ())

    @cached_property
    def _datasets(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for ref in self.datasets:
            found.setdefault(ref.partition("/")[0], []).append(ref)
        return found

    @classmethod
    def of(
        cls, commit: str, items: Iterable[Item[Any]], problems: Iterable[Problem] = ()
    ) -> "Snapshot":
        """The snapshot of these items."""
        shelves: dict[str, dict[str, Item[Any]]] = {kind: {} for kind in _SHELVES}
        for item in items:
            place = item.place
            by_path = place.kind in ("association", "result")
            name = place.path if by_path else place.subject or place.ref
            shelves[place.kind][name] = item
        return cls(
            commit,
            shelves["registry"].get(""),
            shelves["owner"],
            shelves["cube"],
            shelves["dataset"],
            shelves["benchmark"],
            shelves["settings"],
            shelves["association"],
            shelves["result"],
            tuple(problems),
        )

    @classmethod
    def read(
        cls, repository: "Repository", commit: str, library: "Library | None" = None
    ) -> "Snapshot":
        """The snapshot of `commit`'s whole tree."""
        library = library or Library(repository)
        problems = []
        wanted: list[tuple[Place, str]] = []
        for path, entry in repository.tree(commit).items():
            place = classify(path)
            if not place.governed or place.kind == "statement":
                continue
            wrong = file_problem(place, entry.mode)
            if wrong:
                problems.append(wrong)
            else:
                wanted.append((place, entry.oid))
        library.prepare(oid for _, oid in wanted)
        items = []
        for place, oid in wanted:
            try:
                items.append(library.item(place, oid))
            except InvalidDocumentError as error:
                problems.extend(error.problems)
        return cls.of(commit, items, problems)


_SHELVES = (
    "registry",
    "owner",
    "cube",
    "dataset",
    "benchmark",
    "settings",
    "association",
    "result",
)


class Library:
    """Blobs and the documents in them, each read and parsed once.

    With an index a document that was checked before, by the same code, is not parsed again.
    """

    def __init__(
        self,
        repository: "Repository",
        index: "Index | None" = None,
        ahead: "Reader | None" = None,
    ) -> None:
        """`ahead` is a second process that was started already, for a large registry."""
        self.ahead = ahead
        self._repository = repository
        self._index = index
        self._blobs: dict[str, bytes] = {}
        self._held = 0
        # by blob, and by how large a file may be where it lies
        self._documents: dict[tuple[str, int], Known | InvalidDocumentError] = {}
        self._checked: dict[str, Checked] = {}
        self._read: dict[str, tuple[str, int]] = {}  # by another process: digest and size

    @property
    def folder(self) -> Path:
        """The clone's folder."""
        return self._repository.folder

    @property
    def remembers(self) -> bool:
        """Whether there is an index, which keeps documents that were checked."""
        return self._index is not None

    def take(
        self, documents: Iterable["Read"], statements: Iterable[tuple[str, "Checked"]]
    ) -> None:
        """Keep what another process of ours made of blobs that it has read (`ahead.py`)."""
        self._checked.update(statements)
        if self._index is not None:
            for one in documents:
                self._index.keep(one.oid, one.kind, one.value)
                self._read[one.oid] = (one.digest, one.size)

    def bundle(self, oid: str) -> "Bundle | Checked":
        """The bundle in a blob; a SignatureError if it is none."""
        known = self._checked.get(oid)
        if known is not None:
            return known
        from .statements import read_bundle

        return read_bundle(self.data(oid))

    def prepare(self, oids: Iterable[str]) -> None:
        """Read these blobs in one go, as many as memory has room for; the others as they come."""
        known = (self._blobs, self._read, self._checked)
        unknown = (oid for oid in oids if not any(oid in one for one in known))
        for oid, data in self._repository.blobs(unknown, cap=MANIFEST_LIMIT):
            if oid not in self._blobs:
                self._blobs[oid] = data
                self._held += len(data)
            if self._held > ROOM:
                break

    def forget(self) -> None:
        """Let go of the blobs, and of what can be had from the index."""
        self._blobs, self._held = {}, 0
        self._read, self._checked = {}, {}
        if self._index is not None:
            self._documents = {}

    def data(self, oid: str) -> bytes:
        """The bytes of one blob, cut after as many as any document or statement may have."""
        if oid not in self._blobs and self._held <= ROOM:
            self.prepare([oid])
        return self.bytes_of(oid)

    def bytes_of(self, oid: str) -> bytes:
        """The bytes of one blob, which is not kept."""
        known = self._blobs.get(oid)
        return self._repository.blob(oid, cap=MANIFEST_LIMIT) if known is None else known

    def item(self, place: Place, oid: str) -> Item[Any]:
        """The document in a blob, as what lies at `place`; else an InvalidDocumentError."""
        if oid in self._read:
            return self._item_read(place, oid)
        document = self._documents.get((oid, place.limit))
        if document is None:
            document = self._document(place, oid)
            self._documents[oid, place.limit] = document
        if isinstance(document, InvalidDocumentError):
            raise _moved(document, place.path)
        return _placed(place, document)

    def _item_read(self, place: Place, oid: str) -> Item[Any]:
        known, size = self._read[oid]
        if size > place.limit:
            raise InvalidDocumentError([_too_large(place)])
        item = StoredItem(place.path, oid, known, self)
        problems = place_problems(place, item)
        if problems:
            raise InvalidDocumentError(problems)
        return item

    def manifest(self, oid: str) -> Any:
        """The manifest of a document that was checked before."""
        from ..schemas import documents

        known = self._index.document(oid) if self._index else None
        if known is not None:
            return documents.remembered(*known)
        return documents.load(self._repository.blob(oid), file=oid).manifest

    def _document(self, place: Place, oid: str) -> "Known | InvalidDocumentError":
        if self._index is None:
            return load_at(place.path, self.data(oid))
        from ..schemas import documents

        known = self._index.document(oid)
        data = self.data(oid)
        if known is not None and len(data) <= place.limit:
            return documents.Known(place.path, data, documents.remembered(*known))
        document = load_at(place.path, data)
        if not isinstance(document, InvalidDocumentError):
            from .index import plain_text

            self._index.keep(oid, type(document.manifest).__name__, plain_text(document))
        return document


def read_item(path: str, data: bytes) -> Item[Any]:
    """The document in these bytes, as what lies at `path`; else an InvalidDocumentError."""
    place = classify(path)
    wrong = file_problem(place, REGULAR)
    if wrong:
        raise InvalidDocumentError([wrong])
    document = load_at(path, data)
    if isinstance(document, InvalidDocumentError):
        raise document
    return _placed(place, document)


def _placed(place: Place, document: "Known") -> Item[Any]:
    problems = place_problems(place, document)
    if problems:
        raise InvalidDocumentError(problems)
    return Item(place, document.manifest, document.digest, document.data)


def load_at(path: str, data: bytes) -> "Document | InvalidDocumentError":
    from ..schemas import documents

    place = classify(path)
    if len(data) > place.limit:
        return InvalidDocumentError([_too_large(place)])
    try:
        return documents.load(data, file=path)
    except InvalidDocumentError as error:
        # a new one: what is kept must not hold the frames of the parsing, with all they know
        return InvalidDocumentError(error.problems)


def _too_large(place: Place) -> Problem:
    return Problem(place.path, None, "", f"has more than {place.limit} bytes.", "Make it smaller.")


def _moved(error: InvalidDocumentError, path: str) -> InvalidDocumentError:
    return InvalidDocumentError([replace(problem, file=path) for problem in error.problems])


def shown_path(path: str) -> str:
    """A path of a stranger's as text that any terminal may show: the odd parts escaped."""
    if path.isprintable():
        return path
    return path.encode("unicode_escape").decode("ascii")


def file_problem(place: Place, mode: str) -> Problem | None:
    """Why this is no file of a registry, whatever it says."""
    path = shown_path(place.path)
    if mode != REGULAR:
        what = {
            "120000": "is a symbolic link",
            "160000": "is a submodule",
            "100755": "is executable",
        }.get(mode, f"has the mode {mode}")
        fix = f"A file of a registry is a plain file of mode {REGULAR}."
        return Problem(path, None, "", f"{what}.", fix)
    if place.kind == "other":
        fix = "Put each object where its kind and its name say; see the registry's README."
        return Problem(path, None, "", "is no path of an object of a registry.", fix)
    return None


_KIND_AT: dict[str, type[Any]] = {
    "registry": kinds.Registry,
    "owner": kinds.Owner,
    "cube": kinds.Cube,
    "dataset": kinds.Dataset,
    "benchmark": kinds.Benchmark,
    "association": kinds.Association,
    "result": kinds.Result,
}


def place_problems(place: Place, document: "Known | Item[Any]") -> list[Problem]:
    """Where a document does not say what its path says."""
    manifest = document.manifest
    wanted = _KIND_AT.get(place.kind, kinds.Settings)
    if place.kind == "settings" and place.subject.startswith("benchmarks/"):
        wanted = kinds.BenchmarkSettings
    if not isinstance(manifest, wanted):
        found = f"is {type(manifest).__name__}, and the path says {wanted.__name__}."
        return [Problem(place.path, None, "kind", found, "Move the file, or change its kind.")]
    other = [field for field in _said(place, manifest) if field[1] != field[2]]
    return [_said_otherwise(document, place, *field) for field in other] + _key_problems(
        place, manifest
    )


def _said_otherwise(
    document: "Known | Item[Any]", place: Place, name: str, said: str, path: str
) -> Problem:
    from ..schemas.yaml_events import lines_of
    from ..schemas.yaml_subset import line_at

    line = line_at(lines_of(document.data), tuple(name.split(".")))
    found = f"is {said!r}, and the path says {path!r}."
    return Problem(place.path, line, name, found, "Make them agree.")


def _said(place: Place, manifest: Any) -> list[tuple[str, str, str]]:
    """Fields that the path repeats: name, what the document says, what the path says."""
    if place.kind == "owner":
        return [("metadata.name", manifest.metadata.name, place.owner)]
    if place.kind in ("cube", "dataset", "benchmark"):
        return [
            ("metadata.owner", manifest.metadata.owner, place.owner),
            ("metadata.name", manifest.metadata.name, place.name),
        ]
    spec = getattr(manifest, "spec", None)
    if isinstance(manifest, kinds.Association):
        part = "model" if manifest.spec.model else "dataset"
        return [
            ("spec.benchmark.ref", manifest.spec.benchmark.ref, place.ref),
            ("spec", part + "s", place.side or ""),
            (f"spec.{part}.ref", manifest.component.ref, place.component),
        ]
    if isinstance(manifest, kinds.Result) and spec is not None:
        return [
            ("spec.benchmark.ref", spec.benchmark.ref, place.ref),
            ("spec.dataset.ref", spec.dataset.ref, place.dataset),
            ("spec.model.ref", spec.model.ref, place.model),
            ("spec.runKey", spec.run_key[:16], place.run),
        ]
    return []


def _key_problems(place: Place, manifest: Any) -> list[Problem]:
    """Keys in an owner's file that anybody can sign for."""
    if not isinstance(manifest, kinds.Owner):
        return []
    spec = manifest.spec
    keys = [key for member in spec.members for key in member.keys]
    keys += [key for site in spec.sites for key in site.keys]
    problems = []
    for key in keys:
        try:
            key_blob(key.public_key)
        except SignatureError as error:
            problems.append(Problem(place.path, None, "spec", str(error), ""))
    return problems


def first_number_problem(item: Item[Any]) -> Problem | None:
    """Why a new file may not start with this serial or round."""
    at = number(item.manifest.spec)
    if at == 1:
        return None
    name = "round" if item.place.kind == "association" else "serial"
    found = f"is {at} in a new file."
    return Problem(item.path, None, f"spec.{name}", found, "Write 1.")
