"""`medperf mlcube create|package|run-test`: for the makers of cubes, before they submit."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import plain, print_json, print_table, print_text, say
from .outputs import Output

if TYPE_CHECKING:
    from ..runner.packing import Role

ROLES = ("preparator", "model", "evaluator")
_MEDPERFS = {
    "data-preparator": "preparator",
    "data_preparator": "preparator",
    "metrics": "evaluator",
}


class _RoleType(click.Choice[str]):
    """A role, also under the name that MedPerf's templates had."""

    def __init__(self) -> None:
        super().__init__(ROLES)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(_MEDPERFS.get(value, value), param, ctx)


@click.command("create")
@click.argument("role", type=_RoleType())
@click.option("--name", help="What the cube is called; default: the folder's name.")
@click.option(
    "-o",
    "--output",
    type=Output("folder"),
    metavar="DIR",
    help="Default: ./ROLE or ./NAME.",
)
def create(role: "Role", name: str | None, output: Path | None) -> None:
    """Make a working cube of a ROLE (preparator, model, evaluator) to start from.

    The three templates fit together and run at once in 'medperf test run'.

    \b
    Examples:
      medperf mlcube create model --name my-model
      medperf test run --benchmark chestxray --model my-model/mlcube.yaml
    """
    from ..runner.scaffold import create_cube

    folder = output or Path(name or role)
    files = create_cube(role, name or _slug(folder.name), folder)
    print_text(f"{folder} is {'an' if role == 'evaluator' else 'a'} {role} to start from:")
    for file in files:
        if not file.startswith("sample/data/"):
            print_text(f"  {file}")
    option = {"preparator": "--data_preparation"}.get(role, f"--{role}")
    print_text(
        f"Edit {folder / 'main.py'}, then test it, for example:\n"
        f"  medperf test run --benchmark B {option} {shlex.quote(str(folder / 'mlcube.yaml'))}"
    )


def _slug(text: str) -> str:
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())
    return kept.strip("-")[:60] or "cube"


@click.command("package")
@click.option(
    "--mlcube",
    "cube",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="The cube's folder, or its mlcube.yaml.",
)
@click.option(
    "-o",
    "--output",
    type=Output("folder"),
    metavar="DIR",
    help="Where the files go; default: the folder assets beside the cube's file.",
)
@click.option(
    "--role", "--mlcube-types", "role", type=_RoleType(), help="Default: told by the tasks."
)
@click.option(
    "--sif",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Singularity image to put beside them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def package(
    cube: Path, output: Path | None, role: "Role | None", sif: Path | None, as_json: bool
) -> None:
    """Pack a cube's files as 'mlcube submit' takes them, and print their digests.

    The tasks of the role are checked first. The same files always give the same bytes.

    \b
    Example:
      medperf mlcube package --mlcube my-model --output upload
    """
    import tempfile

    from ..runner.scaffold import package_cube

    with tempfile.TemporaryDirectory(prefix="medperf-package-") as scratch:
        output = output or (cube if cube.is_dir() else cube.parent) / "assets"
        packed = package_cube(cube, output, role=role, sif=sif, scratch=Path(scratch) / "check")
    if as_json:
        print_json([plain(one) for one in packed])
        return
    for one in packed:
        print_text(f"{one.path.name}, {one.size} bytes\n  {one.digest}")
    words = [
        one.what + ("" if one.what.endswith("=") else " ") + shlex.quote(str(one.path))
        for one in packed
    ]
    if any("sandbox=" in word for word in words):
        words.append("--sandbox-command 'python3 main.py'")
    print_text("\nNext: medperf mlcube submit --name NAME \\\n  " + " \\\n  ".join(words))


@click.command("run-test")
@click.option(
    "-m",
    "--mlcube",
    "--container",
    "cube",
    required=True,
    metavar="CUBE|FILE",
    help="A registered cube, or the mlcube.yaml of one on this machine.",
)
@click.option("-t", "--task", required=True, metavar="TASK", help="prepare, infer, evaluate, …")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="KEY=PATH",
    help="What the task takes, as data_path=raw. Repeatable.",
)
@click.option(
    "--output",
    required=True,
    type=Output("folder"),
    metavar="DIR",
    help="A new folder for what it writes, and its log.",
)
@click.option("--sandbox-command", default="", metavar="CMD", help="Default: python3 main.py.")
@click.option(
    "--scratch-root",
    is_flag=True,
    help="Let a cube that is a file write anywhere, into a layer that is thrown away.",
)
@click.option(
    "--engine",
    type=click.Choice(["docker", "singularity", "sandbox"]),
    help="Where there is no profile; default: the first that works.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def run_test(
    ctx: click.Context,
    cube: str,
    task: str,
    inputs: tuple[str, ...],
    output: Path,
    sandbox_command: str,
    scratch_root: bool,
    engine: str | None,
    as_json: bool,
) -> None:
    """Run one task of one cube on what you give it, as a site would run it.

    The task has no network, sees its inputs read-only and has the limits of this machine's
    settings. What it printed is shown when it fails. Nothing is registered and nothing is sent.

    \b
    Example:
      medperf mlcube run-test --mlcube prep/mlcube.yaml --task prepare \\
          --input data_path=raw --input labels_path=raw/labels.csv --output tried
    """
    from ..reconciler.mixing import Shelf
    from ..reconciler.task_trials import run_one_task
    from ..schemas.errors import TaskError
    from .test import anywhere

    given: dict[str, Path] = {}
    for one in inputs:
        key, equals, path = one.partition("=")
        if not equals:
            raise click.UsageError(f"--input {one}: write KEY=PATH, as in data_path=raw.")
        given[key] = Path(path)
    with anywhere(ctx, engine) as place:
        words = tuple(shlex.split(sandbox_command))
        part = Shelf(place, place.view).part(cube, None, words, scratch_root=scratch_root)
        try:
            report = run_one_task(place, part, task, given, output.absolute(), say=say)
        except TaskError as error:
            if error.log_tail:
                say("The end of its log:\n" + error.log_tail)
            raise
    if as_json:
        print_json(report)
        return
    print_text(f"{report.cube}: {report.task} ended well in {report.seconds} s.")
    rows = [(key, path) for key, path in report.outputs.items()]
    print_table(("output", "path"), [*rows, ("log", report.log)], empty="It wrote nothing.")
