"""The main job on made-up data: from an empty registry to signed results that anyone can verify.

    python demo.py [--engine sandbox|docker|singularity] [--folder demo] [--cases 200]

Three people with homes and keys of their own work on one bare repository, with the commands that a
person would type. Everything happens below the folder, which is emptied first; what takes long and
would come out the same is kept: the images, and the radiographs of the same generator and number.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MEDPERF = Path(sys.executable).with_name("medperf")
CUBES = ("prep", "evaluator", "reference", "resnet", "ensemble")
GENERATOR = ("generate.py", "patients.py", "anatomy.py", "radiographs.py")
FINDINGS = ("atelectasis", "cardiomegaly", "consolidation", "edema")


def main() -> None:
    """The whole story."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["sandbox", "docker", "singularity"], default="sandbox")
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    parser.add_argument("--cases", type=int, default=200)
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        Demo(arguments.folder.absolute(), arguments.engine, arguments.cases).play()
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing is left running; 'make demo' begins anew.", file=sys.stderr)
        raise SystemExit(130) from None
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look around in {arguments.folder}/:")
    print(f"  cd {arguments.folder} && MEDPERF_HOME=hospital {MEDPERF} status")


@dataclass(frozen=True)
class Person:
    """Somebody with a home of their own, who types commands in the demo's folder."""

    name: str
    home: Path
    where: Path

    def types(self, command: str, *, see: str = "answer") -> str:
        """Shows the command and runs it as typed.

        `see`: the `answer` alone, `all` with progress and what is shown before a question,
        or `nothing`, where the command's answer is returned to be shown in another form.
        """
        print(f"\n{_bold(self.name + ' $')} medperf {command}", flush=True)
        done = patiently(
            [MEDPERF, *shlex.split(command)],
            cwd=self.where,
            env={**os.environ, "MEDPERF_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if see == "nothing" else None,
            stderr=subprocess.STDOUT if see == "all" and not sys.stdout.isatty() else _pipe(see),
        )
        _check(done)
        return done.stdout


def _pipe(see: str) -> int | None:
    return None if see == "all" else subprocess.PIPE


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
        say("4", "A model owner brings a model: tested on the demo dataset, then approved")
        self.bring_a_model("resnet", "A small residual network.")
        self.run_and_publish()
        self.verify()
        self.run_again()
        self.run_only_the_new_one()

    def set_the_stage(self) -> None:
        """Data, archives and images, as people would have them on their own machines."""
        say("0", "Radiographs are made up, and the cubes' files packed")
        made = self.radiographs_id()
        note = self.folder / "radiographs.id"
        kept = {"images"}
        if note.exists() and note.read_text() == made:
            kept |= {note.name, "raw", "raw-demo"}
        if self.folder.exists():
            for path in self.folder.iterdir():
                if path.name not in kept:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.assets.mkdir(parents=True)
        if note.name not in kept:
            self.make_radiographs()
            note.write_text(made)
        link(self.folder / "raw-demo/demo.tar.gz", self.assets / "demo.tar.gz")
        for cube in CUBES:
            self.lay_out(cube)
        shutil.copy(HERE / "metrics.yaml", self.folder)
        if self.engine != "sandbox":
            self.make_images()
        tell(f"{self.folder.name}/ holds:")
        tell(f"  raw/          {self.cases} radiographs with labels: the hospital's, never shared")
        tell("  cubes/        three cubes of the committee, two models of a model owner")
        tell("  assets/       what the cubes run, their weights, and 40 demo cases: public files")
        tell("  metrics.yaml  what the benchmark lets leave a site")

    def radiographs_id(self) -> str:
        """What decides how the radiographs come out: the generator, and how many are wanted."""
        generator = b"".join((HERE / name).read_bytes() for name in GENERATOR)
        return hashlib.sha256(generator).hexdigest() + f" {self.cases}\n"

    def make_radiographs(self) -> None:
        """The hospital's, and those of the demo dataset: two runs of the generator at once."""
        demo = self.folder / "raw-demo"
        with ThreadPoolExecutor() as both:
            jobs = [
                both.submit(run, "generate.py", str(self.folder / "raw"), "--cases",
                    str(self.cases), "--seed", "7", "--site", "hospital"),
                both.submit(run, "generate.py", str(demo), "--cases", "40",
                    "--seed", "3", "--demo", str(demo / "demo.tar.gz")),
            ]  # fmt: skip
        for job in jobs:
            job.result()

    def lay_out(self, cube: str) -> None:
        """A cube's small files below cubes/, its archives below assets/."""
        folder = self.folder / "cubes" / cube
        folder.mkdir(parents=True)
        for name in ("mlcube.yaml", "workspace/parameters.yaml", "statistics.yaml"):
            if (HERE / cube / name).exists():
                shutil.copy(HERE / cube / name, folder)
        run("pack.py", str(HERE / cube), str(self.assets))

    def make_images(self) -> None:
        """The cubes' images from their Dockerfiles, as archives; for Apptainer as SIF files."""
        images = self.folder / "images"
        _check(patiently(["sh", HERE / "images.sh", images, *CUBES]))
        for cube in CUBES:
            tar = images / f"{cube}.tar"
            if self.engine == "docker":
                link(tar, self.assets / tar.name)
                continue
            sif = images / f"{cube}.sif"
            if not sif.exists() or sif.stat().st_mtime < tar.stat().st_mtime:
                options = ["--force", "--mksquashfs-args", "-comp zstd -Xcompression-level 3"]
                build = ["apptainer", "build", *options, sif, f"docker-archive:{tar}"]
                _check(patiently(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            link(sif, self.assets / sif.name)

    def make_the_registry(self) -> None:
        """An empty repository becomes a registry, and two owners join."""
        say("1", "The committee makes a registry; a model owner and a hospital join it")
        policy = f"--engine {self.engine} "
        policy += "--set policy.sandboxForeign=true --set policy.files=[../assets]"
        self.committee.types(
            "registry init registry.git --name chest --description 'Chest radiographs' "
            f"--owner committee --member alice {policy} -y"
        )
        tell("\nWho joins sees what will be trusted, and compares it with what the admin told.")
        self.modeler.types(f"login registry.git --owner modeler --member max {policy} -y")
        self.hospital.types(
            f"login registry.git --owner hospital --member bob --site ward {policy} -y", see="all"
        )
        self.modeler.types("owner join --description 'A university lab' -y")
        tell("\nBefore anything is sent it is shown, with the address and who will see it.")
        self.hospital.types("owner join --description 'A hospital in Ulm' -y", see="all")
        self.committee.types("proposal ls")
        self.committee.types("proposal merge modeler/join hospital/join -y")
        self.committee.types("owner ls")

    def define_the_benchmark(self) -> None:
        """Three cubes, and the benchmark with its reference model's trial."""
        say("2", "The committee submits three cubes and the benchmark")
        roles = {"prep": "preparator", "reference": "model", "evaluator": "evaluator"}
        for cube, role in roles.items():
            self.submit(self.committee, cube, role, f"The example {role}.")
        self.committee.types("proposal merge " + " ".join(map(proposed, roles)) + " -y")
        tell("\nThe reference model is tried on the demo dataset before anything is proposed.")
        self.committee.types(
            "benchmark submit --name chestxray --description 'Four findings in chest radiographs' "
            "--demo-url assets/demo.tar.gz --data-preparation-mlcube chest-prep "
            "--reference-model-mlcube chest-reference --evaluator-mlcube chest-evaluator "
            "--metrics metrics.yaml --committee committee/alice -y"
        )
        self.committee.types("proposal merge committee/benchmark-chestxray -y")
        self.committee.types("benchmark ls")

    def submit(self, person: Person, cube: str, role: str, description: str) -> None:
        """The proposal of one cube, from its files."""
        files = f"cubes/{cube}"
        command = (
            f"mlcube submit --name chest-{cube} --role {role} --description '{description}' "
            f"--mlcube-file {files}/mlcube.yaml"
        )
        if (self.folder / files / "parameters.yaml").exists():
            command += f" --parameters-file {files}/parameters.yaml"
        if (self.folder / files / "statistics.yaml").exists():
            command += f" --statistics {files}/statistics.yaml"
        if (self.assets / f"{cube}-additional_files.tar.gz").exists():
            command += f" --additional-file assets/{cube}-additional_files.tar.gz"
        command += f" --image-file sandbox=assets/{cube}-sandbox.tar.gz"
        command += " --sandbox-command 'python3 main.py'"
        if self.engine == "docker":
            command += f" --image-file docker=assets/{cube}.tar"
        if self.engine == "singularity":
            command += f" --image-file singularity=assets/{cube}.sif"
        person.types(command + " -y")

    def prepare_the_data(self) -> None:
        """The hospital prepares data, submits metadata, is associated and approved."""
        say("3", "The hospital prepares its radiographs, submits metadata only, asks to take part")
        self.hospital.types(
            "dataset create --name chest --description 'Radiographs of one ward' --location Ulm "
            "--data_path raw/images --labels_path raw/labels.csv --benchmark chestxray",
            see="all",
        )
        self.hospital.types("dataset ls --local")
        self.hospital.types("dataset submit --data_uid chest -y", see="all")
        self.hospital.types("proposal merge hospital/dataset-chest -y")
        tell(
            "\nThe reference model runs on the new dataset: does this site work? That run is kept."
        )
        self.hospital.types("dataset associate --benchmark_uid chestxray --data_uid chest -y")
        self.committee.types("association ls --pending")
        self.committee.types(
            "association approve --benchmark chestxray --data_uid hospital/chest -y"
        )

    def bring_a_model(self, cube: str, description: str) -> None:
        """A model is submitted, tested, proposed and approved."""
        self.submit(self.modeler, cube, "model", description)
        self.modeler.types(f"proposal merge modeler/cube-chest-{cube} -y")
        self.modeler.types(f"mlcube associate --benchmark chestxray --model_uid chest-{cube} -y")
        self.committee.types(
            f"association approve --benchmark chestxray --model_uid modeler/chest-{cube} -y"
        )

    def run_and_publish(self) -> None:
        """The hospital sees what is due, runs it, decides what leaves."""
        say("5", "The hospital runs what is due, and decides what leaves")
        self.hospital.types("plan")
        self.hospital.types("reconcile", see="all")
        tell(
            "\nNothing has left so far. A person sees exactly the numbers that would, and decides."
        )
        self.hospital.types("result release --all -y", see="all")
        tell("\nThe next pass publishes what is released: as a commit that the site's key signs.")
        self.hospital.types("reconcile")
        self.committee.types("proposal merge sites/hospital/ward -y")

    def verify(self) -> None:
        """Anybody checks everything, with tools that are not ours where they are here."""
        say("6", "Anybody verifies everything, and reads the numbers")
        self.committee.types("registry verify")
        self.committee.types("registry keys --format pem -o keys")
        self.committee.types("registry keys --format allowed-signers -o keys")
        shell(self.folder, "git clone --quiet registry.git clone")
        results = sorted((self.folder / "clone/results").rglob("*.yaml"))
        self.committee.types(f"result verify {results[-1].relative_to(self.folder)}")
        if shutil.which("cosign") is None:
            tell("\n(cosign is not on this machine: where it is, it verifies the results too.)")
        for path in results if shutil.which("cosign") else ():
            file = path.relative_to(self.folder)
            shell(
                self.folder,
                f"cosign verify-blob-attestation --bundle {file.with_suffix('.sigstore.json')} "
                "--key keys/hospital.ward.pem --insecure-ignore-tlog=true "
                f"--type https://medperf.org/attestation/result/v1 {file}",
            )
        if shutil.which("ssh-keygen"):
            allowed = "-c gpg.ssh.allowedSignersFile=../keys/allowed_signers"
            shell(self.folder, f"git -C clone {allowed} verify-commit HEAD")
        self.committee.types("result ls")
        self.print_metrics()

    def print_metrics(self) -> None:
        """AUC and F1 per finding for every model, from `medperf result ls --json`."""
        tell("\nThe same answer for programs holds the numbers; here they are as a table.")
        results = json.loads(self.committee.types("result ls --json", see="nothing"))
        header = "".join(f"{finding:>{len(finding) + 2}}" for finding in FINDINGS)
        for metric in ("auc", "f1"):
            print(f"\n{_bold(f'{metric.upper():<25}')}{header}")
            for result in sorted(results, key=lambda one: str(one["model"])):
                cells = (
                    f"{_number(result['metrics'].get(f'{metric}-{finding}')):>{len(finding) + 2}}"
                    for finding in FINDINGS
                )
                print(f"{result['model']:<25}" + "".join(cells), flush=True)

    def run_again(self) -> None:
        """Nothing is left to do."""
        say("7", "A second reconcile finds nothing to do")
        self.hospital.types("reconcile")

    def run_only_the_new_one(self) -> None:
        """A third model joins, and only it runs."""
        say("8", "A third model joins, and only it runs")
        self.bring_a_model("ensemble", "Two narrower residual networks, averaged.")
        self.hospital.types("plan")
        self.hospital.types("reconcile")
        self.hospital.types("result submit --all -y")
        self.committee.types("proposal merge sites/hospital/ward -y")
        self.committee.types("registry verify")
        self.print_metrics()


def proposed(cube: str) -> str:
    """The id of a committee's proposal of a cube."""
    return f"committee/cube-chest-{cube}"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


def patiently(words: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    """The ended process. At Ctrl-C, which it gets too, it is waited for: it ends what it runs."""
    with subprocess.Popen(words, text=True, **how) as process:
        try:
            out, told = process.communicate()
        except KeyboardInterrupt:
            process.wait()
            raise
    return subprocess.CompletedProcess(words, process.returncode, out or "", told or "")


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if done.returncode:
        print(done.stderr, end="", file=sys.stderr)
        raise SystemExit(f"That ended with {done.returncode}: the demo stops.")


def run(script: str, *arguments: str) -> None:
    """One of the example's own scripts."""
    words = [sys.executable, HERE / script, *arguments]
    _check(patiently(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))


def shell(folder: Path, command: str) -> None:
    """Shows a command of somebody else's program, runs it in `folder`, shows its last words."""
    print(f"\n{_bold('anybody $')} {command}", flush=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = patiently(shlex.split(command), cwd=folder, **pipes)
    if done.stdout.strip():
        print(done.stdout.strip())
    _check(done)


def link(source: Path, target: Path) -> None:
    """The same file under a second name; copied where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def say(act: str, text: str) -> None:
    """A headline of the story."""
    print("\n" + _bold(f"=== Act {act}. {text}"), flush=True)


def tell(text: str) -> None:
    """A remark between commands."""
    print(text, flush=True)


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    main()
