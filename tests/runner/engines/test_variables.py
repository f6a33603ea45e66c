"""A task's own variables: it sees exactly those, and they act on nothing of ours."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.engines import ImageSource, Mount, Task, open_engine
from medperf.runner.engines.checks import check_program
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import EngineError

HOSTILE = Path(__file__).parents[2] / "hostile"
MINE = {
    "PATH": "/opt/conda/bin:/usr/bin:/bin",
    "HOME": "/work of mine",
    "LD_LIBRARY_PATH": "/opt/own/lib:",
    "LD_BIND_NOW": "1",
    "HOSTNAME": "trainer",
    "BASH_ENV": "/nowhere",
    "DOCKER_HOST": "tcp://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "QUOTED": 'it\'s $HOME `id` "x"\nline',
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/hostile/preload.c as a library, in a folder that everybody can read."""
    return _compiled(tmp_path_factory.mktemp("preload") / "preload.so", "-shared", "-fPIC")


def _compiled(target: Path, *options: str, source: Path = HOSTILE / "preload.c") -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler `cc`")
    subprocess.run([compiler, *options, "-o", target, source], check=True)
    for parent in target.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return target


def test_a_task_sees_exactly_the_variables_that_it_set(bench: Any) -> None:
    outcome, out = bench.run("plain", json.dumps({}), environment=MINE)
    assert outcome.reason == "done", outcome
    told = json.loads((out / "seen.json").read_text())["environment"]
    assert {name: told.get(name) for name in MINE} == MINE


def test_a_library_that_is_preloaded_acts_behind_the_lock_only(
    bench: Any, library: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    words = {"LD_PRELOAD": f"{library}:/task/preload.so", "MARK_ON_HOST": str(mark)}
    subprocess.run([shutil.which("true") or "true"], env=words, check=True)
    assert mark.exists()  # so it would be told
    mark.unlink()
    outcome, _ = bench.run(
        "plain",
        json.dumps({}),
        environment=words,
        mounts=(Mount(library, "/task/preload.so", kind="file"),),
    )
    assert outcome.reason == "done", outcome
    assert not mark.exists()
    lines = [line for line in outcome.log_tail.splitlines() if line.startswith("LOADED|")]
    assert lines
    for line in lines:
        _, exe, uid, effective, _, rights = line.split("|")
        assert not {"bwrap", "prlimit", "setpriv", "starter", "apptainer"} & {Path(exe).name}
        assert uid == effective != "0"
        told = dict(entry.split(":", 1) for entry in rights.strip(";").split(";"))
        assert told["NoNewPrivs"].strip() == "1"
        assert told["Seccomp"].strip() == "2"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(told[name], 16) == 0, line
    if bench.engine.name != "docker":
        bounds = {int(line.split("|")[4]) for line in lines}
        assert bounds <= {64, 64 + 32}  # what the task may have, and Apptainer's own threads


@pytest.mark.docker
@pytest.mark.singularity
def test_an_image_without_any_program_of_its_own_gets_its_variables_too(tmp_path: Path) -> None:
    source = tmp_path / "show.c"
    source.write_text(
        "#include <stdio.h>\nextern char **environ;\n"
        "int main(int n, char **v) { for (int i = 1; i < n; i++) puts(v[i]);"
        " for (char **e = environ; *e; e++) puts(*e); return 0; }\n"
    )
    _compiled(tmp_path / "show", "-static", source=source)
    (tmp_path / "Dockerfile").write_text(
        'FROM scratch\nCOPY show /bin/show\nENV PATH=/bin\nENTRYPOINT ["/bin/show", "own"]\n'
    )
    name, archive = f"medperf-test/bare:{os.getpid()}", tmp_path / "image.tar"
    for words in (
        ["build", "--quiet", "--tag", name, str(tmp_path)],
        ["save", "-o", str(archive), name],
    ):
        subprocess.run(["docker", *words], check=True, capture_output=True)
    subprocess.run(["docker", "rmi", "--force", name], check=True, capture_output=True)
    mine = {key: value for key, value in MINE.items() if key != "QUOTED"} | {"QUOTED": "it's $x"}
    for engine_name in ("docker", "singularity"):
        engine = open_engine(engine_name, state=tmp_path / "state")
        image = engine.ensure_image(
            ImageSource(engine_name, None, archive, file_digest(archive)), store=tmp_path / "store"
        )
        for number, entrypoint in enumerate((None, ("/bin/show", "own"))):
            folder = tmp_path / f"{engine_name}{number}"
            outcome = engine.run(
                Task(
                    "bare",
                    "x",
                    image,
                    folder,
                    folder / "log",
                    entrypoint=entrypoint,
                    arguments=("a b",),
                    environment=mine,
                )
            )
            assert outcome.reason == "done", outcome
            lines = outcome.log_tail.splitlines()
            assert lines[:2] == ["own", "a b"]
            assert {f"{key}={value}" for key, value in mine.items()} <= set(lines)
        if engine_name == "docker":
            subprocess.run(
                ["docker", "rmi", "-f", str(image.identity)], check=True, capture_output=True
            )


def test_a_program_that_looks_like_a_variable_is_refused() -> None:
    check_program(["python3", "A=b"])
    with pytest.raises(EngineError, match="'LD_PRELOAD=x' has a = in its name"):
        check_program(["LD_PRELOAD=x", "python3"])
