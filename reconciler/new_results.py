"""Results that came since somebody last looked, for those who do not run them.

Who has models or a benchmark asks how many results there are of them that he has not seen. They
are counted from what main has now and had not then: one comparison of two trees in Git, and of the
results that concern him the ledger's answers. No result is read, and nothing that he has seen is
asked about again, so it costs what has come, however large the registry is.

Results of his own datasets are this site's runs, and told as such (`news.py`).
"""

from collections import Counter
from dataclasses import dataclass

from ..registry.git import Repository
from ..registry.paths import classify
from ..registry.view import View

_RESULTS = "results"


@dataclass(frozen=True)
class Counted:
    """How many results of a model of his, or (without one) of others' models in his benchmark."""

    benchmark: str
    model: str
    count: int
    withdrawn: bool = False

    @property
    def state(self) -> str:
        """How many and which, in two or three words."""
        noun = "result" if self.count == 1 else "results"
        return f"{self.count} {noun} withdrawn" if self.withdrawn else f"{self.count} new {noun}"

    @property
    def sentence(self) -> str:
        """One line, with the command that shows them."""
        shown = f"medperf result ls --benchmark {self.benchmark}"
        if self.model:
            whose = f"your model {self.model} in benchmark {self.benchmark}"
            shown += f" --model {self.model}"
        else:
            whose = f"others' models in your benchmark {self.benchmark}"
        if not self.withdrawn:
            return f"{self.state} of {whose}: {shown}"
        many = "result" if self.count == 1 else "results"
        was = "was" if self.count == 1 else "were"
        return f"{self.count} {many} of {whose} {was} withdrawn: {shown}"


def new_results(
    repository: Repository, view: View, owner: str, *, since: str, until: str
) -> tuple[Counted, ...]:
    """What of `owner`'s models and benchmarks came, or was withdrawn, between two commits of main.

    Nothing where `since` is none of this history: before a first look, or after a hand-over.
    """
    indices = view.ledger.index_of
    known, newest = indices.get(since), indices.get(until)
    if known is None or newest is None or known >= newest:
        return ()
    his: dict[str, bool] = {}  # which benchmarks he reviews
    found: Counter[tuple[str, str, bool]] = Counter()
    for path in _paths(repository, since, until):
        place = classify(path)
        if place.kind != "result" or place.dataset.startswith(f"{owner}/"):
            continue
        mine = place.model.startswith(f"{owner}/")
        if not mine:
            if place.benchmark not in his:
                his[place.benchmark] = reviews(view, owner, place.benchmark)
            if not his[place.benchmark]:
                continue
        state = view.results.get(path)
        if state is None or state.answer == "invalid":
            continue
        withdrawn = state.answer == "withdrawn"
        seen = state.index <= known
        if withdrawn and _withdrawn_at(view, path, place.dataset) <= known:
            continue  # told then; another statement came since
        # what came and went between two looks is neither; its commit says when it was complete
        if seen == withdrawn and state.index <= newest:
            found[place.benchmark, place.model if mine else "", withdrawn] += 1
    return tuple(
        Counted(benchmark, model, count, withdrawn)
        for (benchmark, model, withdrawn), count in sorted(found.items())
    )


def _paths(repository: Repository, since: str, until: str) -> set[str]:
    """The paths of the results of which a file is there now that was not: it, or a statement."""
    found = set()
    for path in repository.added(since, until, _RESULTS):
        folder, _, name = path.rpartition("/")
        found.add(f"{folder}/{name.partition('.')[0]}.yaml")
    return found


def _withdrawn_at(view: View, path: str, dataset: str) -> int:
    """The chain's commit from which on a withdrawn result is one."""
    owner = dataset.partition("/")[0]
    said = view.ledger.signatures(path)
    return min(one.index for one in said if (one.decision, one.owner) == ("revoke", owner))


def reviews(view: View, owner: str, benchmark: str) -> bool:
    """Whether a benchmark in force is `owner`'s, or he has a member in its committee."""
    if benchmark not in view.benchmarks:
        return False
    members = view.benchmark_settings(benchmark).committee.members
    return any(one.startswith(f"{owner}/") for one in (benchmark, *members))
