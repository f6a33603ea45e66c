"""Every test that the attack suite's table names exists, and all code that the docs name."""

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


def test_every_place_in_the_code_that_the_security_page_names_exists() -> None:
    root = HERE.parents[1]
    text = (root / "docs" / "security.md").read_text()
    named = re.findall(r"`((?:schemas|registry|runner|reconciler|cli|tests)/[\w/.]*)`", text)
    assert len(set(named)) > 25
    assert [name for name in named if not (root / name).exists()] == []
