"""Whether a prepared dataset is still what was hashed, told by its files' states alone.

Hashing a hospital's data before each run may take hours; looking at each file's size, times and
inode takes seconds. So a full hash that found everything in order leaves a seal: a digest over
`<size> <mtime> <inode> <ctime> <path>` of every file. While the seal holds the bytes are believed;
it is broken by any change that a kernel sees, is no older than a week, and is not made where a file
was touched so recently that its times could not tell a later change. Whoever can set the clock and
write below the folder can deceive it: he owns the data, and the full hash is there on demand.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..schemas.errors import DataError
from .content import PREPARED, _walk, differences, tree_content

WEEK = 7 * 24 * 3600.0
_SETTLED = 2.0  # seconds after which a file's times tell every later change, also on coarse clocks
_NAME = "seal"


def changed(
    folder: Path, recorded: bytes, *, full: bool = False, now: float | None = None
) -> list[str]:
    """What of a prepared dataset differs from the recorded lines, a sentence each; [] if nothing.

    Only a broken, missing or old seal, or `full`, lets the bytes be read again. The sentences name
    files, so they are for the site alone.
    """
    moment = time.time() if now is None else now
    before, newest = _states(folder)
    if not full and _holds(folder / _NAME, recorded, before, moment):
        return []
    roots = [name for name in PREPARED if os.path.lexists(folder / name)]
    found = differences(recorded, tree_content(folder, roots).lines)
    settled = newest + _SETTLED < moment
    if not found and settled and _states(folder)[0] == before:
        _write(folder / _NAME, f"{_name_of(recorded)} {before} {int(moment)}\n")
    return found


def _holds(seal: Path, recorded: bytes, states: str, moment: float) -> bool:
    try:
        content, known, made = seal.read_text().split()
        age = moment - int(made)
    except (OSError, ValueError):
        return False
    return (content, known) == (_name_of(recorded), states) and 0 <= age < WEEK


def _name_of(recorded: bytes) -> str:
    return hashlib.sha256(recorded).hexdigest()


def _states(folder: Path) -> tuple[str, float]:
    """A digest over the states of all files, and the newest change among them."""
    if not folder.joinpath("data").is_dir():
        raise DataError(f"{folder} has no folder `data`: it is not a prepared dataset.")
    sha, newest = hashlib.sha256(), 0
    for path in sorted(_paths(folder)):
        try:
            state = os.lstat(os.path.join(folder, path))  # noqa: PTH118 - one of very many
        except OSError as error:
            raise DataError(f"{path!r} cannot be read: {error.strerror}.") from error
        newest = max(newest, state.st_ctime_ns)
        words = (state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns, path)
        sha.update(" ".join(map(str, words)).encode() + b"\n")
    return sha.hexdigest(), newest / 1e9


def _paths(folder: Path) -> Iterator[str]:
    for root in PREPARED:
        if os.path.lexists(folder / root):
            yield from _walk(str(folder), root, 0)


def _write(seal: Path, text: str) -> None:
    beside = seal.with_name(f"{seal.name}.{os.getpid()}.tmp")
    beside.write_text(text)
    beside.replace(seal)
