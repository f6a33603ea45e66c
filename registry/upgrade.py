"""What a registry lacks of the newest templates: the JSON Schemas and the workflows.

README.md and CODEOWNERS are people's own from the first day on and are left alone; so is every
workflow that is not ours. Nothing that a data site reads is ever changed here.
"""

from typing import TYPE_CHECKING

from .init import schema_files, template_files

if TYPE_CHECKING:
    from .git import Repository


def upgrade_changes(repository: "Repository", tip: str) -> dict[str, bytes]:
    """Path and newest bytes of each schema and workflow that the tree of `tip` has otherwise."""
    newest = schema_files() | {
        path: data
        for path, data in template_files({}).items()
        if path.startswith(".github/workflows/")
    }
    tree = repository.tree(tip)
    there = dict(repository.blobs({tree[path].oid for path in newest if path in tree}))
    return {
        path: data
        for path, data in newest.items()
        if path not in tree or there[tree[path].oid] != data
    }
