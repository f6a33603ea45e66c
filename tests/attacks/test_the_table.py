"""Every test that the attack suite's table names exists."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_test_of_the_table_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (HERE / "README.md").read_text())
    assert len(named) > 50
    missing = []
    for file, name in named:
        path = HERE.parents[1] / file if "/" in file else HERE / file
        if not path.is_file() or not re.search(rf"^def {name}\b", path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []
