"""The public keys of a registry's owners as files for other people's tools.

`openssl` and `cosign` want one PEM a key, `ssh-keygen` one `.pub` a key, and Git one file of
allowed signers. Pure: owners in, names and bytes out.

Old signatures are checked with retired keys, so those are handed out too, after the active ones.
A compromised key says so in its file's name and is only a comment for Git: whoever takes a key
file by its plain name must not believe a thief. A key that anybody can sign for is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..schemas.errors import SignatureError
from ..schemas.manifests import Key, Member, Owner, Site
from .public_keys import allowed_signers_line, key_blob, to_pem

Format = Literal["pem", "ssh", "allowed-signers"]
ALLOWED_SIGNERS = "allowed_signers"
_ORDER = ("active", "retired", "compromised")


@dataclass(frozen=True)
class NamedKey:
    """A key, whose it is (`owner/name`), and the stem of its file's name."""

    holder: str
    stem: str
    public_key: str
    compromised: bool


def key_files(owners: Iterable[Owner], format: Format) -> dict[str, bytes]:  # noqa: A002
    """File names and their bytes: the keys of all members and sites of these owners.

    The first key of hospital's bob is `hospital.bob.pem`, the second `hospital.bob.2.pem`, a
    compromised one `hospital.bob.compromised.pem`; with `ssh` they end in `.pub`. The format
    `allowed-signers` is one file, in which the keys' principals are `owner/name`.
    """
    keys = sorted(_keys(owners), key=lambda named: named.stem)
    if format == "pem":
        return {f"{named.stem}.pem": to_pem(named.public_key) for named in keys}
    if format == "ssh":
        return {
            f"{named.stem}.pub": f"{named.public_key} {named.holder}\n".encode() for named in keys
        }
    return {ALLOWED_SIGNERS: "".join(map(_allowed_line, keys)).encode()}


def _keys(owners: Iterable[Owner]) -> Iterator[NamedKey]:
    """Every usable key; a member and a site of the same name share the count."""
    for owner in owners:
        held: dict[str, list[Key]] = {}
        holders: tuple[Member | Site, ...] = (*owner.spec.members, *owner.spec.sites)
        for holder in holders:
            held.setdefault(f"{owner.metadata.name}/{holder.name}", []).extend(holder.keys)
        for name, keys in held.items():
            yield from _named(name, [key for key in keys if _is_usable(key)])


def _named(holder: str, keys: list[Key]) -> Iterator[NamedKey]:
    counts = {False: 0, True: 0}
    for key in sorted(keys, key=lambda key: _ORDER.index(key.state)):
        compromised = key.state == "compromised"
        counts[compromised] += 1
        number = counts[compromised]
        stem = holder.replace("/", ".") + ".compromised" * compromised
        yield NamedKey(
            holder=holder,
            stem=stem if number == 1 else f"{stem}.{number}",
            public_key=key.public_key,
            compromised=compromised,
        )


def _is_usable(key: Key) -> bool:
    try:
        key_blob(key.public_key)
    except SignatureError:
        return False
    return True


def _allowed_line(named: NamedKey) -> str:
    line = allowed_signers_line(named.holder, named.public_key)
    return f"# compromised: {line}" if named.compromised else line
