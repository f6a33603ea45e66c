"""Branches of results that were pushed, and whose proposal nobody may see yet.

Where a forge has pull requests, a branch is pushed first and then shown. A pass that ends between
the two (killed, or because the forge did not answer) has published nothing that a committee sees,
though its results stand on the site's branch. So each branch on its way has an empty file beside
the clone, made before it is pushed and taken away once it is shown.
"""

from urllib.parse import quote, unquote

from ..registry.git import Repository

_FOLDER = "medperf-unshown"


def on_its_way(repository: Repository, branch: str) -> None:
    """A branch is about to be pushed or shown: it stays noted until it is `shown`."""
    folder = repository.folder / _FOLDER
    folder.mkdir(exist_ok=True)
    (folder / quote(branch, safe="")).touch()


def unshown(repository: Repository) -> list[str]:
    """The branches that may have been pushed and not shown."""
    folder = repository.folder / _FOLDER
    return sorted(unquote(file.name) for file in folder.iterdir()) if folder.exists() else []


def shown(repository: Repository, branch: str) -> None:
    """A branch is shown, or there is nothing on it to show."""
    (repository.folder / _FOLDER / quote(branch, safe="")).unlink(missing_ok=True)
