"""The toy world of the reconciler's tests, for whole commands in processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..reconciler.world import Template, World


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(template: Template, tmp_path: Path) -> Iterator[World]:
    made = World(template, tmp_path / "world")
    yield made
    made.close()
