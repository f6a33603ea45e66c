"""A dataset on this machine: raw, as somebody has it, or prepared, as its folder holds it.

`content.txt` is what makes a folder a prepared dataset: see `preparation`, which writes it last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .content import Content
from .engines.protocol import Outcome

CONTENT = "content.txt"
STATISTICS = "statistics.yaml"
REPORT = "report.yaml"


@dataclass(frozen=True)
class RawData:
    """Data and labels as somebody has them, not prepared yet."""

    data: Path
    labels: Path
    metadata: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its folder and what is in it.

    `labels` is None if the preparator keeps labels in the data; `labels_for_evaluation` is the
    data folder then.
    """

    folder: Path
    content: Content
    outcomes: Mapping[str, Outcome]

    @property
    def data(self) -> Path:
        """What models see."""
        return self.folder / "data"

    @property
    def labels(self) -> Path | None:
        """The labels, if the preparator keeps them apart."""
        return if_there(self.folder / "labels")

    @property
    def labels_for_evaluation(self) -> Path:
        """What evaluators get as labels."""
        return self.labels or self.data

    @property
    def metadata(self) -> Path | None:
        """The preparator's metadata, if it writes any."""
        return if_there(self.folder / "metadata")

    @property
    def report(self) -> Path | None:
        """The preparator's report, if it writes one."""
        return if_there(self.folder / REPORT)

    @property
    def statistics(self) -> Path:
        """The preparator's statistics; only what the disclosure check lets through may leave."""
        return self.folder / STATISTICS


def if_there(path: Path) -> Path | None:
    """The path, if there is something."""
    return path if path.exists() else None


def open_prepared(folder: Path) -> Prepared | None:
    """The prepared dataset in `folder`, None if its preparation has not ended."""
    try:
        lines = folder.joinpath(CONTENT).read_bytes()
    except FileNotFoundError:
        return None
    return Prepared(folder, Content.from_lines(lines), {})
