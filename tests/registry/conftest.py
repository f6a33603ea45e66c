"""Registries for the tests of this folder: the usual one, copied so it is there quickly, or new."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .world import World, everything


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = everything(World(tmp_path_factory.mktemp("template")))
    yield made
    made.close()


@pytest.fixture
def world(template: World, tmp_path: Path) -> Iterator[World]:
    """The usual registry: see `everything`."""
    made = template.copy(tmp_path)
    yield made
    made.close()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes a registry with nothing but its root commit."""
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
