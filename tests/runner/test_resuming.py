"""Preparators that need several calls and a person in between, in the way that MedPerf's do."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medperf.runner import preparation, task_outcome, task_run
from medperf.runner.engines import outputs
from medperf.runner.preparation import ManualWorkError, waits_for_person
from medperf.runner.prepared import Prepared, RawData, open_prepared
from medperf.schemas.errors import EngineError, TaskError
from tests.runner.toy_site import Site, tar

MAIN = '''\
"""Goes on with its own outputs, reports on each case, fails while a person has to work."""
import sys
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
if task == "prepare":
    data, labels = Path(given["output_path"]), Path(given["output_labels_path"])
    report, metadata = Path(given["report_file"]), Path(given["metadata_path"])
    calls = int(report.read_text().split()[1]) if report.is_file() and report.stat().st_size else 0
    report.write_text(f"calls: {calls + 1}")
    (metadata / "scanner.txt").write_text("made by nobody")
    if not (data / "outline.txt").exists():
        (data / "outline.txt").write_text("to do")
        (data / "deep").mkdir()
        (data / "deep/slow.txt").write_text("took hours")
        (labels / "labels.csv").write_text("a,1")
        sys.exit(1)
    assert (data / "deep/slow.txt").read_text() == "took hours"
    if (data / "outline.txt").read_text() == "to do":
        sys.exit(1)
if task == "sanity_check":
    assert Path(given["report_file"]).read_text().startswith("calls: ")
    if Path(given["data_path"], "outline.txt").read_text() != "drawn":
        sys.exit("the outline is not whole")
if task == "statistics":
    assert Path(given["metadata_path"], "scanner.txt").is_file()
    Path(given["output_path"]).write_text("cases: 20")
'''
TASKS = """\
tasks:
  prepare:
    parameters:
      inputs: {data_path: input_data, labels_path: input_labels}
      outputs: {output_path: data/, output_labels_path: labels/, metadata_path: metadata/,
                report_file: {type: file, default: report.yaml}}
  sanity_check:
    parameters: {inputs: {data_path: data/, labels_path: labels/, report_file: report.yaml,
                          metadata_path: metadata/}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, metadata_path: metadata/}
      outputs: {output_path: {type: file, default: statistics.yaml}}
"""
VOLUMES = """\
container_type: DockerImage
image: example/prep:1
tasks:
  prepare:
    input_volumes:
      data_path: {mount_path: /io/raw_data, type: directory}
      labels_path: {mount_path: /io/raw_labels, type: directory}
    output_volumes:
      output_path: {mount_path: /io/data, type: directory}
      output_labels_path: {mount_path: /io/labels, type: directory}
      metadata_path: {mount_path: /io/metadata, type: directory}
      report_file: {mount_path: /io/report/report.yaml, type: file}
  sanity_check:
    input_volumes:
      data_path: {mount_path: /io/data, type: directory}
      labels_path: {mount_path: /io/labels, type: directory}
      report_file: {mount_path: /io/report/report.yaml, type: file}
  statistics:
    input_volumes:
      data_path: {mount_path: /io/data, type: directory}
      labels_path: {mount_path: /io/labels, type: directory}
      metadata_path: {mount_path: /io/metadata, type: directory}
    output_volumes:
      output_path: {mount_path: /io/statistics/statistics.yaml, type: file}
"""
PLACES = """\
given = {
    "output_path": "/io/statistics/statistics.yaml" if task == "statistics" else "/io/data",
    "data_path": "/io/data", "output_labels_path": "/io/labels", "metadata_path": "/io/metadata",
    "report_file": "/io/report/report.yaml",
}
"""


def main_for(tasks: str) -> str:
    """The program, told its places by options or by what the file of tasks mounts."""
    if tasks is TASKS:
        return MAIN
    lines = MAIN.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("given"))
    return "".join([*lines[:at], PLACES, *lines[at + 1 :]])


@pytest.fixture(params=[TASKS, VOLUMES], ids=["mlcube", "container-config"])
def prepare(request: pytest.FixtureRequest, tmp_path: Path) -> "Prepare":
    """One call of `preparation.prepare` after another, on one dataset."""
    return Prepare(tmp_path, request.param)


class Prepare:
    def __init__(self, folder: Path, tasks: str, main: str = "") -> None:
        for name in ("raw", "raw labels", "site"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "raw/a.txt").write_text("one")
        archive = tar(folder / "site/image.tar.gz", {"main.py": main or main_for(tasks)})
        self.site = Site(folder / "site", archive=archive)
        self.ready = self.site.cube(tasks, "preparator")
        self.raw = RawData(folder / "raw", folder / "raw labels")
        self.into = folder / "dataset"

    def __call__(self, stop: threading.Event | None = None, **more: Path) -> Prepared:
        return preparation.prepare(
            self.ready,
            data=more.get("data", self.raw.data),
            labels=self.raw.labels,
            into=self.into,
            execution=self.site.how(stop=stop),
        )


def test_a_reporting_preparator_goes_on_with_what_a_person_made_of_it(prepare: Prepare) -> None:
    with pytest.raises(ManualWorkError, match=r"is not done .status 1.*says what is to be") as stop:
        prepare()
    assert stop.value.exit_code == 4
    assert str(prepare.into / "report.yaml") in str(stop.value)
    assert waits_for_person(prepare.into)
    outline = prepare.into / "data/outline.txt"
    assert outline.read_text() == "to do"
    with pytest.raises(ManualWorkError):
        prepare()
    outline.write_text("half")
    with pytest.raises(ManualWorkError, match=r"sanity_check .* failed.*go") as stop:
        prepare()
    assert "the outline is not whole" in stop.value.log_tail
    assert waits_for_person(prepare.into)
    assert open_prepared(prepare.into) is None
    outline.write_text("drawn")
    done = prepare()
    assert (done.data / "outline.txt").read_text() == "drawn"
    assert (done.data / "deep/slow.txt").read_text() == "took hours"
    assert done.report is not None
    assert done.report.read_text() == "calls: 4"
    assert done.statistics.read_text() == "cases: 20"


def test_without_a_sanity_check_the_statistics_judge_the_data(tmp_path: Path) -> None:
    lines = TASKS.splitlines(keepends=True)
    tasks = "".join(lines[:6] + lines[9:])
    assert "sanity_check" not in tasks
    judging = 'if Path(given["data_path"], "outline.txt").read_text() != "drawn":'
    main = MAIN.replace('if task == "statistics":\n', f'if task == "statistics":\n    {judging}\n'
                        '        sys.exit("the outline is not whole")\n')  # fmt: skip
    prepare = Prepare(tmp_path, tasks, main)
    with pytest.raises(ManualWorkError):
        prepare()
    outline = prepare.into / "data/outline.txt"
    outline.write_text("half")
    with pytest.raises(ManualWorkError, match=r"statistics .* failed.*go") as stop:
        prepare()
    assert "the outline is not whole" in stop.value.log_tail
    assert outline.read_text() == "half"
    outline.write_text("drawn")
    done = prepare()
    assert set(done.outcomes) == {"prepare", "statistics"}
    assert done.statistics.read_text() == "cases: 20"


def test_other_raw_data_begin_anew(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(ManualWorkError):
        prepare()
    (prepare.into / "data/outline.txt").write_text("drawn")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ManualWorkError):
        prepare(data=other)
    assert (prepare.into / "report.yaml").read_text() == "calls: 1"
    assert (prepare.into / "data/outline.txt").read_text() == "to do"


def test_a_link_in_kept_outputs_refuses_them(prepare: Prepare) -> None:
    """What a person links into the outputs is shown to the task as a link, and then refused."""
    with pytest.raises(ManualWorkError):
        prepare()
    outline = prepare.into / "data/outline.txt"
    outline.unlink()
    outline.symlink_to("/etc/passwd")
    with pytest.raises(TaskError):
        prepare()


SLOW = """\
import sys, time
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
if task == "prepare":
    data, labels = Path(given["output_path"]), Path(given["output_labels_path"])
    Path(given["report_file"]).write_text("half")
    begun = [file.name for file in data.rglob("*.txt")]
    (data / "a folder").mkdir(exist_ok=True)
    (data / "a folder" / f"{len(begun)}.txt").write_text("took hours")
    (labels / "labels.csv").write_text("a,1")
    Path(given["metadata_path"], "scanner.txt").write_text("x")
    print("begun with", begun, flush=True)
    if len(begun) < 2:
        time.sleep(60)
if task == "statistics":
    Path(given["output_path"]).write_text("cases: 20")
"""


def slow(folder: Path) -> "Prepare":
    """A preparation that takes longer than anybody waits, unless two calls went before it."""
    prepare = Prepare(folder, TASKS)
    archive = folder / "site/slow.tar.gz"
    if not archive.exists():  # packed again it would be another cube
        tar(archive, {"main.py": SLOW})
    prepare.site = Site(folder / "site", archive=archive)
    prepare.ready = prepare.site.cube(TASKS, "preparator")
    return prepare


def until_begun(folder: Path) -> None:
    log = folder / "site/logs/prepare.log"
    for _ in range(400):
        if log.is_file() and "begun" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("it has not begun")


def test_what_was_made_before_a_stop_or_a_kill_is_there_again(tmp_path: Path) -> None:
    """Stopped in order, then killed with SIGKILL: each call finds what all calls before it made."""
    prepare = slow(tmp_path)
    stop = threading.Event()

    def stop_it() -> None:
        until_begun(tmp_path)
        stop.set()

    watcher = threading.Thread(target=stop_it)
    watcher.start()
    with pytest.raises(TaskError) as caught:
        prepare(stop=stop)
    watcher.join()
    assert caught.value.reason == "interrupted"
    assert not waits_for_person(prepare.into), "it goes on by itself"
    assert (prepare.into / "data/a folder/0.txt").read_text() == "took hours"

    (tmp_path / "site/logs/prepare.log").unlink()
    code = f"""
from pathlib import Path
from tests.runner.test_resuming import again
again(Path({str(tmp_path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as child:
        until_begun(tmp_path)
        child.kill()
    assert not (prepare.into / "data/a folder/1.txt").exists(), "nobody has taken it yet"
    prepare.site.engine.clean("run-1")
    done = prepare()
    log = (tmp_path / "site/logs/prepare.log").read_text()
    assert "0.txt" in log
    assert "1.txt" in log
    assert sorted(path.name for path in done.data.rglob("*.txt")) == ["0.txt", "1.txt", "2.txt"]
    assert (done.folder / "metadata/scanner.txt").is_file()


def again(folder: Path) -> None:
    """In a process of its own: the next call of the same preparation."""
    slow(folder)()


QUICK = """\
import sys
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
if task == "prepare":
    data, labels = Path(given["output_path"]), Path(given["output_labels_path"])
    report, metadata = Path(given["report_file"]), Path(given["metadata_path"], "scanner.txt")
    names = sorted(path.name for path in [*data.iterdir(), *labels.iterdir()])
    print("begun with", *names, report.is_file(), metadata.is_file())
    (data / f"{len(list(data.iterdir()))}.txt").write_text("took hours")
    (labels / "labels.csv").write_text("a,1")
    report.write_text("calls")
    metadata.write_text("x")
if task == "statistics":
    Path(given["output_path"]).write_text("cases: 20")
"""


def quick(folder: Path, *, disk: bool) -> "Prepare":
    """A preparation that writes all its outputs at once."""
    prepare = Prepare(folder, TASKS)
    archive = folder / "site/quick.tar.gz"
    if not archive.exists():
        tar(archive, {"main.py": QUICK})
    prepare.site = Site(folder / "site", archive=archive)
    prepare.ready = prepare.site.cube(TASKS, "preparator")
    if not disk:
        prepare.site.engine._disk = False  # type: ignore[attr-defined]
    return prepare


def dies_at(folder: Path, move: int, *, disk: bool) -> None:
    """In a process of its own: SIGKILL before the given one of the moves of what was written."""
    moves = itertools.count(1)

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def move_or_die(*places: Path, **more: Path) -> None:
            if next(moves) == move:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*places, **more)

        return move_or_die

    outputs._move = dying(outputs._move)
    task_run._move = dying(task_run._move)
    quick(folder, disk=disk)()


@pytest.mark.parametrize("disk", [True, False], ids=["disk", "folder"])
@pytest.mark.parametrize("move", [2, 5, 7], ids=["delivering", "delivered", "placing"])
def test_what_was_on_its_way_at_a_kill_is_there_again(
    move: int, disk: bool, tmp_path: Path
) -> None:
    """The engine moves four outputs out of its folder, and then `run_task` moves them again."""
    call = f"dies_at(Path({str(tmp_path)!r}), {move}, disk={disk})"
    code = f"from pathlib import Path; from tests.runner.test_resuming import dies_at; {call}"
    prepare = quick(tmp_path, disk=disk)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    prepare.site.engine.clean("run-1")
    made = prepare()
    log = (tmp_path / "site/logs/prepare.log").read_text()
    assert log == "begun with 0.txt labels.csv True True\n"
    assert sorted(path.name for path in made.data.iterdir()) == ["0.txt", "1.txt"]


def test_a_person_who_does_not_wait_loses_nothing(tmp_path: Path) -> None:
    """Ctrl-C a second time is no order to throw hours of work away."""
    code = f"from pathlib import Path; from {__name__} import again; again(Path({str(tmp_path)!r}))"
    prepare = slow(tmp_path)
    root = Path(__file__).parents[2]
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=root, stderr=subprocess.DEVNULL
        ) as child:
            until_begun(tmp_path)
            child.send_signal(signal.SIGINT)
        assert child.returncode == -signal.SIGINT
        (tmp_path / "site/logs/prepare.log").unlink()
    done = prepare()
    assert sorted(path.name for path in done.data.rglob("*.txt")) == ["0.txt", "1.txt", "2.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes small file systems")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """There is room for what was written, but not for a copy of it."""
    prepare = quick(tmp_path, disk=True)
    main = QUICK.replace('"took hours"', '"x" * (1 if list(data.iterdir()) else 3_000_000)')
    tar(tmp_path / "site/full.tar.gz", {"main.py": main})
    prepare.site = Site(tmp_path / "site", archive=tmp_path / "site/full.tar.gz")
    prepare.ready = prepare.site.cube(TASKS, "preparator")
    prepare.into.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(prepare.into)]
    subprocess.run(mount, check=True)
    try:
        with pytest.raises(EngineError, match=r"could not be stored: .*No space left"):
            prepare()
        with pytest.raises(EngineError, match=r"cannot be taken over: .*No space left"):
            prepare()
        subprocess.run([*mount[:1], "-o", "remount,size=100m", str(prepare.into)], check=True)
        assert sorted(path.name for path in prepare().data.iterdir()) == ["0.txt", "1.txt"]
    finally:
        subprocess.run(["umount", "-l", str(prepare.into)], check=True)


def test_what_cannot_be_taken_over_is_kept_until_somebody_decides(tmp_path: Path) -> None:
    prepare = quick(tmp_path, disk=False)
    code = (
        "from pathlib import Path; from tests.runner.test_resuming import dies_at; "
        f"dies_at(Path({str(tmp_path)!r}), 1, disk=False)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    prepare.site.engine.clean("run-1")
    left = prepare.into / "work/prepare/engine/out/0"
    (left / "link").symlink_to("/etc/passwd")
    for _ in range(2):
        with pytest.raises(EngineError, match=f"a link.*{prepare.into}.*move .* elsewhere"):
            prepare()
        assert (left / "0.txt").read_text() == "took hours"
    left.parents[1].rename(tmp_path / "elsewhere")
    assert sorted(path.name for path in prepare().data.iterdir()) == ["0.txt"]
    assert (tmp_path / "elsewhere/out/0/0.txt").read_text() == "took hours"
    assert "begun with False False" in (tmp_path / "site/logs/prepare.log").read_text()


def test_leftovers_of_other_raw_data_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle, called with other raw data and killed at once, then called again."""
    code = (
        "from pathlib import Path; from tests.runner.test_resuming import dies_at; "
        f"dies_at(Path({str(tmp_path)!r}), 1, disk=True)"
    )
    prepare = quick(tmp_path, disk=True)
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    prepare.site.engine.clean("run-1")
    assert (prepare.into / "work/prepare/engine/begun").exists()
    other = tmp_path / "other"
    other.mkdir()
    with monkeypatch.context() as patched:
        patched.delattr(task_outcome, "run_task")
        with pytest.raises(NameError):
            prepare(data=other)
    prepare(data=other)
    assert "begun with False False" in (tmp_path / "site/logs/prepare.log").read_text()
