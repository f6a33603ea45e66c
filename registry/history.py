"""Rules 1, 2 and 6 of the registry (design §5): the history, judged commit by commit.

History is the first-parent chain, from the root commit on; each commit is judged by its first
parent's tree. `History.take` goes in this order:

1. the form of the change: additions, and the four modifications; all else stalls (`history`);
2. the results that come with it, by the tree before (rule 5);
3. the statements that come with it, by the tree before (rule 6);
4. the files are taken in; then what rule 6 lets the new tree itself judge, from the owners up:
   joining members, the new admins, a benchmark's first settings and its reference association;
5. a modified file must be valid and signed in this commit, else it stalls (`signature`).

A new file never stalls: what is invalid is ignored and shown, what lacks signatures is pending.

A key that the newest owners' files call compromised since C does not count from C on, backwards.
That must never stall a history that was accepted once. So the chain is walked without it, which
decides what stalls; and where there is such a key, once more with it, which decides what counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..schemas.errors import RegistryError, SignatureError
from ..schemas.progress import work
from . import rules
from .ahead import portions
from .arrivals import Arrivals, read_arrivals, stall
from .authors import Authors
from .counting import Counting, Verified
from .founding import check_founder, found
from .handover import Handed, count, handed_over
from .ledger import File, Ledger, ResultState, compromised_since, keys_of
from .paths import (
    Place,
    benchmark_path,
    classify,
    is_governed,
    result_signature_path,
    settings_path,
)
from .pending import settle_benchmarks, settle_owners
from .pinned import Pinned, check_chain, check_pinned
from .results import judge_result
from .snapshot import REGULAR, Item, Library, shown_path

if TYPE_CHECKING:
    from .git import Repository, Step
    from .index import Index


class History:
    """The chain so far and the ledger that it has filled; `take` goes on by one commit."""

    def __init__(
        self,
        repository: "Repository",
        chain: Sequence["Step"],
        *,
        library: Library,
        pinned: Pinned | None = None,
        compromised: Mapping[str, int] | None = None,
        verified: Verified | None = None,
        ledger: Ledger | None = None,
        handed: Handed | None = None,
    ) -> None:
        """`chain` is what is to be taken; `ledger` has taken in already what was before it."""
        self.ledger = Ledger() if ledger is None else ledger
        self.handed = handed or Handed()
        for old, at in self.handed.known_as.items():
            self.ledger.index_of.setdefault(old, at)
        self.ledger.compromised = compromised or {}
        self.library = library
        self.lenient = compromised is not None
        self.plain: History | None = None  # of a second walk: the first one
        self._counting = Counting(self.ledger, library, verified)
        self._repository = repository
        self._pinned = pinned
        self.use_chain(chain)

    @property
    def verified(self) -> Verified:
        """The signatures that were computed, for another walk over the same blobs."""
        return self._counting.verified

    def use_chain(self, chain: Sequence["Step"]) -> None:
        """What is taken next, after all that the ledger has: also a proposal as if merged."""
        known = self.ledger.commits
        self._authors = Authors(
            self._repository, chain, start=len(known), since=known[-1] if known else None
        )

    def take(self, step: "Step") -> None:
        """Judge one commit and take it in; a StalledError if the site must stop before it."""
        ledger = self.ledger
        ledger.index_of[step.commit] = len(ledger.commits)
        ledger.commits.append(step.commit)
        ledger.count("commits")
        arrivals = read_arrivals(ledger, self.library, step)
        founder = ""
        if not arrivals.index:
            raw = self._repository.commit_bytes(step.commit)
            founder = found(ledger, raw, arrivals, self._pinned, handed=bool(self.handed.until))
        self._judge_results(arrivals)
        reasons = self._judge_statements(arrivals)
        self._take_files(arrivals)
        self._take_owners(arrivals, reasons)
        self._take_registry(arrivals, reasons)
        self._take_benchmarks(arrivals, reasons)
        self._take_settings(arrivals)
        self._withdraw(arrivals)
        self._note_other_bytes(arrivals, reasons)
        if arrivals.decides:
            ledger.forget_states()
        for path, reason in reasons.items():
            ledger.note(path, reason)
        if founder and not self.lenient:
            check_founder(ledger, founder)

    # ---------------------------------------------------------------------------- 2. results

    def _judge_results(self, arrivals: Arrivals) -> None:
        ledger = self.ledger
        new = [path for path in arrivals.added if path.startswith("results/")]
        for path in dict.fromkeys([*new, *arrivals.signatures]):
            item = arrivals.item(path) or ledger.item(path)
            if item is None:
                continue
            if path in arrivals.signatures:
                oid = arrivals.signatures[path][1]
            else:
                known = ledger.files.get(result_signature_path(path))
                oid = known.oid if known else ""
            bundle = partial(self.library.bundle, oid) if oid else None
            ledger.results[path] = judge_result(ledger, item, bundle, arrivals.index)
            ledger.count("results")

    def _withdraw(self, arrivals: Arrivals) -> None:
        """A revocation by a member of the dataset's owner strikes a result out."""
        said = [place.subject for place, _ in arrivals.statements if place.revoke]
        for path in dict.fromkeys([*arrivals.added, *said]):
            item = self.ledger.item(path) if path.startswith("results/") else None
            if item is None:
                continue
            owner = item.place.dataset.partition("/")[0]
            for one in self.ledger.signatures(path):
                if one.decision == "revoke" and one.owner == owner:
                    why = f"withdrawn by {one.by}" + (f": {one.reason}" if one.reason else "")
                    self.ledger.results[path] = _withdrawn(self.ledger.results[path], why)

    # ------------------------------------------------------------------------- 3. statements

    def _judge_statements(self, arrivals: Arrivals) -> dict[str, str]:
        """Take in what counts by the tree before; the rest, by path, with the reason."""
        reasons = {}
        for place, oid in arrivals.statements:
            self.ledger.count("statements")
            self.ledger.files.setdefault(place.path, _file(place, oid))
            try:
                digest, signature = self._counting.signature(place, oid, arrivals.index)
            except SignatureError as error:
                reasons[place.path] = str(error)
            else:
                self.ledger.sign(place, digest, signature)
        return reasons

    def _note_other_bytes(self, arrivals: Arrivals, reasons: dict[str, str]) -> None:
        """Say of statements that hold, and are over other bytes than the file's, that they do."""
        for place, _ in arrivals.statements:
            version = self.ledger.version(place.subject, place.number)
            if version is None or place.path in reasons:
                continue
            said = self.ledger.statements.get((place.subject, place.number), [])
            mine = [known for known, one in said if one.by == place.by]
            if mine and version.digest not in mine:
                reasons[place.path] = (
                    f"it is over other bytes, {mine[-1]}, than those of {shown_path(place.subject)}"
                )

    def _sign_again(
        self, arrivals: Arrivals, path: str, reasons: dict[str, str], **roles: Any
    ) -> None:
        """Judge the statements that came over `path` by the new tree, where rule 6 says so."""
        for place, oid in arrivals.statements:
            if place.subject != path:
                continue
            try:
                digest, signature = self._counting.signature(place, oid, arrivals.index, **roles)
            except SignatureError as error:
                if place.path in reasons:
                    reasons[place.path] = str(error)
            else:
                reasons.pop(place.path, None)
                self.ledger.sign(place, digest, signature)

    # ------------------------------------------------------- 4. and 5. files, from the owners up

    def _take_files(self, arrivals: Arrivals) -> None:
        ledger = self.ledger
        for place, oid in arrivals.ignored:
            ledger.put(place, oid, None, first=True)
        for place, oid in arrivals.signatures.values():
            ledger.files[place.path] = _file(place, oid)
        for _, new, oid in arrivals.changed.values():
            ledger.put(new.place, oid, new, first=False)
        for item, oid in list(arrivals.added.values()):
            why = self._misfit(item, arrivals)
            if why:
                ledger.note(item.path, why)
                del arrivals.added[item.path]
            ledger.put(item.place, oid, None if why else item, first=True)
            if not why and item.place.kind in ("cube", "dataset", "settings"):
                self._note_unsigned(item, oid, arrivals.index)

    def _misfit(self, item: Item[Any], arrivals: Arrivals) -> str:
        """Why a new document that is valid by itself has no place in this registry."""
        if item.place.kind == "dataset":
            other = self.ledger.other_dataset(item)
            if other:
                return f"it has the commitment of {other}; one dataset is registered once."
        if item.place.kind == "settings":
            subject = item.place.subject
            together = arrivals.item(subject) is not None
            if subject.startswith("benchmarks/") and not together:
                return "a benchmark's first settings come in the commit of the benchmark."
            if not together and self.ledger.item(subject) is None:
                return f"there is no {subject}, to which these settings would belong."
        return ""

    def _note_unsigned(self, item: Item[Any], oid: str, index: int) -> None:
        if item.path.startswith("benchmarks/") or self.ledger.believed:
            return
        if not self._by_member(item, oid, index):
            owner = item.place.owner
            text = f"the commit that adds it is not signed by a member of {owner}."
            self.ledger.note(item.path, text, "unsigned")

    def _by_member(self, item: Item[Any], oid: str, index: int) -> bool:
        """Whether a commit that brought this file is signed by a member of its owner."""
        if index < self.handed.until:
            return True  # the admins stand for it: those commits were made again
        for key in self._authors.keys(index, item.path, oid):
            holder = self.ledger.holder(key)
            counts = self.ledger.counts_from(key, index)
            if holder and counts and holder.may_sign("member", item.place.owner):
                return True
        return False

    def _take_owners(self, arrivals: Arrivals, reasons: dict[str, str]) -> None:
        ledger = self.ledger
        said = {place.subject for place, _ in arrivals.statements}
        for path in sorted(said):
            item = ledger.item(path)
            if item and item.place.kind == "owner" and item.place.owner not in ledger.owners:
                members = {
                    key: holder for key, holder in keys_of(item).items() if holder.role == "member"
                }
                self._sign_again(arrivals, path, reasons, holders=members, committee=())
        for old, new, _ in arrivals.changed.values():
            if new.place.kind == "owner":
                self._change_owner(old, new)
        for item, _ in arrivals.added.values():
            if item.place.kind == "owner" and item.place.owner not in ledger.owners:
                ledger.pending[item.path] = ()
        settle_owners(ledger, said | set(arrivals.added))

    def _change_owner(self, old: Item[Any], new: Item[Any]) -> None:
        ledger, name = self.ledger, new.place.owner
        joined = name in ledger.owners
        problems = ledger.taken_keys(new)
        if joined:
            problems += rules.owner_change_problems(old.manifest.spec, new.manifest.spec)
            needs = rules.needs_of_changed_owner(name, old.manifest.spec, ledger.spec)
        else:
            needs = rules.needs_of_new_owner(name, ledger.spec)
        enough = self._check_change(new, needs, problems)
        if enough or joined:  # a key compromised later never undoes what was accepted of an owner
            ledger.accept_owner(new)
            ledger.pending.pop(new.path, None)
        if joined and not rules.has_living_key(old.manifest.spec):
            ledger.note(new.path, "reset by admins: no key of its members was active.", "reset")

    def _check_change(
        self, new: Item[Any], needs: Iterable[rules.Need], problems: Sequence[str] = ()
    ) -> bool:
        """Whether a modified file is valid and signed; at the first walk it stalls if not."""
        waits = (
            () if self.ledger.believed else rules.missing(needs, self.ledger.signatures(new.path))
        )
        if not waits and not problems:
            return True
        if not self.lenient:
            if problems:
                self._stall("signature", f"It modifies {new.path}, but {'; '.join(problems)}.")
            return self._unsigned(new, waits)
        text = "it was signed with a key that was compromised by then."
        self.ledger.note(new.path, text, "compromised")
        return False

    def _take_registry(self, arrivals: Arrivals, reasons: dict[str, str]) -> None:
        if "registry.yaml" not in arrivals.changed:
            return
        old, new, _ = arrivals.changed["registry.yaml"]
        ledger = self.ledger
        holders = dict(ledger.holders())
        self._sign_again(
            arrivals,
            "registry.yaml",
            reasons,
            holders=holders,
            committee=(),
            new_admins=new.manifest.spec.admins.members,
        )
        needs = rules.needs_of_registry(old.manifest.spec, new.manifest.spec)
        problems = rules.registry_change_problems(old.manifest.spec, new.manifest.spec)
        self._check_change(new, needs, problems)
        ledger.registry = new
        settle_owners(ledger)
        settle_benchmarks(ledger)

    def _take_benchmarks(self, arrivals: Arrivals, reasons: dict[str, str]) -> None:
        ledger = self.ledger
        for item, _ in arrivals.added.values():
            if item.place.kind == "benchmark":
                ledger.pending[item.path] = ()
        said = {place.subject for place, _ in arrivals.statements}
        for path in sorted(said):
            place = classify(path)
            benchmark = benchmark_path(place.ref) if place.name else ""
            if benchmark not in ledger.pending:
                continue
            if place.kind == "settings":
                self._sign_again(arrivals, path, reasons)
            elif place.kind == "association" and benchmark in arrivals.added:
                spec = arrivals.added[benchmark][0].manifest.spec
                settings = ledger.item(settings_path(benchmark))
                if settings and place.component == spec.reference_model.ref:
                    committee = settings.manifest.spec.committee.members
                    self._sign_again(arrivals, path, reasons, committee=committee)
        touched = {benchmark_path(classify(path).ref) for path in said if _of_benchmark(path)}
        touched |= set(arrivals.added)
        cubes = any(item.place.kind == "cube" for item, _ in arrivals.added.values())
        settle_benchmarks(ledger, None if cubes else touched)

    def _take_settings(self, arrivals: Arrivals) -> None:
        ledger = self.ledger
        for item, _ in arrivals.added.values():
            if item.place.kind == "settings" and not item.path.startswith("benchmarks/"):
                ledger.settings[item.place.subject] = item
        for old, new, oid in arrivals.changed.values():
            if new.place.kind != "settings":
                continue
            subject = new.place.subject
            if not subject.startswith("benchmarks/"):
                if self._check_author(new, oid, arrivals.index):
                    ledger.settings[subject] = new
                continue
            in_force = ledger.settings.get(subject)
            if in_force is None:
                # else its first committee, which was never in force, would have signed something
                self._check_change(new, (), [f"{subject} is not in force yet"])
                continue
            # in the second walk, what is in force may be older than the file before
            base = in_force if self.lenient else old
            needs = rules.needs_of_settings(new.place.ref, base.manifest.spec, new.manifest.spec)
            if self._check_change(new, needs):
                ledger.settings[subject] = new

    def _check_author(self, new: Item[Any], oid: str, index: int) -> bool:
        if self.ledger.believed or self._by_member(new, oid, index):
            return True
        if not self.lenient:
            return self._unsigned(
                new, (f"a member of {new.place.owner} over the commit that does it",)
            )
        text = "its commit was signed with a key that was compromised by then; it is not in force."
        self.ledger.note(new.path, text)
        return False

    def _unsigned(self, new: Item[Any], waits: Sequence[str]) -> bool:
        """What becomes of a modified file that lacks signatures: the site stops."""
        missing = ", and of ".join(waits)
        self._stall("signature", f"It modifies {new.path} without the signature of {missing}.")

    def _stall(self, reason: str, text: str) -> NoReturn:
        stall(self.ledger, reason, text)


def _of_benchmark(path: str) -> bool:
    return path.startswith("benchmarks/")


def _file(place: Place, oid: str) -> File:
    return File(place, oid, None)


def _withdrawn(state: ResultState, why: str) -> ResultState:
    return replace(state, answer="withdrawn", reasons=(why,))


H = TypeVar("H", bound=History)


def walk(
    repository: "Repository",
    tip: str,
    *,
    library: Library | None = None,
    pinned: Pinned | None = None,
    verified: str | None = None,
    maker: type[H] = History,  # type: ignore[assignment]  # mypy knows no default of a TypeVar
    index: "Index | None" = None,
    only: Sequence[str] = (),
    handed: Handed | None = None,
) -> H:
    """The judged history from the root commit up to `tip`; a StalledError where a site must stop.

    `verified` is the commit that the site verified last: it must be on the chain. With an `index`
    only what it has not kept is judged; with `only`, and no index, as if the history had nothing
    but these files and folders. `handed` are hand-overs that are to count, else those that do.
    """
    if repository.is_shallow:
        raise RegistryError(
            f"{repository.folder} is a shallow clone, so its history cannot be judged: "
            "run `git fetch --unshallow` in it."
        )
    handed = _handed(repository, tip) if handed is None else handed
    if index is not None and not index.serves(pinned, handed.name):
        index = None
    known = library or Library(repository, index)
    way = _Way(repository, tip, known, pinned, verified, handed, only)
    if index is None:
        return way.go(maker, None)
    from sqlite3 import Error

    try:
        return way.go(maker, index)
    except Error:  # a full disk, a broken file, another process: it goes without
        index.give_up()
        way = _Way(repository, tip, Library(repository), pinned, verified, handed)
        return way.go(maker, None)
    except BaseException:
        index.give_up()
        raise


def _handed(repository: "Repository", tip: str) -> Handed:
    if not count(repository, tip):
        return Handed()
    return handed_over(repository, tip, repository.first_parent_ids(tip))


@dataclass(frozen=True)
class _Way:
    """One walk up to a tip."""

    repository: "Repository"
    tip: str
    library: Library
    pinned: Pinned | None
    verified: str | None
    handed: Handed
    only: Sequence[str] = ()

    def go(self, maker: type[H], index: "Index | None") -> H:
        """Walk once, and once more where keys are compromised."""
        kept, steps = self._known(index, "plain")
        history = self._take(maker, index, "plain", kept, steps)
        ledger = history.ledger
        if self.pinned is not None:
            check_pinned(ledger, self.pinned)
        compromised = compromised_since(ledger.owners.values(), ledger.index_of)
        walks = {"plain": ledger}
        if compromised:
            kept, steps = self._known(index, "lenient")
            if kept is not None and kept.compromised != compromised:
                kept, steps = None, self._steps()
            again = self._take(maker, index, "lenient", kept, steps, compromised, history.verified)
            again.plain = history
            history = again
            walks["lenient"] = again.ledger
        elif index is not None:
            index.drop("lenient")
        if index is not None:
            index.settle(walks, self.pinned, self.handed.name)
        return history

    def _known(self, index: "Index | None", walk: str) -> tuple[Ledger | None, list["Step"]]:
        """The ledger to go on from, and the steps (without changes) that it has not taken."""
        kept = None
        if index is not None:
            kept = index.ledger(walk, self.pinned, self.library, self.handed.name)
        if kept is None:
            return None, self._steps()
        newest = kept.commits[-1]
        if newest == self.tip:
            return kept, []
        try:
            return kept, self.repository.chain(self.tip, since=newest)
        except RegistryError:  # not on this chain: it is judged from its root
            return None, self._steps()

    def _steps(self) -> list["Step"]:
        return self.repository.chain(self.tip)

    def _take(
        self,
        maker: type[H],
        index: "Index | None",
        walk: str,
        ledger: Ledger | None,
        steps: Sequence["Step"],
        compromised: Mapping[str, int] | None = None,
        signatures: Verified | None = None,
    ) -> H:
        before = ledger.commits if ledger is not None else []
        check_chain([*before, *(step.commit for step in steps)], self.pinned, self.verified)
        if ledger is None and index is not None:
            ledger = index.empty(walk, self.library)
        history = maker(
            self.repository,
            (),
            library=self.library,
            pinned=self.pinned,
            compromised=compromised,
            verified=signatures,
            ledger=ledger,
            handed=self.handed,
        )
        changed = self.repository.changed(steps, only=self.only)
        asked = ((some, _blobs(some)) for some in _portions(changed))
        with work("Judging the registry's history", len(steps), "commits") as judging:
            for some in portions(self.library, asked):
                history.use_chain(some)
                for step in some:
                    history.take(step)
                    judging.advance()
                if index is not None:
                    index.relieve(history.ledger)
                self.library.forget()
        return history


_PORTION = 2000  # changes whose blobs are read together


def _portions(steps: Iterable["Step"]) -> Iterator[list["Step"]]:
    some: list[Step] = []
    changes = 0
    for step in steps:
        some.append(step)
        changes += len(step.changes)
        if changes >= _PORTION:
            yield some
            some, changes = [], 0
    if some:
        yield some


def _blobs(steps: Iterable["Step"]) -> list[tuple[str, str]]:
    return [
        (change.path, change.oid)
        for step in steps
        for change in step.changes
        if change.mode == REGULAR and change.status in "AM" and is_governed(change.path)
    ]
