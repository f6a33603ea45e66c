"""What is proven about a registry, or about one result, and by whom: for people, and offline.

A clone of the registry is all that is needed; nothing is asked of a network or of a site.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..schemas.digests import digest
from ..schemas.errors import InvalidDocumentError, RegistryError, StalledError
from .handover import handed_over
from .ledger import Note, ResultState
from .view import Pinned, View, open_view

if TYPE_CHECKING:
    from .git import Repository
    from .index import Index


@dataclass(frozen=True)
class Report:
    """What verifying a whole registry found: how much was checked, and what is not in order."""

    tip: str
    root: str
    commits: int
    statements: int
    results: int
    valid_results: int
    stalled: str
    problems: tuple[str, ...]
    notes: tuple[Note, ...]
    handovers: tuple[str, ...]
    pending: Mapping[str, tuple[str, ...]]

    @property
    def accepted(self) -> bool:
        """Whether the history holds and every result is valid or withdrawn."""
        return not self.stalled and not self.problems


def verify_registry(repository: "Repository", tip: str, pinned: Pinned | None = None) -> Report:
    """Every commit, statement and result of a registry, checked; a stall is told, not raised."""
    from .index import Index

    # in a private file, so that memory does not grow with the registry
    with Index() as index:
        return _report(repository, tip, pinned, index)


def _report(repository: "Repository", tip: str, pinned: Pinned | None, index: "Index") -> Report:
    try:
        view = open_view(repository, tip, pinned=pinned, index=index)
    except StalledError as error:
        return Report(tip, "", 0, 0, 0, 0, str(error), (str(error),), (), (), {})
    except RegistryError as error:
        return Report(tip, "", 0, 0, 0, 0, str(error), (str(error),), (), (), {})
    ledger = view.ledger
    invalid = [
        f"{state.path}: {'; '.join(state.reasons)}"
        for state in ledger.results.values()
        if state.answer == "invalid"
    ]
    valid = sum(state.answer == "valid" for state in ledger.results.values())
    return Report(
        tip,
        ledger.commits[0],
        len(ledger.commits),
        ledger.checked.get("statements", 0),
        len(ledger.results),
        valid,
        "",
        tuple(invalid),
        view.notes,
        tuple(
            f"the admins have put this history in the place of the one from {one.commits[0][:12]} "
            f"to {one.commits[-1][:12]}: {one.reason}"
            for one in handed_over(repository, tip, ledger.commits).all
        ),
        dict(view.pending),
    )


@dataclass(frozen=True)
class Explanation:
    """What is known of one result file: the answer, what proves it, what speaks against it."""

    answer: str
    path: str
    proven: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it is a valid result of this registry."""
        return self.answer == "valid"


def verify_result(view: View, result: str | bytes) -> Explanation:
    """What is proven of a result, given by its path in the registry or by its bytes.

    The answer is valid, invalid, withdrawn, or `unknown` where the registry has no such file.
    """
    if isinstance(result, str):
        state = view.result(result)
        if state is None:
            return Explanation(
                "unknown", result, against=("there is no such file in the registry",)
            )
        return _explain(view, state)
    return _of_bytes(view, result)


def _of_bytes(view: View, data: bytes) -> Explanation:
    """What a result's own pins and run key say where it lies; else what the registry has there."""
    from ..schemas import documents, manifests
    from .paths import result_path

    try:
        spec = documents.load_as(data, manifests.Result, file="the file").spec
    except InvalidDocumentError as error:
        found = f"it is no valid result: {error}"
        return Explanation("unknown", "", against=(found,))
    path = result_path(spec.benchmark.ref, spec.dataset.ref, spec.model.ref, spec.run_key)
    item = view.file(path)
    if item is not None and item.digest == digest(data):
        return _explain(view, view.ledger.results[path])
    if view.result(path) is not None:
        return Explanation("unknown", path, against=("the registry has other bytes at its path",))
    return Explanation("unknown", path, against=("the registry has no such result",))


def _explain(view: View, state: ResultState) -> Explanation:
    if state.answer == "invalid":
        return Explanation("invalid", state.path, against=state.reasons)
    item = view.result_item(state.path)
    spec, commit = item.manifest.spec, view.ledger.commits[state.index]
    proven = [
        f"these bytes, {item.digest}, came to main with commit {commit[:12]} and never changed",
        f"{state.signed_by}, a site of the dataset's owner, has signed them with {state.key}",
        f"its run key is that of {spec.benchmark.ref}, {spec.dataset.ref} and {spec.model.ref} "
        f"as pinned, in the registry {spec.registry.id}",
        *(f"{path} was approved by then, {words}" for path, words in state.approvals),
    ]
    if state.answer == "withdrawn":
        known = proven if state.signed_by else proven[:1]
        return Explanation("withdrawn", state.path, tuple(known), state.reasons)
    marks = {
        "revoked": "an association that let it be was revoked since",
        "superseded": "an association that let it be is in another round since, or not approved",
    }
    standing = view.standing(state.path)
    against = (marks[standing],) if standing in marks else ()
    return Explanation("valid", state.path, tuple(proven), against)
