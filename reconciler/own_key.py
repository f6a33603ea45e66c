"""A signature by a key that the registry does not know under one's name counts nowhere."""

from ..registry.paths import owner_path
from ..registry.public_keys import fingerprint
from ..registry.view import View
from ..schemas.errors import KeyFileError
from ..schemas.manifests import OwnerSpec


def check_own_key(view: View, by: str, key: str) -> None:
    """Raise KeyFileError if `by` (owner/member or owner/site) is known, and not with `key` active.

    Who is not known yet may be about to join, so that is left to the rules. `key`: a fingerprint.
    """
    owner, _, name = by.partition("/")
    item = view.file(owner_path(owner))
    if item is None:
        return
    spec: OwnerSpec = item.manifest.spec
    people = [(one.name, one.keys) for one in spec.members]
    machines = [(one.name, one.keys) for one in spec.sites]
    for called, keys in (*people, *machines):
        known = {fingerprint(each.public_key): each.state for each in keys}
        if called != name or known.get(key) == "active":
            continue
        state = f"is {known[key]} there" if key in known else "is not one of them"
        active = ", ".join(mark for mark, state in known.items() if state == "active") or "none"
        raise KeyFileError(
            f"What {by} signs with {key} would not count: the registry knows other keys as active "
            f"({active}), and this one {state}. Name the right key file in config.yaml, or let the "
            "registry know this one: medperf owner add-key --help."
        )
