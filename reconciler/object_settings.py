"""What may change of a cube or a dataset after its merge: deprecated, description, labels, mirrors.

One proposal: the settings file, new with serial 1 or edited in place with serial + 1. It takes no
statement: the commit that brings it in is signed by a member of the object's owner (design §5.2).
Nothing pins it, so nothing that has run is touched by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..registry.editing import edit
from ..registry.paths import settings_path
from ..registry.rules import number
from ..registry.view import View
from ..schemas.documents import load
from ..schemas.errors import UsageError
from ..schemas.manifests import API_VERSION
from .settings_changes import merge_mapping
from .submissions import Files, checked
from .workplace import Workplace

Kind = Literal["cube", "dataset"]


@dataclass(frozen=True)
class ObjectChange:
    """What shall be different; None, or nothing in it, leaves a field as it is."""

    deprecated: bool | None = None
    description: str | None = None
    labels: Mapping[str, str | None] | None = None
    mirrors: Sequence[tuple[str, str]] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == ObjectChange()


def object_settings_files(
    place: Workplace, view: View, kind: Kind, named: str, change: ObjectChange
) -> tuple[str, int, Files]:
    """The object meant, the new serial, and the one file; a UsageError where nothing would differ.

    Only its owner changes the settings of an object.
    """
    item = view.cube(named) if kind == "cube" else view.dataset(named)
    owner = item.ref.partition("/")[0]
    if owner != place.owner:
        raise UsageError(f"{item.ref} is {owner}'s: only its owner changes its settings.")
    path = settings_path(item.path)
    known = view.file(path)
    if known is None:
        document: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": "Settings",
            "spec": {"serial": 1},
        }
        _make(document, change)
        if document["spec"] == {"serial": 1}:
            raise UsageError(f"{item.ref} has no settings that this would change.")
        return item.ref, 1, {path: checked(path, document)}
    data = edit(known.data, lambda document: _make(document, change), file=path)
    before, after = load(known.data, file=path), load(data, file=path)
    if _without_serial(after.parsed.value) == _without_serial(before.parsed.value):
        raise UsageError(f"The settings of {item.ref} say all of this already.")
    return item.ref, number(after.manifest.spec), {path: data}


def _without_serial(document: Any) -> dict[str, Any]:
    return {name: value for name, value in document["spec"].items() if name != "serial"}


def _make(document: dict[str, Any], change: ObjectChange) -> None:
    spec = document["spec"]
    if change.deprecated is not None:
        spec["deprecated"] = change.deprecated
    if change.description is not None:
        spec["description"] = change.description
    merge_mapping(spec, "labels", dict(change.labels or {}))
    for digest, url in change.mirrors:
        urls = spec.setdefault("mirrors", {}).setdefault(digest, [])
        if url not in urls:
            urls.append(url)
