"""What a cube can read of where this site's storage lies, and whether that tells whose it is.

A bind mount shows its source in `/proc/self/mountinfo`, below the root of its file system. No
engine's arguments change that: the kernel writes it, and what could hide it (a copy of the data for
each run, an overlay) is not to be had with every engine and caller. Folders of datasets and runs
have random names. What stays is the storage's own path, which only the site can choose: a neutral
one, or a file system of its own, of which nothing is shown but what lies below its root.
"""

import os
import pwd
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..runner.musts import Check
from .settings import Profile

MOUNTS = Path("/proc/self/mountinfo")
_SHORTEST = 3  # a host that is called `x` is in every path


def visible_path(folder: Path, mounts: str) -> str:
    """What a cube sees of `folder` when it is mounted, by a mountinfo's text."""
    found, longest = str(folder), -1
    for line in mounts.splitlines():
        root, point = (_plain(word) for word in line.split(" ")[3:5])
        inside = folder == Path(point) or Path(point) in folder.parents
        if inside and len(point) >= longest:  # of two at one place the later one is on top
            longest = len(point)
            found = str(Path(root) / folder.relative_to(point))
    return found


def _plain(word: str) -> str:
    """A word of mountinfo, where blanks and the like are written in octal."""
    for code in ("040", "011", "012", "134"):
        word = word.replace(f"\\{code}", chr(int(code, 8)))
    return word


def telling(visible: str, words: Iterable[str]) -> tuple[str, ...]:
    """Those of `words` that stand in a path, whatever their case."""
    path = visible.lower()
    return tuple(sorted({one for one in words if len(one) >= _SHORTEST and one.lower() in path}))


def own_words(profile: Profile) -> set[str]:
    """What would tell whose storage this is: the owner, its people and machines, user and host."""
    me = profile.me
    found = {me.owner, *(one.name for one in (me.member, me.site) if one is not None)}
    host = socket.gethostname()
    found |= {host, *host.split(".")[:1]}
    with suppress(KeyError):
        found.add(pwd.getpwuid(os.getuid()).pw_name)
    return found - {"root"}


def check_path(profile: Profile, storage: Path, mounts: str | None = None) -> Check:
    """The point of `medperf doctor` about the storage's path: advice, never a must."""
    visible = visible_path(storage.resolve(), MOUNTS.read_text() if mounts is None else mounts)
    words = telling(visible, own_words(profile))
    text = "the path that cubes can read tells nothing"
    if not words:
        detail = f"they see {visible}: if that names you to others, choose a neutral folder"
        return Check(text, "ok", detail, must=False)
    detail = (
        f"they see {visible}, with {', '.join(words)}: 'medperf storage move /srv/medperf', or "
        "give the storage a file system of its own"
    )
    return Check(text, "not-enforced", detail, must=False)
