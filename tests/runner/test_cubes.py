"""From a manifest to an engine's task, with an engine of the tests' own that keeps what it gets."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner import cubes
from medperf.runner.cubes import (
    Execution,
    ReadyCube,
    check_role,
    lacking,
    read_cube,
    run_task,
)
from medperf.runner.engines.protocol import (
    ImageSource,
    Limits,
    LocalImage,
    Mount,
    Outcome,
    Probe,
    Progress,
    Task,
)
from medperf.runner.task_limits import read_bytes
from medperf.schemas.errors import CubeError, DataError, EngineError
from medperf.schemas.manifests import Asset, Cube, CubeSpec, Image, LabelledMetadata, Resources
from medperf.schemas.progress import listening
from tests import recorder

DIGEST = "sha256:" + "0" * 64
ASSET = Asset(url="https://example.org/x", digest=DIGEST, size=1)
MLCUBE = """\
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: parameters.yaml, more: additional_files,
               weights: additional_files/w/x.npz, folder: additional_files/w/}
      outputs: {output_path: predictions}
  evaluate:
    entrypoint: python3 /app/main.py
    parameters:
      inputs: {predictions: predictions, labels: labels.csv}
      outputs: {output_path: results.yaml, local_outputs_path: local}
"""
CONFIG = """\
container_type: DockerImage
image: example/x
tasks:
  infer:
    run_args: {command: [run, --fast], environment: {A: b}, shm_size: 128m}
    input_volumes:
      data_path: {mount_path: /io/data, type: directory}
      additional_files: {mount_path: /io/more, type: directory}
    output_volumes:
      output_path: {mount_path: /io/out, type: directory}
  evaluate:
    run_args: {entrypoint: python3 -u, command: /app/eval.py}
    input_volumes:
      predictions: {mount_path: /io/predictions, type: directory}
      labels: {mount_path: /io/labels.csv, type: file}
    output_volumes:
      output_path: {mount_path: /io/results.yaml, type: file}
"""


def cube(text: str = MLCUBE, role: str = "model", **more: Any) -> Cube:
    config = "container_type" in text
    files = {
        "container_config.yaml" if config else "mlcube.yaml": text,
        "parameters.yaml": "a: 1\n",
    }
    spec = {
        "role": role,
        "format": "container-config" if config else "mlcube",
        "files": files,
        "images": (Image(engine="docker", image=f"x@{DIGEST}"),),
        "additional_files": ASSET,
        **more,
    }
    return Cube(
        api_version="medperf/v1alpha1",
        kind="Cube",
        metadata=LabelledMetadata(name="resnet", owner="modeler", description=""),
        spec=CubeSpec(**spec),
    )


@dataclass
class Recorder:
    """An engine that runs nothing: it keeps the task and writes what the test says."""

    name: str = "docker"
    write: Callable[[dict[str, Mount]], None] = lambda _: None
    reason: Any = "done"
    tail: str = "the log's end"
    tasks: list[Task] = field(default_factory=list)

    def probe(self) -> Probe:
        return Probe("1", "user", frozenset())

    def ensure_image(
        self,
        source: ImageSource,
        *,
        store: Path,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
        stop: threading.Event | None = None,  # noqa: ARG002
    ) -> LocalImage:
        return LocalImage(self.name, "id", source.digest, source.command)

    def run(
        self,
        task: Task,
        *,
        stop: threading.Event | None = None,  # noqa: ARG002
    ) -> Outcome:
        self.tasks.append(task)
        self.write({mount.target: mount for mount in task.mounts})
        exit_ = 0 if self.reason == "done" else 1
        return Outcome(exit_, self.reason, 1.0, None, frozenset(), self.tail)

    def clean(self, label_prefix: str) -> list[str]:  # noqa: ARG002
        return []


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Folders and files to give to tasks."""
    for name in ("data", "predictions", "more/w"):
        tmp_path.joinpath("given", name).mkdir(parents=True)
    given = tmp_path / "given"
    given.joinpath("more/w/x.npz").write_text("w")
    given.joinpath("Hospital of Mary Smith.csv").write_text("l")
    given.joinpath("parameters.yaml").write_text("a: 1\n")
    return given


def ready(parts: Path, manifest: Cube | None = None, engine: str = "docker") -> ReadyCube:
    manifest = manifest or cube()
    return ReadyCube(
        cube=manifest,
        digest=DIGEST,
        files=read_cube(manifest),
        image=LocalImage(engine, "id", DIGEST, ("python3", "main.py")),
        additional=parts / "more",
        parameters=parts / "parameters.yaml",
    )


def execution(tmp_path: Path, engine: Recorder, **more: Any) -> Execution:
    limits = more.pop("limits", Limits())
    return Execution(engine, limits, "0123456789abcdef", tmp_path / "logs", **more)


def call(tmp_path: Path, it: ReadyCube, name: str, engine: Recorder, **more: Any) -> Outcome:
    given = tmp_path / "given"
    inputs = {
        "data_path": given / "data",
        "predictions": given / "predictions",
        "labels": given / "Hospital of Mary Smith.csv",
    }
    outputs = {"output_path": tmp_path / "out"}
    how = execution(tmp_path, engine, **more)
    return run_task(it, name, inputs, outputs, how, work=tmp_path / "work")


def test_an_mlcube_is_called_by_its_task_and_keys(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    assert call(tmp_path, ready(parts), "infer", engine).reason == "done"
    task = engine.tasks[0]
    assert task.entrypoint is None
    assert task.arguments == (
        "infer",
        "--data_path=/mlcube_io0",
        "--parameters_file=/mlcube_io1/parameters.yaml",
        "--more=/mlcube_io2",
        "--weights=/mlcube_io3/x.npz",
        "--folder=/mlcube_io4",
        "--output_path=/mlcube_io5",
    )
    by_target = {mount.target: mount for mount in task.mounts}
    assert by_target["/mlcube_io1/parameters.yaml"].kind == "file"
    assert by_target["/mlcube_io3"] == Mount(parts / "more/w", "/mlcube_io3")
    assert [mount.target for mount in task.mounts if mount.writable] == ["/mlcube_io5"]
    assert task.log == tmp_path / "logs/infer.log"
    assert task.label == "0123456789abcdef"


def test_a_task_under_way_is_told_with_the_time_it_may_take(tmp_path: Path, parts: Path) -> None:
    told = recorder.Recorder()
    with listening(told):
        call(tmp_path, ready(parts), "infer", Recorder(), limits=Limits(timeout=5400))
    [one] = told.ended
    assert one.what.endswith(": infer, at most 1:30:00")
    assert one.total is None


def test_a_files_name_and_neighbours_are_not_shown(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(role="evaluator")), "evaluate", engine)
    task = engine.tasks[0]
    assert task.entrypoint == ("python3", "/app/main.py")
    assert "--labels=/mlcube_io1/labels.csv" in task.arguments
    labels = next(mount for mount in task.mounts if mount.target == "/mlcube_io1/labels.csv")
    assert labels == Mount(parts / "Hospital of Mary Smith.csv", labels.target, kind="file")
    assert "Mary" not in " ".join(task.arguments) + " ".join(mount.target for mount in task.mounts)


def test_a_folders_file_gets_the_keys_name_and_its_own_ending(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    text = MLCUBE.replace("labels: labels.csv", "labels: {type: file, default: l}")
    call(tmp_path, ready(parts, cube(text, "evaluator")), "evaluate", engine)
    assert "--labels=/mlcube_io1/labels.csv" in engine.tasks[0].arguments


def test_a_container_config_is_called_by_its_own_command(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    it = ready(parts, cube(CONFIG))
    call(tmp_path, it, "infer", engine)
    call(tmp_path, it, "evaluate", engine)
    infer, evaluate = engine.tasks
    assert (infer.entrypoint, infer.arguments) == (None, ("run", "--fast"))
    assert infer.environment == {"A": "b"}
    assert infer.limits.shm == 128 << 20
    assert {mount.target for mount in infer.mounts} == {"/io/data", "/io/more", "/io/out"}
    assert evaluate.entrypoint == ("python3", "-u")
    result = next(mount for mount in evaluate.mounts if mount.writable)
    assert (result.kind, result.target) == ("file", "/io/results.yaml")


def test_parameters_may_lie_in_additional_files_that_the_cube_has_not_got(
    tmp_path: Path, parts: Path
) -> None:
    text = CONFIG.replace(
        "additional_files: {",
        "parameters_file: {mount_path: /io/more/own/parameters.yaml, type: file}\n"
        "      additional_files: {",
    )
    places: list[list[str]] = []

    def look(mounts: dict[str, Mount]) -> None:
        more = mounts["/io/more"].source
        places.append(sorted(str(path.relative_to(more)) for path in more.rglob("*")))
        mounts["/io/out"].source.joinpath("p.csv").write_text("x")

    it = replace(ready(parts, cube(text)), additional=None)
    call(tmp_path, it, "infer", Recorder(write=look))
    assert places == [["own", "own/parameters.yaml"]]


def test_in_the_sandbox_the_manifests_command_is_called_with_the_task(
    tmp_path: Path, parts: Path
) -> None:
    engine = Recorder("sandbox")
    call(tmp_path, ready(parts, cube(CONFIG), "sandbox"), "infer", engine)
    call(tmp_path, ready(parts, cube(role="evaluator"), "sandbox"), "evaluate", engine)
    assert engine.tasks[0].arguments == ("infer",)
    assert engine.tasks[1].entrypoint is None
    assert engine.tasks[1].arguments[:2] == ("evaluate", "--predictions=/mlcube_io0")


def write_result(mounts: dict[str, Mount]) -> None:
    for target, mount in mounts.items():
        if mount.writable and mount.kind == "file":
            mount.source.write_text("AUC: 1\n")
        elif mount.writable and target == "/mlcube_io2":
            mount.source.joinpath("results.yaml").write_text("AUC: 1\n")
            mount.source.joinpath("scratch").write_text("beside")


@pytest.mark.parametrize("text", [MLCUBE, CONFIG])
def test_an_output_file_alone_arrives(tmp_path: Path, parts: Path, text: str) -> None:
    engine = Recorder(write=write_result)
    call(tmp_path, ready(parts, cube(text, "evaluator")), "evaluate", engine)
    assert tmp_path.joinpath("out").read_text() == "AUC: 1\n"
    assert not tmp_path.joinpath("work").exists()


def test_an_output_folder_replaces_the_one_before(tmp_path: Path, parts: Path) -> None:
    tmp_path.joinpath("out").mkdir()
    tmp_path.joinpath("out/old").write_text("")
    engine = Recorder(write=lambda m: (m["/mlcube_io5"].source / "new").touch())
    call(tmp_path, ready(parts), "infer", engine)
    assert [path.name for path in tmp_path.joinpath("out").iterdir()] == ["new"]


def test_what_a_failed_task_wrote_stays_in_work_until_next_time(
    tmp_path: Path, parts: Path
) -> None:
    engine = Recorder(write=lambda m: (m["/mlcube_io5"].source / "half").touch(), reason="exit")
    assert call(tmp_path, ready(parts), "infer", engine).reason == "exit"
    assert not tmp_path.joinpath("out").exists()
    assert list(tmp_path.joinpath("work").rglob("half"))
    engine = Recorder()
    call(tmp_path, ready(parts), "infer", engine)
    assert not list(tmp_path.rglob("half"))


@pytest.mark.parametrize(
    ("name", "message"), [("train", "no task 'train'; its tasks are evaluate")]
)
def test_an_unknown_task_is_named(tmp_path: Path, parts: Path, name: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        call(tmp_path, ready(parts), name, Recorder())


def test_a_folder_where_a_file_is_wanted_is_refused(tmp_path: Path, parts: Path) -> None:
    it = ready(parts, cube(CONFIG))
    how = execution(tmp_path, Recorder())
    inputs = {"predictions": parts / "predictions", "labels": parts / "data"}
    with pytest.raises(DataError, match="takes labels as a file, but a directory"):
        run_task(it, "evaluate", inputs, {}, how, work=tmp_path / "work")
    gone = {**inputs, "labels": parts / "gone"}
    with pytest.raises(DataError, match="labels is missing"):
        run_task(it, "evaluate", gone, {}, how, work=tmp_path / "work")


def test_missing_additional_files_are_named(tmp_path: Path, parts: Path) -> None:
    parts.joinpath("more/w/x.npz").unlink()
    with pytest.raises(CubeError, match=r"modeler/resnet: mlcube.yaml: weights.*'w/x.npz'"):
        call(tmp_path, ready(parts), "infer", Recorder())
    with pytest.raises(CubeError, match="no additional files"):
        call(tmp_path, replace(ready(parts), additional=None), "infer", Recorder())


def test_a_cube_without_its_file_is_refused() -> None:
    wrong = cube().spec.model_copy(update={"files": {"parameters.yaml": "x"}})
    with pytest.raises(CubeError, match=r"its files have no mlcube\.yaml"):
        read_cube(cube().model_copy(update={"spec": wrong}))


def test_roles_ask_for_their_tasks_parameters_and_files() -> None:
    check_role(read_cube(cube()), "model")
    with pytest.raises(CubeError, match="a preparator needs the task 'prepare'"):
        check_role(read_cube(cube()), "preparator")
    check_role(read_cube(cube(files={"mlcube.yaml": MLCUBE})), "model")
    with pytest.raises(CubeError, match=r"tasks\.infer takes weights from the additional files"):
        check_role(read_cube(cube(additional_files=None)), "model")


def test_what_a_cube_may_have_forgotten_is_told() -> None:
    assert lacking(read_cube(cube()), "model") == []
    bare = read_cube(cube(files={"mlcube.yaml": MLCUBE}, additional_files=None))
    parameters, additional = lacking(bare, "model")
    assert "takes parameters_file but has no parameters.yaml" in parameters
    assert "takes additional files but has none" in additional
    assert lacking(bare, "evaluator") == []


FETS = """\
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: {type: file, default: "null"}, more:
               additional_files/, checkpoint_path: {type: file, default: "null"}}
      outputs: {output_path: output/}
"""


def test_what_a_cube_has_not_got_is_empty_and_what_it_says_is_not_given_is_not_there(
    tmp_path: Path, parts: Path
) -> None:
    it = ready(parts, cube(FETS, files={"mlcube.yaml": FETS}, additional_files=None))
    it = replace(it, parameters=None, additional=None)
    check_role(it.files, "model")
    given: dict[str, list[str] | str] = {}

    def look(mounts: dict[str, Mount]) -> None:
        for target, mount in mounts.items():
            folder = mount.source.is_dir()
            given[target] = (
                [path.name for path in mount.source.iterdir()]
                if folder
                else mount.source.read_text()
            )

    engine = Recorder(write=look)
    call(tmp_path, it, "infer", engine)
    assert engine.tasks[0].arguments == (
        "infer",
        "--data_path=/mlcube_io0",
        "--parameters_file=/mlcube_io1/parameters_file.yaml",
        "--more=/mlcube_io2",
        "--checkpoint_path=/mlcube_io3/null",
        "--output_path=/mlcube_io4",
    )
    assert given["/mlcube_io1/parameters_file.yaml"] == "{}\n"
    assert given["/mlcube_io2"] == given["/mlcube_io3"] == []


GPUS = Limits(memory=8 << 30, gpus=("0", "1"))


@pytest.mark.parametrize(
    ("wish", "site", "timeouts", "expected"),
    [
        (None, Limits(), {}, {"timeout": 3600.0, "memory": None, "gpus": ()}),
        (None, Limits(), {"infer": 5.0}, {"timeout": 5.0}),
        (Resources(timeout={"infer": 60}), Limits(), {}, {"timeout": 60}),
        (Resources(timeout={"infer": 60}), Limits(), {"infer": 5.0}, {"timeout": 5.0}),
        (Resources(timeout={"evaluate": 60}), Limits(), {}, {"timeout": 3600.0}),
        (Resources(memory="4Gi", shm="1Gi"), GPUS, {}, {"memory": 4 << 30, "shm": 1 << 30}),
        (Resources(gpus=1), GPUS, {}, {"gpus": ("0",)}),
        (Resources(gpus=0), GPUS, {}, {"gpus": ()}),
    ],
)
def test_limits_are_the_cubes_wish_within_the_sites(
    tmp_path: Path, parts: Path, wish: Resources | None, site: Limits,
    timeouts: dict[str, float], expected: dict[str, object],
) -> None:  # fmt: skip
    engine = Recorder()
    it = ready(parts, cube(resources=wish))
    call(tmp_path, it, "infer", engine, limits=site, timeouts=timeouts)
    found = engine.tasks[0].limits
    assert {key: getattr(found, key) for key in expected} == expected


def test_all_gpus_are_the_sites_choice(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    text = "platform: {accelerator_count: all}\n" + MLCUBE
    call(tmp_path, ready(parts, cube(text)), "infer", engine, limits=GPUS)
    assert engine.tasks[0].limits.gpus == ("0", "1")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Resources(memory="16Gi"), "asks for 16Gi of memory"),
        (Resources(gpus=3), "asks for 3 of GPUs; this site gives a task 2"),
        (Resources(shm="9Gi"), "shared memory"),
    ],
)
def test_wishes_beyond_the_site_are_refused(
    tmp_path: Path, parts: Path, wish: Resources, message: str
) -> None:
    with pytest.raises(CubeError, match=message):
        call(tmp_path, ready(parts, cube(resources=wish)), "infer", Recorder(), limits=GPUS)


@pytest.mark.parametrize(
    ("text", "site", "shm", "gpus"),
    [
        ("docker: {gpu_args: --shm-size 64g}", GPUS, 4 << 30, ()),
        ("docker: {gpu_args: --shm-size 1g}", GPUS, 1 << 30, ()),
        ("docker: {gpu_args: --shm-size 64g}", Limits(), 64 << 30, ()),
        ("platform: {accelerator_count: 1}", Limits(), 64 << 20, ()),
        ("platform: {accelerator_count: 1}", GPUS, 64 << 20, ("0",)),
    ],
)
def test_what_the_cubes_file_wishes_is_met_as_far_as_the_site_goes(
    tmp_path: Path, parts: Path, text: str, site: Limits, shm: int, gpus: tuple[str, ...]
) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(f"{text}\n{MLCUBE}")), "infer", engine, limits=site)
    found = engine.tasks[0].limits
    assert (found.shm, found.gpus) == (shm, gpus)


def test_the_sandbox_gives_no_gpus(tmp_path: Path, parts: Path) -> None:
    engine = Recorder("sandbox")
    text = "platform: {accelerator_count: 1}\n" + MLCUBE
    call(tmp_path, ready(parts, cube(text), "sandbox"), "infer", engine, limits=GPUS)
    assert engine.tasks[0].limits.gpus == ()


def test_a_mount_left_by_a_killed_run_is_never_emptied(tmp_path: Path, parts: Path) -> None:
    left = tmp_path / "work/engine/in0"
    left.mkdir(parents=True)
    if os.geteuid() or os.system(f"mount --bind {parts} {left} 2>/dev/null"):  # noqa: S605
        pytest.skip("a folder cannot be mounted here")
    try:
        with pytest.raises(EngineError, match="still mounted"):
            call(tmp_path, ready(parts), "infer", Recorder())
        assert parts.joinpath("parameters.yaml").exists()
    finally:
        os.system(f"umount {left}")  # noqa: S605


EXAMPLES = Path(__file__).parents[2] / "examples" / "chestxray"
ROLES = {
    "prep": "preparator",
    "evaluator": "evaluator",
    "reference": "model",
    "resnet": "model",
    "broken": "model",
    "ensemble": "model",
}


@pytest.mark.parametrize(("folder", "role"), ROLES.items())
def test_the_examples_are_whole_cubes(folder: str, role: str) -> None:
    text = EXAMPLES.joinpath(folder, "mlcube.yaml").read_text()
    check_role(read_cube(cube(text, role)), role)


def test_bytes_are_read() -> None:
    assert [read_bytes(text) for text in ("1Ki", "2Mi", "3Gi")] == [1 << 10, 2 << 20, 3 << 30]


def test_a_scratch_root_is_asked_for(tmp_path: Path, parts: Path) -> None:
    engine = Recorder()
    call(tmp_path, ready(parts, cube(resources=Resources(scratch_root=True))), "infer", engine)
    assert engine.tasks[0].scratch_root


def test_who_writes_beside_the_outputs_is_told_what_lets_him(tmp_path: Path, parts: Path) -> None:
    said = "touch: cannot touch '/app/x': Read-only file system"
    for resources, told in ((None, True), (Resources(scratch_root=True), False)):
        engine = Recorder(reason="exit", tail=said)
        outcome = call(tmp_path, ready(parts, cube(resources=resources)), "infer", engine)
        assert ("--scratch-root of 'mlcube submit'" in outcome.detail) is told


def test_a_kill_while_outputs_are_put_in_place_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, target, aside = tmp_path / "work/0", tmp_path / "data", tmp_path / "work/data.old"
    staged.mkdir(parents=True)
    target.mkdir()
    (staged / "case").write_text("new")
    (target / "case").write_text("old")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            cubes._move(staged, target, aside=aside)
    assert (aside / "case").read_text() == "old"
    assert (staged / "case").read_text() == "new"
    aside.rename(target)
    cubes._move(staged, target, aside=aside)
    assert (target / "case").read_text() == "new"
    assert not aside.exists()
