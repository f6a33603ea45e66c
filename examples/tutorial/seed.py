"""The world in which a tutorial starts: a registry, the other people, the files needed.

    python seed.py committee|model-owner|data-owner [--folder tutorial]

The folder is made anew. `home/` is yours: a profile that has joined the registry. The others have
homes below `others/`; `approve` (a script that is written beside them) plays their part: they sign
and merge what waits for them, and do what comes next in the story. All radiographs are made up.
"""

import argparse
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHEST = HERE.parent / "chestxray"
MEDPERF = Path(sys.executable).with_name("medperf")
ROLES = ("committee", "model-owner", "data-owner")
CUBES = {"prep": "preparator", "reference": "model", "evaluator": "evaluator", "resnet": "model"}


class World:
    """The folder, and the people in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.assets = folder / "assets"

    def home(self, person: str) -> Path:
        """Where somebody's settings and keys are."""
        return self.folder / ("home" if person == "you" else f"others/{person}")

    def types(self, person: str, command: str) -> None:
        """One command of somebody, in the folder; its words are shown only if it fails."""
        done = subprocess.run(
            [str(MEDPERF), *shlex.split(command)],
            cwd=self.folder,
            env={**os.environ, "MEDPERF_HOME": str(self.home(person))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{person}: medperf {command}\n{done.stderr}{done.stdout}")

    # ------------------------------------------------------------------------------- files

    def lay_out(self) -> None:
        """An empty folder with the cubes' files and the demo dataset."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.assets.mkdir(parents=True)
        script("generate.py", self.folder / "demo-raw", "--cases", "24", "--seed", "3",
               "--demo", self.assets / "demo.tar.gz")  # fmt: skip
        for cube in CUBES:
            shutil.copytree(CHEST / cube, self.folder / "cubes" / cube)
            script("pack.py", CHEST / cube, self.assets)
        shutil.copy(CHEST / "metrics.yaml", self.folder / "metrics.yaml")

    # ------------------------------------------------------------------------------ people

    def found(self) -> None:
        """A registry whose admin is nobody's role."""
        self.types(
            "admin",
            "registry init registry.git --name chest --description 'Chest radiographs' "
            f"--owner registry-admins --member ada {self.settings()} -y",
        )

    def join(self, person: str, owner: str, member: str, site: str = "") -> None:
        """Somebody's profile, keys and place in the registry."""
        machine = f" --site {site}" if site else ""
        self.types(
            person,
            f"login registry.git --owner {owner} --member {member}{machine} {self.settings()} -y",
        )
        self.types(person, f"owner join --description 'Of the tutorial: {owner}' -y")
        self.types("admin", f"proposal merge {owner}/join -y")

    def settings(self) -> str:
        """What makes the sandbox run everybody's cubes from this folder's files."""
        files = f'["{self.assets}"]'
        return (
            "--engine sandbox --set policy.sandboxForeign=true "
            f"--set {shlex.quote(f'policy.files={files}')}"
        )

    # ----------------------------------------------------------------------------- objects

    def submit_cube(self, person: str, owner: str, cube: str) -> None:
        """A cube, from its files to main."""
        self.types(person, submit_command(self.folder, cube) + " -y")
        self.types(person, f"proposal merge {owner}/cube-chest-{cube} -y")

    def define_benchmark(self) -> None:
        """The committee's benchmark, in force."""
        for cube in ("prep", "reference", "evaluator"):
            self.submit_cube("committee", "committee", cube)
        self.types(
            "committee",
            "benchmark submit --name chestxray --description 'Four findings in radiographs' "
            f"--demo-url {shlex.quote(str(self.assets / 'demo.tar.gz'))} "
            "--data-preparation-mlcube chest-prep --reference-model-mlcube chest-reference "
            "--evaluator-mlcube chest-evaluator --metrics metrics.yaml -y",
        )

    def approve(self, role: str) -> None:
        """Writes the script that plays the others."""
        file = self.folder / "approve"
        words = [sys.executable, str(HERE / "approve.py"), role, str(self.folder)]
        file.write_text("#!/bin/sh\nexec " + shlex.join(words) + ' "$@"\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def submit_command(folder: Path, cube: str) -> str:
    """`mlcube submit` for one of the example's cubes."""
    files, assets = folder / "cubes" / cube, folder / "assets"
    words = [
        "mlcube submit",
        f"--name chest-{cube} --role {CUBES[cube]} --description 'The example {cube}'",
        f"--mlcube-file {shlex.quote(str(files / 'mlcube.yaml'))}",
        f"--image-file sandbox={shlex.quote(str(assets / f'{cube}-sandbox.tar.gz'))}",
        "--sandbox-command 'python3 main.py'",
    ]
    for option, path in (
        ("--parameters-file", files / "workspace/parameters.yaml"),
        ("--additional-file", assets / f"{cube}-additional_files.tar.gz"),
        ("--statistics", files / "statistics.yaml"),
    ):
        if path.exists():
            words.append(f"{option} {shlex.quote(str(path))}")
    return " ".join(words)


def script(name: str, *arguments: object) -> None:
    """One of the chest X-ray example's own scripts."""
    subprocess.run(
        [sys.executable, str(CHEST / name), *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def seed(role: str, folder: Path) -> None:
    """The world of one tutorial."""
    world = World(folder)
    world.lay_out()
    world.found()
    if role == "committee":
        world.join("you", "committee", "alice")
        world.join("modeler", "modeler", "max")
        world.submit_cube("modeler", "modeler", "resnet")
    else:
        world.join("committee", "committee", "alice")
        world.define_benchmark()
        world.types("admin", "proposal merge committee/benchmark-chestxray -y")
    if role == "model-owner":
        world.join("you", "modeler", "max")
        world.join("hospital", "hospital", "bob", "ward")
        script("generate.py", folder / "others/raw", "--cases", "120", "--seed", "7")
    if role == "data-owner":
        world.join("modeler", "modeler", "max")
        world.submit_cube("modeler", "modeler", "resnet")
        world.types("modeler", "mlcube associate --benchmark chestxray --model_uid chest-resnet -y")
        world.types(
            "committee",
            "association approve --benchmark chestxray --model_uid modeler/chest-resnet -y",
        )
        world.join("you", "hospital", "bob", "ward")
        script("generate.py", folder / "raw data", "--cases", "120", "--seed", "7")
    world.approve(role)


def main() -> None:
    """Reads the arguments, makes the world, says where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--folder", type=Path, default=Path("tutorial"))
    arguments = parser.parse_args()
    try:
        seed(arguments.role, arguments.folder.absolute())
    except KeyboardInterrupt:
        print(f"\nInterrupted. 'make tutorial ROLE={arguments.role}' begins anew.", file=sys.stderr)
        raise SystemExit(130) from None
    print(
        f"{arguments.folder}/ is ready. Go on in docs/tutorials/{arguments.role}.md, with:\n"
        f"  export MEDPERF_HOME=$PWD/{arguments.folder}/home"
    )


if __name__ == "__main__":
    main()
