"""A listener for tests: what long work told, in the order in which it began."""

from medperf.schemas.progress import Work


class Recorder:
    """Keeps all work, and what has ended."""

    def __init__(self) -> None:
        self.begun: list[Work] = []
        self.ended: list[Work] = []

    def begin(self, work: Work) -> None:
        """Note it."""
        self.begun.append(work)

    def end(self, work: Work) -> None:
        """Note it."""
        self.ended.append(work)

    def told(self, what: str) -> list[tuple[int, int | None, str]]:
        """How far all work of this name came: done, in all, unit."""
        return [(one.done, one.total, one.unit) for one in self.ended if one.what.startswith(what)]
