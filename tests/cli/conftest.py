"""A command line in this process: three people at their desks in a small, real registry."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medperf.cli.app import run

from ..reconciler.world import Template, World


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON: nothing else may be on it."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Both streams, each run of spaces and line ends as one space."""
        return " ".join((self.out + " " + self.err).split())


Types = Callable[..., Answer]


@pytest.fixture
def types(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Types:
    """`types("plan", "--json", home=folder)`: a command as typed in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def type_(*words: str, home: Path | None = None) -> Answer:
        if home is not None:
            monkeypatch.setenv("MEDPERF_HOME", str(home))
        capsys.readouterr()
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return type_


@dataclass(frozen=True)
class Desks:
    """The world, and its people's command lines."""

    world: World
    types: Types

    def committee(self, *words: str) -> Answer:
        return self.types(*words, home=self.world.folder / "committee")

    def modeler(self, *words: str) -> Answer:
        return self.types(*words, home=self.world.folder / "modeler")

    def hospital(self, *words: str) -> Answer:
        return self.types(*words, home=self.world.folder / "hospital")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def desks(template: Template, tmp_path: Path, types: Types) -> Iterator[Desks]:
    """Everybody's desk; the hospital's reference run is due, nothing is published yet."""
    world = World(template, tmp_path / "world")
    yield Desks(world, types)
    world.close()


@pytest.fixture
def published(desks: Desks) -> Desks:
    """The same, with the reference model's result merged."""
    assert desks.hospital("reconcile").code == 0
    assert desks.hospital("result", "submit", "--all", "-y").code == 0
    assert desks.committee("proposal", "merge", "sites/hospital/ward", "-y").code == 0
    return desks
