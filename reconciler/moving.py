"""Moving a site's storage to another place, so that a kill at any moment loses and doubles nothing.

In this order:

1. a note in the settings' folder says what goes where;
2. the storage is renamed, or on another file system copied beside the target, and the copy is
   renamed once it is whole;
3. the profile is told of the new place;
4. what a copy leaves at the old place is removed, then the note.

Whoever opens the profile next finds the note and finishes (`finish_move`): killed in step 2, the
old place counts and a half copy goes; killed later, the new one counts and the old one goes.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..schemas import progress
from ..schemas.errors import DataError, UsageError, WaitError
from .lock import locked
from .settings import Home, Profile
from .storing import size_of
from .workplace import Workplace

SPARE = 64 << 20  # what a copy leaves free, for the work of others


def move_storage(place: Workplace, target: Path) -> Path:
    """The storage, moved to the new folder `target`, and the profile told of it."""
    home, name, source = place.home, place.name, place.storage.resolve()
    target = target.absolute()
    check_target(source, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    place.close()
    with locked(source):
        note = _note(home, name)
        note.write_text(json.dumps({"from": str(source), "to": str(target)}))
        try:
            if target.exists():
                target.rmdir()
            _carry(source, target)
        except BaseException:
            _remove(_beside(target))
            note.unlink()
            raise
        _finish(home, name, source, target)
    return target


def check_target(source: Path, target: Path) -> None:
    """Whether the storage can go there; UsageError else, before anything is asked or done."""
    if not source.is_dir():
        raise UsageError(f"Nothing is stored at {source} yet, so there is nothing to move.")
    if target.resolve() == source.resolve():
        raise UsageError(f"The storage is at {target} already.")
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{target} lies in the storage itself: name a folder elsewhere.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty: name a new folder.")


def finish_move(home: Home, name: str, say: Callable[[str], None]) -> None:
    """Ends a move of this profile's storage that was killed; does nothing while one is at work."""
    note = _note(home, name)
    try:
        found = json.loads(note.read_text())
        source, target = Path(found["from"]), Path(found["to"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):  # killed while it was written: nothing was moved
        note.unlink(missing_ok=True)
        return
    here = target if (target / "lock").is_file() else source
    if not here.is_dir():
        raise DataError(
            f"A move of the storage from {source} to {target} was interrupted, and neither is "
            f"there now. Mount what holds it, or restore it; then give the command again."
        )
    try:
        with locked(here):
            if here == source:
                _remove(_beside(target))
                note.unlink(missing_ok=True)
                say(f"An interrupted move to {target} was undone: the storage is {source}.")
            else:
                say(f"Finishing an interrupted move: the storage is {target}.")
                _finish(home, name, source, target)
    except WaitError:
        if home.profile(name)[1].storage == str(target):
            return  # the mover is only clearing up behind itself
        raise


def _finish(home: Home, name: str, source: Path, target: Path) -> None:
    """Steps 3 and 4; may be done again."""
    _, profile = home.profile(name)
    told: Profile = profile.model_copy(update={"storage": str(target)})
    home.save(name, told)
    _remove(source)
    _note(home, name).unlink(missing_ok=True)


def _note(home: Home, name: str) -> Path:
    return home.path / f"moving.{name}.json"


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.medperf-moving")


def _carry(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise DataError(f"{source} cannot be moved to {target}: {error.strerror}.") from error
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """A copy beside the target's place, renamed once it is whole and on the disk."""
    beside, needed = _beside(target), size_of(source)
    _remove(beside)
    free = shutil.disk_usage(target.parent).free
    if free < needed + SPARE:
        raise DataError(
            f"The storage has {needed / 1e6:.0f} MB, and the disk of {target} has room for "
            f"{free / 1e6:.0f} MB: make room ('medperf storage cleanup'), or name another disk. "
            "Nothing was moved."
        )
    with progress.work("Copying the storage", needed) as work:

        def copy(one: str, other: str) -> object:
            done = shutil.copy2(one, other, follow_symlinks=False)
            work.advance(Path(one).lstat().st_size)
            return done

        try:
            shutil.copytree(source, beside, symlinks=True, copy_function=copy)
        except shutil.Error as error:
            first = error.args[0][0]
            raise DataError(
                f"{first[0]} cannot be copied to {target}: {first[2]}. Nothing was moved."
            ) from error
    if size_of(beside) < needed:
        raise DataError(f"The copy at {target} is not whole. Nothing was moved.")
    os.sync()
    beside.rename(target)


def _remove(folder: Path) -> None:
    """Removes a tree, read-only folders of unpacked archives included; what is gone is gone."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)
