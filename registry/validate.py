"""Whether a proposal may be merged (design §4): valid, waits for signatures, or failed.

1. What it changes: from where it left main (the merge base) to its head.
2. The form of each change, and of all together: additions and the four modifications, modes, paths,
   one kind of proposal, nothing that main has changed meanwhile.
3. It is merged in thought, and judged by the very code that judges the history at a site: what
   would stall a site, or be ignored there, fails here; what lacks signatures waits.
4. What its documents say of each other, with file, line and field.

Policy is read from main, never from the proposal: that is rule 1's first parent. Of main's history
only what bears on the proposal is read (`bearing.py`), so the cost is that of what is proposed.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..schemas.errors import InvalidDocumentError, Problem, RegistryError, StalledError
from . import rules
from .bearing import bearing
from .git import Change, Step
from .history import History, walk
from .keys import commit_signer
from .known import KnownObjects, KnownSettings
from .paths import GOVERNED, Place, benchmark_path, clashes, classify, result_signature_path
from .proposal_kind import MOST_RESULTS, ProposalKind, proposal_kind
from .public_keys import fingerprint
from .references import reference_problems
from .snapshot import REGULAR, Item, Library, Snapshot, file_problem, read_item, shown_path

if TYPE_CHECKING:
    from .git import Repository
    from .git_objects import Folders
    from .pinned import Pinned

MOST_FILES = 10_000

__all__ = ["Verdict", "validate", "validate_files", "validate_tree"]
_SLASHES = re.compile("/")


@dataclass(frozen=True)
class Verdict:
    """The answer about a proposal: `waits_for` says whose signature, `problems` what is wrong."""

    answer: Literal["valid", "waits", "failed"]
    kind: ProposalKind
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...] = ()
    waits_for: tuple[str, ...] = ()
    base: str = ""
    head: str = ""

    @property
    def sentence(self) -> str:
        """The answer as words for a person."""
        if self.answer == "valid":
            return f"valid ({self.kind})"
        if self.answer == "waits":
            return f"waits ({self.kind}): for " + "; for ".join(self.waits_for)
        return "failed:\n" + "\n".join(str(problem) for problem in self.problems)


class _Trial(History):
    """A history in which the proposal is the newest commit: missing signatures are collected.

    Main's own commits before it are judged as ever: `waits` is None for that long.
    """

    waits: dict[str, tuple[str, ...]] | None = None

    def _unsigned(self, new: Item[Any], waits: Sequence[str]) -> bool:
        if self.waits is None:
            return super()._unsigned(new, waits)
        self.waits[new.path] = tuple(waits)
        return True


def validate(
    repository: "Repository",
    base: str,
    head: str,
    *,
    pinned: "Pinned | None" = None,
) -> Verdict:
    """The verdict on merging `head` into `base`, which is main's tip.

    A StalledError if main itself is not in order: then nothing can be judged by it.
    """
    library = Library(repository)
    fork = repository.merge_base(base, head)
    if fork is None:
        raise RegistryError(f"{head[:12]} has no history in common with main: start from main.")
    proposed = repository.diff(fork, head)
    if len(proposed) > MOST_FILES:
        return Verdict("failed", "mixed", (), (_too_many(proposed),), (), base, head)
    main = repository.folders(base)
    changes = tuple(change for change in proposed if not _is_there(change, main))
    places = [classify(change.path) for change in changes]
    kind = proposal_kind(places, frozenset(one.path for one in changes if one.status == "A"))
    problems = [
        *_form_problems(changes, places, kind),
        *_meanwhile(changes, main),
        *_clash_problems(changes, main),
    ]
    if problems:
        return Verdict("failed", kind, changes, tuple(problems), (), base, head)
    only = bearing(repository, base, main, changes, library)
    history = walk(repository, base, library=library, maker=_Trial, pinned=pinned, only=only)
    assert isinstance(history, _Trial)  # noqa: S101  (that is what `maker` makes)
    problems, waits = _merged_in_thought(history, main, base, head, changes)
    if any(not place.governed for place in places):
        waits += _admins_files(repository, history, head)
    waits = tuple(dict.fromkeys(waits))
    answer: Literal["valid", "waits", "failed"] = "waits" if waits else "valid"
    if problems:
        answer = "failed"
    return Verdict(answer, kind, changes, tuple(problems), waits, base, head)


def _is_there(change: Change, main: "Folders") -> bool:
    """Whether main has the very same already."""
    entry = main.entry(change.path) if change.status != "D" else None
    return entry is not None and (entry.oid, entry.mode) == (change.oid, change.mode)


# ------------------------------------------------------------------------- 2. form


def _form_problems(
    changes: Sequence[Change], places: Sequence[Place], kind: ProposalKind
) -> Iterator[Problem]:
    broken = [
        problem
        for change, place in zip(changes, places, strict=True)
        for problem in _change_problems(change, place)
    ]
    yield from broken
    if kind == "mixed" and not broken:
        fix = (
            "A proposal is one of: new objects of one owner, one association, one benchmark, "
            "one settings file, one owner, the registry, results, or statements. Split it."
        )
        paths = ", ".join(shown_path(change.path) for change in changes[:5])
        yield _problem(changes[0].path, f"is mixed with others: {paths}.", fix)
    results = [place for place in places if place.kind == "result"]
    if kind == "results":
        sites = {place.dataset.partition("/")[0] for place in results}
        if len(sites) > 1:
            found = f"is one of results of {len(sites)} owners."
            yield Problem(results[0].path, None, "", found, "Propose the results of one site.")
        if len(results) > MOST_RESULTS:
            found = f"is one of {len(results)} results."
            fix = f"Propose at most {MOST_RESULTS} at once."
            yield Problem(results[0].path, None, "", found, fix)
    there = {change.path for change in changes}
    for place in results:
        if result_signature_path(place.path) not in there:
            fix = f"Add {result_signature_path(place.path).rpartition('/')[2]}."
            yield Problem(place.path, None, "", "comes without its site's signature.", fix)


def _change_problems(change: Change, place: Place) -> Iterator[Problem]:
    if not place.governed:
        if change.status != "D" and change.mode in ("120000", "160000"):
            found = "is a symbolic link." if change.mode == "120000" else "is a submodule."
            yield _problem(change.path, found, "Propose plain files only.")
        return
    if change.status == "D":
        fix = "Nothing is deleted or renamed; restore it, and add a new object instead."
        yield _problem(change.path, "is deleted.", fix)
        return
    if place.kind == "handover":
        fix = "It comes with a new history: see 'medperf registry erase --help'."
        yield _problem(change.path, "belongs to no proposal.", fix)
        return
    wrong = file_problem(place, change.mode)
    if wrong is not None:
        yield wrong
    elif change.status == "T" or (change.status == "M" and not place.modifiable):
        fix = "A merged file never changes; restore it, and add a new object with a new name."
        yield _problem(change.path, f"is modified: a {place.kind} is add-only.", fix)
    elif change.status == "M" and change.old_mode != change.mode:
        yield _problem(change.path, "has another mode than before.", "Restore it.")


def _meanwhile(changes: Sequence[Change], main: "Folders") -> Iterator[Problem]:
    """What main has by now where the proposal left another thing, or nothing."""
    for change in changes:
        entry = main.entry(change.path)
        now = None if entry is None or entry.type == "tree" else entry.oid
        if change.status == "A" and now is not None:
            fix = "Choose another name, or leave it out."
            yield _problem(change.path, "is on main already, with other bytes.", fix)
        elif change.status in "MT" and now != change.old_oid:
            fix = "Take the newest main and make the change anew."
            yield _problem(change.path, "was changed on main meanwhile.", fix)


def _clash_problems(changes: Sequence[Change], main: "Folders") -> Iterator[Problem]:
    new = {change.path for change in changes if change.status == "A"}
    mine = {path[: at.start()] for path in new for at in _SLASHES.finditer(path)} | new
    beside = {
        f"{folder}/{name}" if folder else name
        for folder in {path.rpartition("/")[0] for path in mine}
        for name in main.names(folder)
    }
    for group in clashes({*beside, *new}):
        ours = sorted(path for path in group if path in mine)
        if ours:
            other = next(path for path in group if path != ours[0])
            fix = "Some file systems cannot tell them apart: choose another name."
            yield _problem(ours[0], f"is like {shown_path(other)} but for case.", fix)


def _problem(path: str, found: str, fix: str) -> Problem:
    return Problem(shown_path(path), None, "", found, fix)


# ------------------------------------------------------- 3. the merge, in thought


def _merged_in_thought(
    history: _Trial, main: "Folders", base: str, head: str, changes: tuple[Change, ...]
) -> tuple[list[Problem], tuple[str, ...]]:
    ledger = history.ledger
    step = Step(head, (base, head), "", changes)
    history.library.prepare(change.oid for change in changes if change.mode == REGULAR)
    broken = list(_documents(history.library, changes))
    if broken:
        return broken, ()
    before = len(ledger.notes)
    try:
        missing = _take(history, step)
    except StalledError as error:
        words = str(error).partition("is not accepted. ")[2].partition(" Nothing new")[0]
        place = next((one.path for one in changes if one.path in words), changes[0].path)
        return [Problem(place, None, "", f"cannot be merged: {words}", "")], ()
    paths = frozenset(change.path for change in changes)
    problems = _references(history, main, changes)
    told = {problem.file for problem in problems}
    problems += [
        Problem(note.path, None, "", _sentence(note.text), "")
        for note in ledger.notes[before:]
        if note.kind == "ignored" and note.path not in told
    ]
    waits = missing + [
        f"{note.path.rpartition('/')[2]}: a member of {classify(note.path).owner} who signs the "
        "commit that adds it"
        for note in ledger.notes[before:]
        if note.kind == "unsigned"
    ]
    waits += _pending(history, paths)
    problems += _results(history, paths)
    return problems, tuple(waits)


def _take(history: _Trial, step: Step) -> list[str]:
    """Judge the step, also by the walk that decides what stalls; what modified files lack."""
    walks = [history] if history.plain is None else [history.plain, history]
    missing: list[str] = []
    for one in walks:
        assert isinstance(one, _Trial)  # noqa: S101  (both walks are by the same maker)
        one.use_chain([step])
        found: dict[str, tuple[str, ...]] = {}
        one.waits = found
        one.take(step)
        missing += [wait for waits in found.values() for wait in waits]
    return missing


def _references(history: History, main: "Folders", changes: Iterable[Change]) -> list[Problem]:
    """What the proposal's documents say of others, also of those that would be ignored."""
    ledger = history.ledger
    items = [
        history.library.item(place, change.oid)
        for change, place in ((change, classify(change.path)) for change in changes)
        if place.governed and place.kind not in ("statement", "handover", "other")
    ]
    new = Snapshot.of("", items)
    owners = {one.ref: one for one in ledger.items("owners/") if one.place.kind == "owner"}
    whole = replace(
        new,
        registry=new.registry or ledger.registry,
        owners=owners | dict(new.owners),
        cubes=KnownObjects(ledger, main, "cubes", new.cubes),
        datasets=KnownObjects(ledger, main, "datasets", new.datasets),
        benchmarks=KnownObjects(ledger, main, "benchmarks", new.benchmarks),
        settings=KnownSettings(ledger, new.settings),
    )
    return reference_problems(whole, new)


def _admins_files(repository: "Repository", history: History, head: str) -> tuple[str, ...]:
    """Workflows and the like are the admins': one of them has signed the proposal's head."""
    ledger = history.ledger
    key = commit_signer(repository.commit_bytes(head))
    holder = ledger.holder(fingerprint(key)) if key else None
    if ledger.believed or (holder and holder.role == "member" and ledger.is_admin(holder.by)):
        return ()
    return ("an admin who signs the commit, since it changes files of the registry itself",)


def _documents(library: Library, changes: Iterable[Change]) -> Iterator[Problem]:
    """Problems of the documents by themselves, with their lines."""
    for change in changes:
        place = classify(change.path)
        if place.governed and place.kind not in ("statement", "handover", "other"):
            try:
                library.item(place, change.oid)
            except InvalidDocumentError as error:
                yield from error.problems


def _pending(history: History, paths: frozenset[str]) -> list[str]:
    """Whose signatures the new owners, benchmarks and associations wait for."""
    ledger = history.ledger
    waits: list[str] = []
    for path in sorted(paths):
        item = ledger.item(path)
        if path in ledger.pending and item is not None:
            absent = ledger.benchmark_problems(item) if path.startswith("benchmarks/") else ()
            waits += [wait for wait in ledger.pending[path] if wait not in absent]
        if item is None or item.place.kind != "association":
            continue
        state = ledger.association_state(path)
        if item.place.ref in ledger.benchmarks or ledger.believed:
            waits += state.missing if state.state != "revoked" else ()
            continue
        settings = ledger.first_settings(classify(benchmark_path(item.place.ref)))
        if settings is not None:
            owner = item.place.component.partition("/")[0]
            part = item.place.side or "models"
            needs = rules.needs_of_association(
                item.place.ref, owner, settings.manifest.spec, part=part
            )
            over = rules.missing(needs, ledger.signatures(path))
            waits += [f"{one} (over its reference association)" for one in over]
    return waits


def _results(history: History, paths: frozenset[str]) -> Iterator[Problem]:
    sites = set()
    for path in sorted(paths):
        state = history.ledger.results.get(path)
        if state is None:
            continue
        sites.add(state.signed_by)
        if state.answer == "invalid":
            for reason in state.reasons:
                yield Problem(path, None, "", f"is not valid: {reason}.", "")
        elif len(sites) > 1:
            found = f"is signed by {state.signed_by}, unlike others of this proposal."
            yield Problem(path, None, "", found, "Propose the results of one site.")


def _too_many(changes: Sequence[Change]) -> Problem:
    found = f"is one of {len(changes)} files that are changed at once."
    return _problem(changes[0].path, found, f"Propose at most {MOST_FILES}, and the rest later.")


def _sentence(text: str) -> str:
    return "does not count: " + (text if text.endswith((".", "!", "?")) else f"{text}.")


# --------------------------------------------------------- whole trees and work trees


def validate_tree(repository: "Repository", commit: str) -> list[Problem]:
    """What is wrong with the documents of one commit, without asking how they came there."""
    tree = repository.tree(commit)
    snapshot = Snapshot.read(repository, commit)
    broken = {one.file for one in snapshot.problems}
    found = [*snapshot.problems, *reference_problems(snapshot, broken=broken)]
    found += [
        Problem(group[0], None, "", f"is like {group[1]} but for case.", "Choose another name.")
        for group in clashes(tree)
    ]
    return sorted(found, key=_order)


def validate_files(root: Path) -> list[Problem]:
    """What is wrong with the documents in a work tree: for the pre-commit hook, without history."""
    items: list[Item[Any]] = []
    found: list[Problem] = []
    paths: list[str] = []
    for path, is_file in sorted(_governed_files(root)):
        place = classify(path)
        paths.append(path)
        if not is_file:
            wrong = file_problem(place, "120000")
            found += [wrong] if wrong else []
            continue
        if place.kind == "statement":
            continue
        try:
            with open(f"{root}/{path}", "rb", buffering=0) as opened:  # noqa: PTH123 - thousands
                data = opened.read(place.limit + 1)
            items.append(read_item(path, data))
        except InvalidDocumentError as error:
            found += error.problems
    snapshot = Snapshot.of("", items)
    found += reference_problems(snapshot, broken={one.file for one in found})
    for group in clashes(paths):
        found.append(Problem(group[0], None, "", f"is like {group[1]} but for case.", "Rename it."))
    return sorted(found, key=_order)


def _governed_files(root: Path) -> Iterator[tuple[str, bool]]:
    """Each path below the governed folders that is no folder, and whether it is a plain file."""
    for path in root.glob("registry.*"):
        if classify(path.name).governed:
            yield path.name, path.is_file() and not path.is_symlink()
    waiting = []
    for folder in GOVERNED:
        if (root / folder).is_symlink():
            yield folder + "/", False
        elif (root / folder).is_dir():
            waiting.append(folder)
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                where = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(where)
                else:
                    yield where, entry.is_file(follow_symlinks=False)


def _order(problem: Problem) -> tuple[str, int]:
    return problem.file, problem.line or 0
