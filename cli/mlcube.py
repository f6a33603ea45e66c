"""`medperf mlcube`: preparators, models and evaluators."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cube_making import create, package, run_test
from .desk import ask_to_send, json_option, operational_option, workplace, yes_option
from .groups import NearGroup
from .inviting import associate_model
from .object_settings import cube_settings
from .objects import show
from .output import none_of, print_json, print_table, print_text, say
from .outputs import Output

if TYPE_CHECKING:
    from ..runner.packing import Role
    from ..schemas.manifests import Resources


@click.group("mlcube", cls=NearGroup)
def command() -> None:
    """A cube is an image with the tasks of its role: a preparator, a model or an evaluator.

    \b
    Example:
      medperf mlcube submit --name resnet --mlcube-file mlcube.yaml --image-file resnet.tar
    """


for _one in (create, package, run_test, cube_settings):
    command.add_command(_one)


@command.command("submit")
@click.option("-n", "--name", required=True, help="The cube's name.")
@click.option("--description", default="", help="What it does, for people.")
@click.option(
    "-m",
    "--mlcube-file",
    "--container-config-file",
    "mlcube_file",
    required=True,
    metavar="PATH|URL",
    help="mlcube.yaml or container_config.yaml.",
)
@click.option("-p", "--parameters-file", metavar="PATH|URL", help="parameters.yaml, if it has one.")
@click.option(
    "-i",
    "--image-file",
    "images",
    multiple=True,
    metavar="[ENGINE=]PATH|URL",
    help="An image: docker=NAME:TAG, NAME@sha256:…, a docker-save tar, a SIF, or a sandbox's "
    "tar.gz. Repeatable. Default: the image that the MLCube file names.",
)
@click.option(
    "-a", "--additional-file", metavar="PATH|URL", help="A tar.gz with weights and the like."
)
@click.option(
    "--role",
    type=click.Choice(["preparator", "model", "evaluator"]),
    help="Default: told by the tasks.",
)
@click.option("--sandbox-command", default="", metavar="CMD", help="What runs in the sandbox.")
@click.option(
    "--statistics",
    type=click.Path(exists=True, path_type=Path),
    help="Of a preparator: the declaration of what of its statistics may leave.",
)
@click.option("--replaces", metavar="OWNER/NAME", help="The cube of which this is a new version.")
@click.option("--memory", metavar="SIZE", help="What a task needs: 4Gi, 512Mi.")
@click.option("--shm", metavar="SIZE", help="Shared memory that a task needs: 1Gi.")
@click.option("--gpus", type=click.IntRange(0, 64), metavar="N", help="GPUs that a task needs.")
@click.option(
    "--timeout", "timeouts", multiple=True, metavar="TASK=SECONDS", help="At most. Repeatable."
)
@click.option(
    "--scratch-root",
    is_flag=True,
    help="It writes beside its outputs: give it a layer that is thrown away.",
)
@click.option(
    "--host",
    type=Output("folder"),
    metavar="DIR",
    help="Lay large local files out here; you upload them.",
)
@click.option("--host-url", metavar="URL", help="The address that DIR will have.")
@operational_option
@yes_option
@click.pass_context
def submit(
    ctx: click.Context,
    name: str,
    description: str,
    mlcube_file: str,
    parameters_file: str | None,
    images: tuple[str, ...],
    additional_file: str | None,
    role: "Role | None",
    sandbox_command: str,
    statistics: Path | None,
    replaces: str | None,
    memory: str | None,
    shm: str | None,
    gpus: int | None,
    timeouts: tuple[str, ...],
    scratch_root: bool,
    host: Path | None,
    host_url: str | None,
    yes: bool,
) -> None:
    """Propose a cube: its small files go into the manifest, large ones by address and digest.

    An image that is named by its tag, here or in the MLCube file, is pinned by the digest that it
    has now; one that is in your Docker engine only is saved into --host. What is shown is what
    everybody with access to the registry will see.

    \b
    Examples:
      medperf mlcube submit --name resnet --mlcube-file mlcube.yaml \\
          --image-file docker=registry.example.org/resnet@sha256:… \\
          --additional-file https://files.example.org/weights.tar.gz
      medperf mlcube submit --name prep --mlcube-file mlcube.yaml --image-file prep.tar \\
          --host upload --host-url https://files.example.org/cubes
    """
    from ..reconciler.submissions import CubeRequest, check_new_cube, cube_files, cube_of
    from ..runner.cubes import lacking, read_cube
    from ..runner.packing import Hosting

    request = CubeRequest(
        name=name,
        description=description or name,
        cube_file=mlcube_file,
        parameters_file=parameters_file,
        images=images,
        additional_file=additional_file,
        role=role,
        sandbox_command=tuple(shlex.split(sandbox_command)),
        statistics=statistics,
        replaces=replaces,
        resources=_resources(memory, shm, gpus, timeouts, scratch_root=scratch_root),
        host=host,
        host_url=host_url,
    )
    with workplace(ctx) as place:
        check_new_cube(place.view(), place.owner, request)
        cube = cube_of(place, request)
        for sentence in lacking(read_cube(cube), cube.spec.role):
            say(sentence)
        files = cube_files(cube)
        ask_to_send(f"The cube {place.owner}/{name}", files, place.url, yes=yes)
        proposal = place.propose(f"cube-{name}", files, f"Add the cube {place.owner}/{name}")
    hosted = Hosting(host, host_url).holds(cube) if host is not None and host_url else []
    if names := ", ".join(path.name for path in hosted):
        say(f"Upload {names} from {host} to {host_url} before anybody reviews the proposal.")
    print_text(f"Proposed as {proposal.shown}. Merge it with: medperf proposal merge {proposal.id}")


def _resources(
    memory: str | None,
    shm: str | None,
    gpus: int | None,
    timeouts: tuple[str, ...],
    *,
    scratch_root: bool,
) -> "Resources | None":
    from pydantic import ValidationError

    from ..schemas.manifests import Resources

    if not (memory or shm or timeouts or scratch_root) and gpus is None:
        return None
    try:
        return Resources.model_validate(
            {
                "memory": memory,
                "shm": shm,
                "gpus": gpus,
                "timeout": dict(_seconds(word) for word in timeouts) or None,
                "scratchRoot": scratch_root or None,
            }
        )
    except ValidationError as error:
        item = error.errors()[0]
        name = item["loc"][0]
        raise click.UsageError(
            f"--{name}: {item['input']!r} cannot be: write 4Gi or 512Mi for a size, a task of the "
            "cube and whole seconds for a time."
        ) from error


def _seconds(word: str) -> tuple[str, int]:
    task, _, seconds = word.partition("=")
    if not seconds.isdecimal():
        raise click.UsageError(f"--timeout {word}: write TASK=SECONDS, as in infer=3600.")
    return task, int(seconds)


@command.command("ls")
@click.option("--mine", is_flag=True, help="Only your organisation's.")
@json_option
@click.pass_context
def ls(ctx: click.Context, mine: bool, as_json: bool) -> None:
    """List the cubes.

    Preparators, models and evaluators with the engines that they have an image for. What is
    still a proposal is not here: 'medperf proposal ls' has it.

    \b
    Example:
      medperf mlcube ls --mine
    """
    with workplace(ctx) as place:
        view = place.view()
        owner = place.owner
    items = [
        item for ref, item in sorted(view.cubes.items()) if not mine or ref.startswith(owner + "/")
    ]
    old = view.deprecated_cubes()
    if as_json:
        print_json(
            [
                {
                    "ref": item.ref,
                    "digest": item.digest,
                    "role": item.manifest.spec.role,
                    "engines": sorted({one.engine for one in item.manifest.spec.images}),
                    "deprecated": item.ref in old,
                }
                for item in items
            ]
        )
        return
    rows = [
        (
            item.ref,
            item.manifest.spec.role + (", deprecated" if item.ref in old else ""),
            ", ".join(sorted({one.engine for one in item.manifest.spec.images})),
            item.digest[:19],
        )
        for item in items
    ]
    nothing = "No cube is in the registry yet. What waits to be merged: 'medperf proposal ls'."
    empty = none_of(len(view.cubes), "cube", empty=nothing)
    print_table(("cube", "role", "engines", "digest"), rows, empty=empty)


@command.command("view")
@click.argument("uid")
@json_option
@click.pass_context
def view_(ctx: click.Context, uid: str, as_json: bool) -> None:
    """Show the cube UID, an owner/name or a unique name.

    The manifest as it is in the registry, with the digest by which others pin it.

    \b
    Example:
      medperf mlcube view modeler/resnet
    """
    with workplace(ctx) as place:
        show(place.view().cube(uid), as_json=as_json)


@command.command("associate")
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option("-m", "--model_uid", required=True, metavar="M", help="The model.")
@click.option("--no-cache", is_flag=True, help="Run the test even if it has passed here before.")
@yes_option
@click.pass_context
def associate(
    ctx: click.Context, benchmark: str, model_uid: str, no_cache: bool, yes: bool
) -> None:
    """Ask that a model takes part in a benchmark: runs the compatibility test, then proposes.

    The model runs on the benchmark's demo dataset in your engine. You see a summary of that and
    exactly what will be proposed, with your signature; the committee then approves or rejects
    it. A trial that passed before is taken as it is, unless you say --no-cache.

    \b
    Example:
      medperf mlcube associate --benchmark chestxray --model_uid resnet
    """
    with workplace(ctx) as place:
        associate_model(place, benchmark, model_uid, cache=not no_cache, yes=yes)
