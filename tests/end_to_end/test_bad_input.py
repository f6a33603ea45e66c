"""Bad input to whole commands: a clear message, exit code 1 or 2, and the registry unchanged."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..reconciler.world import TASKS, World, git, pack, pinned


@pytest.fixture
def unchanged(world: World) -> Iterator[Callable[[], None]]:
    """Checks that no branch of the registry has moved since it was last called."""
    state = [git(world.url, "for-each-ref")]

    def check(*, moved: bool = False) -> None:
        now = git(world.url, "for-each-ref")
        assert moved or now == state[0]
        state[0] = now

    yield check
    check()


def model(world: World, unchanged: Callable[..., None], how: Any = None, **spec: Any) -> str:
    """A model that is approved with all its faults."""
    ref = world.add_model("bad", how, **spec)
    unchanged(moved=True)
    return ref


def refuses(world: World, *told: str) -> subprocess.CompletedProcess[str]:
    """The model's run fails, and the words say why."""
    done = world.medperf("reconcile", "--model", "modeler/bad")
    words = plain(done)
    assert done.returncode == 1, words
    for word in told:
        assert word in words, words
    return done


def plain(done: subprocess.CompletedProcess[str]) -> str:
    """All that was said, in one line: tables break words."""
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "this is a bug" not in said
    return said


def explained(world: World) -> str:
    """Why the model's run is not simply due, as `medperf plan` says it."""
    return world.run("modeler/bad").explanation


def archive_with(file: Path, *entries: tarfile.TarInfo) -> dict[str, Any]:
    """A pinned archive with these entries, as a stranger may make it."""
    with tarfile.open(file, "w:gz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return pinned(file)


def entry(name: str, **fields: Any) -> tarfile.TarInfo:
    """One entry of an archive."""
    info = tarfile.TarInfo(name)
    info.size = 0 if fields else 1
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_a_missing_asset(world: World, unchanged: Callable[..., None], tmp_path: Path) -> None:
    asset = pinned(pack(tmp_path / "gone.tar.gz", {"w": b"w"}))
    (tmp_path / "gone.tar.gz").unlink()
    model(world, unchanged, additionalFiles=asset)
    refuses(world)
    assert "gone.tar.gz" in explained(world)


def test_a_wrong_asset_hash(world: World, unchanged: Callable[..., None], tmp_path: Path) -> None:
    file = pack(tmp_path / "other.tar.gz", {"w": b"w"})
    asset = {**pinned(file), "digest": "sha256:" + "0" * 64}
    model(world, unchanged, additionalFiles=asset)
    refuses(world)
    assert "sha256:" in explained(world)
    assert "other.tar.gz" in explained(world)


@pytest.mark.parametrize(
    "bad",
    [
        entry("../outside"),
        entry("/absolute"),
        entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("hard", type=tarfile.LNKTYPE, linkname="other"),
        entry("fifo", type=tarfile.FIFOTYPE),
        entry("device", type=tarfile.CHRTYPE),
    ],
    ids=lambda bad: str(bad.name).strip("./"),
)
def test_a_hostile_archive(
    world: World, unchanged: Callable[..., None], tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    model(world, unchanged, additionalFiles=archive_with(tmp_path / "bad.tar.gz", bad))
    refuses(world)
    assert bad.name in explained(world)
    assert not (world.hospital.storage / "images" / "outside").exists()
    assert not list(world.folder.rglob("outside"))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/w.tar.gz",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_a_private_address(world: World, unchanged: Callable[..., None], url: str) -> None:
    asset = {"url": url, "digest": "sha256:" + "1" * 64, "size": 10}
    model(world, unchanged, additionalFiles=asset)
    refuses(world)
    assert world.run("modeler/bad").state == "failed"
    assert "no public address" in explained(world)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ('{"AUC": {"Edema": 0.5}, "n": {"Edema": 60}, "patient": 4711}', "patient"),
        ('{"AUC": {"Edema": "high"}, "n": {"Edema": 60}}', "auc-edema"),
    ],
)
def test_a_results_file_that_says_too_much_is_withheld(
    world: World, unchanged: Callable[..., None], write: str, reason: str
) -> None:
    name = "toy.bad.chest"
    model(world, unchanged, {"write": write})
    assert world.medperf("reconcile", "--model", "modeler/bad").returncode == 0
    assert world.run("modeler/bad").state == "withheld"
    assert reason in explained(world)
    done = world.medperf("result", "submit", "--result", name, "-y")
    assert done.returncode == 1
    assert reason in plain(done)


def test_a_results_file_of_a_megabyte_is_withheld(
    world: World, unchanged: Callable[..., None]
) -> None:
    model(world, unchanged, {"evaluate": ["fill", 1 << 20], "results": "kept"})
    assert world.medperf("reconcile", "--model", "modeler/bad").returncode == 0
    assert "larger than" in explained(world)


def test_a_metric_that_is_nan_is_suppressed_not_published(
    world: World, unchanged: Callable[..., None]
) -> None:
    model(world, unchanged, {"write": "AUC: {Edema: .nan}\nn: {Edema: 60}\n"})
    assert world.medperf("reconcile", "--model", "modeler/bad").returncode == 0
    done = world.medperf("result", "ls", "--local", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["metrics"] == {"n-edema": 60}


def test_no_engine(world: World, unchanged: Callable[..., None], tmp_path: Path) -> None:
    image = {"engine": "docker", "archive": pinned(pack(tmp_path / "i.tar.gz", {"x": b""}))}
    model(
        world,
        unchanged,
        images=type(world.images)("docker", ({**image, "platform": "linux/amd64"},)),
    )
    world.set("hospital", "engine=docker")
    done = world.medperf("reconcile", DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert done.returncode == 1
    assert "docker" in plain(done).lower()


@pytest.mark.usefixtures("unchanged")
def test_cubes_that_cannot_be_submitted(world: World, tmp_path: Path) -> None:
    cube = tmp_path / "mlcube.yaml"
    cube.write_text(f"name: new\ntasks:\n{TASKS['model']}")
    words = ("mlcube", "submit", "--name", "new", "--mlcube-file", str(cube), "-y")
    for more, told in (
        (("--image-file", f"sandbox={tmp_path}/none.tar.gz"), "There is no file"),
        (("--image-file", "docker=name@sha256:" + "0" * 63), "64"),
        (("--image-file", "https://127.0.0.1/cube.tar"), "127.0.0.1"),
        (("--image-file", str(tmp_path / "odd.zip")), "which engine"),
        ((), "image"),
    ):
        done = world.medperf(*words, *more, by="modeler")
        assert done.returncode in (1, 2), (more, done.stdout, done.stderr)
        assert told in plain(done), (more, done.stderr)


@pytest.mark.usefixtures("unchanged")
def test_data_that_cannot_be_prepared(world: World, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    words = ["dataset", "create", "--name", "second", "--description", "x", "--location", "x"]
    words += ["--benchmark", "toy"]
    for data, labels, code in (("none", "raw", 2), ("raw", "none", 2), ("raw", "raw", 1)):
        done = world.medperf(
            *words, "--data_path", str(tmp_path / data), "--labels_path", str(tmp_path / labels)
        )
        assert done.returncode == code, done.stderr
        # what the cube itself said is shown to the data's owner; the last word is ours
        assert done.stderr.rstrip().splitlines()[-1].startswith(("medperf: ", "Error: "))
        assert "/reconciler/" not in done.stderr
    assert [one.record.name for one in world.hospital.datasets.prepared()] == ["chest"]
