"""For an auditor at the site: that a published result belongs to exactly these data (design §3).

A dataset's manifest holds a commitment, HMAC of the dataset's secret over its content hash. Who has
the secret and the prepared files can open it; nobody else learns anything from it.

1. The result is judged by the registry's rules: signed by a site, approved, unchanged.
2. The dataset that it pins is the one in the registry, with its commitment.
3. The files are hashed anew, and the secret makes the same commitment of them.
"""

import hmac
from dataclasses import dataclass
from pathlib import Path

from ..registry.verify import verify_result
from ..registry.view import View
from ..runner.content import content_hash
from ..schemas.digests import commitment, digest
from ..schemas.documents import load_as
from ..schemas.manifests import Result
from .datasets import LocalDataset
from .results import published_paths
from .withdrawing import result_called


@dataclass(frozen=True)
class Audit:
    """What is proven of a result and these data, and what speaks against it."""

    result: str
    dataset: str
    proven: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether this result belongs to these data."""
        return not self.against


def result_data(view: View, against: str) -> bytes:
    """The bytes of a result: a file, or the path, the run key's first digits or name of one."""
    if Path(against).is_file():
        return Path(against).read_bytes()
    paths = published_paths(view, run=against) if len(against) >= 6 else []
    items = [item for path in paths if (item := view.file(path)) is not None]
    found = [item for item in items if item.manifest.spec.run_key.startswith(against)]
    if len(found) == 1:
        data: bytes = found[0].data
        return data
    return view.result_item(result_called(view, against).path).data


def audit(view: View, dataset: LocalDataset, data: bytes) -> Audit:
    """Whether the result with these bytes was computed, as far as signatures go, from `dataset`."""
    verified = verify_result(view, data)
    spec = load_as(data, Result, file="the result").spec
    proven, against = list(verified.proven), []
    if verified.accepted:  # then what speaks against it is only that it is superseded or revoked
        proven += [f"it still is a valid result, although {one}" for one in verified.against]
    else:
        against = [f"the result is {verified.answer}", *verified.against]
    registered = view.datasets.get(spec.dataset.ref)
    if registered is None or digest(registered.data) != spec.dataset.digest:
        against.append(f"the registry has no {spec.dataset.ref} with the bytes that it pins")
        return Audit(verified.path, spec.dataset.ref, tuple(proven), tuple(against))
    published = registered.manifest.spec.commitment
    found = content_hash(dataset.path)
    if hmac.compare_digest(commitment(dataset.secret, found.hash), published):
        proven.append(
            f"the {found.files} files here, hashed now, and the dataset's secret make the "
            f"commitment {published[:16]}… that {spec.dataset.ref} published"
        )
    elif hmac.compare_digest(dataset.commitment(), published):
        against.append(
            f"the files of {spec.dataset.ref} have changed since they were prepared: "
            "'medperf dataset check' names them"
        )
    else:
        against.append(f"these data are not those that {spec.dataset.ref} published")
    return Audit(verified.path, spec.dataset.ref, tuple(proven), tuple(against))
