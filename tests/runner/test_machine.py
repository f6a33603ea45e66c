"""How much memory this machine has for tasks."""

import os
from pathlib import Path

import pytest

from medperf.runner import machine


def test_memory_is_at_most_what_is_built_in() -> None:
    built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < machine.memory() <= built_in


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/job/step", {"job/memory.max": "4096", "job/step/memory.max": "max"}, [4096]),
        (
            "4:cpu,memory:/slurm/job\n1:cpu:/other",
            {"memory/slurm/memory.limit_in_bytes": "9", "memory/other/memory.limit_in_bytes": "1"},
            [9],
        ),
        ("0::/nowhere", {}, []),
    ],
)
def test_a_batch_systems_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], limits: list[int]
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert machine.group_limits(groups, tmp_path) == limits
