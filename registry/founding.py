"""The root commit of a registry, judged by its own tree (design §5, rule 6).

It is signed by an admin whose key a site has pinned, and holds registry.yaml, that admin's owner
and his statements over both.
"""

from collections.abc import Sequence

from .arrivals import Arrivals, stall
from .keys import commit_signer
from .ledger import Ledger, keys_of
from .pinned import Pinned
from .public_keys import fingerprint


def found(
    ledger: Ledger, raw: bytes, arrivals: Arrivals, pinned: Pinned | None, *, handed: bool = False
) -> str:
    """The admin who made this registry, by the root commit's own tree (rule 6).

    A root that was `handed` over is signed by the admins' threshold in their hand-over, and was
    made again by one of them; who founded the registry is then whom its tree names.
    """
    if "registry.yaml" not in arrivals.added:
        stall(ledger, "history", "It is the root commit, and holds no valid registry.yaml.")
    registry = arrivals.added["registry.yaml"][0]
    admins = registry.manifest.spec.admins.members
    if handed:
        return _founder(ledger, arrivals, admins)
    public_key = commit_signer(raw)
    if public_key is None:
        stall(ledger, "signature", "It is the root commit, and no SSH key has signed it.")
    key = fingerprint(public_key)
    if pinned is not None and key not in pinned.admins:
        stall(ledger, "signature", f"It is the root commit, signed by {key}, which is not pinned.")
    for item, _ in arrivals.added.values():
        if item.place.kind != "owner":
            continue
        holder = keys_of(item).get(key)
        if holder and holder.may_sign("member", item.place.owner) and holder.by in admins:
            ledger.registry = registry
            ledger.accept_owner(item)
            return holder.by
    text = f"It is the root commit, signed by {key}, which is no key of an admin."
    return stall(ledger, "signature", text)


def _founder(ledger: Ledger, arrivals: Arrivals, admins: Sequence[str]) -> str:
    for item, _ in arrivals.added.values():
        for member in item.manifest.spec.members if item.place.kind == "owner" else ():
            if f"{item.place.owner}/{member.name}" in admins:
                ledger.registry = arrivals.added["registry.yaml"][0]
                ledger.accept_owner(item)
                return f"{item.place.owner}/{member.name}"
    text = "It is the root commit, and holds no file of an admin's owner."
    return stall(ledger, "signature", text)


def check_founder(ledger: Ledger, by: str) -> None:
    """Raise a StalledError unless the founder has signed registry.yaml and his owner's file."""
    if ledger.believed:
        return
    for path in ("registry.yaml", f"owners/{by.partition('/')[0]}.yaml"):
        if not any(one.by == by for one in ledger.signatures(path)):
            stall(ledger, "signature", f"It is the root commit; {by} has not signed its {path}.")
