"""Names of objects, and the nearest right one when a name is wrong.

A name is lower-case letters, digits and inner hyphens, at most 63; an object is `owner/name`.
The rule is design §3: names are path components on every file system and Git ref components too,
hence no Windows device names.
"""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

from .errors import UsageError

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)


def is_name(text: str) -> bool:
    """Whether `text` may name an owner, an object, a member or a site."""
    return bool(_NAME.match(text)) and text not in DEVICES


def check_name(text: str, what: str = "name") -> str:
    """`text`, if it is a name; else a UsageError that says what a name is."""
    if not is_name(text):
        raise UsageError(
            f"{text!r} is not a {what}: use lower-case letters, digits and inner hyphens, "
            "at most 63 characters, and no name that Windows keeps for devices."
        )
    return text


def split_ref(ref: str) -> tuple[str, str]:
    """`owner/name` as its two names; a UsageError for anything else."""
    return _split(ref)


@lru_cache(maxsize=4096)  # a registry names the same few objects over and over
def _split(ref: str) -> tuple[str, str]:
    owner, slash, name = ref.partition("/")
    if not (slash and is_name(owner) and is_name(name)):
        raise UsageError(f"{ref!r} is not the name of an object: write owner/name.")
    return owner, name


def nearest(wrong: str, right: Iterable[str], *, most: int = 3) -> list[str]:
    """The names most like `wrong`, best first; matches on the bare name count too."""
    names = sorted(right)
    tails: dict[str, list[str]] = {}
    for name in names:
        tails.setdefault(name.rpartition("/")[2], []).append(name)
    close = difflib.get_close_matches(wrong, names, n=most)
    for tail in difflib.get_close_matches(wrong.rpartition("/")[2], tails, n=most):
        close.extend(tails[tail])
    return list(dict.fromkeys(close))[:most]


def resolve(uid: str, refs: Iterable[str], what: str) -> str:
    """The one `owner/name` among `refs` that `uid` means.

    A bare name is accepted where only one object has it. Otherwise a UsageError with the nearest
    names; a number, as MedPerf's uids were, is answered the same way.
    """
    known = sorted(refs)
    if uid in known:
        return uid
    same = [ref for ref in known if ref.rpartition("/")[2] == uid]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"More than one {what} is called {uid!r}: write {' or '.join(same)}.")
    if uid.isdigit():
        hint = f"A {what} is called owner/name here, not by a number."
        close = known[:3]
    else:
        hint = f"There is no {what} {uid!r}."
        close = nearest(uid, known)
    if close:
        hint += f" Did you mean {' or '.join(close)}?"
    elif not known:
        hint += " None is there yet."
    raise UsageError(hint)
