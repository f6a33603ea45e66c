"""Hand-overs: the admins' word that a rewritten history takes the place of an older one.

The law can ask that something goes from a registry, also from its past. Then every commit from
there on is another one, and no site follows by itself (rule 1). What the admins sign instead is
`handovers/<n>.json`, which comes in the commit after the rewritten ones:

    {"commits": […], "new": {"head": …, "root": …}, "old": {"head": …, "root": …},
     "reason": …, "registry": <id>}

`commits` are those of the old chain, oldest first: the i-th of them is the i-th of the new chain.
So what names an old commit (a result its `registry.commit`, a stolen key its `since`) is understood
for ever, and run keys, results and statements stay what they were. It counts where

1. the new chain has the new root and head at those places;
2. as many admins as registry.yaml asks for, as it is at the new head, have signed these bytes, each
   with a key that is active there (statements of the kind `handover`, one file a signer).

Then the root commit, which a present admin has signed, needs no founder's signature, and commits
that brought cubes and datasets need none of their owners. Whether a site follows is another
question, asked of its engineer with what it had verified before (`reconciler/following.py`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..schemas import manifests as kinds
from ..schemas.digests import canonical_json, digest
from ..schemas.documents import load_as
from ..schemas.errors import InvalidDocumentError, RegistryError, SignatureError
from .ledger import Holder, keys_of
from .paths import HANDOVERS, REGISTRY, owner_path
from .snapshot import read_item
from .statements import BUNDLE_LIMIT, read_bundle
from .strict_json import parse_json, take_fields, take_matching, take_text

if TYPE_CHECKING:
    from .git import Repository

LIMIT = 16 * 1024 * 1024
MOST = 20
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FORM = "a commit of 40 hex digits"


@dataclass(frozen=True)
class Handover:
    """One history in the place of another; `commits` is the old one, oldest first."""

    registry: str
    reason: str
    commits: tuple[str, ...]
    root: str
    head: str

    def data(self) -> bytes:
        """The bytes that the admins sign."""
        return canonical_json(
            {
                "registry": self.registry,
                "reason": self.reason,
                "old": {"root": self.commits[0], "head": self.commits[-1]},
                "new": {"root": self.root, "head": self.head},
                "commits": list(self.commits),
            }
        )


@dataclass(frozen=True)
class Handed:
    """The hand-overs of a chain that count: old commits and their places, and how far they go."""

    known_as: Mapping[str, int] = field(default_factory=dict)
    until: int = 0
    all: tuple[Handover, ...] = ()

    @property
    def name(self) -> str:
        """What tells one set of hand-overs from another; empty where there is none."""
        if not self.all:
            return ""
        return digest(canonical_json([digest(one.data()) for one in self.all]))


def handover_path(n: int) -> str:
    """Where the n-th hand-over lies."""
    return f"{HANDOVERS}/{n}.json"


def signature_path(n: int, by: str) -> str:
    """Where an admin's statement over the n-th hand-over lies."""
    owner, _, member = by.partition("/")
    return f"{HANDOVERS}/{n}.{owner}.{member}.sigstore.json"


def count(repository: "Repository", commit: str) -> int:
    """How many hand-overs a commit's tree has, whether they count or not."""
    n = 0
    while n < MOST and repository.has_file(commit, handover_path(n + 1)):
        n += 1
    return n


def read_handover(data: bytes) -> Handover:
    """A hand-over from its bytes; a SignatureError that says what is wrong with its form."""
    what = "hand-over"
    if len(data) > LIMIT:
        raise SignatureError(f"A hand-over has more than {LIMIT} bytes.")
    names = ("registry", "reason", "old", "new", "commits")
    registry, reason, old, new, commits = take_fields(what, parse_json(data, what), *names)
    heads = {}
    for name, value in (("old", old), ("new", new)):
        root, head = take_fields(name, value, "root", "head")
        heads[name, "root"] = take_matching(f"{name}.root", root, _COMMIT, _FORM)
        heads[name, "head"] = take_matching(f"{name}.head", head, _COMMIT, _FORM)
    if not isinstance(commits, list) or not commits:
        raise SignatureError("A hand-over's commits are no list of commits.")
    chain = tuple(take_matching("commits", one, _COMMIT, _FORM) for one in commits)
    if (chain[0], chain[-1]) != (heads["old", "root"], heads["old", "head"]):
        raise SignatureError("A hand-over's commits do not begin and end as its old root and head.")
    return Handover(
        take_text("registry", registry),
        take_text("reason", reason),
        chain,
        heads["new", "root"],
        heads["new", "head"],
    )


def handed_over(
    repository: "Repository", tip: str, chain: Sequence[str], *, unsigned: int = 0
) -> Handed:
    """The hand-overs in the tree of `tip` that count, for its first-parent chain.

    The one numbered `unsigned` is taken as if enough admins had signed it: to see what would be.
    """
    number = count(repository, tip)
    if not number:
        return Handed()
    known = {commit: at for at, commit in enumerate(chain)}
    found: list[Handover] = []
    until = 0
    for n in range(number, 0, -1):
        try:
            one = _counted(repository, tip, n, chain, known, signed=n == unsigned)
        except (SignatureError, InvalidDocumentError, RegistryError):
            continue
        known.update((commit, at) for at, commit in enumerate(one.commits))
        until = max(until, len(one.commits))
        found.insert(0, one)
    old = {commit: known[commit] for one in found for commit in one.commits}
    return Handed(old, until, tuple(found))


def _counted(
    repository: "Repository",
    tip: str,
    n: int,
    chain: Sequence[str],
    known: Mapping[str, int],
    *,
    signed: bool,
) -> Handover:
    data = repository.file(tip, handover_path(n), cap=LIMIT + 1) or b""
    one = read_handover(data)
    last = len(one.commits) - 1
    if known.get(one.root) != 0 or known.get(one.head) != last:
        raise SignatureError("The chain has not its new root and head at their places.")
    spec, holders = admins_at(repository, chain[last])
    if one.registry != spec.id:
        raise SignatureError(f"It is of another registry, {one.registry}.")
    by = signers(repository, tip, n, data, registry=spec.id, holders=holders)
    if len(by) < spec.admins.threshold and not signed:
        raise SignatureError("Too few admins have signed it.")
    return one


def admins_at(
    repository: "Repository", commit: str
) -> tuple[kinds.RegistrySpec, dict[str, Holder]]:
    """registry.yaml at a commit, and the active keys of its admins by fingerprint."""
    data = repository.file(commit, REGISTRY)
    if data is None:
        raise RegistryError(f"The commit {commit[:12]} has no {REGISTRY}.")
    spec = load_as(data, kinds.Registry, file=REGISTRY).spec
    found: dict[str, Holder] = {}
    for owner in sorted({by.partition("/")[0] for by in spec.admins.members}):
        path = owner_path(owner)
        file = repository.file(commit, path)
        if file is None:
            continue
        for key, holder in keys_of(read_item(path, file)).items():
            if holder.may_sign("member", owner) and holder.by in spec.admins.members:
                found[key] = holder
    return spec, found


def signers(
    repository: "Repository",
    tip: str,
    n: int,
    data: bytes,
    *,
    registry: str,
    holders: Mapping[str, Holder],
) -> tuple[str, ...]:
    """The admins among `holders` whose statements over the n-th hand-over at `tip` hold, once each.

    `holders` are the keys that may sign, by fingerprint.
    """
    found: dict[str, str] = {}
    for by in sorted({holder.by for holder in holders.values()}):
        bundle = repository.file(tip, signature_path(n, by), cap=BUNDLE_LIMIT + 1)
        if bundle is None:
            continue
        try:
            key = _check(bundle, n, data, by=by, registry=registry, holders=holders)
        except SignatureError:
            continue
        found.setdefault(key, by)
    return tuple(sorted(set(found.values())))


def _check(
    bundle: bytes, n: int, data: bytes, *, by: str, registry: str, holders: Mapping[str, Holder]
) -> str:
    read = read_bundle(bundle)
    holder = holders.get(read.fingerprint)
    if holder is None or holder.by != by:
        raise SignatureError("its key is of no admin")
    statement = read.verify(holder.key.public_key)
    if (statement.kind, statement.by, statement.registry) != ("handover", by, registry):
        raise SignatureError("it is a statement about something else")
    statement.check_subject(handover_path(n).rpartition("/")[2], digest(data))
    return read.fingerprint
