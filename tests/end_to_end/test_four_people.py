"""Four people, two engines, images from everywhere: the story of MedPerf's own end-to-end script.

A committee, a model owner and two hospitals: `hospital` on Docker, `clinic` on Apptainer. One model
is pulled by digest from a real image registry on loopback, one comes as a `docker save` archive,
one as a SIF file, and one fails midway. Everything is typed as commands.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..reconciler.world import (
    TASKS,
    Template,
    World,
    docker_images,
    git,
    raw_data,
    singularity_images,
)

pytestmark = [pytest.mark.docker, pytest.mark.singularity, pytest.mark.image_registry]


@pytest.fixture
def image_registry(tmp_path: Path) -> Iterator[str]:
    """A real image registry on loopback: Debian's `docker-registry`; its address."""
    program = shutil.which("docker-registry")
    assert program
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'layers'}}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        host, _, port = address.partition(":")
        for _ in range(100):
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
        server.kill()
    for identity in docker("images", "-q", "--filter", f"reference={address}/*/*").split():
        docker("rmi", "-f", identity)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[World]:
    """The toy world, its cubes Docker archives."""
    template = Template(tmp_path / "template", docker_images)
    made = World(template, tmp_path / "world")
    yield made
    made.close()


def docker(*words: str) -> str:
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def push(archive: Path, name: str) -> str:
    """The archive's image pushed as `name`; nothing of it stays in the engine but its content."""
    loaded = docker("load", "-i", str(archive)).rpartition(" ")[2]
    docker("tag", loaded, name)
    docker("push", name)
    digest = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", name)
    docker("rmi", name, loaded)
    return digest


def ok(world: World, by: str, *words: str, code: int = 0) -> str:
    """A command that ends as it should; what it said."""
    done = world.medperf(*words, by=by)
    assert done.returncode == code, f"{by}: {' '.join(words)}\n{done.stderr}{done.stdout}"
    return done.stdout + done.stderr


def join_clinic(world: World, folder: Path) -> None:
    """A second hospital, whose engine is Apptainer."""
    files = json.dumps([str(folder)])
    ok(
        world, "clinic", "login", world.url, "--owner", "clinic", "--member", "eve",
        "--site", "lab", "--engine", "singularity", "--set", f"policy.files={files}", "-y",
    )  # fmt: skip
    ok(world, "clinic", "owner", "join", "--description", "A clinic", "-y")
    ok(world, "committee", "proposal", "merge", "clinic/join", "-y")


def states(world: World, by: str) -> dict[str, str]:
    """Model → state in somebody's plan, whole runs alone."""
    plan = json.loads(world.medperf("plan", "--json", by=by).stdout)
    return {
        run["pair"]["model"]: run["state"] for run in plan["runs"] if not run["pair"]["partial"]
    }


def result_files(world: World) -> dict[str, str]:
    """Every result on main with its blob id."""
    lines = git(world.url, "ls-tree", "-r", "main", "results").splitlines()
    return {line.partition("\t")[2]: line.split()[2] for line in lines}


def test_four_people(
    town: World, image_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = town
    monkeypatch.setenv("APPTAINER_NOHTTPS", "1")  # the image registry on loopback speaks http
    # ---- models: from an image registry, as a docker archive, as a SIF, and one that fails
    name = f"{image_registry}/toy/model:1.0"
    digest = push(world.assets / "cube.tar", name)
    cube = tmp_path / "mlcube.yaml"
    cube.write_text(f"name: pulled\ntasks:\n{TASKS['model']}")
    (tmp_path / "parameters.yaml").write_text("{}\n")
    said = ok(
        world, "modeler", "mlcube", "submit", "--name", "pulled", "--mlcube-file", str(cube),
        "--parameters-file", str(tmp_path / "parameters.yaml"),
        "--image-file", f"docker={name}", "-y",
    )  # fmt: skip
    assert digest in said, "the tag is pinned, and the digest shown before it is sent"
    ok(world, "modeler", "proposal", "merge", "modeler/cube-pulled", "-y")
    associate = ("mlcube", "associate", "--benchmark", "toy", "--model_uid")
    ok(world, "modeler", *associate, "pulled", "-y")
    approve = ("association", "approve", "--benchmark", "toy", "-y", "--model_uid")
    ok(world, "committee", *approve, "modeler/pulled")
    assert "approved" in ok(world, "committee", *approve, "modeler/pulled", code=2)
    world.add_model("archived")
    world.add_model("half", {"infer": ["half"]})
    world.add_model("sif", images=singularity_images(tmp_path / "sif"))

    # ---- the clinic is on the allow-list: nobody of the committee signs its dataset
    join_clinic(world, tmp_path)
    ok(world, "committee", "benchmark", "settings", "toy", "--approve-datasets", "clinic", "-y")
    raw = raw_data(tmp_path / "clinic raw")
    ok(
        world, "clinic", "dataset", "create", "--name", "scans", "--benchmark", "toy",
        "--data_path", str(raw / "data"), "--labels_path", str(raw / "labels.csv"),
    )  # fmt: skip
    ok(world, "clinic", "dataset", "submit", "--data_uid", "scans", "-y")
    ok(world, "clinic", "proposal", "merge", "clinic/dataset-scans", "-y")
    said = ok(
        world, "clinic", "dataset", "associate", "--benchmark_uid", "toy", "--data_uid", "scans",
        "-y",
    )  # fmt: skip
    assert "waits for nobody" in said

    # ---- the hospital: priorities order the runs, the failing model fails alone
    words = ("association", "priority", "-b", "toy", "-p", "9", "--model_uid", "half", "-y")
    ok(world, "committee", *words)
    said = ok(world, "hospital", "reconcile", code=1)
    order = [line for line in said.splitlines() if line.endswith(": infer")]
    assert order[0] == "modeler/half: infer"
    assert states(world, "hospital") == {
        "modeler/half": "failed",
        "committee/ref": "awaiting-release",
        "modeler/archived": "awaiting-release",
        "modeler/pulled": "awaiting-release",
        "modeler/sif": "blocked",
    }
    # ---- a partial result, when a person asks for it
    said = ok(
        world, "hospital", "benchmark", "run", "--benchmark", "toy", "--data_uid", "chest",
        "--model", "half", "--ignore-model-errors",
    )  # fmt: skip
    assert "1 ran successfully, of which 1 with a partial result" in said
    ok(world, "hospital", "result", "submit", "--all", "-y")
    ok(world, "committee", "proposal", "merge", "sites/hospital/ward", "-y")

    # ---- the clinic, on Apptainer: the SIF as it is, the archives converted, one pulled
    ok(world, "clinic", "reconcile", "--model", "sif")
    assert f"pulling {digest}" in ok(world, "clinic", "reconcile", "--model", "pulled")
    ok(world, "clinic", "reconcile", "--model", "archived")
    ok(world, "clinic", "result", "submit", "--all", "-y")
    ok(world, "committee", "proposal", "merge", "sites/clinic/lab", "-y")
    ok(world, "committee", "registry", "verify")
    before = result_files(world)
    listed = json.loads(world.medperf("result", "ls", "--json", by="modeler").stdout)
    assert {one["answer"] for one in listed} == {"valid"}
    assert {(one["dataset"], one["model"]) for one in listed} >= {
        ("hospital/chest", "modeler/half"),
        ("clinic/scans", "modeler/sif"),
        ("clinic/scans", "modeler/archived"),
        ("clinic/scans", "modeler/pulled"),
    }

    # ---- the prepared dataset moves to another machine, and is whole there
    ok(world, "hospital", "dataset", "export", "--data_uid", "chest", "--output",
       str(tmp_path / "chest.tar"))  # fmt: skip
    world.set("hospital", f"storage={tmp_path / 'second machine'}")
    world.close()
    ok(world, "hospital", "dataset", "import", str(tmp_path / "chest.tar"))
    ok(world, "hospital", "dataset", "check", "--data_uid", "chest")

    # ---- revoked, and approved again in a new round; what is published stays as it is
    about = ("--benchmark", "toy", "--model_uid", "modeler/archived", "-y")
    ok(world, "committee", "association", "revoke", *about, "--reason", "looked wrong")
    ok(world, "modeler", *associate, "archived", "-y")
    ok(world, "committee", "association", "approve", *about)
    after = states(world, "hospital")
    assert after["modeler/archived"] == "published", "the same run is never made twice"
    assert result_files(world) == before
    ok(world, "committee", "registry", "verify")
