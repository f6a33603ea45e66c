"""A registry with three people on it, small enough to be made for every test.

`Template(folder)` founds the registry: `committee/alice` its admin, `modeler/max`, `hospital/bob`
with the site `hospital/ward`; a benchmark `committee/toy` of three toy cubes; the hospital's
prepared, submitted and approved dataset `hospital/chest`. Nothing has run: one run, of the
reference model, is due. `World(template, folder)` is a copy of it for one test.

All cubes are one program, `PROGRAM`, and do what they are told. A model is told by its parameters,
a dict that it hands on to the evaluator beside its predictions:

    {"infer": ["fail"]}          {"infer": ["sleep", 2]}       {"evaluate": ["fill", 9000000]}
    {"infer": ["compute", 2]}
    {"write": "AUC: {Edema: 1}"} {"results": "link" | "fifo" | "folder" | "nothing"}

The preparator is told by a file `how.json` in the raw data, with its tasks' names as keys.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medperf.reconciler.datasets import LocalDataset
from medperf.reconciler.joining import found_registry, join_files, log_in, show_enrolment
from medperf.reconciler.observe import make_pair
from medperf.reconciler.passes import Summary, look, reconcile
from medperf.reconciler.plan import Plan, PlannedRun
from medperf.reconciler.preparing import RawParts, create_dataset
from medperf.reconciler.reports import TrialReport
from medperf.reconciler.reviewing import review, sign_and_merge
from medperf.reconciler.settings import Home
from medperf.reconciler.submissions import (
    BenchmarkParts,
    association_bytes,
    association_files,
    benchmark_files,
    benchmark_manifest,
    checked,
    dataset_files,
)
from medperf.reconciler.workplace import MAIN, Workplace
from medperf.registry import paths
from medperf.registry.git import Author
from medperf.registry.view import View
from medperf.runner.engines.rootfs import python_tar
from medperf.schemas.digests import digest, file_digest
from medperf.schemas.manifests import Asset

Files = dict[str, bytes]
MEDPERF = Path(sys.executable).with_name("medperf")

PROGRAM = '''\
"""A cube that does what it is told."""
import json, os, sys, time
from pathlib import Path

task = sys.argv[1]
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
told = {
    "infer": given.get("parameters_file", ""),
    "evaluate": given.get("predictions", "") + "/how.json",
}.get(task, given.get("data_path", "") + "/how.json")
how = json.loads(Path(told).read_text()) if os.path.isfile(told) else {}
output = Path(given.get("output_path", "/"))

what, *words = how.get(task, ["work"])
print("working on", task, what, flush=True)
if what == "fail":
    print("patient 4711 is odd", file=sys.stderr)
    sys.exit(3)
if what == "sleep":
    time.sleep(words[0])
while what == "compute" and time.process_time() < words[0]:
    pass
if what == "memory":
    hog = bytearray(words[0])
if what == "fill":
    target = output / "big" if output.is_dir() else output
    with target.open("wb") as file:
        for _ in range(words[0] // 65536):
            file.write(b"x" * 65536)
        file.flush()

if task == "prepare":
    for path in Path(given["data_path"]).iterdir():
        (output / path.name).write_bytes(path.read_bytes())
    Path(given["output_labels_path"], "labels.csv").write_text(
        Path(given["labels_path"]).read_text()
    )
if task == "sanity_check":
    assert any(Path(given["data_path"]).iterdir())
if task == "statistics":
    cases = [path for path in Path(given["data_path"]).iterdir() if path.suffix == ".txt"]
    output.write_text(json.dumps({"cases": len(cases)}))
if task == "infer":
    (output / "predictions.csv").write_text("Path,Edema\\n")
    (output / "how.json").write_text(json.dumps(how))
    if what == "half":
        sys.exit(4)
if task == "evaluate":
    results = how.get("results", "file")
    if results == "file":
        plain = {"AUC": {"Edema": 0.913}, "n": {"Edema": 60}}
        output.write_text(how.get("write", json.dumps(plain)))
    if results in ("link", "fifo", "folder") and output.exists():
        output.unlink()
    if results == "link":
        os.symlink("/etc/passwd", output)
    if results == "fifo":
        os.mkfifo(output)
    if results == "folder":
        output.mkdir()
'''

TASKS = {
    "preparator": """\
  prepare:
    parameters:
      inputs: {data_path: raw/, labels_path: raw.csv}
      outputs: {output_path: data/, output_labels_path: labels/}
  sanity_check: {parameters: {inputs: {data_path: data/, labels_path: labels/}}}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/}
      outputs: {output_path: statistics.yaml}
""",
    "model": """\
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: parameters.yaml}
      outputs: {output_path: predictions/}
""",
    "evaluator": """\
  evaluate:
    parameters:
      inputs: {predictions: predictions/, labels: labels/}
      outputs: {output_path: results.yaml}
""",
}

METRICS = b"""\
allowPartial: true
engines: [sandbox, docker, singularity]
metrics:
  auc-edema:
    {from: [AUC, Edema], type: number, min: 0, max: 1, decimals: 3, direction: higher,
     support: n-edema}
  n-edema: {from: [n, Edema], type: integer, min: 0, max: 10000000, kind: count}
"""


@dataclass(frozen=True)
class Images:
    """How this world's cubes come to an engine: the `images` of a cube's manifest."""

    engine: str
    entries: tuple[Mapping[str, Any], ...]


def sandbox_images(folder: Path) -> Images:
    """The toy program as a sandbox archive below `folder`."""
    archive = pack(folder / "cube.tar.gz", {"main.py": PROGRAM.encode()})
    return Images(
        "sandbox",
        (
            {
                "engine": "sandbox",
                "archive": pinned(archive),
                "command": ["python3", "main.py"],
            },
        ),
    )


def docker_images(folder: Path) -> Images:
    """The toy program in a Docker archive: this machine's Python, nothing from a registry."""
    archive = {"archive": pinned(_docker_archive(folder)), "platform": "linux/amd64"}
    return Images("docker", ({"engine": "docker", **archive},))


def singularity_images(folder: Path) -> Images:
    """The same as a SIF file, built from the Docker archive."""
    sif, tar = folder / "cube.sif", _docker_archive(folder)
    fast = ["--mksquashfs-args", "-comp zstd -Xcompression-level 3"]
    subprocess.run(
        ["apptainer", "build", *fast, str(sif), f"docker-archive:{tar}"],
        check=True,
        capture_output=True,
    )
    return Images("singularity", ({"engine": "singularity", "archive": pinned(sif)},))


def _docker_archive(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    root, saved = folder / "root.tar", folder / "cube.tar"
    shutil.copyfile(python_tar(folder), root)
    with tarfile.open(root, "a") as tar:
        entry = tarfile.TarInfo("main.py")
        entry.size, entry.mode = len(PROGRAM.encode()), 0o644
        tar.addfile(entry, io.BytesIO(PROGRAM.encode()))
    entrypoint = json.dumps([str(Path(sys.executable).resolve()), "/main.py"])
    name = f"medperf-test/{digest(str(folder).encode())[7:19]}:1"
    change = ["--change", f"ENTRYPOINT {entrypoint}"]
    subprocess.run(["docker", "import", *change, str(root), name], check=True, capture_output=True)
    subprocess.run(["docker", "save", "-o", str(saved), name], check=True)
    subprocess.run(["docker", "rmi", name], check=True, capture_output=True)
    saved.chmod(0o644)
    return saved


def pack(file: Path, contents: Mapping[str, bytes]) -> Path:
    """A .tar.gz with these files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return file


def pinned(file: Path) -> dict[str, Any]:
    """A file as an asset."""
    return {"url": file.as_uri(), "digest": file_digest(file), "size": file.stat().st_size}


class People:
    """The three homes below a folder, opened when they are asked for."""

    def __init__(self, folder: Path, assets: Path) -> None:
        self.folder = folder
        self.assets = assets
        self.url = str(folder / "registry.git")
        self._open: dict[str, Workplace] = {}

    def place(self, name: str) -> Workplace:
        """Somebody's workplace; the same one until `close`."""
        if name not in self._open:
            home = Home(self.folder / name)
            self._open[name] = Workplace(home, *home.profile())
        return self._open[name]

    def close(self, *names: str) -> None:
        """Close workplaces, so that they are opened anew with changed settings."""
        for name in names or tuple(self._open):
            if name in self._open:
                self._open.pop(name).close()

    @property
    def committee(self) -> Workplace:
        return self.place("committee")

    @property
    def modeler(self) -> Workplace:
        return self.place("modeler")

    @property
    def hospital(self) -> Workplace:
        return self.place("hospital")

    def set(self, name: str, *settings: str) -> Workplace:
        """Somebody's workplace with settings changed, as `medperf profile set` would."""
        from medperf.reconciler.profile_fields import change

        home = Home(self.folder / name)
        profile, known = home.profile()
        home.save(profile, change(known, settings))
        self.close(name)
        return self.place(name)

    # ------------------------------------------------------------------------ the registry

    def merge(self, files: Mapping[str, bytes], slug: str, *, by: str, also: str = "") -> str:
        """Propose files as `by`, sign and merge as the committee; the new tip of main."""
        proposal = self.place(by).propose(slug, files, f"Add {slug}")
        for name in (also, "committee") if also else ("committee",):
            tip = self.accept(proposal.id, by=name)
        return tip

    def accept(self, uid: str, *, by: str = "committee") -> str:
        """Sign and merge a proposal; the new tip of main."""
        place = self.place(by)
        view = place.view()
        return sign_and_merge(place, view, review(place, view, uid)).commit

    def cube(self, name: str, owner: str, role: str, images: Images, **spec: Any) -> bytes:
        """The bytes of a toy cube's manifest; `how` is what a model is told."""
        files = {"mlcube.yaml": f"name: {name}\ntasks:\n{TASKS[role]}"}
        if role == "model":
            files["parameters.yaml"] = json.dumps(spec.pop("how", None) or {})
        content = {
            "role": role,
            "format": "mlcube",
            "files": files,
            "images": list(images.entries),
            **spec,
        }
        return checked(
            name,
            {
                "apiVersion": "medperf/v1alpha1",
                "kind": "Cube",
                "metadata": {"name": name, "owner": owner, "description": f"The {name}."},
                "spec": content,
            },
        )


class Template(People):
    """The world as every test finds it."""

    def __init__(self, folder: Path, images: Callable[[Path], Images] = sandbox_images) -> None:
        super().__init__(folder, folder / "assets")
        self.images = images(self.assets)
        self._found()
        self._define_benchmark()
        self._prepare_dataset()
        self.close()

    def _found(self) -> None:
        policy = (
            "policy.sandboxForeign=true",
            f"policy.files=[{json.dumps(str(self.folder.parent))}]",
        )
        found_registry(
            Home(self.folder / "committee"),
            "toys",
            self.url,
            description="Toys",
            owner="committee",
            member="alice",
            approval="signed",
            storage=None,
            engine=self.images.engine,
            key=None,
            settings=policy,
        )
        for owner, member, site in (("modeler", "max", None), ("hospital", "bob", "ward")):
            home = Home(self.folder / owner)
            enrolment, _ = show_enrolment(home, "default", self.url)
            log_in(
                home,
                "default",
                enrolment,
                owner=owner,
                member=member,
                site=site,
                engine=self.images.engine,
                settings=policy,
            )
            place = self.place(owner)
            files = join_files(place, place.view(), description=owner, forge=None)
            self.merge(files, "join", by=owner)

    def _define_benchmark(self) -> None:
        cubes = {
            paths.cube_path(f"committee/{name}"): self.cube(name, "committee", role, self.images)
            for name, role in (("prep", "preparator"), ("ref", "model"), ("eval", "evaluator"))
        }
        self.merge(cubes, "cubes", by="committee")
        place = self.committee
        view = place.view()
        demo = pack(
            self.assets / "demo.tar.gz",
            {
                "paths.yaml": b"data_path: data\nlabels_path: labels.csv\n",
                "data/1.txt": b"one",
                "data/2.txt": b"two",
                "labels.csv": b"1,0\n2,1\n",
            },
        )
        parts = BenchmarkParts(
            name="toy",
            description="A toy",
            preparator="committee/prep",
            reference_model="committee/ref",
            evaluator="committee/eval",
            demo=Asset.model_validate(pinned(demo)),
            metrics_file="metrics.yaml",
            metrics_data=METRICS,
            committee=("committee/alice",),
        )
        data = checked("toy", benchmark_manifest(view, "committee", parts))
        files = benchmark_files(place, view, data, parts, passed_trial(view, "committee/ref", demo))
        self.merge(files, "benchmark-toy", by="committee")

    def _prepare_dataset(self) -> None:
        raw = raw_data(self.folder / "raw")
        place = self.hospital
        parts = RawParts("chest", "One ward", "Ulm", raw / "data", raw / "labels.csv", "toy")
        dataset = create_dataset(place, place.view(), parts, say=quiet)
        self.merge(dataset_files(place, place.view(), dataset), "chest", by="hospital")
        view = place.view()
        files = association_files(
            place,
            view,
            benchmark="committee/toy",
            side="dataset",
            component={
                "ref": "hospital/chest",
                "digest": view.dataset("hospital/chest").digest,
            },
            trial=reference_trial(view, self.images.engine),
        )
        self.merge(files, "take-part", by="hospital")


class World(People):
    """A copy of the template for one test."""

    def __init__(self, template: Template, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("registry.git", "committee", "modeler", "hospital", "raw"):
            shutil.copytree(template.folder / name, folder / name, symlinks=True)
        for name in ("committee", "modeler", "hospital"):
            config = folder / name / "config.yaml"
            text = config.read_text().replace(template.url, str(folder / "registry.git"))
            config.write_text(text)
        super().__init__(folder, template.assets)
        self.images = template.images

    # --------------------------------------------------------------------------- the parties

    def add_model(
        self,
        name: str,
        how: Mapping[str, Any] | None = None,
        *,
        owner: str = "modeler",
        approve: bool = True,
        images: Images | None = None,
        **spec: Any,
    ) -> str:
        """A model that does what `how` says, associated with the benchmark; its owner/name.

        Without `approve` the committee has not signed yet.
        """
        files, _ = self._model_files(name, how, owner=owner, images=images, **spec)
        if approve:
            self.merge(files, name, by=owner)
        else:
            self.push(files, by=owner)
        return f"{owner}/{name}"

    def add_models(self, names: Iterable[str]) -> None:
        """Models that do nothing special, approved, all in one commit."""
        files: dict[str, bytes] = {}
        for name in names:
            made, path = self._model_files(name, None, owner="modeler", images=None)
            files |= made | self.committee.statement(path, made[path])
        self.push(files, by="modeler")

    def _model_files(
        self,
        name: str,
        how: Mapping[str, Any] | None,
        *,
        owner: str,
        images: Images | None,
        **spec: Any,
    ) -> tuple[Files, str]:
        """A model, its association and its owner's statement; the association's path."""
        place, ref = self.place(owner), f"{owner}/{name}"
        data = self.cube(name, owner, "model", images or self.images, how=how, **spec)
        view = place.view()
        path = paths.association_path("committee/toy", "models", ref)
        benchmark = view.benchmark("committee/toy")
        trial = TrialReport(
            medperf="0.1.0",
            engine=self.images.engine,
            outcome="passed",
            preparator="",
            model=digest(data),
            evaluator="",
            data=benchmark.manifest.spec.demo_dataset.digest,
            metrics={"auc-edema": 1},
            not_computable=(),
            seconds={},
        )
        association = association_bytes(
            path,
            benchmark={"ref": benchmark.ref, "digest": benchmark.digest},
            side="model",
            component={"ref": ref, "digest": digest(data)},
            trial=trial.manifest(),
        )
        files = {paths.cube_path(ref): data, path: association}
        return files | place.statement(path, association), path

    def push(self, files: Mapping[str, bytes], *, by: str) -> str:
        """A commit with these files straight on main, as somebody with the right to push can."""
        place = self.place(by)
        place.fetch()
        tip = place.repository.resolve(MAIN)
        assert tip is not None
        commit = place.repository.commit(
            [tip],
            tip,
            files,
            message="Push",
            author=Author.of(place.member().by),
            signer=place.member().signer,
            date=None,
        )
        place.repository.push(self.url, {"refs/heads/main": (commit, tip)})
        return commit

    def change_settings(self, **spec: Any) -> None:
        """The benchmark's settings with these fields changed, signed by the committee."""
        place = self.committee
        view = place.view()
        path = paths.settings_path(paths.benchmark_path("committee/toy"))
        item = view.file(path)
        assert item is not None
        known = item.manifest.model_dump(by_alias=True, exclude_none=True, mode="json")
        number = known["spec"]["serial"] + 1
        known["spec"] = {**known["spec"], **spec, "serial": number}
        data = checked(path, known)
        files = {path: data, **place.statement(path, data, number=number)}
        self.merge(files, f"settings-{number}", by="committee")

    def revoke(self, component: str, *, by: str = "committee") -> None:
        """Revoke a component's association with the benchmark."""
        from medperf.reconciler.reviewing import revoke_association

        place = self.place(by)
        revoke_association(
            place,
            place.view(),
            benchmark="committee/toy",
            side="datasets" if component.startswith("hospital/") else "models",
            component=component,
            reason=None,
            agree=lambda _: None,
        )

    # ------------------------------------------------------------------------------- the site

    def reconcile(self, **options: Any) -> Summary:
        """A pass of the hospital."""
        return reconcile(self.hospital, say=options.pop("say", quiet), **options)

    def plan(self) -> Plan:
        """The hospital's plan, from the registry as it is."""
        return look(self.hospital)[1]

    def run(self, model: str = "committee/ref") -> PlannedRun:
        """One run of the hospital's plan."""
        return next(run for run in self.plan().runs if run.pair.model == model)

    def states(self) -> dict[str, str]:
        """The hospital's plan as model → state (and reason), in the order of the plan."""
        return {run.pair.model: f"{run.state} {run.reason}".strip() for run in self.plan().runs}

    def dataset(self) -> LocalDataset:
        """The hospital's dataset."""
        return self.hospital.datasets.find("chest")

    def results(self) -> list[str]:
        """The result files on main."""
        place = self.committee
        return sorted(place.view().snapshot.results)

    def tip(self, branch: str = "main") -> str:
        """The commit of a branch of the registry, or nothing."""
        return git(self.url, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def medperf(
        self, *words: str, by: str = "hospital", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """A command as somebody types it, in a process of its own."""
        return subprocess.run(
            [str(MEDPERF), *words],
            env={**os.environ, "MEDPERF_HOME": str(self.folder / by), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def quiet(_: str) -> None:
    """Says nothing."""


def git(repository: str, *words: str) -> str:
    """What Git answers about a repository."""
    return subprocess.run(
        ["git", f"--git-dir={repository}", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def raw_data(folder: Path, how: Mapping[str, Any] | None = None, cases: int = 20) -> Path:
    """Raw data and labels that the toy preparator reads."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        (folder / "data" / f"{number}.txt").write_text(f"case {number}")
    if how is not None:
        (folder / "data" / "how.json").write_text(json.dumps(how))
    (folder / "labels.csv").write_text("".join(f"{n},{n % 2}\n" for n in range(cases)))
    return folder


def passed_trial(view: View, model: str, demo: Path) -> TrialReport:
    """A trial that is said to have passed; real ones are tried in test_trials."""
    return TrialReport(
        medperf="0.1.0",
        engine="sandbox",
        outcome="passed",
        preparator="",
        model=view.cube(model).digest,
        evaluator="",
        data=file_digest(demo),
        metrics={"auc-edema": 1},
        not_computable=(),
        seconds={},
    )


def reference_trial(view: View, engine: str) -> dict[str, object]:
    """The `trial` of a dataset's association without the run that it names."""
    pair = make_pair(
        view,
        benchmark="committee/toy",
        dataset="hospital/chest",
        dataset_digest=view.dataset("hospital/chest").digest,
        model="committee/ref",
    )
    return {"medperf": "0.1.0", "engine": engine, "outcome": "passed", "runKey": pair.key}
