"""Where this owner's result branches are, if its site may not push to the registry itself.

They are then in a fork of the site's own. Its address is kept beside the clone, so that a pass sees
what is proposed there with Git alone; lost, the next publishing learns it from the forge again.
"""

from ..registry.git import Repository
from ..schemas.errors import RegistryError

FORK = "refs/medperf/fork/"
_FILE = "medperf-fork"


def remember(repository: Repository, url: str, target: str) -> None:
    """That result branches go to `target`; nothing is kept where that is the registry, `url`."""
    file = repository.folder / _FILE
    if target == url:
        forget(repository)
    elif not file.exists() or file.read_text() != target:
        file.write_text(target)


def fork_address(repository: Repository) -> str:
    """Where this site's fork is; empty if none is known."""
    file = repository.folder / _FILE
    return file.read_text() if file.exists() else ""


def forget(repository: Repository) -> None:
    """No fork is known any more."""
    file = repository.folder / _FILE
    if file.exists():
        file.unlink()
        for ref in repository.refs(FORK.rstrip("/")):
            repository.set_ref(ref, None)


def fetch_fork(repository: Repository, owner: str) -> None:
    """Bring the clone up to the owner's result branches in the fork, if there is one.

    One that cannot be reached, as it is gone, is forgotten: what was proposed there is then
    proposed anew.
    """
    file = repository.folder / _FILE
    if not file.exists():
        return
    own = f"sites/{owner}/*"
    try:
        repository.fetch(file.read_text(), [f"+refs/heads/{own}:{FORK}{own}"])
    except RegistryError:
        forget(repository)
