"""New keys for people and machines, and the end of old ones: what is proposed for it.

Who proposes signs with a key that is in the registry; an admin's signature is added by the merge.
A lost key is replaced by another member of the same owner. Where nobody of an owner can sign any
more, an admin proposes the reset, which every site then shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..registry.keys import AGENT, generate_key, load_signer
from ..registry.paths import REGISTRY, owner_path
from ..registry.public_keys import fingerprint, strip_comment
from ..registry.rotation import Role, living_members, with_admins, with_key, without_key
from ..registry.rules import number
from ..registry.snapshot import read_item
from ..registry.view import View
from ..schemas.errors import UsageError
from ..schemas.names import resolve
from .submissions import check_members
from .workplace import Workplace


@dataclass(frozen=True)
class Change:
    """Files to propose, the words for it, and what its proposer does once it is merged."""

    slug: str
    title: str
    files: dict[str, bytes]
    then: str = ""


def add_key(
    place: Workplace,
    view: View,
    *,
    owner: str | None = None,
    role: Role = "member",
    name: str | None = None,
    public_key: str | None = None,
    passphrase: Callable[[], str | None] | None = None,
) -> Change:
    """A further key of a member or a site, by default this profile's own, with a new private key.

    For somebody else his `public_key` is given: private keys stay with whom they belong to.
    """
    owner = owner or place.owner
    mine = place.profile.me.member if role == "member" else place.profile.me.site
    own = owner == place.owner and mine is not None and name in (None, mine.name)
    name = name or (mine.name if mine else None)
    if name is None:
        raise UsageError(f"This profile has no {role}: say whose key it is.")
    data = _owner(view, owner)
    then = ""
    if public_key is None:
        if not own:
            raise UsageError(
                f"{owner}/{name} is not the {role} of this profile: make the key there "
                "(ssh-keygen -t ed25519) and give its public half with --public-key."
            )
        public_key, where = _new_key(place, owner, name, passphrase)
        then = (
            f"When it is merged: medperf profile set me.{role}.key={where}\n"
            "then end the old one: medperf owner retire-key FINGERPRINT"
        )
    public_key = strip_comment(public_key.strip())
    changed = with_key(data, owner=owner, role=role, name=name, public_key=public_key)
    title = f"Add a key of {owner}/{name}"
    return Change(
        f"key-{name}-{fingerprint(public_key)[7:15]}", title, _signed(place, owner, changed), then
    )


def end_key(
    place: Workplace,
    view: View,
    key: str,
    *,
    owner: str | None = None,
    state: Literal["retired", "compromised"] = "retired",
    since: str | None = None,
) -> Change:
    """A key retired, or called compromised since a commit of main: what it signed there is void."""
    owner = owner or place.owner
    data = _owner(view, owner)
    at = ""
    if state == "compromised":
        at = _commit(view, since)
    elif since is not None:
        raise UsageError("Only a compromised key has a commit since which it counts for nothing.")
    changed = without_key(data, owner=owner, key=key, state=state, since=at)
    if living_members(data, owner) and not living_members(changed, owner):
        raise UsageError(
            f"Nobody of {owner} could sign any more: first 'medperf owner add-key' a new one."
        )
    return Change(
        f"{state}-{key[7:15]}", f"The key {key} is {state}", _signed(place, owner, changed)
    )


def change_registry(
    place: Workplace,
    view: View,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    checkpoint_days: int | None = None,
) -> Change:
    """registry.yaml with other admins or rules: the old admins' threshold signs, and the new."""
    item = view.file(REGISTRY)
    assert item is not None  # noqa: S101 - every registry has one
    check_members(view, add)
    changed = with_admins(
        item.data, add=add, remove=remove, threshold=threshold, checkpoint_days=checkpoint_days
    )
    at = number(read_item(REGISTRY, changed).manifest.spec)
    files = {REGISTRY: changed, **place.statement(REGISTRY, changed, number=at)}
    return Change(f"registry-{at}", f"Change {REGISTRY} (serial {at})", files)


def _owner(view: View, owner: str) -> bytes:
    return view.owners[resolve(owner, view.owners, "owner")].data


def _signed(place: Workplace, owner: str, data: bytes) -> dict[str, bytes]:
    path = owner_path(owner)
    at = number(read_item(path, data).manifest.spec)
    return {path: data, **place.statement(path, data, number=at)}


def _new_key(
    place: Workplace, owner: str, name: str, passphrase: Callable[[], str | None] | None
) -> tuple[str, str]:
    """The public half of a new key file, and its path as settings have it."""
    at = 2
    while (file := place.home.resolve(f"keys/{owner}.{name}.{at}")).exists():
        at += 1
    signer = generate_key(file, passphrase() if passphrase else None)
    return signer.public_key, f"keys/{owner}.{name}.{at}"


def agent_key() -> str:
    """The public half of the one key that the ssh-agent holds."""
    return load_signer(AGENT).public_key


def _commit(view: View, since: str | None) -> str:
    chain = view.ledger.commits
    if since is None:
        raise UsageError(
            "Say since when it is compromised: --since with a commit of 'medperf registry log'. "
            f"The first commit, {chain[0][:12]}, means that it never counted."
        )
    found = [one for one in chain if one.startswith(since)] if len(since) >= 7 else []
    if len(found) != 1:
        raise UsageError(f"{since!r} is no commit of the registry's main (7 or more hex digits).")
    return found[0]
