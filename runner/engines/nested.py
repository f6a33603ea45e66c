"""Mounts below other mounts: which lies in which, and where the inner one's place comes from.

A file or folder can only be mounted where there is one. Below an output the place is made in the
empty folder that the task writes to. A file is taken away again when the task has ended; an empty
folder stays, as with MedPerf: no hash counts it, and a cube that writes `/d` and `/d/labels` may
read the same two later. Below an input nothing may be made: the place must be in the data already,
as that kind, not through a link; the mount then hides what is there.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...schemas.errors import EngineError
from .protocol import Mount


@dataclass(frozen=True)
class Nested:
    """A mount that lies in another, the innermost one around it, and its place in there."""

    inner: Mount
    outer: Mount
    place: PurePosixPath


def nested(mounts: Iterable[Mount]) -> list[Nested]:
    """Each mount that lies in another, the outer ones first."""
    found: list[Nested] = []
    around: list[Mount] = []
    for mount in sorted(mounts, key=lambda mount: PurePosixPath(mount.target).parts):
        target = PurePosixPath(mount.target)
        while around and not target.is_relative_to(around[-1].target):
            around.pop()
        if around:
            found.append(Nested(mount, around[-1], target.relative_to(around[-1].target)))
        around.append(mount)
    return found


def check_nested(mounts: Iterable[Mount]) -> None:
    """EngineError if a mount lies in a file, or in an input that has no place for it."""
    for one in nested(mounts):
        if one.outer.kind != "directory":
            raise EngineError(f"{one.inner.target} lies in {one.outer.target}, which is a file.")
        if not one.outer.writable and not _is_there(one):
            raise EngineError(
                f"{one.inner.target} lies in {one.outer.target}, where nothing may be made, and "
                f"what is given there has no {one.inner.kind} {str(one.place)!r}. Mount it "
                "elsewhere."
            )


def _is_there(one: Nested) -> bool:
    path, parts = one.outer.source, one.place.parts
    for number, part in enumerate(parts, start=1):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except OSError:
            return False
        folder = number < len(parts) or one.inner.kind == "directory"
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            return False
    return True


@dataclass(frozen=True)
class Made:
    """What is made below an output so that something can be mounted there: see `made_below`.

    `stays`: it is a folder's own place, not a file's and not on the way to one.
    """

    path: PurePosixPath
    is_folder: bool
    stays: bool = False


def made_below(output: Mount, mounts: Iterable[Mount]) -> list[Made]:
    """The places that this output lacks, with the folders on the way, outer ones first.

    What the output begins with (its seed) may have them already: that stays.
    """
    found: dict[PurePosixPath, Made] = {}
    for one in nested(mounts):
        if one.outer is not output:
            continue
        for end in range(1, len(one.place.parts) + 1):
            path = PurePosixPath(*one.place.parts[:end])
            if output.seed is not None and os.path.lexists(output.seed / path):
                continue
            last, folder = end == len(one.place.parts), one.inner.kind == "directory"
            if last or path not in found:
                found[path] = Made(path, folder or not last, stays=last and folder)
    return list(found.values())


def make(folder: Path, places: Iterable[Made], owner: tuple[int, int] | None) -> None:
    """Make the places in an output's folder before the task begins."""
    for place in places:
        path = folder / place.path
        try:
            if place.is_folder:
                path.mkdir(mode=0o700, exist_ok=True)
            else:
                path.touch(mode=0o600)
            if owner is not None:
                os.chown(path, *owner, follow_symlinks=False)
        except OSError as error:
            raise EngineError(
                f"What an output begins with leaves no room for the mount {place.path}: {error}."
            ) from error


def unmake(folder: Path, places: Iterable[Made]) -> None:
    """Take files' places away again, and what was made for them, where it is still empty."""
    for place in reversed([place for place in places if not place.stays]):
        path = folder / place.path
        try:
            mode = path.lstat()
        except OSError:
            continue
        if place.is_folder and stat.S_ISDIR(mode.st_mode) and not any(path.iterdir()):
            path.rmdir()
        elif not place.is_folder and stat.S_ISREG(mode.st_mode) and mode.st_size == 0:
            path.unlink()
