"""A registry as one file: a Git bundle with main and the newest checkpoint, to verify offline.

A bundle holds the whole history, so whoever gets it proves everything that a site can prove; what
it cannot show is that nothing newer exists. `git clone FILE` reads it too.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..schemas.errors import RegistryError, UsageError
from .git import MAIN, Repository

if TYPE_CHECKING:
    from .view import View

CHECKPOINTS = "refs/heads/checkpoints"
_SIGN = b"# v"


def write_bundle(repository: Repository, view: "View", checkpoint: str | None, file: Path) -> int:
    """Writes what was verified at `view` to `file`; how many bytes that are."""
    if file.exists():
        raise UsageError(f"{file} exists: name a new file.")
    names = [MAIN]
    repository.set_ref(MAIN, view.tip)
    if checkpoint is not None:
        repository.set_ref(CHECKPOINTS, checkpoint)
        names.append(CHECKPOINTS)
    beside = file.with_name(f".{file.name}.tmp")
    try:
        repository._runner.run(
            "bundle", "create", "--quiet", str(beside.absolute()), "HEAD", *names
        )
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return file.stat().st_size


@contextmanager
def opened(path: Path) -> Iterator[tuple[Repository, str]]:
    """The registry in a clone or a bundle, and its main; a RegistryError if it is neither."""
    if not _is_bundle(path):
        with Repository.open(path) as repository:
            yield repository, _main(repository, path)
        return
    with (
        tempfile.TemporaryDirectory(prefix="medperf-") as folder,
        Repository.create(Path(folder) / "registry.git") as repository,
    ):
        repository.fetch(str(path.absolute()), [f"+{MAIN}:{MAIN}"])
        yield repository, _main(repository, path)


def _is_bundle(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGN)) == _SIGN


def _main(repository: Repository, path: Path) -> str:
    tip = repository.resolve(MAIN)
    if tip is None:
        raise RegistryError(f"{path} has no branch main: is it a clone or a bundle of a registry?")
    return tip
