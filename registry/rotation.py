"""Changes of who may sign: an owner's keys, and the admins in registry.yaml. Pure edits.

A key is never removed, since what it signed is checked with it for ever (design §3): it is retired,
or called compromised since a commit of main, from which on nothing that it signed counts. Who must
sign such a change is rule 2's business; here is only what may be changed, and that it makes sense.
"""

from collections.abc import Sequence
from typing import Any, Literal

from ..schemas.documents import load_as
from ..schemas.errors import UsageError
from ..schemas.manifests import Key, Member, Owner, OwnerSpec, Registry, Site
from .editing import edit
from .paths import REGISTRY, owner_path
from .public_keys import fingerprint, key_blob

Role = Literal["member", "site"]


def with_key(data: bytes, *, owner: str, role: Role, name: str, public_key: str) -> bytes:
    """The owner's file with one more active key of a member or a site that is in it."""
    key_blob(public_key)
    path = owner_path(owner)
    spec = load_as(data, Owner, file=path).spec
    if not any(one.name == name for one in _holders(spec, role)):
        known = ", ".join(one.name for one in _holders(spec, role)) or "none"
        raise UsageError(
            f"{path} has no {role} {name!r} (it has: {known}): 'medperf owner join' adds one."
        )
    for kind, holder, key in _keys(spec):
        if key.public_key == public_key:
            raise UsageError(
                f"{path} has this key already, of the {kind} {holder} ({key.state}): "
                "each member and site has keys of its own, and each is used once."
            )

    def add(content: dict[str, Any]) -> None:
        for one in content["spec"][f"{role}s"]:
            if one["name"] == name:
                one["keys"].append({"publicKey": public_key, "state": "active"})

    return edit(data, add, file=path)


def without_key(
    data: bytes, *, owner: str, key: str, state: Literal["retired", "compromised"], since: str = ""
) -> bytes:
    """The owner's file with a key (by its fingerprint) retired, or compromised `since` a commit."""
    path = owner_path(owner)
    spec = load_as(data, Owner, file=path).spec
    known = {fingerprint(one.public_key): one for _, _, one in _keys(spec)}
    if key not in known:
        shown = "\n".join(f"  {name}  {one.state}" for name, one in known.items())
        raise UsageError(f"{path} has no key {key}. It has:\n{shown}")
    there = known[key]
    if there.state == state and (there.since or "") == since:
        raise UsageError(f"The key {key} is {state} already.")
    if there.state == "compromised" and state == "retired":
        raise UsageError(f"The key {key} is compromised: it cannot become merely retired.")

    def change(content: dict[str, Any]) -> None:
        for one in (*content["spec"]["members"], *content["spec"]["sites"]):
            for entry in one["keys"]:
                if entry["publicKey"] == there.public_key:
                    entry["state"] = state
                    if since:
                        entry["since"] = since

    return edit(data, change, file=path)


def living_members(data: bytes, owner: str) -> tuple[str, ...]:
    """The members of an owner's file who have an active key."""
    spec = load_as(data, Owner, file=owner_path(owner)).spec
    return tuple(one.name for one in spec.members if any(key.state == "active" for key in one.keys))


def with_admins(
    data: bytes,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    checkpoint_days: int | None = None,
) -> bytes:
    """registry.yaml with other admins, another threshold, or checkpoints asked for (0: not)."""
    spec = load_as(data, Registry, file=REGISTRY).spec
    members = [one for one in spec.admins.members if one not in remove]
    members += [one for one in add if one not in members]
    unknown = [one for one in remove if one not in spec.admins.members]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is no admin of this registry.")
    number = threshold or spec.admins.threshold
    if number > len(members):
        raise UsageError(
            f"A threshold of {number} needs as many admins, and there would be {len(members)}."
        )

    def change(content: dict[str, Any]) -> None:
        admins = content["spec"]["admins"]
        if members != list(spec.admins.members):
            admins["members"] = members
        admins["threshold"] = number
        if checkpoint_days:
            content["spec"]["checkpoints"] = {"maxAgeDays": checkpoint_days}
        elif checkpoint_days == 0:
            content["spec"].pop("checkpoints", None)

    return edit(data, change, file=REGISTRY)


def _holders(spec: OwnerSpec, role: Role) -> Sequence[Member | Site]:
    return spec.members if role == "member" else spec.sites


def _keys(spec: OwnerSpec) -> list[tuple[Role, str, Key]]:
    found: list[tuple[Role, str, Key]] = []
    for role in ("member", "site"):
        for one in _holders(spec, role):
            found += [(role, one.name, key) for key in one.keys]
    return found
