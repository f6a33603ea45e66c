"""Images for Apptainer and SingularityCE: SIF files, docker archives, repositories by digest.

A SIF runs as it is, where this caller may mount it (root: the kernel's loop device; a user: FUSE);
else it is unpacked once into a folder. Building a SIF is not reproducible, so what is pinned is the
file that came in, and what was made of it is kept in the store under that digest. It is noted
with size and times, and made again if it is not the same any more.
"""

import contextlib
import json
import os
import platform
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schemas.errors import EngineError
from . import docker_archive
from .outputs import remove_tree
from .protocol import ImageSource, LocalImage, Progress
from .sif import is_sif, working_folder
from .singularity_build import BuildError, run_build

_ZSTD = "-comp zstd -Xcompression-level 3"
_A_DAY = 86400.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Maker:
    """How to make images: the program, the store, and whether this caller can mount a SIF."""

    program: str
    store: Path
    mounts: bool
    stop: threading.Event | None = None

    def ensure(self, source: ImageSource, progress: Progress | None) -> LocalImage:
        """The image as a file or folder that this caller can run."""
        say = progress or (lambda _: None)
        hexes = source.digest.removeprefix("sha256:")
        if source.archive is None:
            if source.reference is None:
                raise EngineError("A singularity image needs an archive or a reference.")
            path = self._kept(source, f"{hexes}.sif") or self._pull(source, hexes, say)
        elif is_sif(source.archive):
            path = source.archive
        else:
            return self._from_docker_archive(source, source.archive, hexes, say)
        if not self.mounts:
            path = self._kept(source, hexes) or self._build(
                source,
                hexes,
                str(path),
                "unpacking the image",
                say,
                workdir=working_folder(path),
            )
        return LocalImage("singularity", path, source.digest, source.command)

    def _from_docker_archive(
        self, source: ImageSource, archive: Path, hexes: str, say: Progress
    ) -> LocalImage:
        name = f"{hexes}.sif" if self.mounts else hexes
        path = self._kept(source, name)
        if path is None:
            image = docker_archive.look(archive, stop=self.stop)
            _check_platform(source, image.platform)
            doing, unpacked = "converting the image", None
            try:
                if docker_archive.is_packed(archive):  # Apptainer 1.4 fails: "gzip: invalid header"
                    archive = unpacked = self._unpacked(archive, hexes, image.size)
                origin = f"docker-archive:{archive}"
                path = self._build(source, name, origin, doing, say, workdir=image.workdir)
            finally:
                if unpacked is not None:
                    unpacked.unlink(missing_ok=True)
        return LocalImage("singularity", path, source.digest, source.command)

    def _unpacked(self, archive: Path, hexes: str, size: int) -> Path:
        """A packed archive as a plain tar in the store; the caller removes it."""
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        docker_archive.check_room(size, self.store)
        target = self.store / f".{hexes}.{os.getpid()}.tar"
        try:
            with target.open("wb") as file:
                file.writelines(docker_archive.without_names(archive, stop=self.stop))
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise EngineError(
                    f"The image archive cannot be unpacked in {self.store}: {error.strerror}.",
                    transient=True,
                ) from error
            raise
        return target

    def _kept(self, source: ImageSource, name: str) -> Path | None:
        """What was made of this source before, if it is still the same."""
        path, note = self.store / name, self.store / f"{name}.json"
        try:
            noted = json.loads(note.read_text())
            same = noted["digest"] == source.digest and noted["stamp"] == _stamp(path)
        except (OSError, ValueError, KeyError, TypeError):
            same = False
        if same:
            return path
        note.unlink(missing_ok=True)
        remove_tree(path)
        return None

    def _build(
        self,
        source: ImageSource,
        name: str,
        origin: str,
        doing: str,
        say: Progress,
        *,
        workdir: str | None = None,
    ) -> Path:
        say(doing)
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.store / f".{name}.{os.getpid()}"
        remove_tree(temporary)
        how = (
            ["--mksquashfs-args", _ZSTD] if name.endswith(".sif") else ["--sandbox", "--fix-perms"]
        )
        try:
            words = ["build", "--disable-cache", *how, str(temporary), origin]
            self._apptainer(words, doing, temporary)
            temporary.replace(self.store / name)
        finally:
            remove_tree(temporary)
        self._note(source, name, workdir)
        return self.store / name

    def _note(self, source: ImageSource, name: str, workdir: str | None) -> None:
        text = {
            "digest": source.digest,
            "stamp": _stamp(self.store / name),
            "workdir": workdir,
        }
        temporary = self.store / f".{name}.json.{os.getpid()}"
        temporary.write_text(json.dumps(text))
        temporary.replace(self.store / f"{name}.json")

    def _pull(self, source: ImageSource, hexes: str, say: Progress) -> Path:
        """Pull by digest: a build of our own, packed four times as fast as a pull packs."""
        reference = source.reference or ""
        if "@sha256:" not in reference:
            raise EngineError(f"{reference} is not pinned: write name@sha256:…")
        say(f"pulling {reference}")
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{hexes}.sif"
        temporary = self.store / f".pull.{os.getpid()}.sif"
        temporary.unlink(missing_ok=True)
        words = ["build", "--disable-cache", "--mksquashfs-args", _ZSTD, str(temporary)]
        try:
            self._apptainer([*words, f"docker://{reference}"], "pulling", temporary, callers=True)
            _check_platform(source, f"linux/{self._architecture(temporary)}")
            temporary.replace(self.store / name)
        except BuildError as error:
            ask = "" if error.ended else " Is it in its registry, and is this machine online?"
            raise EngineError(
                f"{reference} cannot be pulled: {error.reason}{ask}",
                transient=error.transient or not error.ended,
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        self._note(source, name, None)
        return self.store / name

    def _architecture(self, path: Path) -> str:
        from spython.main import Client

        labels = Client.inspect(str(path), quiet=True)
        found: Any = labels
        for key in ("data", "attributes", "labels", "org.label-schema.build-arch"):
            found = found.get(key) if isinstance(found, dict) else None
        return str(found) if found else _here()

    def _sweep(self) -> None:
        """Remove what builds left that were killed: their process is gone, or a day has passed."""
        for path in self.store.glob(".*"):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                if _is_orphan(path.name) or time.time() - path.lstat().st_mtime > _A_DAY:
                    remove_tree(path)

    def _apptainer(
        self, words: list[str], doing: str, writes: Path, *, callers: bool = False
    ) -> None:
        """Run it; with `callers` in the caller's environment: credentials, proxies, NOHTTPS."""
        self._sweep()
        scratch = self.store / f".scratch.{os.getpid()}"
        scratch.mkdir(mode=0o700, exist_ok=True)
        try:
            run_build(
                [self.program, "--silent", *words],
                _pull_environment(scratch) if callers else build_environment(scratch),
                doing=doing,
                scratch=scratch,
                writes=writes,
                stop=self.stop,
            )
        finally:
            remove_tree(scratch)


def _is_orphan(name: str) -> bool:
    """Whether the process whose id ends a name (an ending may follow) is gone."""
    pid = next((part for part in name.split(".")[:-3:-1] if part.isdecimal()), None)
    return pid is not None and not Path("/proc", pid).exists()


def _pull_environment(scratch: Path) -> dict[str, str]:
    return {
        **os.environ,
        **build_environment(scratch),
        "HOME": os.environ.get("HOME", str(scratch)),
    }


def build_environment(scratch: Path) -> dict[str, str]:
    """The whole environment of a build: nothing of the caller's acts on it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(scratch),
        "APPTAINER_CACHEDIR": str(scratch / "cache"),
        "APPTAINER_TMPDIR": str(scratch),
        "SINGULARITY_CACHEDIR": str(scratch / "cache"),
        "SINGULARITY_TMPDIR": str(scratch),
    }


def can_mount() -> bool:
    """Whether this caller can run a SIF as it is."""
    if os.geteuid() == 0:
        return True
    helper = shutil.which("squashfuse_ll") or shutil.which("squashfuse")
    return helper is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)


def workdir_of(image: Path) -> str | None:
    """The working folder that the image's Docker configuration named, if it came from one."""
    if is_sif(image) and (named := working_folder(image)) is not None:
        return named
    try:
        noted = json.loads(image.with_name(image.name + ".json").read_text())
        found = noted["workdir"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_size if path.is_file() else 0, status.st_mtime_ns]


def _here() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _check_platform(source: ImageSource, found: str) -> None:
    if source.platform is not None and not f"{source.platform}/".startswith(f"{found}/"):
        raise EngineError(f"The image is for {found}, though its cube says {source.platform}.")
    if found != f"linux/{_here()}":
        raise EngineError(f"The image is for {found} and cannot run here, on linux/{_here()}.")
