"""What this site lets run at all, whoever approved it: benchmarks, owners, engines, resources."""

from ..schemas.errors import CubeError, EngineError
from ..schemas.manifests import Cube
from .settings import Profile, in_bytes


def check_cube(profile: Profile, cube: Cube) -> None:
    """An EngineError or CubeError that says why this site does not run a cube, if it does not."""
    word, sentence = cube_obstacle(profile, cube)
    if word:
        raise (CubeError if word == "no-image" else EngineError)(sentence)


def benchmark_obstacle(profile: Profile, benchmark: str) -> tuple[str, str]:
    """Why this site runs nothing for a benchmark: a machine word and a sentence, or nothing."""
    allowed = profile.policy.benchmarks
    if allowed is None or benchmark in allowed:
        return "", ""
    return "benchmark", (
        f"This site runs nothing for {benchmark} (policy.benchmarks: {', '.join(allowed)})."
    )


def cube_obstacle(profile: Profile, cube: Cube) -> tuple[str, str]:
    """Why this site cannot or will not run a cube: a machine word and a sentence, or nothing."""
    name = f"{cube.metadata.owner}/{cube.metadata.name}"
    owners = profile.policy.owners
    if owners is not None and cube.metadata.owner not in (*owners, profile.me.owner):
        return "owner", (
            f"{name} is of an owner whose cubes this site does not run (policy.owners: "
            f"{', '.join(owners)})."
        )
    if profile.engine == "sandbox" and not (
        profile.policy.sandbox_foreign or cube.metadata.owner == profile.me.owner
    ):
        return "sandbox-foreign", (
            f"{name} is another owner's, and this site runs those in docker or singularity only "
            "(policy.sandboxForeign)."
        )
    from ..runner.workshop import choose_image

    try:
        choose_image(cube, profile.engine)
    except CubeError as error:
        return "no-image", str(error)
    wish = cube.spec.resources
    if wish and wish.memory and in_bytes(wish.memory) > in_bytes(profile.limits.memory):
        return "resources", (
            f"{name} asks for {wish.memory} of memory, this site gives {profile.limits.memory} "
            "(limits.memory)."
        )
    if wish and wish.gpus and wish.gpus > len(profile.limits.gpus):
        return "resources", (
            f"{name} asks for {wish.gpus} GPUs, this site gives {len(profile.limits.gpus)} "
            "(limits.gpus)."
        )
    return "", ""
