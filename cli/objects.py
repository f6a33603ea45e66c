"""How one object of the registry is shown."""

from typing import TYPE_CHECKING, Any

from .output import print_json, print_text

if TYPE_CHECKING:
    from ..registry.snapshot import Item


def show(item: "Item[Any]", *, as_json: bool) -> None:
    """A manifest as it is in the registry, with its digest."""
    if as_json:
        print_json({"path": item.path, "digest": item.digest, "manifest": item.manifest})
    else:
        print_text(f"# {item.path}\n# {item.digest}\n{item.data.decode().rstrip()}")
