"""What a registry's history has brought about so far: what is accepted, signed, approved, valid.

A `Ledger` is filled by `history.py`, commit by commit, and asked by everybody else. It keeps the
files as they are now with all their versions, the statements that count (rule 6) with the roles
that their signers held, and the owners, benchmarks and settings that are in force: a new one is
in force from the commit on at which its signatures are complete.

Everything here is judged by what the ledger knows at that moment, so a question about the tree
before a commit is asked before the commit is taken in.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from ..schemas import manifests as kinds
from . import rules
from .paths import Place, benchmark_path, cube_path, dataset_path, settings_path
from .public_keys import fingerprint
from .snapshot import Item, shown_path

NoteKind = Literal["ignored", "unsigned", "reset", "compromised"]
ResultAnswer = Literal["valid", "invalid", "withdrawn"]
Role = Literal["member", "site"]
V = TypeVar("V")


@dataclass(frozen=True)
class Holder:
    """Whose key this is: a member's or a site's of an owner in force, with the key's state."""

    by: str
    role: Role
    key: kinds.Key

    @property
    def owner(self) -> str:
        """The organisation that the member or the site belongs to."""
        return self.by.partition("/")[0]

    def may_sign(self, role: Role, owner: str) -> bool:
        """Whether this is an active key of a member, or a site, of this owner."""
        return (self.role, self.owner, self.key.state) == (role, owner, "active")


@dataclass(frozen=True)
class Version:
    """One version of a file: its serial or round, its bytes, and the commit that brought it."""

    number: int
    digest: str
    index: int


class File(NamedTuple):
    """A governed file as it is now; `item` is None where it is no document, and is ignored."""

    place: Place
    oid: str
    item: Item[Any] | None


@dataclass(frozen=True)
class Note:
    """Something that a person should see: a file that is ignored, or one that is odd but used.

    `unsigned`: a cube, a dataset or its settings that no member of the owner has signed; `reset`:
    an owner whose keys the admins replaced; `compromised`: a change by a key that was.
    """

    path: str
    commit: str
    text: str
    kind: NoteKind = "ignored"

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True)
class AssociationState:
    """An association as it stands: its state, who has signed these bytes, what is missing, why."""

    item: Item[kinds.Association]
    state: rules.State
    missing: tuple[str, ...]
    signed: tuple[str, ...]
    reasons: tuple[str, ...]
    by_settings: bool = False

    @property
    def path(self) -> str:
        """The association's path."""
        return self.item.path

    @property
    def benchmark(self) -> str:
        """The benchmark, as owner/name."""
        return self.item.place.ref

    @property
    def component(self) -> str:
        """The model or the dataset, as owner/name."""
        return self.item.place.component

    @property
    def part(self) -> str:
        """`models` or `datasets`."""
        return self.item.place.side or ""

    @property
    def approval(self) -> str:
        """Who approved it, as words for a person."""
        number = self.item.manifest.spec.round
        if self.by_settings:
            return f"round {number}: by {', '.join(self.signed)}, and by the benchmark's settings"
        by = ", ".join(self.signed) or "the forge's merge"
        return f"round {number}: by {by}"

    @property
    def sentence(self) -> str:
        """State and reason as words for a person."""
        if self.state == "pending":
            return "pending: waits for " + ", and for ".join(self.missing)
        return f"{self.state}: {'; '.join(self.reasons)}" if self.reasons else self.state


@dataclass(frozen=True)
class ResultState:
    """A result as it stands: `invalid` says why; `signed_by` is the site whose key holds.

    `index` is that of the chain's commit with which it came; `approvals` are its two associations,
    each with the words that say who had approved it then; `run_key` is what it says of itself.
    """

    path: str
    answer: ResultAnswer
    reasons: tuple[str, ...] = ()
    signed_by: str = ""
    key: str = ""
    index: int = -1
    approvals: tuple[tuple[str, str], ...] = ()
    run_key: str = ""


MOST_IGNORED = 1000


@dataclass
class Ledger:
    """The judged state after some commit of the chain; see the module's text.

    Its mappings are dictionaries, or shelves of an index (`index.py`): a list in one is changed
    only as `setdefault` gives it.
    """

    compromised: Mapping[str, int] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    index_of: dict[str, int] = field(default_factory=dict)
    files: MutableMapping[str, File] = field(default_factory=dict)
    versions: MutableMapping[str, list[Version]] = field(default_factory=dict)
    statements: MutableMapping[tuple[str, int], list[tuple[str, rules.Signature]]] = field(
        default_factory=dict
    )
    registry: Item[kinds.Registry] | None = None
    owners: MutableMapping[str, Item[kinds.Owner]] = field(default_factory=dict)
    benchmarks: MutableMapping[str, Item[kinds.Benchmark]] = field(default_factory=dict)
    settings: MutableMapping[str, Item[Any]] = field(default_factory=dict)
    pending: MutableMapping[str, tuple[str, ...]] = field(default_factory=dict)
    results: MutableMapping[str, ResultState] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    _holders: MutableMapping[str, Holder] = field(default_factory=dict)
    _commitments: MutableMapping[tuple[str, str], str] = field(default_factory=dict)
    _states: MutableMapping[str, AssociationState] = field(default_factory=dict)
    _ignored: tuple[str, int] = ("", 0)  # how many files of which commit

    # ------------------------------------------------------------------------------- asking

    @property
    def spec(self) -> kinds.RegistrySpec:
        """What registry.yaml says; it is there from the root commit on."""
        if self.registry is None:
            raise LookupError("the root commit has not been taken in yet")
        return self.registry.manifest.spec

    @property
    def believed(self) -> bool:
        """Whether the forge's merge is believed for all signatures but those of results."""
        return self.spec.approval == "merge"

    def item(self, path: str) -> Item[Any] | None:
        """The document at `path` now, accepted or not."""
        file = self.files.get(path)
        return file.item if file else None

    def items(self, *folders: str) -> Iterator[Item[Any]]:
        """The documents below these folders, accepted or not."""
        for folder in folders:
            for file in _below(self.files, folder):
                if file.item is not None:
                    yield file.item

    def results_below(self, folder: str) -> dict[str, ResultState]:
        """What lies at the paths of results below a folder, by path."""
        found = {one.path: one for one in _below(self.results, folder)}
        for path in self.paths_below(folder):
            if path not in found and path.endswith(".yaml"):
                found[path] = ResultState(path, "invalid", ("it is no valid document",))
        return found

    def paths_below(self, start: str) -> Iterator[str]:
        """The paths of all files that begin with `start`; no file is looked into."""
        keys_below = getattr(self.files, "keys_below", None)
        found: Iterator[str] = (
            keys_below(start)
            if keys_below
            else (path for path in self.files if path.startswith(start))
        )
        return found

    def holder(self, key: str) -> Holder | None:
        """Whose key this fingerprint is, among the owners in force."""
        return self._holders.get(key)

    def holders(self) -> Iterator[tuple[str, Holder]]:
        """All keys of the owners in force: fingerprint and holder."""
        return iter(self._holders.items())

    def is_admin(self, by: str) -> bool:
        """Whether this member is an admin now."""
        return by in self.spec.admins.members

    def in_committee(self, by: str, benchmark: str) -> bool:
        """Whether this member is in the committee of the benchmark now."""
        settings = self.settings.get(benchmark_path(benchmark))
        return settings is not None and by in settings.manifest.spec.committee.members

    def version(self, path: str, number: int) -> Version | None:
        """The version of a file that had this serial or round."""
        return next((one for one in self.versions.get(path, ()) if one.number == number), None)

    def version_at(self, path: str, index: int) -> Version | None:
        """The version that a file had in the tree of the chain's commit `index`."""
        older = [one for one in self.versions.get(path, ()) if one.index <= index]
        return older[-1] if older else None

    def signatures(self, path: str, number: int | None = None) -> list[rules.Signature]:
        """The statements that count over a version of a file (default: the newest) as it is."""
        known = self.versions.get(path)
        if not known:
            return []
        version = known[-1] if number is None else self.version(path, number)
        if version is None:
            return []
        return [
            signature
            for digest, signature in self.statements.get((path, version.number), ())
            if digest == version.digest
        ]

    def association_state(self, path: str) -> AssociationState:
        """The state of the association at `path`, by rules 3 and 4; a LookupError if none is."""
        state = self._states.get(path)
        if state is None:
            item = self.item(path)
            if item is None or item.place.kind != "association":
                raise LookupError(path)
            state = self._states[path] = self._association(item)
        return state

    def _association(self, item: Item[kinds.Association]) -> AssociationState:
        place = item.place
        owner = place.component.partition("/")[0]
        part = place.side or "models"
        benchmark = self.benchmarks.get(place.ref)
        settings = self.settings.get(benchmark_path(place.ref)) if benchmark else None
        models = part == "models"
        component = self.item((cube_path if models else dataset_path)(place.component))
        problems = rules.pin_problems(
            item.manifest,
            benchmark=benchmark.manifest.spec if benchmark else None,
            benchmark_digest=benchmark.digest if benchmark else None,
            active=settings is not None and settings.manifest.spec.active,
            component_digest=component.digest if component else None,
            dataset=component.manifest.spec if component and not models else None,
            registry=self.spec.id,
        )
        if models and component and component.manifest.spec.role != "model":
            problems.append(f"{place.component} is a {component.manifest.spec.role}, not a model")
        if owner not in self.owners:
            problems.append(f"the owner {owner} is not in the registry, or not signed yet")
        needs: tuple[rules.Need, ...] = ()
        if settings is not None:
            needs = rules.needs_of_association(place.ref, owner, settings.manifest.spec, part=part)
        signatures = self.signatures(item.path)
        verdict = rules.judge_association(
            needs, signatures, problems, component_owner=owner, believed=self.believed
        )
        signed = dict.fromkeys(one.by for one in signatures if one.decision == "approve")
        return AssociationState(
            item, verdict.state, verdict.missing, tuple(signed), verdict.reasons, len(needs) == 1
        )

    # ------------------------------------------------------------------------- taking things in

    def note(self, path: str, text: str, kind: NoteKind = "ignored") -> None:
        """Remember something that a person should see, at the commit that is being taken in.

        Of files that are ignored so many of a commit are told, since each look reads all notes.
        """
        commit = self.commits[-1]
        if kind == "ignored":
            many = self._ignored[1] + 1 if self._ignored[0] == commit else 1
            self._ignored = (commit, many)
            if many > MOST_IGNORED:
                return
            if many == MOST_IGNORED:
                text += " More of this commit may be ignored: it is not told file by file."
        self.notes.append(Note(shown_path(path), commit, text, kind))

    def count(self, what: str) -> None:
        """Count one more thing that was checked."""
        self.checked[what] = self.checked.get(what, 0) + 1

    def forget_states(self) -> None:
        """Judge associations anew from here on: something that they depend on has changed."""
        self._states.clear()

    def put(self, place: Place, oid: str, item: Item[Any] | None, *, first: bool) -> None:
        """Take in a file as it is from this commit on; the first time, where it was added."""
        self.files[place.path] = File(place, oid, item)
        if item is not None:
            version = Version(rules.number(item.manifest.spec), item.digest, len(self.commits) - 1)
            if first:
                self.versions[place.path] = [version]
            else:
                self.versions.setdefault(place.path, []).append(version)

    def sign(self, place: Place, digest: str, signature: rules.Signature) -> None:
        """Take in a statement that counts for these bytes."""
        self.statements.setdefault((place.subject, place.number), []).append((digest, signature))

    def taken_keys(self, item: Item[kinds.Owner]) -> list[str]:
        """Keys of this owner's file that somebody else in the registry has."""
        found = []
        for key, holder in keys_of(item).items():
            known = self._holders.get(key)
            if known is not None and (known.by, known.role) != (holder.by, holder.role):
                found.append(f"the key {key} is that of {known.by} already")
        return found

    def accept_owner(self, item: Item[kinds.Owner]) -> None:
        """Put an owner's file in force."""
        self.owners[item.place.owner] = item
        self._holders.update(keys_of(item))

    def other_dataset(self, item: Item[kinds.Dataset]) -> str | None:
        """The dataset of the same owner that has this commitment already (rule 7)."""
        key = (item.place.owner, item.manifest.spec.commitment)
        first = self._commitments.setdefault(key, item.ref)
        return first if first != item.ref else None

    def benchmark_problems(self, item: Item[kinds.Benchmark]) -> tuple[str, ...]:
        """Why this benchmark cannot be used: its cubes are not there as it pins them."""
        spec = item.manifest.spec
        found = []
        for role, pin in (
            ("preparator", spec.preparator),
            ("model", spec.reference_model),
            ("evaluator", spec.evaluator),
        ):
            cube = self.item(cube_path(pin.ref))
            if cube is None:
                found.append(f"the cube {pin.ref}, which is not in the registry")
            elif cube.digest != pin.digest:
                found.append(f"the cube {pin.ref} with the bytes {pin.digest}")
            elif cube.manifest.spec.role != role:
                found.append(f"a {role} where {pin.ref} is a {cube.manifest.spec.role}")
        return tuple(found)

    def first_settings(self, benchmark: Place) -> Item[Any] | None:
        """A benchmark's settings file in the tree, in force or not."""
        return self.item(settings_path(benchmark.path))

    def counts_from(self, key: str, index: int) -> bool:
        """Whether what this key signed at the chain's commit `index` counts (rule 6)."""
        since = self.compromised.get(key)
        return since is None or index < since


def _below(shelf: Mapping[str, V], folder: str) -> Iterator[V]:
    below = getattr(shelf, "below", None)
    found: Iterator[V] = (
        below(folder)
        if below
        else (value for path, value in shelf.items() if path.startswith(folder))
    )
    return found


def keys_of(item: Item[kinds.Owner]) -> dict[str, Holder]:
    """The keys in an owner's file, by fingerprint."""
    owner, spec = item.manifest.metadata.name, item.manifest.spec
    found: dict[str, Holder] = {}
    for member in spec.members:
        for key in member.keys:
            found[fingerprint(key.public_key)] = Holder(f"{owner}/{member.name}", "member", key)
    for site in spec.sites:
        for key in site.keys:
            found[fingerprint(key.public_key)] = Holder(f"{owner}/{site.name}", "site", key)
    return found


def compromised_since(
    owners: Iterable[Item[kinds.Owner]], index_of: Mapping[str, int]
) -> dict[str, int]:
    """From which commit of the chain on nothing of a compromised key counts.

    Without `since`, or with a commit that is not on the chain, nothing of it ever counted.
    """
    found: dict[str, int] = {}
    for item in owners:
        for name, holder in keys_of(item).items():
            if holder.key.state == "compromised":
                found[name] = index_of.get(holder.key.since or "", 0)
    return found
