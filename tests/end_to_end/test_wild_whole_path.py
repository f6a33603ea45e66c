"""A world of cubes as others write them (`fixtures/wild/whole-path`), all the way, on both engines.

One image, packed as `docker save | gzip` gives it: USER, WORKDIR, ENTRYPOINT and CMD, and a folder
that only root may write where its output goes. Its preparator is killed in the middle and then
waits for a person; its model writes names and modes that nobody expects.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..reconciler.world import Images, People, Template, pack

CUBES = Path(__file__).parents[1] / "fixtures/wild/whole-path"
IMAGE = "medperf-wild/whole-path:0.1.0"
METRICS = "metrics:\n  n: {from: [n], type: integer, min: 0, max: 1000, kind: count}\n"

pytestmark = [pytest.mark.docker]


class Street(Template):
    """A registry with three people, the site `hospital/ward`, and the benchmark `cxr`."""

    def __init__(self, folder: Path) -> None:
        People.__init__(self, folder, folder / "assets")
        self.images = Images("docker", ())
        self._found()
        self.close()

    def run(self, by: str, *words: str | Path, code: int = 0) -> str:
        """A command that ends as it should; what it said."""
        done = subprocess.run(
            self.words(*words), capture_output=True, text=True, check=False, env=self.home(by)
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{by}: {words}\n{said}"
        return said

    def words(self, *words: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("medperf")), *map(str, words)]

    def home(self, by: str) -> dict[str, str]:
        return {**os.environ, "MEDPERF_HOME": str(self.folder / by)}


def raw(folder: Path, *marks: str, cases: int = 12) -> Path:
    """Cases and their labels below `folder`, as a hospital has them."""
    (folder / "images").mkdir(parents=True)
    for number in range(cases):
        (folder / f"images/{number}.txt").write_text(f"case {number}")
    for mark in marks:
        (folder / "images" / mark).touch()
    (folder / "labels.csv").write_text("".join(f"{n},{n % 2}\n" for n in range(cases)))
    return folder


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """The benchmark of these cubes, and another model that takes part in it."""
    folder = tmp_path_factory.mktemp("wild street")
    image = folder / "whole-path.tar.gz"
    subprocess.run(["docker", "build", "-qt", IMAGE, CUBES], check=True, capture_output=True)
    subprocess.run(f"docker save {IMAGE} | gzip -1 > '{image}'", shell=True, check=True)  # noqa: S602
    subprocess.run(["docker", "rmi", "-f", IMAGE], check=True, capture_output=True)
    weights = pack(folder / "weights.tar.gz", {"w.txt": b"weights"})
    street = Street(folder / "world")
    host = ("--host", street.assets, "--host-url", street.assets.as_uri(), "-y")
    for by, name, what in (
        ("committee", "prep", "prep/mlcube.yaml"),
        ("committee", "ref", "model/container_config.yaml"),
        ("committee", "metrics", "metrics/mlcube.yaml"),
        ("modeler", "other", "model/container_config.yaml"),
    ):
        parameters = CUBES / what.partition("/")[0] / "parameters.yaml"
        words: list[str | Path] = ["--image-file", f"docker={image}"]
        words += ["--parameters-file", parameters] if parameters.exists() else []
        words += ["--additional-file", weights] if "model/" in what else []
        street.run(by, "mlcube", "submit", "--name", name, "--mlcube-file", CUBES / what, *words,
                   *host)  # fmt: skip
        street.accept(f"{by}/cube-{name}", by=by)
    small = raw(folder / "demo")
    demo = street.assets / "demo.tar.gz"
    street.run("committee", "dataset", "pack-demo", "--data_path", small / "images",
               "--labels_path", small / "labels.csv", "--output", demo)  # fmt: skip
    (folder / "metrics.yaml").write_text(METRICS)
    street.run(
        "committee", "benchmark", "submit", "--name", "cxr", "--demo-url", demo.as_uri(),
        "--data-preparation-mlcube", "prep", "--reference-model-mlcube", "ref",
        "--evaluator-mlcube", "metrics", "--metrics", folder / "metrics.yaml", "-y",
    )  # fmt: skip
    street.accept("committee/benchmark-cxr")
    street.run("modeler", "mlcube", "associate", "-b", "cxr", "--model_uid", "other", "-y")
    street.run(
        "committee", "association", "approve", "-b", "cxr", "--model_uid", "modeler/other", "-y"
    )
    yield street
    street.close()


def kill_after_first_case(street: Street, create: tuple[str | Path, ...]) -> None:
    """The command, killed with SIGKILL when the preparator has made one case."""
    root = street.folder / "hospital"
    words = street.words(*create)
    with subprocess.Popen(words, env=street.home("hospital"), stderr=subprocess.PIPE) as process:
        for _ in range(1200):
            logs = root.glob("*/datasets/*/logs/prepare.log")
            if any(log.read_text().endswith("one case is made\n") for log in logs):
                break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    "engine", ["docker", pytest.param("singularity", marks=pytest.mark.singularity)]
)
def test_the_whole_path(engine: str, street: Street, tmp_path: Path) -> None:
    street.set("hospital", f"engine={engine}")
    data = raw(tmp_path / "Röntgen 1", "slow", "review")
    create = (
        "dataset", "create", "--name", engine, "--benchmark", "cxr", "--data_path",
        data / "images", "--labels_path", data / "labels.csv",
    )  # fmt: skip
    kill_after_first_case(street, create)
    waits = street.run("hospital", *create, code=4)
    assert "begun with 1\n" in waits, "the case of the killed call is not made again"
    (unfinished,) = (
        one for one in street.hospital.datasets.all() if not (one.path / "content.txt").exists()
    )
    assert "0.txt: {status: 1" in (unfinished.path / "report.yaml").read_text()
    (unfinished.path / "data/approved").touch()
    street.run("hospital", *create)

    tried = tmp_path / "tried"
    street.run(
        "hospital", "mlcube", "run-test", "--mlcube", "committee/ref", "--task", "infer",
        "--input", f"data_path={unfinished.path / 'data'}", "--output", tried,
    )  # fmt: skip
    assert (tried / "output_path/sub dir/-rf").read_text() == "x\n", "it is the caller's now"

    said = street.run("hospital", "dataset", "submit", "--data_uid", engine, "-y")
    assert "cases: 12" in said
    street.accept(f"hospital/dataset-{engine}", by="hospital")
    street.run("hospital", "dataset", "associate", "-b", "cxr", "--data_uid", engine, "-y")
    about = ("-b", "cxr", "--data_uid", f"hospital/{engine}", "-y")
    street.run("committee", "association", "approve", *about)
    said = street.run("hospital", "benchmark", "run", "-b", "cxr", "--data_uid", engine)
    assert "1 skipped" in said
    assert "1 ran successfully" in said
    street.run("hospital", "result", "submit", "--all", "-y")
    street.accept("sites/hospital/ward")
    listed = json.loads(
        subprocess.run(
            street.words("result", "ls", "--json"),
            env=street.home("modeler"), capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    mine = [one for one in listed if one["dataset"] == f"hospital/{engine}"]
    assert {one["model"] for one in mine} == {"committee/ref", "modeler/other"}
    assert {one["answer"] for one in mine} == {"valid"}
