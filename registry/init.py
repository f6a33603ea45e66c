"""Making a registry, and joining one.

The root commit of a registry holds all that the rules need to judge what follows: registry.yaml
with its id, the first owner with the first admin's key, and that admin's statements over both; it
is signed with his key (rule 6's exception for the root commit). Beside them lies what serves
people: schemas, CODEOWNERS, the validating workflow, a README.
"""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import __version__
from ..schemas.documents import dump, load, load_as
from ..schemas.errors import ConflictError, RegistryError, UsageError
from ..schemas.manifests import API_VERSION, Member, Owner, Site
from ..schemas.names import check_name
from . import paths
from .editing import edit
from .git import MAIN, Author, Repository
from .git_process import remote_address
from .release import ACTION, ACTION_COMMIT
from .statements import make_approval

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from .keys import Signer

_ROOM = (__package__ or "medperf.registry").rpartition(".")[0]


@dataclass(frozen=True)
class Holder:
    """A member or a site to be written into an owner's file, with the key it starts with.

    `forge` is a member's login at the forge, so that it can ask for his reviews.
    """

    name: str
    public_key: str
    forge: str | None = None


@dataclass(frozen=True)
class NewRegistry:
    """A registry just made: what a site compares out of band before it enrols."""

    url: str
    id: str
    root: str
    fingerprint: str


def init_registry(
    url: str,
    *,
    name: str,
    description: str,
    owner: str,
    member: str,
    signer: "Signer",
    approval: Literal["signed", "merge"] = "signed",
    owner_description: str = "",
    forge: str | None = None,
    site: Holder | None = None,
    registry_id: str | None = None,
    date: int | None = None,
) -> NewRegistry:
    """A new registry, pushed as the root commit of main to a new or an empty bare repository.

    1. Look: the address is empty, or a path where nothing is yet. Nothing is ever overwritten.
    2. Write all files, and read the documents among them as any reader will.
    3. Commit, signed with the admin's key, in a repository that goes away again.
    4. Push; only if main does not exist yet.
    """
    identity = registry_id or str(uuid.uuid4())
    content = registry_files(
        name=name,
        description=description,
        identity=identity,
        approval=approval,
        owner=owner,
        owner_description=owner_description,
        member=Holder(check_name(member, "member's name"), signer.public_key, forge),
        site=site,
        signer=signer,
    )
    check_vacant(url)
    local = _local_path(url)
    if local is not None and not (local / "HEAD").exists():
        Repository.create(local).close()
    with _scratch() as scratch:
        root = scratch.commit(
            [],
            None,
            content,
            message=f"Make the registry {name}\n\nIts id is {identity}.",
            author=Author.of(f"{owner}/{member}"),
            signer=signer,
            date=date,
        )
        try:
            scratch.push(url, {MAIN: (root, None)})
        except ConflictError as error:
            raise _not_empty(url) from error
    if local is not None:
        with Repository.open(local) as made:
            made.point_head(MAIN)
    return NewRegistry(url, identity, root, signer.fingerprint)


def check_vacant(url: str) -> None:
    """RegistryError unless there is nothing at `url` yet, or an empty repository."""
    local = _local_path(url)
    if local is not None and not (local / "HEAD").exists():
        half_made = {"objects", "refs", "config"}  # by somebody who was killed
        if local.exists() and not (
            local.is_dir() and {entry.name for entry in local.iterdir()} <= half_made
        ):
            raise _not_empty(url)
        return
    with _scratch() as scratch:
        if scratch.remote_refs(url):
            raise _not_empty(url)


@contextmanager
def _scratch() -> Iterator[Repository]:
    """A repository that goes away again."""
    with (
        tempfile.TemporaryDirectory(prefix="medperf-") as folder,
        Repository.create(Path(folder) / "registry.git") as scratch,
    ):
        yield scratch


def _local_path(url: str) -> Path | None:
    """The folder that `url` names, unless it is a URL or a host's path."""
    path = Path(remote_address(url))
    return path if path.is_absolute() else None


def _not_empty(url: str) -> RegistryError:
    return RegistryError(
        f"{url} is not empty, and a registry starts from nothing: name a path where nothing is "
        "yet, or an empty repository."
    )


def registry_files(
    *,
    name: str,
    description: str,
    identity: str,
    approval: str,
    owner: str,
    owner_description: str,
    member: Holder,
    site: Holder | None,
    signer: "Signer",
) -> dict[str, bytes]:
    """Path and bytes of every file of a new registry."""
    by = f"{check_name(owner, 'owner')}/{member.name}"
    registry = dump(
        {
            "apiVersion": API_VERSION,
            "kind": "Registry",
            "metadata": {"name": name, "description": description},
            "spec": {
                "id": identity,
                "serial": 1,
                "approval": approval,
                "admins": {"threshold": 1, "members": [by]},
            },
        }
    )
    documents = {
        paths.REGISTRY: registry,
        paths.owner_path(owner): _owner_file(owner, owner_description or owner, member, site),
    }
    content = dict(documents)
    for path, data in documents.items():
        load(data, file=path)
        content |= _statement(path, data, 1, by=by, registry=identity, signer=signer)
    values = {
        "NAME": name,
        "DESCRIPTION": " ".join(description.split()),
        "ID": identity,
        "ADMIN": by,
        "FINGERPRINT": signer.fingerprint,
        "REVIEWER": f"@{member.forge}" if member.forge else "",
        "VERSION": __version__,
    }
    return content | schema_files() | template_files(values)


def schema_files() -> dict[str, bytes]:
    """The JSON Schemas that editors and other people's tools read, by their path in a registry."""
    folder = files(f"{_ROOM}.schemas")
    return {
        f"schemas/{entry.name}": entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".json")
    }


def template_files(values: Mapping[str, str]) -> dict[str, bytes]:
    """The files of registry/templates with each `@WORD@` filled in, by their path in a registry."""
    found: dict[str, bytes] = {}
    values = {"ACTION": f"{ACTION}@{ACTION_COMMIT}", **values}
    for path, entry in _walk(files(f"{_ROOM}.registry") / "templates", ""):
        text = entry.read_text(encoding="utf-8")
        for word, value in values.items():
            text = text.replace(f"@{word}@", value)
        if path == "CODEOWNERS" and not values.get("REVIEWER"):
            # A line without an owner would mean: nobody. Better none until a login is known.
            text = "".join(
                line if line.startswith("#") else f"# {line}" for line in text.splitlines(True)
            )
        # Packages leave out folders that start with a dot, hence `github`.
        found[path.replace("github/", ".github/", 1)] = text.encode()
    return found


def _walk(folder: "Traversable", prefix: str) -> "list[tuple[str, Traversable]]":
    found: list[tuple[str, Traversable]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry))
    return found


def join_changes(
    existing: bytes | None,
    *,
    registry: str,
    owner: str,
    by: str,
    signer: "Signer",
    description: str = "",
    member: Holder | None = None,
    site: Holder | None = None,
) -> dict[str, bytes]:
    """What a proposal must hold so that a member or a site joins: the owner's file and a statement.

    `existing` are the bytes of the owner's file; None makes a new owner, whose first member signs
    for himself. `registry` is the registry's id, `by` the member (owner/member) who signs.
    """
    path = paths.owner_path(check_name(owner, "owner"))
    if existing is None:
        if member is None or f"{owner}/{member.name}" != by:
            raise UsageError(f"A new owner starts with the member who signs: join as {by}.")
        if member.public_key != signer.public_key:
            raise UsageError(f"The key of {by} is another one than the key that signs.")
        data = _owner_file(owner, description or owner, member, site)
        load(data, file=path)
    else:
        data = _with_holders(existing, path, member, site)
    serial = load_as(data, Owner, file=path).spec.serial
    return {path: data, **_statement(path, data, serial, by=by, registry=registry, signer=signer)}


def _with_holders(existing: bytes, path: str, member: Holder | None, site: Holder | None) -> bytes:
    if member is None and site is None:
        raise UsageError("Say who joins: a member, a site, or both.")
    spec = load_as(existing, Owner, file=path).spec
    holders: tuple[Member | Site, ...] = (*spec.members, *spec.sites)
    keys = {key.public_key for one in holders for key in one.keys}
    asked: tuple[tuple[Holder | None, Sequence[Member | Site], str], ...] = (
        (member, spec.members, "member"),
        (site, spec.sites, "site"),
    )
    for holder, there, what in asked:
        if holder is None:
            continue
        if any(one.name == holder.name for one in there):
            raise UsageError(
                f"{path} has a {what} {holder.name} already: `medperf owner add-key` adds a key."
            )
        if holder.public_key in keys:
            raise UsageError(f"{path} has this key already: each member and site has its own.")
        keys.add(holder.public_key)

    def add(content: dict[str, Any]) -> None:
        if member is not None:
            content["spec"]["members"].append(_entry(member))
        if site is not None:
            # An empty list stands as `[]`; a new one is written in block style, an item a line.
            present = content["spec"]["sites"]
            if present:
                present.append(_entry(site))
            else:
                content["spec"]["sites"] = [_entry(site)]

    return edit(existing, add, file=path)


def _owner_file(owner: str, description: str, member: Holder, site: Holder | None) -> bytes:
    spec: dict[str, Any] = {"serial": 1, "members": [_entry(member)], "sites": []}
    if site is not None:
        if site.public_key == member.public_key:
            raise UsageError(f"The site {site.name} needs a key of its own, not a person's.")
        spec["sites"] = [_entry(site)]
    return dump(
        {
            "apiVersion": API_VERSION,
            "kind": "Owner",
            "metadata": {"name": owner, "description": description},
            "spec": spec,
        }
    )


def _entry(holder: Holder) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": holder.name}
    if holder.forge:
        entry["forge"] = holder.forge
    keys: Sequence[Mapping[str, str]] = [{"publicKey": holder.public_key, "state": "active"}]
    return entry | {"keys": list(keys)}


def _statement(
    path: str, data: bytes, n: int, *, by: str, registry: str, signer: "Signer"
) -> dict[str, bytes]:
    owner, _, member = by.partition("/")
    name = path.rpartition("/")[2]
    bundle = make_approval(signer, by=by, registry=registry, subject_name=name, data=data)
    return {paths.statement_path(path, n, owner, member): bundle}
