"""Rules 2, 3, 4 and 7 of the registry (design §5), pure: values in, an answer out, no Git.

2. Who must sign which file: `needs_of_*` say it as `Need`s; `missing`, what is waited for.
   A threshold counts distinct members and distinct keys: one key under two names is one signer.
3. An association is approved, pending, revoked, or invalid because its pins do not hold.
4. The pins of an association: `pin_problems`.
7. Which run comes first: `in_priority`.

Which statement counts at all (rule 6) takes the tree before the commit that added it: `history.py`
reduces each statement to a `Signature`, with the roles that its signer held at that commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..schemas.digests import run_key
from ..schemas.manifests import (
    Association,
    BenchmarkSettingsSpec,
    BenchmarkSpec,
    Council,
    DatasetSpec,
    OwnerSpec,
    Pin,
    RegistrySpec,
    Rule,
)

Side = Literal["member", "admin", "new-admin", "committee"]
State = Literal["approved", "pending", "revoked", "invalid"]


@dataclass(frozen=True)
class Signature:
    """A statement that counts (rule 6), reduced to its signer and the roles he held then.

    `committee` is that of the benchmark which the signed file belongs to; `new_admin` says that
    the new registry.yaml, over which it is, makes the signer an admin.
    """

    by: str
    key: str
    index: int
    decision: Literal["approve", "revoke"] = "approve"
    admin: bool = False
    new_admin: bool = False
    committee: bool = False
    reason: str | None = None

    @property
    def owner(self) -> str:
        """The organisation that the signer belongs to."""
        return self.by.partition("/")[0]


@dataclass(frozen=True)
class Need:
    """Signatures that a file needs from one side: from how many of whom."""

    side: Side
    whom: str
    owner: str = ""
    threshold: int = 1

    def met_by(self, signature: Signature) -> bool:
        """Whether this signer is of this side."""
        if self.side == "member":
            return signature.owner == self.owner
        if self.side == "admin":
            return signature.admin
        if self.side == "new-admin":
            return signature.new_admin
        return signature.committee

    def missing(self, signatures: Iterable[Signature]) -> str | None:
        """What is still waited for, as a sentence's part; None if nothing is."""
        have = signers(one for one in signatures if self.met_by(one))
        if have >= self.threshold:
            return None
        if self.threshold == 1:
            return self.whom
        return f"{self.whom}: {have} of {self.threshold} signatures"


def signers(signatures: Iterable[Signature]) -> int:
    """How many signers these are, when a member and a key may each be counted once."""
    keys_of: dict[str, set[str]] = {}
    for one in signatures:
        keys_of.setdefault(one.by, set()).add(one.key)
    holder: dict[str, str] = {}

    def place(member: str, tried: set[str]) -> bool:
        for key in keys_of[member] - tried:
            tried.add(key)
            if key not in holder or place(holder[key], tried):
                holder[key] = member
                return True
        return False

    return sum(place(member, set()) for member in keys_of)


def missing(needs: Iterable[Need], signatures: Iterable[Signature]) -> tuple[str, ...]:
    """What is still waited for, one entry a side; empty when all have signed."""
    approving = [one for one in signatures if one.decision == "approve"]
    found = (need.missing(approving) for need in needs)
    return tuple(sentence for sentence in found if sentence is not None)


def number(spec: object) -> int:
    """The serial or round of a manifest's spec; 1 for what never changes."""
    known = getattr(spec, "__dict__", {})  # a model answers slowly for a field that it has not
    for field in ("serial", "round"):
        value = known.get(field)
        if isinstance(value, int):
            return value
    return 1


# ----------------------------------------------------------------- rule 2: who must sign


def _admins(council: Council) -> Need:
    whom = "an admin" if council.threshold == 1 else "the admins"
    return Need("admin", whom, threshold=council.threshold)


def _member(owner: str) -> Need:
    return Need("member", f"a member of {owner}", owner=owner)


def _committee(benchmark: str, threshold: int) -> Need:
    whom = f"the committee of {benchmark}"
    return Need("committee", whom if threshold > 1 else f"a member of {whom}", threshold=threshold)


def needs_of_registry(old: RegistrySpec, new: RegistrySpec) -> tuple[Need, ...]:
    """A changed registry.yaml: the threshold of the old admins and that of the new ones."""
    whom = "an admin of the new registry.yaml"
    if new.admins.threshold > 1:
        whom = "the admins of the new registry.yaml"
    return (_admins(old.admins), Need("new-admin", whom, threshold=new.admins.threshold))


def needs_of_new_owner(owner: str, registry: RegistrySpec) -> tuple[Need, ...]:
    """A new owner: the joining member and the admins' threshold."""
    return (
        Need("member", f"the joining member of {owner}", owner=owner),
        _admins(registry.admins),
    )


def needs_of_changed_owner(owner: str, old: OwnerSpec, registry: RegistrySpec) -> tuple[Need, ...]:
    """A changed owner: a member by the old file and an admin; no living key: the admins alone."""
    if not has_living_key(old):
        return (_admins(registry.admins),)
    return (_member(owner), Need("admin", "an admin"))


def has_living_key(owner: OwnerSpec) -> bool:
    """Whether any member of this owner can still sign."""
    return any(key.state == "active" for member in owner.members for key in member.keys)


def needs_of_benchmark(owner: str, registry: RegistrySpec) -> tuple[Need, ...]:
    """A benchmark, and its first settings by statements of their own."""
    return (_member(owner), _admins(registry.admins))


_BY_ONE_MEMBER = frozenset({"serial", "priorities", "description", "labels", "mirrors", "active"})


def needs_of_settings(
    benchmark: str, old: BenchmarkSettingsSpec, new: BenchmarkSettingsSpec
) -> tuple[Need, ...]:
    """Changed settings: the old committee's threshold; one member for what decides little."""
    changed = {
        name
        for name in BenchmarkSettingsSpec.model_fields
        if getattr(old, name) != getattr(new, name)
    }
    threshold = 1 if changed <= _BY_ONE_MEMBER else old.committee.threshold
    return (_committee(benchmark, threshold),)


def needs_of_association(
    benchmark: str, component_owner: str, settings: BenchmarkSettingsSpec, *, part: str
) -> tuple[Need, ...]:
    """An association: both parties, unless the settings approve this owner's components."""
    needs = [_member(component_owner)]
    rule = settings.approve.models if part == "models" else settings.approve.datasets
    if not approves(rule, component_owner):
        needs.append(_committee(benchmark, settings.committee.threshold))
    return tuple(needs)


def approves(rule: Rule, owner: str) -> bool:
    """Whether `approve` stands in for the committee's side, for a component of this owner."""
    if isinstance(rule, str):
        return rule == "always"
    return owner in rule


# ---------------------------------------------------- what a modification may and may not do


def increment_problem(old: int, new: int, field: str) -> str | None:
    """Why this modification is not the next one."""
    if new == old + 1:
        return None
    return f"its {field} goes from {old} to {new}, and must go to {old + 1}"


def registry_change_problems(old: RegistrySpec, new: RegistrySpec) -> list[str]:
    """What a changed registry.yaml may not do."""
    if old.id != new.id:
        return [f"its id changes from {old.id} to {new.id}; a registry keeps its id"]
    return []


def owner_change_problems(old: OwnerSpec, new: OwnerSpec) -> list[str]:
    """What a changed owner's file may not do: forget a key, or give it to somebody else."""
    kept = {place for place, _ in _keys(new)}
    gone = [place for place, _ in _keys(old) if place not in kept]
    return [
        f"the {role} {name} loses the key {key[:40]}…; keep it, with state retired or compromised"
        for role, name, key in gone
    ]


def _keys(owner: OwnerSpec) -> list[tuple[tuple[str, str, str], str]]:
    members = [("member", one.name, key) for one in owner.members for key in one.keys]
    sites = [("site", one.name, key) for one in owner.sites for key in one.keys]
    return [((role, name, key.public_key), key.state) for role, name, key in members + sites]


def association_change_problems(old: Association, new: Association) -> list[str]:
    """What a changed association may not do: only `round` and `trial` differ."""
    pairs = (
        ("benchmark", old.spec.benchmark, new.spec.benchmark),
        ("model", old.spec.model, new.spec.model),
        ("dataset", old.spec.dataset, new.spec.dataset),
    )
    return [
        f"its {field} changes; only round and trial may" for field, was, now in pairs if was != now
    ]


# ------------------------------------------------------------------ rules 3 and 4: associations


@dataclass(frozen=True)
class Verdict:
    """What an association is at one tree, and why."""

    state: State
    missing: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def judge_association(
    needs: Sequence[Need],
    signatures: Sequence[Signature],
    problems: Sequence[str],
    *,
    component_owner: str,
    believed: bool,
) -> Verdict:
    """The state of an association from the statements over the bytes of its present round.

    `problems` are those of rule 4. `believed` is `approval: merge`: the forge's merge approved it;
    a revocation counts all the same.
    """
    revoking = [
        one
        for one in signatures
        if one.decision == "revoke" and (one.owner == component_owner or one.committee or one.admin)
    ]
    if revoking:
        first = min(revoking, key=lambda one: (one.index, one.by))
        why = f": {first.reason}" if first.reason else ""
        return Verdict("revoked", reasons=(f"revoked by {first.by}{why}",))
    waits = () if believed else missing(needs, signatures)
    if problems:
        return Verdict("invalid", waits, tuple(problems))
    return Verdict("pending", waits) if waits else Verdict("approved")


def pin_problems(
    association: Association,
    *,
    benchmark: BenchmarkSpec | None,
    benchmark_digest: str | None,
    active: bool,
    component_digest: str | None,
    dataset: DatasetSpec | None,
    registry: str,
) -> list[str]:
    """What of rule 4 does not hold, a part of a sentence each.

    The benchmark is there and active, the pins are these bytes, a dataset was prepared with the
    benchmark's preparator, and a trial with these digests passed: of a model on the benchmark's
    demo dataset, of a dataset with the benchmark's reference model.
    """
    spec = association.spec
    if benchmark is None or benchmark_digest is None:
        return [f"the benchmark {spec.benchmark.ref} is not in the registry, or not signed yet"]
    found = []
    if spec.benchmark.digest != benchmark_digest:
        found.append(_other_bytes("benchmark", spec.benchmark, benchmark_digest))
    if not active:
        found.append(f"the benchmark {spec.benchmark.ref} is not active")
    part = "model" if spec.model else "dataset"
    component = association.component
    if component_digest is None:
        found.append(f"the {part} {component.ref} is not in the registry")
    elif component.digest != component_digest:
        found.append(_other_bytes(part, component, component_digest))
    if dataset is not None and dataset.preparator != benchmark.preparator:
        found.append(
            f"the dataset {component.ref} was prepared with {dataset.preparator.ref}, "
            f"the benchmark wants {benchmark.preparator.ref}"
            if dataset.preparator.ref != benchmark.preparator.ref
            else f"the dataset {component.ref} was prepared with other bytes of "
            f"{dataset.preparator.ref} than the benchmark's"
        )
    return found + _trial_problems(association, benchmark, registry)


def _trial_problems(association: Association, benchmark: BenchmarkSpec, registry: str) -> list[str]:
    spec, trial = association.spec, association.spec.trial
    found = [] if trial.outcome == "passed" else ["its trial did not pass"]
    if spec.dataset is None:
        if trial.data != benchmark.demo_dataset.digest:
            found.append("its trial was not on the benchmark's demo dataset")
        return found
    key = run_key(
        registry=registry,
        benchmark=spec.benchmark.digest,
        dataset=spec.dataset.digest,
        model=benchmark.reference_model.digest,
        partial=False,
    )
    if trial.run_key != key:
        found.append(f"its trial is not the reference model's run on it, {key[:16]}…")
    return found


def _other_bytes(what: str, pin: Pin, there: str) -> str:
    return f"the {what} {pin.ref} is pinned as {pin.digest[:19]}…, but is {there[:19]}… here"


# ----------------------------------------------------------------------- rule 7: priority


def in_priority(refs: Iterable[str], priorities: Mapping[str, int] | None) -> list[str]:
    """`refs` in the order of their runs: higher priority first, ties by name."""
    known = priorities or {}
    return sorted(refs, key=lambda ref: (-known.get(ref, 0), ref))
