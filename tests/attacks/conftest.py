"""Two worlds to attack: a registry of statements and commits, and a site that runs toy cubes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..reconciler.world import Template
from ..reconciler.world import World as Site
from ..registry.world import World, everything


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = everything(World(tmp_path_factory.mktemp("registry")))
    yield made
    made.close()


@pytest.fixture
def world(registry_template: World, tmp_path: Path) -> Iterator[World]:
    """The usual registry: an approved model and an approved dataset."""
    made = registry_template.copy(tmp_path)
    yield made
    made.close()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes a registry with nothing but its root commit."""
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path / f"new{len(made)}", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def site_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(site_template: Template, tmp_path: Path) -> Iterator[Site]:
    """A hospital with a dataset, one run of which is due."""
    made = Site(site_template, tmp_path / "world")
    yield made
    made.close()
