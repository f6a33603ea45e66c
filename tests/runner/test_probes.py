"""Doctor: every must holds on every engine, for root and for an ordinary user; failures refuse."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import medperf
from medperf.runner.engines import Engine, LocalImage, Outcome, Task, open_engine
from medperf.runner.engines.rootfs import python_image
from medperf.runner.musts import MUSTS, Check
from medperf.runner.probes import doctor, refuse_if_unsafe
from medperf.schemas.errors import EngineError

NAMES = [
    pytest.param("sandbox", id="sandbox"),
    pytest.param("docker", id="docker", marks=pytest.mark.docker),
    pytest.param("singularity", id="singularity", marks=pytest.mark.singularity),
]
USER = 65534  # an account that every machine has: Apptainer asks for one


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where images are kept for the whole session."""
    return tmp_path_factory.mktemp("probe-images")


@pytest.mark.parametrize("name", NAMES)
def test_every_must_holds_and_limits_are_judged(name: str, store: Path) -> None:
    said: list[str] = []
    checks = doctor(open_engine(name), store=store, progress=said.append)
    refuse_if_unsafe(checks)
    musts = [check for check in checks if check.must]
    assert {check.requirement for check in musts} == set(MUSTS.values())
    assert all(check.state == "ok" for check in musts)
    limits = {check.requirement: check.state for check in checks if not check.must}
    assert limits["a limit of processes"] == "ok"
    if os.geteuid() == 0:
        assert limits["a limit of memory for the whole task"] == "ok"
        assert limits["a limit of bytes written"] == "ok"
        assert limits["a limit of files written"] == "ok"
    assert "trying what no task may do" in said


DRIVER = """
import sys
from pathlib import Path
from medperf.runner.engines import open_engine
from medperf.runner.probes import doctor, refuse_if_unsafe
refuse_if_unsafe(doctor(open_engine(sys.argv[1]), store=Path(sys.argv[2]), limits=False))
print("every must holds")
"""


def _user_words(name: str, folder: Path) -> list[str]:
    """A command line that runs Python as an ordinary user with this checkout and its packages."""
    python, setpriv = "/usr/bin/python3", shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None or not Path(python).exists():
        pytest.skip("only root with setpriv and the system's Python can become another user")
    import click

    packages = Path(click.__file__).parents[1]
    link = folder / "link"
    link.mkdir()
    (link / "medperf").symlink_to(Path(medperf.__file__).parent)
    groups = "--clear-groups"
    if name == "docker":
        groups = f"--groups={Path('/var/run/docker.sock').stat().st_gid}"
    words = [setpriv, f"--reuid={USER}", f"--regid={USER}", groups]
    words += ["env", "-i", f"PATH={os.environ['PATH']}", f"HOME={folder}"]
    words += [f"TMPDIR={folder}", f"PYTHONPATH={link}:{packages}", "PYTHONDONTWRITEBYTECODE=1"]
    words += [python]
    asked = [*words, "-c", "import click, medperf.runner.probes"]
    if subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("an ordinary user cannot read this checkout, or the system's Python is old")
    return words


@pytest.mark.parametrize("name", NAMES)
def test_every_must_holds_for_an_ordinary_user(name: str) -> None:
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        os.chown(folder, USER, USER)
        words = [*_user_words(name, folder), "-c", DRIVER, name, str(folder / "store")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
        assert done.stdout == "every must holds\n", done.stderr
    finally:
        shutil.rmtree(folder)


class _Leaky:
    """An engine that runs its tasks without any isolation, as a careless one would."""

    name = "sandbox"

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.probe = inner.probe

    def run(self, task: Task, **_: object) -> Outcome:
        del task
        return Outcome(1, "exit", 0.1, None, frozenset(), "nothing was tried", "It failed.")


def test_an_engine_whose_canary_does_not_report_is_refused(tmp_path: Path) -> None:
    leaky = _Leaky(open_engine("sandbox", state=tmp_path))
    checks = doctor(leaky, store=tmp_path / "store")  # type: ignore[arg-type]
    assert {check.state for check in checks if check.must} >= {"unknown"}
    with pytest.raises(EngineError, match="the canary did not report"):
        refuse_if_unsafe(checks)


def test_a_failed_must_refuses_and_a_missing_limit_does_not() -> None:
    ok = Check("no network", "ok", "", must=True)
    refuse_if_unsafe([ok, Check("a limit of memory", "not-enforced", "", must=False)])
    with pytest.raises(EngineError, match="never root: uid 0"):
        refuse_if_unsafe([ok, Check("never root", "failed", "uid 0", must=True)])


def test_the_canary_finds_what_is_open_outside_of_any_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medperf.runner import canary, planted_canaries

    monkeypatch.setattr(canary, "_INPUT", tmp_path)
    monkeypatch.setattr(canary, "_OUTPUT", tmp_path)
    (tmp_path / "file").write_text("input")
    (tmp_path / "private").write_text("private")
    through = {attempt for attempt, what in canary.inputs({}) if what is not None}
    assert {"write a new file beside the inputs", "rename an input"} & through
    assert {"move the inputs away", "move the outputs away"} <= through
    expect = {"variables": [], "strict": True, "values": {"HOME": "/nowhere"}}
    assert all(what for _, what in canary.environment(expect))
    assert next(what for _, what in canary.hostname({"hostname": "sandbox"})) is not None
    with planted_canaries._process("a mark"), planted_canaries._shared_memory() as memory:
        expect = {"mark": "a mark", "memory": memory}
        seen = {attempt: what for attempt, what in canary.processes(expect) if what is not None}
    assert {"see a process of the host", "attach memory that the host shares"} <= set(seen)
    list(canary.output({}))
    program = tmp_path / "setuid"
    assert program.stat().st_mode & stat.S_ISUID
    (tmp_path / "folder").chmod(0o700)


def test_an_interpreter_below_tmp_is_no_stranger_there_and_what_lies_beside_it_is(
    tmp_path: Path,
) -> None:
    from medperf.runner import canary

    place = tmp_path / "tmp"
    bound = str(place / "checkout" / ".venv")
    (place / "checkout" / ".venv" / "bin").mkdir(parents=True)
    assert canary.strangers(place, [bound]) == []
    (place / "checkout" / "notes").write_text("of the host")
    (place / "other").mkdir()
    assert canary.strangers(place, [bound]) == ["checkout/notes", "other"]
    assert canary.strangers(place, []) == ["checkout", "other"]


@pytest.mark.docker
def test_an_image_of_the_hosts_python_is_made_once(store: Path) -> None:
    engine = open_engine("docker")
    first, python = python_image(engine, store)
    assert isinstance(first, LocalImage)
    assert python.startswith("/")
    said: list[str] = []
    assert python_image(engine, store, progress=said.append)[0] == first
    assert said == []
