"""Prepare, infer and evaluate, end to end on the real sandbox with a cube of a few lines."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from medperf.runner import flows
from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.content import changed
from medperf.runner.cubes import ReadyCube
from medperf.runner.engines import open_engine, rootfs
from medperf.runner.engines.protocol import Limits
from medperf.runner.flows import RawData
from medperf.runner.task_run import Execution
from medperf.runner.workshop import Workshop
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import AssetError, DataError, TaskError
from medperf.schemas.manifests import Asset, Cube, CubeSpec, Image, LabelledMetadata

MAIN = '''\
"""A cube that does what its parameters say."""
import json, os, sys, time
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
mode = Path(given["parameters_file"]).read_text().strip() if "parameters_file" in given else ""
print("working on", task)
if mode == f"fail-{task}":
    if os.path.isdir(given.get("output_path", "")):
        Path(given["output_path"], "half").write_text("half done")
    print("patient 4711 is odd", file=sys.stderr)
    sys.exit(3)
if mode == f"sleep-{task}":
    time.sleep(60)
if mode == f"nothing-{task}":
    sys.exit(0)
if mode == f"link-{task}":
    os.symlink("/etc/passwd", Path(given["output_path"], "link"))
if task == "prepare":
    raw = sorted(Path(given["data_path"]).iterdir())
    for path in raw:
        Path(given["output_path"], path.name).write_text(path.read_text().upper())
    labels = Path(given["labels_path"]).read_text()
    if "output_labels_path" in given:
        Path(given["output_labels_path"], "labels.csv").write_text(labels)
    if os.path.isfile(given.get("metadata_path", "") + "/scanners.csv"):
        scanners = Path(given["metadata_path"], "scanners.csv").read_text()
        Path(given["output_path"], "scanner").write_text(scanners)
    elif "metadata_path" in given:
        Path(given["metadata_path"], "about").write_text("about")
    if "report_file" in given:
        Path(given["report_file"]).write_text("cases: 2")
if task == "sanity_check":
    assert list(Path(given["data_path"]).iterdir())
if task == "statistics":
    count = len(list(Path(given["data_path"]).iterdir()))
    seen = sorted(key for key in given)
    Path(given["output_path"]).write_text(json.dumps({"cases": count, "seen": seen}))
if task == "infer":
    seen = {"given": given, "files": sorted(map(str, Path("/").glob("mlcube_io*/**/*"))),
            "mounts": Path("/proc/self/mountinfo").read_text(), "environ": dict(os.environ)}
    Path(given["output_path"], "predictions.json").write_text(json.dumps(seen))
    if mode == "partial":
        sys.exit(1)
if task == "evaluate":
    predictions = list(Path(given["predictions"]).iterdir())
    labels = sorted(path.name for path in Path(given["labels"]).iterdir())
    Path(given["output_path"]).write_text(json.dumps({"n": len(predictions), "labels": labels}))
    if "local_outputs_path" in given:
        Path(given["local_outputs_path"], "cases.csv").write_text("case,correct")
'''

CONFIG_MAIN = '''\
"""An evaluator whose interface is its mount paths."""
import json, sys
from pathlib import Path

predictions, labels = list(Path("/io/preds").iterdir()), Path("/io/labels.csv").read_text()
found = {"n": len(predictions), "labels": labels, "words": sys.argv[1:]}
Path("/io/results.yaml").write_text(json.dumps(found))
'''

PREPARATOR = """\
tasks:
  prepare:
    parameters:
      inputs: {data_path: raw, labels_path: raw.csv, parameters_file: parameters.yaml}
      outputs: {output_path: data/, output_labels_path: labels/, metadata_path: metadata/,
                report_file: report.yaml}
  sanity_check:
    parameters: {inputs: {data_path: data/, labels_path: labels/, parameters_file: parameters.yaml}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, metadata_path: metadata/,
               parameters_file: parameters.yaml}
      outputs: {output_path: statistics.yaml}
"""
OLD_PREPARATOR = """\
tasks:
  prepare:
    parameters:
      inputs: {data_path: raw, labels_path: raw.csv}
      outputs: {output_path: data/}
  sanity_check: {parameters: {inputs: {data_path: data/}}}
  statistics:
    parameters: {inputs: {data_path: data/}, outputs: {output_path: statistics.yaml}}
"""
SILENT_PREPARATOR = PREPARATOR.replace("report_file: report.yaml", "")
TAKES_METADATA = """\
tasks:
  prepare:
    parameters:
      inputs: {data_path: raw, labels_path: raw.csv, metadata_path: metadata/}
      outputs: {output_path: data/, output_labels_path: labels/}
  sanity_check: {parameters: {inputs: {data_path: data/, labels_path: labels/}}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/}
      outputs: {output_path: statistics.yaml}
"""
MODEL = """\
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: parameters.yaml}
      outputs: {output_path: predictions/}
"""
EVALUATOR = """\
tasks:
  evaluate:
    parameters:
      inputs: {predictions: predictions, labels: labels, parameters_file: parameters.yaml}
      outputs: {output_path: results.yaml, local_outputs_path: local/}
"""

CONFIG = """\
container_type: DockerImage
image: example/toy-metrics:0.1.0
tasks:
  evaluate:
    run_args: {entrypoint: PYTHON, command: /app/config.py --all}
    input_volumes:
      predictions: {mount_path: /io/preds, type: directory}
      labels: {mount_path: /io/labels.csv, type: file}
    output_volumes:
      output_path: {mount_path: /io/results.yaml, type: file}
"""
DOCKERFILE = """\
FROM scratch
ADD root.tar /
COPY main.py config.py /app/
ENTRYPOINT ["PYTHON", "/app/main.py"]
"""


def tar(path: Path, files: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


class Site:
    """A site in a folder: assets, an engine, one workshop."""

    def __init__(self, folder: Path, engine: str = "sandbox", archive: Path | None = None) -> None:
        self.folder = folder
        self.engine = open_engine(engine, state=folder / "state")
        self.assets = Assets(folder / "assets", AssetPolicy(files=(folder,)))
        self.workshop = Workshop(self.assets, self.engine, folder / "store")
        files = {"main.py": MAIN, "config.py": CONFIG_MAIN}
        self.archive = archive or tar(folder / "image.tar.gz", files)

    def cube(
        self, text: str, role: str, mode: str = "plain", *, main: str = "main.py"
    ) -> ReadyCube:
        config = "container_type" in text
        archive = Asset(
            url=self.archive.as_uri(),
            digest=file_digest(self.archive),
            size=self.archive.stat().st_size,
        )
        image = Image(engine="sandbox", archive=archive, command=("python3", f"/cube/{main}"))
        if self.engine.name != "sandbox":
            image = Image(engine="docker", archive=archive)
        spec: dict[str, Any] = {
            "role": role,
            "format": "container-config" if config else "mlcube",
            "files": {
                "container_config.yaml" if config else "mlcube.yaml": text,
                "parameters.yaml": mode,
            },
            "images": (image,),
        }
        manifest = Cube(
            api_version="medperf/v1alpha1",
            kind="Cube",
            metadata=LabelledMetadata(name=role, owner="uni", description=""),
            spec=CubeSpec(**spec),
        )
        return self.workshop.ready(manifest, f"sha256:{role}{mode}")

    def how(self, *, stop: threading.Event | None = None, **timeouts: float) -> Execution:
        limits = Limits(timeout=60, output_bytes=4 << 20, output_files=200)
        return Execution(
            self.engine, limits, "run-1", self.folder / "logs", stop=stop, timeouts=timeouts
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site of this test's own."""
    return Site(tmp_path)


@pytest.fixture
def raw(tmp_path: Path) -> RawData:
    """Two cases of a person whose name nobody may see."""
    data = tmp_path / "Ward of Mary Smith"
    data.mkdir()
    data.joinpath("a.txt").write_text("one")
    data.joinpath("b.txt").write_text("two")
    labels = tmp_path / "Mary's labels.csv"
    labels.write_text("a,1\nb,0\n")
    return RawData(data, labels)


def prepare(
    site: Site, raw: RawData, into: Path, mode: str = "plain", **more: Any
) -> flows.Prepared:
    text = more.pop("text", PREPARATOR)
    ready = site.cube(text, "preparator", mode)
    return flows.prepare(
        ready, data=raw.data, labels=raw.labels, into=into, execution=site.how(**more)
    )


def test_the_three_flows_follow_one_another(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "datasets/x7"
    prepared = prepare(site, raw, into)
    assert sorted(path.name for path in into.iterdir()) == [
        "content.txt", "data", "labels", "metadata", "report.yaml", "statistics.yaml",
    ]  # fmt: skip
    assert prepared.data.joinpath("a.txt").read_text() == "ONE"
    assert prepared.labels == into / "labels"
    assert prepared.labels_for_evaluation == into / "labels"
    assert (prepared.metadata, prepared.report) == (into / "metadata", into / "report.yaml")
    statistics = json.loads(prepared.statistics.read_text())
    assert statistics["cases"] == 2
    assert "metadata_path" in statistics["seen"]
    assert prepared.content.files == 3
    assert changed(into, into.joinpath("content.txt").read_bytes()) == []
    assert set(prepared.outcomes) == {"prepare", "sanity_check", "statistics"}

    run = tmp_path / "runs/0123"
    predictions, outcome = flows.infer(site.cube(MODEL, "model"), prepared.data, run, site.how())
    assert (predictions, outcome.reason) == (run / "predictions", "done")
    results, _ = flows.evaluate(
        site.cube(EVALUATOR, "evaluator"),
        predictions,
        prepared.labels_for_evaluation,
        run,
        site.how(),
    )
    assert json.loads(results.read_text()) == {"n": 1, "labels": ["labels.csv"]}
    assert run.joinpath("local_outputs/cases.csv").exists()
    assert not list(run.glob("work/*"))
    assert (tmp_path / "logs/infer.log").read_text().strip() == "working on infer"


def test_the_model_sees_no_labels_names_or_other_folders(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    prepared = prepare(site, raw, tmp_path / "datasets/x7")
    predictions, _ = flows.infer(
        site.cube(MODEL, "model"), prepared.data, tmp_path / "runs/0123", site.how()
    )
    text = predictions.joinpath("predictions.json").read_text()
    seen = json.loads(text)
    assert seen["files"] == [
        "/mlcube_io0/a.txt",
        "/mlcube_io0/b.txt",
        "/mlcube_io1/parameters.yaml",
    ]
    assert "x7/data" in seen["mounts"]
    assert "x7/labels" not in seen["mounts"]
    assert "Mary" not in text


def test_a_preparation_is_found_again(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "d"
    first = prepare(site, raw, into)
    again = prepare(site, raw, into, "fail-prepare")
    assert again.content == first.content
    found = flows.open_prepared(into)
    assert found is not None
    assert found.content == first.content
    assert flows.open_prepared(tmp_path / "none") is None


def test_a_preparator_of_2023_keeps_labels_in_the_data(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    prepared = prepare(site, raw, tmp_path / "d", text=OLD_PREPARATOR)
    assert prepared.labels is None
    assert prepared.labels_for_evaluation == prepared.data
    assert (prepared.metadata, prepared.report) == (None, None)


def test_a_preparator_that_takes_metadata_is_shown_them(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    metadata = tmp_path / "Mary's scanners"
    metadata.mkdir()
    (metadata / "scanners.csv").write_text("a,9000\n")
    prepared = flows.prepare(
        site.cube(TAKES_METADATA, "preparator"),
        data=raw.data,
        labels=raw.labels,
        metadata=metadata,
        into=tmp_path / "d",
        execution=site.how(),
    )
    assert prepared.data.joinpath("scanner").read_text() == "a,9000\n"
    assert prepared.metadata is None


def test_raw_data_are_not_changed_and_not_kept(site: Site, raw: RawData, tmp_path: Path) -> None:
    prepare(site, raw, tmp_path / "d")
    assert {path.name: path.read_text() for path in raw.data.iterdir()} == {
        "a.txt": "one",
        "b.txt": "two",
    }


@pytest.mark.parametrize("task", ["prepare", "sanity_check", "statistics"])
def test_a_failed_step_leaves_nothing_that_looks_prepared(
    site: Site, raw: RawData, tmp_path: Path, task: str
) -> None:
    into = tmp_path / "d"
    with pytest.raises(TaskError, match=f"task {task} of uni/preparator failed.") as caught:
        prepare(site, raw, into, f"fail-{task}", text=SILENT_PREPARATOR)
    assert caught.value.reason == "exit"
    assert "status 3" in str(caught.value)
    assert "4711" not in str(caught.value)
    assert "patient 4711 is odd" in caught.value.log_tail
    assert flows.open_prepared(into) is None
    assert prepare(site, raw, into, text=SILENT_PREPARATOR).content.files == 3


def test_statistics_that_refuse_the_data_alone_have_them_prepared_anew(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    into = tmp_path / "d"
    unchecked = "\n".join(
        line for line in SILENT_PREPARATOR.splitlines()
        if "sanity_check" not in line and "parameters: {inputs" not in line
    )  # fmt: skip
    with pytest.raises(TaskError, match="task statistics of uni/preparator failed"):
        prepare(site, raw, into, "fail-statistics", text=unchecked)
    assert not into.joinpath(".steps.json").exists()
    assert set(prepare(site, raw, into, text=unchecked).outcomes) == {"prepare", "statistics"}


def test_what_a_failed_preparator_wrote_can_be_looked_at(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    with pytest.raises(TaskError):
        prepare(site, raw, tmp_path / "d", "fail-prepare", text=SILENT_PREPARATOR)
    assert list(tmp_path.joinpath("d/work").rglob("half"))


def test_a_killed_preparation_goes_on_at_its_step(site: Site, raw: RawData, tmp_path: Path) -> None:
    into = tmp_path / "d"
    mode = "sleep-statistics"
    stop = threading.Event()
    timer = threading.Timer(1.5, stop.set)
    timer.start()
    with pytest.raises(TaskError) as caught:
        prepare(site, raw, into, mode, stop=stop)
    timer.join()
    assert caught.value.reason == "interrupted"
    before = into.joinpath("data/a.txt").stat().st_mtime_ns
    with pytest.raises(TaskError) as caught:
        prepare(site, raw, into, mode, statistics=0.5)
    assert caught.value.reason == "timeout"
    assert into.joinpath("data/a.txt").stat().st_mtime_ns == before
    prepared = prepare(site, raw, into)  # another cube: it begins anew
    assert set(prepared.outcomes) == {"prepare", "sanity_check", "statistics"}


@pytest.mark.parametrize(
    ("task", "message"),
    [("prepare", "wrote no data"), ("statistics", "wrote no statistics.yaml")],
)
def test_a_preparator_that_writes_nothing_is_refused(
    site: Site, raw: RawData, tmp_path: Path, task: str, message: str
) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        prepare(site, raw, tmp_path / "d", f"nothing-{task}")
    assert caught.value.reason == "output"


def test_a_failed_model_says_so_and_leaves_no_predictions(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for mode, reason in [
        ("fail-infer", "exit"),
        ("nothing-infer", "output"),
        ("link-infer", "output"),
    ]:
        with pytest.raises(TaskError) as caught:
            flows.infer(site.cube(MODEL, "model", mode), raw.data, run, site.how())
        assert caught.value.reason == reason
        assert not run.joinpath("predictions").exists()
    with pytest.raises(TaskError) as caught:
        flows.infer(site.cube(MODEL, "model", "sleep-infer"), raw.data, run, site.how(infer=0.5))
    assert caught.value.reason == "timeout"
    assert "took longer than 0.5 seconds" in str(caught.value)


def test_a_partial_result_is_taken_only_where_it_is_allowed(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    model = site.cube(MODEL, "model", "partial")
    with pytest.raises(TaskError):
        flows.infer(model, raw.data, tmp_path / "run", site.how())
    predictions, outcome = flows.infer(model, raw.data, tmp_path / "run", site.how(), partial=True)
    assert outcome.reason == "exit"
    assert list(predictions.iterdir())
    with pytest.raises(TaskError, match="took longer than"):
        flows.infer(
            site.cube(MODEL, "model", "sleep-infer"),
            raw.data,
            tmp_path / "other",
            site.how(infer=0.5),
            partial=True,
        )


def test_an_evaluator_without_results_is_refused(site: Site, raw: RawData, tmp_path: Path) -> None:
    evaluator = site.cube(EVALUATOR, "evaluator", "nothing-evaluate")
    with pytest.raises(TaskError, match=r"wrote no results\.yaml"):
        flows.evaluate(evaluator, raw.data, raw.data, tmp_path / "run", site.how())


def test_a_container_config_runs_by_its_mount_paths(
    site: Site, raw: RawData, tmp_path: Path
) -> None:
    evaluator = site.cube(CONFIG, "evaluator", main="config.py")
    results, _ = flows.evaluate(evaluator, raw.data, raw.labels, tmp_path / "run", site.how())
    found = json.loads(results.read_text())
    assert found == {"n": 2, "labels": "a,1\nb,0\n", "words": ["evaluate"]}


@pytest.fixture(scope="module")
def docker_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An image of this machine's Python with both programs, as `docker save` writes it."""
    folder = tmp_path_factory.mktemp("docker")
    shutil.copyfile(rootfs.python_tar(folder), folder / "root.tar")
    python = os.path.realpath(sys.executable)
    folder.joinpath("main.py").write_text(MAIN)
    folder.joinpath("config.py").write_text(CONFIG_MAIN)
    folder.joinpath("Dockerfile").write_text(DOCKERFILE.replace("PYTHON", python))
    name = f"medperf-test-flows:{os.getpid()}"
    subprocess.run(["docker", "build", "--quiet", "--tag", name, folder], check=True)
    subprocess.run(["docker", "save", "--output", folder / "image.tar", name], check=True)
    yield folder / "image.tar", python
    subprocess.run(["docker", "image", "rm", "--force", name], check=True)


@pytest.mark.docker
@pytest.mark.parametrize(
    "engine", ["docker", pytest.param("singularity", marks=pytest.mark.singularity)]
)
def test_both_forms_run_from_a_docker_archive(
    engine: str, docker_archive: tuple[Path, str], raw: RawData, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    os.link(docker_archive[0], archive)
    site = Site(tmp_path, engine, archive)
    prepared = prepare(site, raw, tmp_path / "d")
    run = tmp_path / "run"
    predictions, _ = flows.infer(site.cube(MODEL, "model"), prepared.data, run, site.how())
    seen = json.loads(predictions.joinpath("predictions.json").read_text())
    assert [path for path in seen["files"] if "txt" in path] == [
        "/mlcube_io0/a.txt",
        "/mlcube_io0/b.txt",
    ]
    config = CONFIG.replace("PYTHON", docker_archive[1])
    results, _ = flows.evaluate(
        site.cube(config, "evaluator"), predictions, raw.labels, run, site.how()
    )
    found = json.loads(results.read_text())
    assert found == {"n": 1, "labels": "a,1\nb,0\n", "words": ["--all"]}
    with pytest.raises(TaskError) as caught:
        flows.infer(site.cube(MODEL, "model", "sleep-infer"), raw.data, run, site.how(infer=1.0))
    assert caught.value.reason == "timeout"


def test_a_demo_dataset_is_unpacked_by_its_paths(tmp_path: Path) -> None:
    files = {
        "paths.yaml": "data_path: d\nlabels_path: l/labels.csv\nmetadata_path: m\n",
        "d/x": "x",
        "l/labels.csv": "y",
        "m/z": "z",
    }
    found = flows.unpack_demo(tar(tmp_path / "demo.tar.gz", files), tmp_path / "out")
    out = tmp_path / "out"
    assert found == RawData(out / "d", out / "l/labels.csv", out / "m")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (None, r"no paths\.yaml of at most 65536 bytes at the root"),
        ("[]", "must name data_path"),
        ("data_path: d", "no labels_path"),
        ("data_path: ../d\nlabels_path: l", "leads out"),
        ("data_path: /etc\nlabels_path: l", "leads out"),
        ("data_path: d\nlabels_path: l", "names 'l', which is missing"),
        ("a: a: a", "not YAML"),
    ],
)
def test_a_demo_dataset_in_bad_shape_is_refused(
    tmp_path: Path, paths: str | None, message: str
) -> None:
    files = {"d/x": "x"} | ({} if paths is None else {"paths.yaml": paths})
    with pytest.raises(DataError, match=message):
        flows.unpack_demo(tar(tmp_path / "demo.tar.gz", files), tmp_path / "out")


def test_a_hostile_demo_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="The demo dataset was refused"):
        flows.unpack_demo(tar(tmp_path / "demo.tar.gz", {"../x": "x"}), tmp_path / "out")
