"""Enrolment: what a site pins of a registry when it first trusts it (design §6).

The address, the registry's id, the root commit, its admins' fingerprints and the approval mode are
shown for comparison out of band; from then on every view is verified from there.
"""

from pathlib import Path

from ..registry.git import Repository
from ..registry.paths import REGISTRY
from ..registry.public_keys import fingerprint
from ..schemas.documents import load_as
from ..schemas.errors import RegistryError
from ..schemas.manifests import Owner, Registry
from .settings import Enrolment
from .workplace import MAIN


def look_up(url: str, clone: Path) -> tuple[Enrolment, Registry]:
    """What there is to pin at `url`, fetched into `clone`, and its registry.yaml at the root."""
    with Repository.create(clone) as repository:
        repository.fetch(url, [f"+refs/heads/main:{MAIN}"])
        tip = repository.resolve(MAIN)
        if tip is None:
            raise RegistryError(f"{url} has no branch main: is it a MedPerf registry?")
        root = repository.chain(tip)[0].commit
        return enrolment_of(repository, url, root)


def enrolment_of(repository: Repository, url: str, root: str) -> tuple[Enrolment, Registry]:
    """What there is to pin at the root commit `root`."""
    data = repository.file(root, REGISTRY)
    if data is None:
        raise RegistryError(
            f"The first commit of {url} has no {REGISTRY}: it was not made by "
            "'medperf registry init', so nothing in it can be trusted."
        )
    registry = load_as(data, Registry, file=REGISTRY)
    admins = []
    for by in registry.spec.admins.members:
        owner, _, name = by.partition("/")
        path = f"owners/{owner}.yaml"
        owner_data = repository.file(root, path)
        if owner_data is None:
            raise RegistryError(f"The first commit of {url} names admin {by} but has no {path}.")
        members = load_as(owner_data, Owner, file=path).spec.members
        keys = [key for member in members if member.name == name for key in member.keys]
        admins += [fingerprint(key.public_key) for key in keys if key.state == "active"]
    enrolment = Enrolment(
        url=url,
        id=registry.spec.id,
        root=root,
        admins=tuple(admins),
        approval=registry.spec.approval,
    )
    return enrolment, registry
