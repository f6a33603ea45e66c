"""Making a profile: enrolment shown for comparison, keys, storage, engine, settings."""

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ..registry.init import Holder, check_vacant, init_registry, join_changes
from ..registry.keys import AGENT, generate_key, load_signer
from ..registry.paths import owner_path
from ..registry.public_keys import strip_comment
from ..registry.view import View
from ..schemas.errors import EngineError, UsageError
from ..schemas.names import check_name
from .enrol import look_up
from .profile_fields import change
from .settings import Enrolment, Home, Identity, Me, Profile
from .workplace import Workplace

Passphrase = Callable[[], str]
NewPassphrase = Callable[[], str | None]


def address(registry: str) -> str:
    """A registry's address as settings keep it: a URL, or an absolute path."""
    if "://" in registry or (":" in registry and not Path(registry).exists()):
        return registry
    return os.path.normpath(Path(registry).expanduser().absolute())


def show_enrolment(home: Home, name: str, registry: str) -> tuple[Enrolment, str]:
    """What would be pinned at `registry`, and the words that a person compares."""
    config = home.read()
    url = address(registry)
    known = config.profiles.get(name) if config else None
    storage = home.resolve(known.storage) if known else home.path / name
    enrolment, described = look_up(url, storage / "registry.git")
    if known is not None and known.registry != enrolment:
        raise UsageError(
            f"Profile {name!r} already trusts another registry (id {known.registry.id}, "
            f"first commit {known.registry.root[:12]}): choose another --name."
        )
    admins = "\n".join(f"  admin's key   {one}" for one in enrolment.admins)
    mode = {
        "signed": "signed: what takes part is signed by the people who approve it",
        "merge": "merge: whoever can merge there is believed, without signatures",
    }[enrolment.approval]
    return enrolment, (
        f"Registry {described.metadata.name} at {url}\n"
        f"  id            {enrolment.id}\n"
        f"  first commit  {enrolment.root}\n"
        f"{admins}\n"
        f"  approval      {mode}"
    )


def log_in(
    home: Home,
    name: str,
    enrolment: Enrolment,
    *,
    owner: str,
    member: str | None,
    site: str | None,
    storage: str | None = None,
    engine: str | None = None,
    key: str | None = None,
    settings: Sequence[str] = (),
    joined: bool = False,
    passphrase: Passphrase | None = None,
    new_passphrase: NewPassphrase | None = None,
) -> str:
    """Writes the profile, makes the keys that are missing, and says what comes next."""
    check_name(owner, "owner's name")
    check_settings(settings)
    config = home.read()
    known = config.profiles.get(name) if config else None
    me = known.me if known else Me(owner=owner)
    if me.owner != owner:
        raise UsageError(f"Profile {name!r} acts for {me.owner}: choose another --name.")
    where = home.resolve(storage or (known.storage if known else name))
    _check_storage(home, name, enrolment, where)
    said: list[str] = []
    if member is not None:
        check_name(member, "member's name")
        identity = _identity(home, member, owner, key, said, passphrase, new_passphrase)
        me = me.model_copy(update={"member": identity})
    if site is not None:
        identity = _identity(home, check_name(site, "site's name"), owner, None, said)
        me = me.model_copy(update={"site": identity})
    profile = Profile.model_validate(
        {
            "registry": enrolment,
            "me": me,
            "storage": storage or (known.storage if known else name),
            "engine": engine or (known.engine if known else find_engine()),
            "policy": known.policy if known else {},
            "limits": known.limits if known else {},
            "notify": known.notify if known else {},
        }
    )
    home.save(name, change(profile, settings), activate=True)
    said.append(f"Profile {name!r} is written to {home.file} and is the active one.")
    if not joined:
        said.append("Next: 'medperf owner join' asks the admins to add your keys.")
    return "\n".join(said)


def _check_storage(home: Home, name: str, enrolment: Enrolment, storage: Path) -> None:
    """Two registries never share a storage: one's history would be judged as the other's."""
    config = home.read()
    for other, profile in (config.profiles if config else {}).items():
        same = home.resolve(profile.storage).resolve() == storage.resolve()
        if other != name and same and profile.registry.id != enrolment.id:
            raise UsageError(
                f"{storage} is the storage of the profile {other!r}, which is another registry's: "
                "say another --storage."
            )


def _identity(
    home: Home,
    name: str,
    owner: str,
    key: str | None,
    said: list[str],
    passphrase: Passphrase | None = None,
    new_passphrase: NewPassphrase | None = None,
) -> Identity:
    if key is not None:
        where = key if key == AGENT else str(Path(key).expanduser().absolute())
        load_signer(where, passphrase=passphrase)
        return Identity(name=name, key=where)
    path = f"keys/{owner}.{name}"
    file = home.resolve(path)
    if not file.exists():
        signer = generate_key(file, new_passphrase() if new_passphrase else None)
        said.append(f"A new key for {owner}/{name}: {file} ({signer.fingerprint}). Keep it safe.")
    return Identity(name=name, key=path)


def public_key(home: Home, identity: Identity) -> str:
    """The public half of a profile's key, without opening the private one where that can be."""
    if identity.key != AGENT:
        public = home.resolve(identity.key + ".pub")
        if public.is_file():
            return strip_comment(public.read_text().strip())
        return load_signer(home.resolve(identity.key)).public_key
    return load_signer(AGENT).public_key


def check_settings(settings: Sequence[str]) -> None:
    """UsageError for a setting that no profile can have, before anything is made."""
    enrolment = {"url": "-", "id": str(uuid.uuid4()), "root": "0" * 40, "approval": "signed"}
    blank = {
        "registry": {**enrolment, "admins": ["SHA256:" + "A" * 43]},
        "me": {"owner": "nobody"},
        "storage": "default",
        "engine": "sandbox",
    }
    change(Profile.model_validate(blank), settings)


def find_engine() -> str:
    """The first engine that works here: Docker, then Singularity, then the sandbox."""
    from ..runner.engines import open_engine

    for name in ("docker", "singularity"):
        try:
            open_engine(name).probe()
        except EngineError:
            continue
        return name
    return "sandbox"


def found_registry(
    home: Home,
    name: str,
    url: str,
    *,
    description: str,
    owner: str,
    member: str,
    approval: Literal["signed", "merge"],
    storage: str | None,
    engine: str | None,
    key: str | None,
    settings: Sequence[str],
    profile: str = "default",
    passphrase: Passphrase | None = None,
    new_passphrase: NewPassphrase | None = None,
) -> str:
    """Makes the admin's key, the registry and the profile, and says what was made."""
    check_name(owner, "owner's name")
    check_settings(settings)
    config = home.read()
    if config is not None and profile in config.profiles:
        raise UsageError(
            f"Profile {profile!r} is in use already: choose another --profile-name for this one."
        )
    said: list[str] = []
    where = address(url)
    check_name(member, "member's name")
    check_vacant(where)
    identity = _identity(home, member, owner, key, said, passphrase, new_passphrase)
    source = identity.key if identity.key == AGENT else home.resolve(identity.key)
    made = init_registry(
        where,
        name=check_name(name, "registry's name"),
        description=description or name,
        owner=owner,
        member=member,
        approval=approval,
        signer=load_signer(source, passphrase=passphrase),
    )
    enrolment = Enrolment(
        url=where, id=made.id, root=made.root, admins=(made.fingerprint,), approval=approval
    )
    said.append(
        f"The registry {name} is made at {where}. Tell the people who join, on another way:\n"
        f"  id            {made.id}\n"
        f"  first commit  {made.root}\n"
        f"  admin's key   {made.fingerprint}"
    )
    said.append(
        log_in(
            home,
            profile,
            enrolment,
            owner=owner,
            member=member,
            site=None,
            storage=storage,
            engine=engine,
            key=key,
            settings=settings,
            joined=True,
            passphrase=passphrase,
        )
    )
    return "\n".join(said)


def join_files(
    place: Workplace, view: View, *, description: str, forge: str | None
) -> dict[str, bytes]:
    """What a profile's member and site need in the registry: the owner's file and a statement."""
    me = place.profile.me
    existing = view.file(owner_path(me.owner))
    known = existing.manifest.spec if existing else None
    actor = place.member()
    members = {one.name for one in known.members} if known else set()
    sites = {one.name for one in known.sites} if known else set()
    member = site = None
    if me.member and me.member.name not in members:
        member = Holder(me.member.name, public_key(place.home, me.member), forge)
    if me.site and me.site.name not in sites:
        site = Holder(me.site.name, public_key(place.home, me.site))
    if member is None and site is None:
        raise UsageError(f"{me.owner} is in the registry with this member and site already.")
    return join_changes(
        existing.data if existing else None,
        registry=place.profile.registry.id,
        owner=me.owner,
        by=actor.by,
        signer=actor.signer,
        description=description,
        member=member,
        site=site,
    )
