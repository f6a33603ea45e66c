"""The toy world of the reconciler's tests behind a small GitHub, with a token for everybody."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..reconciler.world import Template, World
from ..runner.test_assets import certificates
from .github_server import HOME, Lab, serve

MEDPERF = Path(sys.executable).with_name("medperf")
LOGINS = {"committee": "alice", "modeler": "max", "hospital": "ward-bot", "robot": "actions"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificates(tmp_path_factory.mktemp("tls"))


def token_of(name: str) -> str:
    return f"token-of-{name}"


@dataclass
class Town:
    """The world, the lab that serves it, and everybody's own surroundings."""

    world: World
    lab: Lab
    folder: Path
    authority: Path

    @property
    def url(self) -> str:
        return f"{self.lab.address}/{HOME}.git"

    def surroundings(self, name: str) -> dict[str, str]:
        """What `name`'s shell holds: his token, and where his Git finds it."""
        home = self.folder / "homes" / name
        if not home.exists():
            home.mkdir(parents=True)
            helper = "!f() { echo username=x; echo password=${FOR_GIT:-$GH_TOKEN}; }; f"
            (home / ".gitconfig").write_text(
                f'[credential]\n\thelper = "{helper}"\n[http]\n\tsslCAInfo = {self.authority}\n'
            )
        return {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "MEDPERF_HOME": str(self.world.folder / name),
            "GH_TOKEN": token_of(name),
            "GH_HOST": self.lab.address.removeprefix("https://"),
            "SSL_CERT_FILE": str(self.authority),
        }

    @contextmanager
    def acting(self, name: str) -> Iterator[None]:
        """This process as `name`."""
        with pytest.MonkeyPatch.context() as patch:
            for key, value in self.surroundings(name).items():
                patch.setenv(key, value)
            yield

    def types(self, name: str, *words: str, code: int = 0, **environ: Any) -> str:
        """What a command of `name` says; it must end with `code`."""
        done = subprocess.run(
            [MEDPERF, *words],
            env={**os.environ, **self.surroundings(name), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert token_of(name) not in said
        return said


@pytest.fixture
def town(template: Template, tmp_path: Path, certified: tuple[Path, Path]) -> Iterator[Town]:
    world = World(template, tmp_path / "world")
    lab = Lab(
        tmp_path / "hosted",
        {token_of(name): login for name, login in LOGINS.items()},
        pushers={"alice", "ward-bot", "actions"},
    )
    (lab.folder / "lab").mkdir(parents=True)
    (world.folder / "registry.git").rename(lab.folder / f"{HOME}.git")
    server = serve(lab, certified[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    town = Town(world, lab, tmp_path, certified[0])
    world.url = town.url
    for name in ("committee", "modeler", "hospital"):
        config = world.folder / name / "config.yaml"
        here = str(world.folder / "registry.git")
        config.write_text(config.read_text().replace(here, town.url))
    yield town
    world.close()
    server.shutdown()
    thread.join()
    server.server_close()
