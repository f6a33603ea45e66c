"""Two cubes' files, and an engine of the tests' own that keeps the tasks it gets."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.cubes import ReadyCube, read_cube
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
from medperf.runner.task_run import Execution, run_task
from medperf.schemas.manifests import Asset, Cube, CubeSpec, Image, LabelledMetadata

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
