"""The main job on made-up data: from an empty registry to signed results that anyone can verify.

    python demo.py [--engine sandbox|docker|singularity] [--folder demo] [--cases 200]

Three people with homes and keys of their own work on one bare repository, with the commands that a
person would type. Everything happens below the folder, which is emptied first (images are kept).
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEDPERF = Path(sys.executable).with_name("medperf")
FINDINGS = ("atelectasis", "cardiomegaly", "consolidation", "edema")


def main() -> None:
    """The whole story."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["sandbox", "docker", "singularity"], default="sandbox")
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    parser.add_argument("--cases", type=int, default=200)
    arguments = parser.parse_args()
    started = time.monotonic()
    Demo(arguments.folder.absolute(), arguments.engine, arguments.cases).play()
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look around in {arguments.folder}/.")


@dataclass(frozen=True)
class Person:
    """Somebody with a home of their own, who types commands."""

    name: str
    home: Path
    where: Path

    def types(self, command: str, *, expect: int = 0, quiet: bool = False) -> str:
        """Shows the command, runs it as typed, shows and returns its answer."""
        print(f"\n{_bold(self.name + ' $')} medperf {command}", flush=True)
        process = subprocess.run(
            [str(MEDPERF), *shlex.split(command)],
            cwd=self.where,
            env={**os.environ, "MEDPERF_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not quiet:
            print(process.stdout, end="", flush=True)
        if process.returncode != expect:
            raise SystemExit(f"That ended with {process.returncode}, not {expect}: the demo stops.")
        return process.stdout


class Demo:
    """The folder, the three people, and the story in acts."""

    def __init__(self, folder: Path, engine: str, cases: int) -> None:
        self.folder = folder
        self.engine = engine
        self.cases = cases
        self.assets = folder / "assets"
        people = ("committee", "modeler", "hospital")
        self.committee, self.modeler, self.hospital = (
            Person(name, folder / name, folder) for name in people
        )

    def play(self) -> None:
        """Every act in order."""
        self.set_the_stage()
        self.make_the_registry()
        self.define_the_benchmark()
        self.prepare_the_data()
        self.bring_a_model("resnet", "A small residual network.")
        self.run_and_publish()
        self.verify()
        self.run_again()
        self.bring_a_model("ensemble", "Three smaller residual networks, averaged.")
        self.run_only_the_new_one()

    def set_the_stage(self) -> None:
        """Data, archives and images, as people would have them on their own machines."""
        say("Act 0: made-up radiographs, and the cubes' files packed")
        if self.folder.exists():
            for path in self.folder.iterdir():
                if path.name != "images":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.assets.mkdir(parents=True)
        run("generate.py", str(self.folder / "raw"), "--cases", str(self.cases), "--seed", "7",
            "--site", "hospital")  # fmt: skip
        run("generate.py", str(self.folder / "raw-demo"), "--cases", "40", "--seed", "3",
            "--demo", str(self.assets / "demo.tar.gz"))  # fmt: skip
        for cube in ("prep", "evaluator", "reference", "resnet", "ensemble"):
            run("pack.py", str(HERE / cube), str(self.assets))
        if self.engine != "sandbox":
            self.make_images()

    def make_images(self) -> None:
        """The cubes' images from their Dockerfiles, as archives; for Apptainer as SIF files."""
        images = self.folder / "images"
        cubes = ["prep", "evaluator", "reference", "resnet", "ensemble"]
        subprocess.run(["sh", str(HERE / "images.sh"), str(images), *cubes], check=True)
        for cube in cubes:
            tar = images / f"{cube}.tar"
            if self.engine == "docker":
                link(tar, self.assets / tar.name)
                continue
            sif = images / f"{cube}.sif"
            if not sif.exists() or sif.stat().st_mtime < tar.stat().st_mtime:
                options = ["--force", "--mksquashfs-args", "-comp zstd -Xcompression-level 3"]
                subprocess.run(
                    ["apptainer", "build", *options, str(sif), f"docker-archive:{tar}"],
                    check=True,
                    capture_output=True,
                )
            link(sif, self.assets / sif.name)

    def make_the_registry(self) -> None:
        """An empty repository becomes a registry, and two owners join."""
        say("Act 1: the committee makes a registry; a model owner and a hospital join")
        policy = f"--engine {self.engine} --set policy.sandboxForeign=true"
        policy += f" --set policy.files=[{quoted(self.assets)}]"
        self.committee.types(
            "registry init registry.git --name chest --description 'Chest radiographs' "
            f"--owner committee --member alice {policy} -y"
        )
        self.modeler.types(f"login registry.git --owner modeler --member max {policy} -y")
        self.modeler.types("owner join --description 'A university lab' -y")
        self.hospital.types(
            f"login registry.git --owner hospital --member bob --site ward {policy} -y"
        )
        self.hospital.types("owner join --description 'A hospital' -y")
        self.committee.types("proposal ls")
        self.committee.types("proposal merge modeler/join -y", quiet=True)
        self.committee.types("proposal merge hospital/join -y", quiet=True)
        self.committee.types("owner ls")

    def define_the_benchmark(self) -> None:
        """Three cubes, and the benchmark with its reference model's trial."""
        say("Act 2: the committee submits three cubes and the benchmark")
        for cube, role in (
            ("prep", "preparator"),
            ("reference", "model"),
            ("evaluator", "evaluator"),
        ):
            self.submit(self.committee, cube, role, f"The example {role}.")
        self.committee.types(
            "benchmark submit --name chestxray --description 'Four findings in chest radiographs' "
            f"--demo-url file://{self.assets}/demo.tar.gz --data-preparation-mlcube chest-prep "
            "--reference-model-mlcube chest-reference --evaluator-mlcube chest-evaluator "
            f"--metrics {HERE / 'metrics.yaml'} --committee committee/alice -y"
        )
        self.committee.types("proposal merge committee/benchmark-chestxray -y", quiet=True)
        self.committee.types("benchmark ls")

    def submit(self, person: Person, cube: str, role: str, description: str) -> None:
        """One cube, from its files to main."""
        source = HERE / cube
        command = (
            f"mlcube submit --name chest-{cube} --role {role} --description '{description}' "
            f"--mlcube-file {source / 'mlcube.yaml'} "
            f"--image-file sandbox={self.assets}/{cube}-sandbox.tar.gz "
            "--sandbox-command 'python3 main.py'"
        )
        if (source / "workspace/parameters.yaml").exists():
            command += f" --parameters-file {source / 'workspace/parameters.yaml'}"
        if (weights := self.assets / f"{cube}-additional_files.tar.gz").exists():
            command += f" --additional-file {weights}"
        if (source / "statistics.yaml").exists():
            command += f" --statistics {source / 'statistics.yaml'}"
        if self.engine == "docker":
            command += f" --image-file docker={self.assets}/{cube}.tar"
        if self.engine == "singularity":
            command += f" --image-file singularity={self.assets}/{cube}.sif"
        person.types(command + " -y", quiet=True)
        person.types(f"proposal merge {person.name}/cube-chest-{cube} -y", quiet=True)

    def prepare_the_data(self) -> None:
        """The hospital prepares data, submits metadata, is associated and approved."""
        say(
            "Act 3: the hospital prepares its radiographs, submits metadata only, asks to take part"
        )
        self.hospital.types(
            "dataset create --name chest --description 'Radiographs of one ward' --location Ulm "
            "--data_path raw/images --labels_path raw/labels.csv --benchmark chestxray"
        )
        self.hospital.types("dataset ls --local")
        self.hospital.types("dataset submit --data_uid chest -y")
        self.hospital.types("proposal merge hospital/dataset-chest -y", quiet=True)
        self.hospital.types("dataset associate --benchmark_uid chestxray --data_uid chest -y")
        self.committee.types("association ls --pending")
        self.committee.types(
            "association approve --benchmark chestxray --data_uid hospital/chest -y", quiet=True
        )

    def bring_a_model(self, cube: str, description: str) -> None:
        """A model is submitted, tested, proposed and approved."""
        say(f"A model owner brings {cube}; its compatibility test runs on the demo dataset")
        self.submit(self.modeler, cube, "model", description)
        self.modeler.types(f"mlcube associate --benchmark chestxray --model_uid chest-{cube} -y")
        self.committee.types(
            f"association approve --benchmark chestxray --model_uid modeler/chest-{cube} -y",
            quiet=True,
        )

    def run_and_publish(self) -> None:
        """The hospital sees what is due, runs it, decides what leaves."""
        say("Act 4: the hospital runs what is due, and decides what leaves")
        self.hospital.types("plan")
        self.hospital.types("reconcile")
        self.hospital.types("result release --all -y")
        self.hospital.types("reconcile")
        self.committee.types("proposal view sites/hospital/ward")
        self.committee.types("proposal merge sites/hospital/ward -y", quiet=True)

    def verify(self) -> None:
        """Anybody checks everything."""
        say("Act 5: anybody verifies everything, and reads the numbers")
        self.committee.types("registry verify")
        self.committee.types("result ls")
        results = json.loads(self.committee.types("result ls --json", quiet=True))
        self.print_metrics(results)

    def print_metrics(self, results: list[dict[str, object]]) -> None:
        """AUC and F1 per finding for every model."""
        header = "".join(f"{finding[:13]:>15}" for finding in FINDINGS)
        for metric in ("auc", "f1"):
            print(f"\n{metric.upper():<22}{header}")
            for result in results:
                metrics = result["metrics"]
                assert isinstance(metrics, dict)
                cells = (metrics.get(f"{metric}-{finding}", "-") for finding in FINDINGS)
                print(f"{result['model']!s:<22}" + "".join(f"{cell!s:>15}" for cell in cells))

    def run_again(self) -> None:
        """Nothing is left to do."""
        say("A second reconcile finds nothing to do")
        self.hospital.types("reconcile")

    def run_only_the_new_one(self) -> None:
        """Only the model that is new runs."""
        say("Act 6: only the new model runs")
        self.hospital.types("plan")
        self.hospital.types("reconcile")
        self.hospital.types("result submit --all -y")
        self.committee.types("proposal merge sites/hospital/ward -y", quiet=True)
        self.committee.types("registry verify")
        results = json.loads(self.committee.types("result ls --json", quiet=True))
        self.print_metrics(results)


def run(script: str, *arguments: str) -> None:
    """One of the example's own scripts."""
    subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)


def link(source: Path, target: Path) -> None:
    """The same file under a second name; copied where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def quoted(path: Path) -> str:
    """A path inside a flow list of a setting."""
    return json.dumps(str(path)).replace('"', '\\"')


def say(text: str) -> None:
    """A headline of the story."""
    print("\n" + _bold("— " + text), flush=True)


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    main()
