"""Images: archives of strangers, what is cached, what is refused, engines that are absent."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medperf.runner.archives import ArchiveLimits
from medperf.runner.engines import (
    ImageSource,
    LocalImage,
    Task,
    docker_archive,
    open_engine,
    sif,
    singularity,
    singularity_images,
)
from medperf.runner.engines.kept import KeptEngine
from medperf.runner.engines.protocol import Outcome
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import EngineError

from .test_singularity_build import DIGEST, silent_registry

CONFIG = json.dumps(
    {"os": "linux", "architecture": "amd64", "config": {"WorkingDir": "/w"}}
).encode()
MANIFEST = [{"Config": "c.json", "RepoTags": ["victim:1"], "Layers": ["l/layer.tar"]}]


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def good(manifest: object = MANIFEST) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [
        member("l/layer.tar", b"layer"),
        member("c.json", CONFIG),
        member("manifest.json", json.dumps(manifest).encode()),
        member("repositories", b'{"victim": {"1": "x"}}'),
    ]


def test_an_archive_is_looked_at_without_unpacking(tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar", *good())
    image = docker_archive.look(path)
    assert image.platform == "linux/amd64"
    assert image.workdir == "/w"
    packed = tmp_path / "image.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert docker_archive.look(packed) == image
    assert docker_archive.is_docker_archive(packed)
    assert not docker_archive.is_docker_archive(tmp_path / "absent")


def test_names_are_taken_out_and_all_else_stays(tmp_path: Path) -> None:
    index = {"manifests": [{"digest": "x", "annotations": {"io.containerd.image.name": "v:1"}}]}
    path = archive(
        tmp_path / "image.tar",
        *good(),
        member("index.json", json.dumps(index).encode()),
        member("l", type=tarfile.DIRTYPE),
    )
    data = b"".join(docker_archive.without_names(path))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        texts = {m.name: tar.extractfile(m) for m in tar if m.isreg()}
        read = {name: file.read() for name, file in texts.items() if file is not None}
    assert sorted(read) == ["c.json", "index.json", "l/layer.tar", "manifest.json"]
    assert json.loads(read["manifest.json"])[0]["RepoTags"] is None
    assert json.loads(read["index.json"]) == {"manifests": [{"digest": "x"}]}
    assert read["l/layer.tar"] == b"layer"
    assert b"victim" not in data


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("x", b"y")], "no manifest.json"),
        (good([*MANIFEST, *MANIFEST]), "exactly one image"),
        (good({}), "exactly one image"),
        (good([{"Layers": []}]), "does not name a configuration"),
        (good([{"Config": "absent.json"}]), "lacks a file"),
        ([*good(), member("../../etc/passwd", b"x")], "leads out"),
        ([*good(), member("/etc/passwd", b"x")], "leads out"),
        ([*good(), member("a", type=tarfile.SYMTYPE, linkname="../../x")], "leads out"),
        ([*good(), member("a", type=tarfile.SYMTYPE, linkname="/x")], "leads out"),
        ([*good(), member("a", type=tarfile.LNKTYPE, linkname="c.json")], "beside files"),
        ([*good(), member("a", type=tarfile.CHRTYPE)], "beside files"),
        ([*good(), member("c.json", b"other")], "twice"),
        ([member("manifest.json", b"{")], "not JSON"),
        ([member("manifest.json", b" " * (2 << 20))], "larger than"),
        ([*good()[:1], member("c.json", b"[]"), *good()[2:]], "configuration cannot be read"),
    ],
)
def test_archives_that_are_not_one_plain_image_are_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    path = archive(tmp_path / "image.tar", *members)
    with pytest.raises(EngineError, match=message):
        docker_archive.look(path)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
SMALL = ArchiveLimits(ratio=100, ratio_free=1 << 20, size=8 << 20)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_archive_that_grows_beyond_all_measure_is_refused(
    tmp_path: Path, packer: str
) -> None:
    bomb = [member("l/layer.tar", bytes(2 << 20)), *good()[1:]]
    plain = archive(tmp_path / "plain.tar", *bomb)
    path = tmp_path / f"image.{packer}"
    path.write_bytes(PACKERS[packer](plain.read_bytes()))
    assert docker_archive.look(path).size == docker_archive.look(plain).size > 2 << 20
    says = rf"has {path.stat().st_size} bytes and unpacks to more than {1 << 20}"
    for refuses in (docker_archive.look, docker_archive.is_docker_archive):
        with pytest.raises(EngineError, match=says):
            refuses(path, SMALL)
    sent = docker_archive.without_names(path, SMALL)
    with pytest.raises(EngineError, match=says):
        next(sent)
    with pytest.raises(EngineError, match=f"more than {1 << 20}:"):
        docker_archive.look(plain, replace(SMALL, size=1 << 20))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_member_is_refused_by_its_header_before_a_byte_of_it_is_unpacked(
    tmp_path: Path, packer: str
) -> None:
    """There is none: whoever went on to read it would find the archive torn."""
    (first, _), *_ = good()
    first.size = 300 << 30
    small, data = member("small", b"x" * 512)
    path = tmp_path / "image"
    path.write_bytes(PACKERS[packer](small.tobuf() + data + first.tobuf() + bytes(1024)))
    sent = docker_archive.without_names(path)
    assert [len(next(sent)) for _ in range(3)] == [512, 512, 0]
    for refuses in (lambda: docker_archive.look(path), lambda: next(sent)):
        with pytest.raises(EngineError, match="unpacks to more than"):
            refuses()


@pytest.mark.parametrize(
    ("size", "headers", "message"),
    [
        (-(1 << 40), {}, "negative size"),
        (0, {"GNU.sparse.size": f"{1 << 20}", "GNU.sparse.map": "0,0"}, "sparse file"),
        (0, {"GNU.sparse.size": f"{1 << 60}", "GNU.sparse.map": "0,0"}, "unpacks to more than"),
    ],
)
def test_sizes_that_only_headers_claim_are_refused(
    tmp_path: Path, size: int, headers: dict[str, str], message: str
) -> None:
    odd = tarfile.TarInfo("odd")
    odd.size = size
    odd.pax_headers = headers
    header = odd.tobuf(tarfile.PAX_FORMAT) if headers else odd.tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "image.tar"
    path.write_bytes(header + bytes(10240))
    with pytest.raises(EngineError, match=message):
        docker_archive.look(path)


def test_where_there_is_no_room_nothing_is_unpacked(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    docker_archive.check_room(1 << 20, tmp_path)
    docker_archive.check_room(1 << 60, tmp_path / "absent")  # nobody knows
    with pytest.raises(EngineError, match=rf"to {1 << 60} bytes, but in {tmp_path} only \d+ are"):
        docker_archive.check_room(1 << 60, tmp_path)
    assert free > 1 << 20


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(EngineError, match="cannot be read"):
        docker_archive.look(tmp_path / "image.tar")
    (tmp_path / "image.tar").write_bytes(b"\x28\xb5\x2f\xfd" + b"packed")
    with pytest.raises(EngineError, match=r"with zstd|cannot be read"):  # by Python's version
        docker_archive.look(tmp_path / "image.tar")
    with pytest.raises(EngineError, match="cannot be read"):
        docker_archive.look(tmp_path / "absent.tar")
    with pytest.raises(EngineError, match="archive and a command"):
        open_engine("sandbox").ensure_image(
            ImageSource("sandbox", None, None, "sha256:0"), store=tmp_path
        )


def test_a_sandbox_archive_is_unpacked_once(tmp_path: Path) -> None:
    packed = tmp_path / "cube.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        info, data = member("main.py", b"print('hello')\n")
        tar.addfile(info, io.BytesIO(data))
    source = ImageSource(
        "sandbox", None, packed, file_digest(packed), command=("python3", "main.py")
    )
    said: list[str] = []
    engine = open_engine("sandbox", state=tmp_path / "state")
    image = engine.ensure_image(source, store=tmp_path / "store", progress=said.append)
    assert engine.ensure_image(source, store=tmp_path / "store") == image
    assert said == ["looking at the cube's files"]
    outcome = engine.run(Task("run", "x", image, tmp_path / "engine", tmp_path / "log"))
    assert (outcome.reason, outcome.log_tail) == ("done", "hello\n")
    bad = LocalImage("sandbox", image.identity, image.digest, None)
    with pytest.raises(EngineError, match="does not say what to run"):
        engine.run(Task("run", "x", bad, tmp_path / "engine", tmp_path / "log"))


# ---- docker ------------------------------------------------------------------------------------


def docker(*words: str) -> str:
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def built(
    docker_archive: Path, image_of: Callable[[str], tuple[LocalImage, str]], tmp_path: Path
) -> Iterator[Path]:
    """An archive of an image with an entry point, a volume, variables and a health check."""
    base = docker("load", "-q", "-i", str(docker_archive)).removeprefix("Loaded image: ")
    program = "import os,sys,json; print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))"
    entry = json.dumps([image_of("docker")[1], "-c", program])
    file = tmp_path / "Dockerfile"
    file.write_text(
        f"FROM {base}\nENV FROM_IMAGE=yes HOME=/elsewhere NVIDIA_VISIBLE_DEVICES=all\n"
        "VOLUME /data\nWORKDIR /opt\nHEALTHCHECK CMD touch /report/health\n"
        f"ENTRYPOINT {entry}\n"
    )
    docker("build", "-q", "-t", "stranger/built:1", str(tmp_path))
    path = tmp_path / "built.tar"
    docker("save", "-o", str(path), "stranger/built:1")
    docker("rmi", "-f", "stranger/built:1", base)
    yield path
    subprocess.run(["docker", "rmi", "-f", "stranger/built:1"], capture_output=True, check=False)


@pytest.mark.docker
def test_loading_a_strangers_archive_moves_no_tag(docker_archive: Path, tmp_path: Path) -> None:
    docker("tag", "medperf/canary:" + newest_canary(), "stranger/victim:1")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    docker("build", "-q", "-t", "stranger/victim:1", str(tmp_path))
    before = docker("images", "-q", "--no-trunc", "stranger/victim:1")
    source = ImageSource("docker", None, docker_archive, file_digest(docker_archive))
    engine, store = open_engine("docker"), tmp_path / "store"
    try:
        image = engine.ensure_image(source, store=store)
        assert docker("images", "-q", "--no-trunc", "stranger/victim:1") == before
        assert str(image.identity).startswith("sha256:")
        assert image.identity != before
        said: list[str] = []
        assert engine.ensure_image(source, store=store, progress=said.append) == image
        assert said == []
        (note,) = (store / "docker").glob("*.json")
        note.write_text("broken")
        assert engine.ensure_image(source, store=store, progress=said.append) == image
        assert said == ["loading the image archive"]
    finally:
        docker("rmi", "-f", "stranger/victim:1", f"medperf/archive:{source.digest[7:]}")


def newest_canary() -> str:
    return docker("images", "--format", "{{.Tag}}", "medperf/canary").splitlines()[0]


@pytest.mark.docker
def test_an_image_runs_its_own_entry_point_with_its_own_variables(
    built: Path, tmp_path: Path
) -> None:
    engine = open_engine("docker", state=tmp_path / "state")
    source = ImageSource("docker", None, built, file_digest(built), platform="linux/amd64")
    image = engine.ensure_image(source, store=tmp_path / "store")
    try:
        outcome = engine.run(
            Task("own", "x", image, tmp_path / "e", tmp_path / "log", arguments=("infer", "--a=b"))
        )
        assert outcome.reason == "done", outcome
        arguments, folder, variables = json.loads(outcome.log_tail)
        assert arguments == ["infer", "--a=b"]
        assert folder == "/opt"
        assert variables["FROM_IMAGE"] == "yes"
        assert variables["HOME"] == "/tmp"  # noqa: S108
        assert variables["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert "HOSTNAME" not in variables
    finally:
        docker("rmi", "-f", str(image.identity))
    with pytest.raises(EngineError, match="removed from Docker"):
        engine.run(Task("own", "x", image, tmp_path / "e", tmp_path / "log"))


@pytest.mark.docker
def test_a_pull_of_which_nothing_comes_is_stopped_in_order(tmp_path: Path) -> None:
    stop = threading.Event()
    with silent_registry() as (reference, came):

        def stop_it() -> None:
            came.wait(60)
            stop.set()

        watcher = threading.Thread(target=stop_it)
        watcher.start()
        source = ImageSource("docker", reference, None, reference.partition("@")[2])
        with pytest.raises(EngineError, match=r"pulling .* was stopped from outside") as caught:
            open_engine("docker").ensure_image(source, store=tmp_path, stop=stop)
        watcher.join()
    assert caught.value.transient


@pytest.mark.docker
def test_an_image_that_cannot_be_pulled_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"127.0.0.1:{server.getsockname()[1]}/some/image@{DIGEST}"
    source = ImageSource("docker", nobody, None, DIGEST)
    with pytest.raises(EngineError, match=r"cannot be pulled: .*refused.* online\?") as caught:
        open_engine("docker").ensure_image(source, store=tmp_path)
    assert caught.value.transient


@pytest.mark.parametrize("packer", PACKERS)
def test_unpacking_an_archive_is_stopped_within_a_member(packer: str, tmp_path: Path) -> None:
    plain = archive(tmp_path / "plain.tar", member("l/layer.tar", os.urandom(4 << 20)), *good()[1:])
    path = tmp_path / f"image.{packer}"
    path.write_bytes(PACKERS[packer](plain.read_bytes()))
    stop = threading.Event()
    assert docker_archive.look(path, stop=stop).size > 4 << 20
    sent = docker_archive.without_names(path, stop=stop)
    pieces = [next(sent), next(sent)]
    stop.set()
    for work in (lambda: pieces.extend(sent), lambda: docker_archive.look(path, stop=stop)):
        with pytest.raises(EngineError, match="stopped from outside") as caught:
            work()
        assert caught.value.transient
    assert sum(map(len, pieces)) < 4 << 20


def test_what_a_killed_build_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """At once: it may be as large as the disk."""
    store = tmp_path / "store"
    store.mkdir()
    maker = singularity_images.Maker("apptainer", store, mounts=True)
    with subprocess.Popen(["true"]) as gone:
        pass
    shapes = ["." + "a" * 64 + ".{}.tar", "." + "1" * 64 + ".{}", ".pull.{}.sif", ".scratch.{}"]
    for pid in (gone.pid, os.getpid()):
        for shape in shapes:
            (store / shape.format(pid)).write_text("half")
    maker._sweep()
    left = {path.name for path in store.iterdir()}
    assert left == {shape.format(os.getpid()) for shape in shapes}


@pytest.mark.docker
def test_loading_an_archive_is_stopped_in_order(built: Path, tmp_path: Path) -> None:
    engine, stop = open_engine("docker"), threading.Event()
    stop.set()
    source = ImageSource("docker", None, built, "sha256:" + "3" * 64)
    with pytest.raises(EngineError, match="image archive was stopped") as caught:
        engine.ensure_image(source, store=tmp_path / "store", stop=stop)
    assert caught.value.transient
    assert not list(tmp_path.rglob("*.json")), "nothing is noted as loaded"


@pytest.mark.docker
def test_images_of_other_machines_and_without_pins_are_refused(
    docker_archive: Path, tmp_path: Path
) -> None:
    engine = open_engine("docker")
    digest = file_digest(docker_archive)
    for source, message in (
        (ImageSource("docker", None, docker_archive, digest, "linux/arm64"), "linux/arm64"),
        (ImageSource("docker", "name:tag", None, digest), "not pinned"),
        (ImageSource("docker", None, None, digest), "needs an archive or a reference"),
        (ImageSource("docker", f"127.0.0.1:1/x@sha256:{'0' * 64}", None, digest), "pulled"),
    ):
        with pytest.raises(EngineError, match=message):
            engine.ensure_image(source, store=tmp_path / "store")


@pytest.mark.docker
def test_a_command_that_is_not_in_the_image_is_an_exit(bench_of: Callable[[str], Any]) -> None:
    bench = bench_of("docker")
    task = bench.task("plain")
    outcome = bench.engine.run(Task(**{**vars(task), "entrypoint": ("/absent",)}))
    assert (outcome.reason, outcome.exit) == ("exit", 127)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("unix:///absent/docker.sock", "Install Docker"),
        ("tcp://192.0.2.1:2375", "only a daemon of this machine"),
    ],
)
def test_an_absent_daemon_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, host: str, message: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    for ask in (open_engine("docker").probe, lambda: open_engine("docker").clean("x")):
        with pytest.raises(EngineError, match=message):
            ask()


def test_a_daemon_that_does_not_listen_may_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket

    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(EngineError, match="does not answer") as caught:
        open_engine("docker").probe()
    assert caught.value.transient


# ---- singularity -------------------------------------------------------------------------------


def test_an_absent_program_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(EngineError, match="module load apptainer"):
        singularity.program()


@pytest.mark.docker
@pytest.mark.singularity
def test_a_docker_archive_is_converted_once_and_runs_as_the_image_says(
    built: Path, tmp_path: Path
) -> None:
    engine, store = open_engine("singularity", state=tmp_path / "state"), tmp_path / "store"
    source = ImageSource("singularity", None, built, file_digest(built))
    said: list[str] = []
    image = engine.ensure_image(source, store=store, progress=said.append)
    assert said == ["converting the image"]
    assert engine.ensure_image(source, store=store, progress=said.append) == image
    assert len(said) == 1
    task = Task("own", "x", image, tmp_path / "e", tmp_path / "log", arguments=("infer", "--a=b c"))
    outcome = engine.run(task)
    assert outcome.reason == "done", outcome
    arguments, folder, variables = json.loads(outcome.log_tail)
    assert arguments == ["infer", "--a=b c"]
    assert folder == "/opt"
    assert variables["FROM_IMAGE"] == "yes"
    assert variables["HOME"] == "/tmp"  # noqa: S108
    assert not {name for name in variables if "BIND" in name or "CONTAINER" in name}
    path = Path(image.identity)
    if path.is_file():
        # a SIF of somebody's is run as it is, and one that was changed is made again
        assert sif.is_sif(path)
        direct = ImageSource("singularity", None, path, "sha256:" + "1" * 64)
        assert engine.ensure_image(direct, store=store).identity == path
        os.utime(path, (1, 1))
        maker = singularity_images.Maker("absent", store / "singularity", mounts=True)
        assert maker._kept(source, path.name) is None
        assert not path.exists()


WRITES = """
import os
with open("beside.csv", "w") as file:
    file.write("x")
print(os.getcwd(), os.path.getsize("beside.csv"))
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    "name", ["docker", pytest.param("singularity", marks=pytest.mark.singularity)]
)
def test_a_throw_away_layer_lets_a_cube_write_in_its_working_folder(
    name: str, built: Path, tmp_path: Path
) -> None:
    engine = open_engine(name, state=tmp_path / "state")
    source = ImageSource("docker", None, built, file_digest(built))
    image = engine.ensure_image(source, store=tmp_path / "store")
    task = Task(
        "own",
        "x",
        image,
        tmp_path / "e",
        tmp_path / "log",
        entrypoint=(str(Path(sys.executable).resolve()), "-c", WRITES),
        scratch_root=True,
    )
    outcome = engine.run(task)
    assert outcome.reason == "done", outcome
    assert outcome.log_tail.strip() == "/opt 1"
    without = engine.run(replace(task, folder=tmp_path / "f", scratch_root=False))
    assert without.reason == "exit"  # nothing is kept, and without the layer nothing is written


@pytest.mark.docker
@pytest.mark.singularity
def test_who_cannot_mount_a_sif_gets_a_folder(docker_archive: Path, tmp_path: Path) -> None:
    from medperf.runner.engines.singularity import program

    maker = singularity_images.Maker(program(), tmp_path / "store", mounts=False)
    digest = file_digest(docker_archive)
    source = ImageSource("singularity", None, docker_archive, digest)
    path = Path(maker.ensure(source, None).identity)
    assert (path / ".singularity.d").is_dir()
    assert maker.ensure(source, None).identity == path
    # a packed archive as well, though Apptainer itself cannot read one
    packed = tmp_path / "image.tar.gz"
    (tmp_path / "store/.scratch.1").mkdir()  # of a build that was killed long ago
    os.utime(tmp_path / "store/.scratch.1", (1, 1))
    with packed.open("wb") as file:
        subprocess.run(["gzip", "-1", "-c", str(docker_archive)], stdout=file, check=True)
    again = Path(
        maker.ensure(replace(source, archive=packed, digest="sha256:" + "2" * 64), None).identity
    )
    assert (again / ".singularity.d").is_dir()
    assert not list((tmp_path / "store").glob(".*")), "nothing unfinished is left"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "unpacked in .*store: No space left"),
        (EngineError("it ends in the middle"), "in the middle"),
    ],
)
def test_half_an_unpacked_archive_is_removed(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, **__: object) -> Iterator[bytes]:
        yield b"half"
        assert [path.suffix for path in (tmp_path / "store").iterdir()] == [".tar"]
        raise error

    packed = tmp_path / "image.tar.gz"
    packed.write_bytes(gzip.compress(archive(tmp_path / "image.tar", *good()).read_bytes()))
    monkeypatch.setattr(docker_archive, "without_names", half)
    monkeypatch.setattr(singularity_images, "_here", lambda: "amd64")
    maker = singularity_images.Maker("absent", tmp_path / "store", mounts=True)
    with pytest.raises(EngineError, match=message):
        maker.ensure(ImageSource("singularity", None, packed, "sha256:" + "4" * 64), None)
    assert list((tmp_path / "store").iterdir()) == []


NO_ENV = 'FATAL:   exec "env": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("first", "seconds", "calls", "message"),
    [
        (NO_ENV, 1.0, 2, None),
        (NO_ENV, 29.9, 2, None),
        (NO_ENV, 30.0, 1, "cannot start the task"),  # a task may print these words too, later
        (NO_ENV.replace("env", "python"), 1.0, 1, "cannot start the task"),
        ("the task's own word for it", 1.0, 1, None),
    ],
)
def test_only_an_image_that_says_at_once_that_it_has_no_env_is_started_again(
    first: str,
    seconds: float,
    calls: int,
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    ended = Outcome(255, "exit", seconds, None, frozenset(), first)
    engine = singularity.Singularity()

    def run(self: singularity.Singularity, task: Task, stop: object, *, disk: bool) -> Outcome:
        assert (stop, disk) == (None, True)
        asked.append(str(task.image.identity) in self._without_env)
        task.log.write_text(first if len(asked) == 1 else "it runs now")
        return ended if len(asked) == 1 else replace(ended, exit=0, reason="done")

    monkeypatch.setattr(KeptEngine, "_run", run)
    image = LocalImage("singularity", "/x.sif", "sha256:0")
    task = Task("own", "x", image, tmp_path / "e", tmp_path / "log")
    told = pytest.raises(EngineError, match=message) if message else contextlib.nullcontext()
    with told:
        assert (engine._run(task, None, disk=True).reason == "done") is (calls == 2)
    assert asked == [False, True][:calls]


@pytest.mark.singularity
def test_singularity_images_need_a_pin_and_a_form_that_is_known(tmp_path: Path) -> None:
    engine = open_engine("singularity")
    (tmp_path / "x").write_bytes(b"neither")
    digest = file_digest(tmp_path / "x")
    for source, message in (
        (ImageSource("singularity", None, tmp_path / "x", digest), "cannot be read"),
        (ImageSource("singularity", "name:tag", None, digest), "not pinned"),
        (ImageSource("singularity", None, None, digest), "needs an archive or a reference"),
        (
            ImageSource("singularity", f"127.0.0.1:1/x@{digest}", None, digest),
            "be pulled: .*Is it in its",
        ),
    ):
        with pytest.raises(EngineError, match=message):
            engine.ensure_image(source, store=tmp_path / "store")


@pytest.mark.singularity
def test_a_command_that_is_not_there_is_an_exit(bench_of: Callable[[str], Any]) -> None:
    bench = bench_of("singularity")
    task = bench.task("plain")
    outcome = bench.engine.run(Task(**{**vars(task), "entrypoint": ("/absent",)}))
    assert (outcome.reason, outcome.exit) == ("exit", 127)
    broken = Task(**{**vars(task), "image": LocalImage("singularity", "/absent.sif", "x")})
    with pytest.raises(EngineError, match="Apptainer cannot start"):
        bench.engine.run(broken)


def sif_file(path: Path, config: bytes, *, name: bytes = b"oci-config.json") -> Path:
    """A SIF as far as its headers go: a launch script, one object, its descriptor."""
    header = bytearray(128)
    header[32:42] = b"SIF_MAGIC\0"
    struct.pack_into("<4q", header, 80, 47, 1, 128, 585)
    object_ = struct.pack(
        "<i?3I7q128s384x", 0x4006, True, 1, 1, 0, 713, len(config), 0, 0, 0, 0, 0, name
    )
    path.write_bytes(bytes(header) + object_ + config)
    return path


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        (b'{"WorkingDir": "/srv/app"}', "/srv/app"),
        (b'{"WorkingDir": ""}', None),
        (b'{"WorkingDir": "srv"}', None),
        (b'{"WorkingDir": "/srv/../etc"}', None),
        (b'{"WorkingDir": "/srv\\u001b"}', None),
        (b'{"WorkingDir": 7}', None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_a_sif_tells_the_working_folder_of_its_docker_image(
    tmp_path: Path, config: bytes, folder: str | None
) -> None:
    assert sif.working_folder(sif_file(tmp_path / "x.sif", config)) == folder


def test_what_is_no_sif_or_a_short_one_tells_no_working_folder(tmp_path: Path) -> None:
    whole = sif_file(tmp_path / "x.sif", b'{"WorkingDir": "/w"}')
    assert sif.is_sif(whole)
    assert sif.working_folder(sif_file(tmp_path / "y.sif", b"{}", name=b"other")) is None
    whole.write_bytes(whole.read_bytes()[:300])
    assert sif.working_folder(whole) is None
    whole.write_bytes(b"no image")
    assert not sif.is_sif(whole)
    assert sif.working_folder(whole) is None
    assert sif.working_folder(tmp_path / "absent") is None
