"""What a person needs to decide about a proposal, the same in a browser and on a terminal.

1. The answer, and the problems or whose signature is missing.
2. What is proposed, file by file with digests, and by whom: whose keys signed which commits and
   statements. A forge's login is never taken for a name.
3. What each document means: images, resources, licence, metrics, the compatibility test beside the
   reference model's.
4. What changed since the last approval, digest by digest.
5. The commands to look, to try it locally, and to sign.

Made from Git objects alone. All that strangers wrote stays a plain value here; how it is made
harmless is the business of `summary_text.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..schemas import manifests as kinds
from ..schemas.errors import InvalidDocumentError
from . import described
from .keys import commit_signer
from .paths import Place, association_path, classify
from .public_keys import fingerprint
from .snapshot import REGULAR, Item, Library

if TYPE_CHECKING:
    from .git import Change, Repository
    from .validate import Verdict

MOST = 100
_VERBS = {"A": "new", "M": "changed", "D": "deleted", "T": "changed in type"}
HEADLINES = {"valid": "Valid", "waits": "Waits for signatures", "failed": "Failed"}


class Words(str):
    """A value that is ours, not a stranger's: shown as it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Grid:
    """A table with a line of headers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Points:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Lines to paste into a shell."""

    lines: tuple[str, ...]


Block = Facts | Grid | Points | Commands


@dataclass(frozen=True)
class Section:
    """A heading, what it is about (a stranger's value, or nothing), and what stands below it."""

    heading: str
    about: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Summary:
    """All that is said of a proposal."""

    headline: str
    kind: str
    sections: tuple[Section, ...]


def summarize(repository: "Repository", verdict: "Verdict", *, proposal: str = "") -> Summary:
    """The summary of a verdict; `proposal` is what people call it, for the commands."""
    return _Writer(repository, verdict, proposal).write()


class _Writer:
    def __init__(self, repository: "Repository", verdict: "Verdict", proposal: str) -> None:
        self.repository = repository
        self.verdict = verdict
        self.proposal = proposal
        self.library = Library(repository)
        self.base = repository.folders(verdict.base)
        self.changes = {change.path: change for change in verdict.changes}
        self._owners: list[bytes] | None = None

    def write(self) -> Summary:
        verdict = self.verdict
        sections = [
            *self._answer(),
            Section("What is proposed", "", (self._files(),)),
            Section("Who signed", "", tuple(self._signers())),
        ]
        if all(change.mode == REGULAR for change in verdict.changes):
            for path in list(self.changes)[:MOST]:
                sections += self._described(path)
        sections.append(Section("What to do", "", tuple(self._commands())))
        kept = tuple(section for section in sections if section.blocks)
        return Summary(HEADLINES[verdict.answer], verdict.kind, kept)

    # -------------------------------------------------------------------------- 1. answer

    def _answer(self) -> Iterator[Section]:
        problems = self.verdict.problems
        if problems:
            rows = tuple(
                (
                    one.file if one.line is None else f"{one.file}:{one.line}",
                    one.field,
                    one.found,
                    one.fix,
                )
                for one in problems[:MOST]
            )
            blocks: tuple[Block, ...] = (Grid(("file", "field", "found", "what to do"), rows),)
            yield Section("What is wrong", "", blocks + _more(len(problems)))
        if self.verdict.waits_for:
            waits = self.verdict.waits_for
            yield Section(
                "Whose signature is missing", "", (Points(waits[:MOST]), *_more(len(waits)))
            )

    # ------------------------------------------------------------------- 2. files, signers

    def _files(self) -> Block:
        if not self.changes:
            return Points((Words("Nothing: the registry has all of this already."),))
        rows = []
        for change in list(self.changes.values())[:MOST]:
            rows.append((Words(_VERBS[change.status]), change.path, self._digest(change)))
        if len(self.changes) > MOST:
            rows.append((Words("…"), Words(f"and {len(self.changes) - MOST} more"), ""))
        return Grid(("", "file", "digest"), tuple(rows))

    def _digest(self, change: "Change") -> str:
        if change.status == "D":
            return ""
        if change.mode != REGULAR:
            return f"mode {change.mode}"
        item = self._item(change.path, change.oid)
        return item.digest if item else ""

    def _signers(self) -> Iterator[Block]:
        repository, verdict = self.repository, self.verdict
        fork = repository.merge_base(verdict.base, verdict.head)
        commits = repository.commits_between(fork or verdict.base, verdict.head)
        rows = []
        for commit in commits[:MOST]:
            key = commit_signer(repository.commit_bytes(commit))
            whose = self._holder(key) if key else Words("nobody")
            rows.append((commit[:12], whose, fingerprint(key) if key else ""))
        if rows:
            yield Grid(("commit", "signed by", "key"), tuple(rows))
        statements = []
        for path in list(self.changes)[:MOST]:
            place = classify(path)
            if place.kind == "statement" and place.by:
                does = Words("revokes" if place.revoke else "approves")
                statements.append((place.by, does, place.subject))
        if statements:
            says = "statement by" if verdict.answer != "failed" else "statement said to be by"
            yield Grid((says, "", "file"), tuple(statements))

    def _holder(self, key: str) -> str:
        """Whose key this is: by main, else by what this proposal says."""
        if self._owners is None:
            oids = [
                entry.oid
                for name, entry in self.base.names("owners").items()
                if classify(f"owners/{name}").kind == "owner" and entry.mode == REGULAR
            ]
            self._owners = [data for _, data in self.repository.blobs(oids)]
        found = _whose(key, self._owners)
        if found:
            return found
        new = [
            self.library.data(change.oid)
            for path, change in self.changes.items()
            if classify(path).kind == "owner" and change.mode == REGULAR and change.status != "D"
        ]
        found = _whose(key, new)
        return f"{found} (by this proposal)" if found else Words("a key that main does not know")

    # ------------------------------------------------------------------------ 3., 4. meaning

    def _described(self, path: str) -> Iterator[Section]:
        change = self.changes[path]
        if change.status == "D":
            return
        item = self._item(path, change.oid)
        if item is None:
            return
        before = self._item(path, change.old_oid) if change.status == "M" else None
        yield self._section(item, before)
        if isinstance(item.manifest, kinds.Association):
            pin = item.manifest.component
            kind = "cubes" if item.manifest.spec.model else "datasets"
            part = self._at(f"{kind}/{pin.ref}.yaml")
            if part is not None and part.path not in self.changes:
                yield self._section(part, None)

    def _section(self, item: Item[Any], before: Item[Any] | None) -> Section:
        blocks: list[Block] = [Facts(tuple(described.facts(item)))]
        if isinstance(item.manifest, kinds.Cube):
            headers = ("engine", "what runs", "digest", "size", "from")
            blocks.append(Grid(headers, tuple(described.images(item.manifest.spec))))
        if isinstance(item.manifest, kinds.Association):
            blocks.append(self._trial(item))
        blocks += self._since(item, before)
        kept = tuple(block for block in blocks if _rows(block))
        if item.place.kind == "association":
            return Section("Association of", item.place.component, kept)
        return Section(item.place.kind.capitalize(), item.ref, kept)

    def _trial(self, item: Item[kinds.Association]) -> Block:
        """The compatibility test's metrics beside those of the benchmark's reference model."""
        mine = item.manifest.spec.trial.metrics or {}
        reference = self._reference(item)
        names = sorted({*mine, *reference})
        rows = tuple(
            (name, _number(mine.get(name)), _number(reference.get(name))) for name in names
        )
        return Grid(("metric on the demo dataset", "this model", "reference model"), rows)

    def _reference(self, item: Item[kinds.Association]) -> dict[str, Any]:
        if item.place.side != "models":
            return {}
        benchmark = self._at(f"benchmarks/{item.place.owner}/{item.place.name}.yaml")
        if benchmark is None:
            return {}
        ref = benchmark.manifest.spec.reference_model.ref
        other = self._at(association_path(item.place.ref, "models", ref))
        return dict(other.manifest.spec.trial.metrics or {}) if other else {}

    def _since(self, item: Item[Any], before: Item[Any] | None) -> list[Block]:
        """What differs from the bytes that were approved last."""
        headers = ("since the last approval", "before", "now")
        if before is not None:
            return [Grid(headers, tuple(described.differences(before.manifest, item.manifest)))]
        replaces = getattr(item.manifest.spec, "replaces", None)
        old = self._at(f"{item.path.partition('/')[0]}/{replaces}.yaml") if replaces else None
        if old is None:
            return []
        headers = (f"since {replaces}", "before", "now")
        return [Grid(headers, tuple(described.differences(old.manifest, item.manifest)))]

    # ------------------------------------------------------------------------- 5. commands

    def _commands(self) -> Iterator[Block]:
        name = self.proposal or "PROPOSAL"
        lines = [f"medperf proposal view {name}"]
        places = [classify(path) for path in self.changes]
        if self.verdict.answer != "failed" and any(_can_be_tried(place) for place in places):
            lines.append(f"medperf proposal try {name}")
        yield Points((Words("To look at it, and to try it on your machine in a sandbox:"),))
        yield Commands(tuple(lines))
        if self.verdict.answer == "failed":
            yield Points((Words("Nobody can sign it as it is: its author corrects it first."),))
            return
        words = {
            "waits": "Whoever is named above signs, and the last one merges, by:",
            "valid": "It waits for nobody; whoever may merges it, by:",
        }[self.verdict.answer]
        yield Points((Words(words),))
        yield Commands((_signing(places, name),))

    # -------------------------------------------------------------------------- documents

    def _at(self, path: str) -> Item[Any] | None:
        """The document at a path once this is merged."""
        change = self.changes.get(path)
        if change is not None:
            return None if change.status == "D" else self._item(path, change.oid)
        entry = self.base.entry(path)
        return self._item(path, entry.oid) if entry and entry.mode == REGULAR else None

    def _item(self, path: str, oid: str) -> Item[Any] | None:
        place = classify(path)
        if not place.governed or place.kind in ("statement", "handover", "other") or not oid:
            return None
        try:
            return self.library.item(place, oid)
        except InvalidDocumentError:
            return None


def _whose(key: str, owners: Iterable[bytes]) -> str:
    wanted = key.encode()
    for data in owners:
        if wanted not in data:
            continue  # parsing each owner of a large registry would take seconds
        from ..schemas.documents import load_as

        try:
            owner = load_as(data, kinds.Owner, file="an owner's file")
        except InvalidDocumentError:
            continue
        holders: tuple[kinds.Member | kinds.Site, ...] = (*owner.spec.members, *owner.spec.sites)
        for holder in holders:
            if any(one.public_key == key for one in holder.keys):
                site = " (a site)" if isinstance(holder, kinds.Site) else ""
                return f"{owner.metadata.name}/{holder.name}{site}"
    return ""


def _can_be_tried(place: Place) -> bool:
    model = place.kind == "association" and place.side == "models"
    return model or place.kind in ("cube", "benchmark")


def _signing(places: Sequence[Place], proposal: str) -> str:
    """The one command that signs and merges."""
    files = [place for place in places if place.kind != "statement"]
    if len(files) == 1 and files[0].kind == "association":
        one = files[0]
        option = "--model_uid" if one.side == "models" else "--data_uid"
        return f"medperf association approve --benchmark {one.ref} {option} {one.component}"
    return f"medperf proposal merge {proposal}"


def _number(value: Any) -> str:
    return "" if value is None else str(value)


def _rows(block: Block) -> bool:
    return not isinstance(block, Facts | Grid) or bool(block.rows)


def _more(count: int) -> tuple[Block, ...]:
    return (Points((Words(f"and {count - MOST} more"),)),) if count > MOST else ()


__all__ = [
    "Commands",
    "Facts",
    "Grid",
    "Points",
    "Section",
    "Summary",
    "Words",
    "summarize",
]
