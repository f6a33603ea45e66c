"""The engine `singularity`: Apptainer or SingularityCE, for HPC sites without a daemon.

Apptainer alone neither dies with its parent, nor bounds /tmp, /dev/shm and outputs, nor makes
mounts below an input read-only. An outer bubblewrap, with a process space of its own, does all of
it. The inner list makes the task another user, without network, host folders, environment or
privileges.
"""

import contextlib
import os
import re
import shutil
import threading
from pathlib import Path
from shlex import quote

from ...schemas.errors import EngineError
from . import checks, seccomp
from .bubblewrap import TOOLS, bwrap, tool
from .kept import Built, KeptEngine, Place
from .protocol import ImageSource, LocalImage, Outcome, Probe, Progress, Task
from .singularity_images import Maker, build_environment, can_mount, workdir_of

_USER_UID = 64999  # what an ordinary caller's task sees; its real uid is the caller's
_THREADS = 32  # Apptainer's own, which count among the task's processes

_NAMES = (
    *("BIND", "CONTAINER", "ENVIRONMENT", "NAME", "COMMAND", "APPNAME", "TMPDIR", "CACHEDIR"),
    *("CONFIGDIR", "ENV", "PWD", "USERNS", "NO_EVAL"),
)
_TOLD = (
    *(f"{engine}_{name}" for engine in ("APPTAINER", "SINGULARITY") for name in _NAMES),
    *("PROMPT_COMMAND", "PS1"),
)
"""Variables that Apptainer adds; some of them tell host paths."""


class Singularity(KeptEngine):
    """The engine `singularity`."""

    name = "singularity"
    extra_processes = _THREADS + 4

    def __init__(self, *, state: Path | None = None) -> None:
        super().__init__(state=state)
        self._without_env: set[str] = set()
        """Images that turned out to have no program `env`."""

    def probe(self) -> Probe:
        """The version, and the limits that hold; EngineError where it cannot work."""
        program()
        bwrap()
        tool("prlimit")
        seccomp.oci()
        version = _version()
        held, problems = self.probe_limits()
        if not can_mount():
            problems = (*problems, "Images are unpacked into folders, since FUSE is not usable.")
        return Probe(version, "root" if os.geteuid() == 0 else "user", held, problems)

    def ensure_image(
        self,
        source: ImageSource,
        *,
        store: Path,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> LocalImage:
        """The image as a file or folder; converted or unpacked at most once."""
        maker = Maker(program(), (store / "singularity").absolute(), can_mount(), stop)
        return maker.ensure(source, progress)

    def _run(self, task: Task, stop: object, *, disk: bool) -> Outcome:
        outcome = super()._run(task, stop, disk=disk)  # type: ignore[arg-type]
        with task.log.open("rb") as log:
            first = log.readline(2000).decode(errors="replace")
        if outcome.exit != 255 or "FATAL:" not in first:  # its own words, before any of the task's
            return outcome
        image = str(task.image.identity)
        at_once = outcome.seconds < _AT_ONCE  # a task may print these words too, later
        if '"env":' in first and at_once and image not in self._without_env:
            self._without_env.add(image)
            return self._run(task, stop, disk=disk)
        raise EngineError(f"Apptainer cannot start the task: {first.strip()}")

    def build(self, place: Place, stack: contextlib.ExitStack) -> Built:
        """The outer bubblewrap around the inner `apptainer exec`."""
        del stack
        for name in ("tmp", "shm", "layer", "cfg"):
            (place.folder / name).mkdir(mode=0o700, exist_ok=True)
        inputs = {id(m): place.readable(m.source) for m in place.task.mounts if not m.writable}
        outer = _outer(place, list(inputs.values()))
        environment = build_environment(place.folder / "cfg")
        bare = str(place.task.image.identity) in self._without_env
        return Built([*outer, "--", *_inner(place, inputs, bare=bare)], environment)


def _version() -> str:
    from spython.utils import get_singularity_version

    version = get_singularity_version()
    if isinstance(version, dict):  # what spython gives where the program failed
        told = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(version.get("message") or []))
        raise EngineError(f"{program()} does not work for this user: {told.strip() or version}")
    return str(version).strip() or "of unknown version"


def program() -> str:
    """The path of Apptainer or Singularity."""
    path = f"{os.environ.get('PATH', '')}:{TOOLS}"
    found = shutil.which("apptainer", path=path) or shutil.which("singularity", path=path)
    if found is None:
        raise EngineError(
            "Neither `apptainer` nor `singularity` is on the PATH. Install Apptainer, load its "
            "module (`module load apptainer`), or choose the engine docker or sandbox."
        )
    return found


def _outer(place: Place, inputs: list[Path]) -> list[str]:
    """Dies with us, ends every process, bounds /tmp and /dev/shm, keeps inputs read-only."""
    words = [bwrap(), "--die-with-parent", "--unshare-pid"]
    words += ["--unshare-user"] if place.owner is None else ["--cap-add", "ALL"]
    words += ["--dev-bind", "/", "/", "--proc", "/proc"]
    for source in inputs:
        words += ["--ro-bind", str(source), str(source)]
    tmp, shm = checks.small_sizes(place.task.limits)
    sizes = {"tmp": tmp, "shm": shm}
    if place.task.scratch_root:
        sizes["layer"] = tmp
    for name, size in sizes.items():
        words += ["--perms", "1777", "--size", str(size), "--tmpfs", str(place.folder / name)]
    if place.task.scratch_root:
        words += _open_folder(place)
    return words


def _open_folder(place: Place) -> list[str]:
    """In the throw-away layer the task may write in the image's working folder, which is root's."""
    folder = place.task.workdir or workdir_of(Path(place.task.image.identity)) or "/"
    inside = [part for part in Path(folder).parts if part not in ("/", "..")]
    words: list[str] = []
    for end in range(len(inside) + 1):
        mode = "1777" if inside and end == len(inside) else "0755"
        words += [
            "--perms",
            mode,
            "--dir",
            str(place.folder.joinpath("layer", "upper", *inside[:end])),
        ]
    return words


def _inner(place: Place, inputs: dict[int, Path], *, bare: bool) -> list[str]:
    task, folder = place.task, place.folder
    uid, gid = place.owner or (_USER_UID, _USER_UID)
    image = Path(task.image.identity)
    filter_ = folder / "seccomp.json"
    filter_.write_text(seccomp.oci(errno=False))
    words = [tool("prlimit"), f"--nproc={task.limits.processes + _THREADS}", "--"]
    words += [program(), "--silent", "exec"]  # errors only: warnings are not the task's
    words += ["--containall", "--cleanenv", "--no-home", "--home", "/tmp"]  # noqa: S108
    words += ["--pwd", task.workdir or workdir_of(image) or "/tmp"]  # noqa: S108
    words += ["--no-eval", "--no-umask"]
    # "none" is the one network that an ordinary user may ask for; dns hides the host's resolver
    words += ["--net", "--network", "none", "--dns", "127.0.0.1", "--hostname", checks.HOSTNAME]
    words += ["--no-mount", "sys,hostfs,bind-paths"]
    words += ["--no-privs", "--security", f"uid:{uid},gid:{gid},seccomp:{filter_}"]
    words += ["--nv"] if task.limits.gpus else []
    words += ["--overlay", str(folder / "layer")] if task.scratch_root else []
    for name, where in (("tmp", "/tmp"), ("tmp", "/var/tmp"), ("shm", "/dev/shm")):  # noqa: S108
        words += _bind(folder / name, where, writable=True)
    for path, data in checks.account_files(uid, gid).items():
        if path == "/etc/hosts":
            continue  # Apptainer makes its own
        file = folder / path.replace("/", "-").strip("-")
        file.write_bytes(data)
        file.chmod(0o644)
        words += _bind(file, path, writable=False)
    for mount in checks.ordered(task.mounts):
        source = place.staged(mount) if mount.writable else inputs[id(mount)]
        words += _bind(source, mount.target, writable=mount.writable)
    if not bare:
        return [*words, str(image), *_with_env(task)]
    script = folder / "variables.sh"
    script.write_text(_script(task))
    script.chmod(0o644)
    words += _bind(script, _LAST_SCRIPT, writable=False)
    return [*words, str(image), *_program(task)]


def _bind(source: Path, target: str, *, writable: bool) -> list[str]:
    """A mount in the form that takes spaces, colons and commas: CSV with quotes."""
    fields = ["type=bind", f"source={source}", f"destination={target}"]
    fields += [] if writable else ["ro"]
    return ["--mount", ",".join('"' + field.replace('"', '""') + '"' for field in fields)]


def _variables(task: Task) -> dict[str, str]:
    """What the task gets beside the image's own: Apptainer sets HOME to / otherwise."""
    values = {
        "HOME": checks.ENVIRONMENT["HOME"],
        "LANG": checks.ENVIRONMENT["LANG"],
        **task.environment,
    }
    if task.limits.gpus:
        if task.limits.gpus != ("all",):
            values["CUDA_VISIBLE_DEVICES"] = ",".join(task.limits.gpus)
        if "LD_LIBRARY_PATH" in values:  # where `--nv` puts the driver's libraries
            values["LD_LIBRARY_PATH"] += ":/.singularity.d/libs"
    return values


def _program(task: Task) -> list[str]:
    """The program and its arguments; the image's own is its runscript, which takes them as is."""
    return [*(task.entrypoint or ["/.singularity.d/runscript"]), *task.arguments]


def _with_env(task: Task) -> list[str]:
    """The image's `env` sets the variables, behind the lock, and takes away what tells of hosts."""
    program_words = _program(task)
    checks.check_program(program_words)
    values = _variables(task)
    if task.entrypoint is None:
        values |= {"APPTAINER_NO_EVAL": "1", "SINGULARITY_NO_EVAL": "1"}
    unset = [word for name in _TOLD for word in ("-u", name)]
    return ["env", *unset, *(f"{name}={value}" for name, value in values.items()), *program_words]


_AT_ONCE = 30.0
"""Seconds within which Apptainer says that it cannot start something."""
_LAST_SCRIPT = "/.singularity.d/env/99-zz-task.sh"
"""The last of the scripts that the shell inside Apptainer reads before it becomes the task."""


def _script(task: Task) -> str:
    """The variables for an image without `env`; that shell keeps those that tell of hosts."""
    return "".join(f"export {name}={quote(text)}\n" for name, text in _variables(task).items())
