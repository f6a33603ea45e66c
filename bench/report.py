"""The table of what was measured, printed and written to `bench/report.md`."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One row: what was measured, against which floor, and whether it reaches its target.

    `ok` is None where nothing was measured (`figure` says why) or no target is set.
    """

    name: str
    figure: str
    floor: str = ""
    target: str = ""
    ok: bool | None = None

    @property
    def mark(self) -> str:
        """The answer as a word."""
        return {True: "yes", False: "NO", None: "—"}[self.ok]


HEADERS = ("case", "measured", "floor in the same run", "target", "reached")


def row(case: Case) -> tuple[str, ...]:
    """A case as its cells."""
    return case.name, case.figure, case.floor, case.target, case.mark


def write(
    path: Path,
    cases: Iterable[Case],
    growth: Iterable[str],
    minutes: float,
    *,
    by: str = "make bench",
) -> None:
    """The report with machine and versions."""
    rows = [HEADERS, ("---",) * len(HEADERS), *map(row, cases)]
    lines = ["# What was measured", "", f"By `{by}`: medians of whole commands and calls.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    bars = list(growth)
    lines += ["", "## Growth", "", "```", *bars, "```"] if bars else []
    lines += ["", "## Machine", ""]
    lines += [f"- {line}" for line in machine()] + [f"- measured in {minutes:.1f} minutes"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def machine() -> list[str]:
    """What it was measured on."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    packages = ("click", "pydantic", "PyYAML", "GitPython", "cryptography", "jsonschema")
    return [
        f"{cpu}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {git.strip()}",
        ", ".join(f"{name} {version(name)}" for name in packages),
        f"load average at the end: {load}",
    ]


def bars(title: str, points: Iterable[tuple[int, float]], unit: str) -> list[str]:
    """One figure over sizes as bars of text."""
    known = list(points)
    most = max((value for _, value in known), default=0) or 1
    lines = [title]
    for size, value in known:
        lines.append(f"{size:>9,} {'#' * max(1, round(40 * value / most)):<40} {value:.3f} {unit}")
    return [*lines, ""]


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
