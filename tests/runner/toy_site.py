"""A site in a folder, with cubes of a few lines that do what their parameters say."""

import io
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medperf.runner import preparation
from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.cubes import ReadyCube
from medperf.runner.engines import open_engine
from medperf.runner.engines.protocol import Limits
from medperf.runner.prepared import Prepared, RawData
from medperf.runner.task_run import Execution
from medperf.runner.workshop import Workshop
from medperf.schemas.digests import file_digest
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


def prepare(site: Site, raw: RawData, into: Path, mode: str = "plain", **more: Any) -> Prepared:
    text = more.pop("text", PREPARATOR)
    ready = site.cube(text, "preparator", mode)
    return preparation.prepare(
        ready, data=raw.data, labels=raw.labels, into=into, execution=site.how(**more)
    )
