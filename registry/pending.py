"""New owners and benchmarks that wait for signatures, and the moment at which they need no more.

A file that is new is never accepted by being there: it is pending, with what it waits for, until
the signatures of rule 2 are complete. They may come with it or later.
"""

from . import rules
from .ledger import Ledger
from .paths import settings_path


def _pending(ledger: Ledger, folder: str, touched: set[str] | None) -> list[str]:
    """What waits below a folder, of the paths that something has happened to (None: of all)."""
    if touched is None:
        return sorted(path for path in ledger.pending if path.startswith(folder))
    here = [path for path in touched if path.startswith(folder)]
    return sorted(path for path in here if path in ledger.pending)


def settle_owners(ledger: Ledger, touched: set[str] | None = None) -> None:
    """Put pending owners in force whose signatures are complete."""
    for path in _pending(ledger, "owners/", touched):
        item = ledger.item(path)
        if item is None:
            continue
        waits = (
            ()
            if ledger.believed
            else rules.missing(
                rules.needs_of_new_owner(item.place.owner, ledger.spec), ledger.signatures(path)
            )
        )
        waits += tuple(f"another key: {problem}" for problem in ledger.taken_keys(item))
        ledger.pending[path] = waits
        if not waits:
            ledger.accept_owner(item)
            del ledger.pending[path]


def settle_benchmarks(ledger: Ledger, touched: set[str] | None = None) -> None:
    """Put pending benchmarks in force: signed, their first settings too, their cubes there."""
    for path in _pending(ledger, "benchmarks/", touched):
        item, settings = ledger.item(path), ledger.item(settings_path(path))
        if item is None:
            continue
        waits = ledger.benchmark_problems(item)
        if settings is None:
            waits += (f"{settings_path(path)} in its own commit",)
        elif not ledger.believed:
            needs = rules.needs_of_benchmark(item.place.owner, ledger.spec)
            waits += rules.missing(needs, ledger.signatures(path))
            over = rules.missing(needs, ledger.signatures(settings.path))
            waits += tuple(f"{one} (over its settings)" for one in over)
        ledger.pending[path] = waits
        if settings is not None and not waits:
            ledger.benchmarks[item.ref] = item
            ledger.settings[path] = settings
            del ledger.pending[path]
