"""Results whose proposal was closed with medperf: a person is asked for their release once more.

`medperf proposal close` takes the branch away and leaves a record with the reason, so a result that
somebody had released would be proposed again by the next pass, and the next. Instead what he said
is taken back: the run awaits its release as before, with the reason. Where results leave without a
person, nothing is asked, and they are proposed again. The records are fetched only where something
is about to be published; those that were looked at are listed beside the clone.
"""

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping

from ..registry.forges.taking import take_over
from ..registry.git import Repository
from ..registry.paths import result_path
from ..schemas.errors import RegistryError
from .plan import PlannedRun, Step
from .proposed import added
from .workplace import MAIN, Workplace

_CLOSED = "refs/medperf/closed/sites"
_FILE = "medperf-closed-records"
_MOST = 300  # letters of a reason


def ask_again(
    place: Workplace, runs: tuple[PlannedRun, ...], *, say: Callable[[str], None]
) -> bool:
    """Takes back the release of what a closed proposal had; whether a plan is another one now."""
    released = {
        _path(run): run
        for run in runs
        if run.step is Step.PUBLISH and place.runs.record(run.pair).decision is not None
    }
    if not released or place.profile.me.site is None:
        return False
    where = f"{_CLOSED}/{place.owner}"
    repository = place.repository
    try:
        take_over(repository, place.url, [f"+{where}/*:{where}/*"])
    except RegistryError as error:
        say(f"Whether a proposal of results was closed is not known: {error}")
        return False
    known = _known(repository)
    records = {one for one in repository.refs(where).values() if one not in known}
    back = {
        path: reason for record in records for path, reason in _closed(repository, record).items()
    }
    for path in sorted(back.keys() & released.keys()):
        pair = released[path].pair
        say(f"The proposal of {pair.local_name} was closed: {back[path]}. It awaits its release.")
        change = {"decision": None, "returned": back[path]}
        place.runs.folder(pair).write(place.runs.record(pair).model_copy(update=change))
    if records:
        _remember(repository, known | records)
    return bool(back.keys() & released.keys())


def _path(run: PlannedRun) -> str:
    pair = run.pair
    return result_path(pair.benchmark, pair.dataset, pair.model, pair.key)


def _closed(repository: Repository, record: str) -> Mapping[str, str]:
    """The files that were on a closed proposal, each with the reason; of no record nothing."""
    heads, main = repository.parents(record), repository.resolve(MAIN)
    if len(heads) != 1 or main is None:
        return {}
    _, _, message = repository.commit_bytes(record).decode(errors="replace").partition("\n\n")
    reason = "".join(_harmless(message.partition("\n\n")[2]))
    return dict.fromkeys(added(repository, main, heads[0]) or (), reason or "no reason was given")


def _harmless(text: str) -> Iterator[str]:
    """A stranger's words as one line that a record may hold."""
    one_line = unicodedata.normalize("NFC", " ".join(text.split()))[:_MOST].rstrip(" .")
    yield from (letter if letter.isprintable() else "?" for letter in one_line)


def _known(repository: Repository) -> set[str]:
    file = repository.folder / _FILE
    return set(file.read_text().split()) if file.exists() else set()


def _remember(repository: Repository, records: set[str]) -> None:
    file = repository.folder / _FILE
    beside = file.with_name(f"{_FILE}.{os.getpid()}.tmp")
    beside.write_text("\n".join(sorted(records)) + "\n")
    beside.replace(file)
