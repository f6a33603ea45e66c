"""A small image made of this machine's own Python: for `doctor`, where no other image is at hand.

The interpreter, its standard library without the parts that a canary never needs, `env`, and the
shared libraries that they load: some 40 MB, as one tar. Docker imports it; Apptainer runs it from a
folder. It holds nothing of the site.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ...schemas.errors import EngineError
from .protocol import Engine, LocalImage, Progress

_LEFT_OUT = {
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages"),
    *("dist-packages", "__pycache__", "pydoc_data", "distutils", "unittest", "sqlite3", "asyncio"),
}
_EMPTY = ("dev", "proc", "sys", "tmp", "etc", "var", "opt", "root", "home", "run")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


def python_image(
    engine: Engine, store: Path, *, progress: Progress | None = None
) -> tuple[LocalImage, str]:
    """An image with a Python for this engine, and the interpreter's name in it."""
    if engine.name == "sandbox":
        folder = store / "canary" / "nothing"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalImage("sandbox", folder, "sha256:" + "0" * 64, ("python3",)), "python3"
    python = str(_interpreter())
    archive = python_tar(store, progress=progress)
    if engine.name == "docker":
        return LocalImage("docker", _imported(archive), "sha256:" + archive.stem), python
    return LocalImage(engine.name, _unpacked(archive), "sha256:" + archive.stem), python


def python_tar(store: Path, *, progress: Progress | None = None) -> Path:
    """The tar with this machine's Python, made once per interpreter and kept in `store`."""
    stamp = _interpreter().stat()
    key = f"2 {sys.version} {_interpreter()} {stamp.st_size} {stamp.st_mtime_ns}"
    path = store / "canary" / f"{hashlib.sha256(key.encode()).hexdigest()}.tar"
    if not path.exists():
        if progress is not None:
            progress("making an image of this machine's Python")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        with tarfile.open(temporary, "w") as tar:
            _fill(tar)
        temporary.replace(path)
    return path


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def _fill(tar: tarfile.TarFile) -> None:
    made: set[Path] = set()
    for name in _EMPTY:
        _folder(tar, Path("/", name), made, 0o1777 if name == "tmp" else 0o755)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, os.fspath(Path("/", name).readlink())
            tar.addfile(link)
            made.add(Path("/", name))
    files = dict(_files())
    for target, source in sorted(files.items()):
        _folder(tar, target.parent, made, 0o755)
        data = source.read_bytes()
        entry = tarfile.TarInfo(str(target).lstrip("/"))
        entry.size, entry.mode = len(data), 0o755 if os.access(source, os.X_OK) else 0o644
        tar.addfile(entry, io.BytesIO(data))


def _files() -> Iterator[tuple[Path, Path]]:
    """Pairs of a place in the image and the file that belongs there."""
    library = Path(sysconfig.get_path("stdlib"))
    programs = [_interpreter(), *(Path(p) for n in ("env", "sh") if (p := shutil.which(n)))]
    modules = []
    for folder, folders, names in os.walk(library):
        folders[:] = [n for n in folders if n not in _LEFT_OUT and not n.startswith("config-")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in (".py", ".so") and path.is_file():
                yield path.parent.resolve() / name, path
                if path.suffix == ".so":
                    modules.append(path)
    for program in programs:
        yield program.parent.resolve() / program.name, program
    for path in _libraries([*programs, *modules]):
        yield path.parent.resolve() / path.name, path


def _libraries(programs: list[Path]) -> set[Path]:
    done = subprocess.run(  # noqa: S603 - the host's own programs
        [shutil.which("ldd") or "ldd", *map(str, programs)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    return {Path(found) for found in _LIBRARY.findall(done.stdout)}


def _folder(tar: tarfile.TarFile, folder: Path, made: set[Path], mode: int) -> None:
    for path in [*reversed(folder.parents[:-1]), folder]:
        if path in made:
            continue
        made.add(path)
        entry = tarfile.TarInfo(str(path).lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode if path == folder else 0o755
        tar.addfile(entry)


def _imported(archive: Path) -> str:
    from .docker_daemon import connected
    from .docker_images import find

    name = f"medperf/canary:{archive.stem}"
    with connected() as client:
        found = find(client, name)
        if found is None:
            client.api.import_image_from_file(str(archive), "medperf/canary", archive.stem)
            found = find(client, name)
    if found is None:
        raise EngineError("Docker did not import the image of this machine's Python.")
    return str(found["Id"])


def _unpacked(archive: Path) -> Path:
    folder = archive.with_suffix("")
    if not folder.exists():
        temporary = archive.with_suffix(f".folder-{os.getpid()}")
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "tar_filter"):  # from Python 3.11.4 on
                tar.extraction_filter = staticmethod(tarfile.tar_filter)
            tar.extractall(temporary)  # noqa: S202 - we made it
        temporary.rename(folder)
    return folder
