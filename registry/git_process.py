"""Running Git: one fixed environment, explicit arguments, and errors that say what to do.

Always true here: no hook, no prompt, no configuration of the system, no transport but those named,
no replace refs, and no variable of the surroundings (a hook's `GIT_DIR`, say) that would point Git
elsewhere. Of the user's own configuration only what reaching a remote needs is passed on, and only
when a remote is reached: credentials, proxies, ssh, and which folders are safe.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..schemas.errors import ConflictError, RegistryError
from ..schemas.progress import Work, work

if TYPE_CHECKING:
    from git.cmd import Git

OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    # no file of a registry is larger: what is, Git passes through without holding it in memory
    "core.bigFileThreshold=1m",
    "submodule.recurse=false",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "push.followTags=false",
    "push.gpgSign=false",
    "transfer.credentialsInUrl=die",
    "gc.autoDetach=false",  # no process of ours outlives the command that started it
    "maintenance.autoDetach=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
PROTOCOLS = "https:ssh:file"
PIPE = 1 << 15  # what every system's pipes hold
_PIECE = 1 << 18
_KEPT = 1 << 16  # of what Git says, the end
_REACHING = re.compile(r"(credential|http|ssh)\.|safe\.directory\Z|core\.sshcommand\Z")
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!/)[^:]")


_NEUTRAL = {
    # A commit or a tree that unpacks to gigabytes ends Git, not the machine. Twelve million
    # objects in one pack still fit.
    "GIT_ALLOC_LIMIT": "1g",
    "GIT_ALLOW_PROTOCOL": PROTOCOLS,
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_GRAFT_FILE": "/nowhere/no-grafts",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NAMESPACE": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}


class DamagedCloneError(RegistryError):
    """Our own clone of a registry cannot be read any more."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"This machine's own clone {path} is damaged. Move that folder away: the next command "
            "fetches it anew, and nothing else is kept there."
        )


_COUNTED = re.compile(rb"(?:remote: )?([A-Z][A-Za-z ]+):\s+\d+% \((\d+)/(\d+)\)")


def _tell(doing: Work, what: str, line: bytes) -> None:
    found = _COUNTED.search(line)
    if found is not None:
        name = found[1].decode().lower()
        if doing.what != f"{what}, {name}":
            doing.what, doing.start = f"{what}, {name}", 0
            doing.began = time.monotonic()
        doing.total = int(found[3])
        doing.reach(int(found[2]))


Meanwhile = Callable[[Callable[[], bool]], None]
"""Work for while a command runs: it is given the question whether the command still does."""


class MalformedError(RegistryError):
    """A remote offers what Git refuses, or what it has not got; nothing of it was taken."""


class MissingRefError(RegistryError):
    """The remote does not have the reference that was asked for."""


@dataclass(frozen=True)
class Done:
    """A Git command that ended: its exit status and what it wrote."""

    status: int
    out: bytes
    err: str


class Runner:
    """Runs Git on one repository, given by its folder (and the common one, of a worktree)."""

    def __init__(self, folder: Path, common: Path | None = None) -> None:
        self.folder = folder
        self.common = common or folder
        self._git = load_git()(str(folder))
        self._network: _NetworkConfig | None = None

    def run(
        self,
        *arguments: str,
        data: bytes = b"",
        network: bool = False,
        expect: Sequence[int] = (0,),
    ) -> Done:
        """The ended command; a RegistryError if its status is not one of `expect`."""
        process = self.start(*arguments, network=network)
        try:
            out, err = process.communicate(data)
        finally:
            process._terminate()  # an interrupt must not leave a process behind
        done = Done(process.status, out, err.decode(errors="replace").strip())
        if done.status not in expect:
            raise RegistryError(f"git {arguments[0]} failed in {self.folder}: {_said(done.err)}")
        return done

    def watched(self, *arguments: str, what: str, meanwhile: Meanwhile | None = None) -> Done:
        """The ended command, which reaches a remote; Git's own progress is told as it comes.

        Of what a remote says only the end is kept. For commands that write nothing to their output.
        `meanwhile` is done while Git works, asking whether it still does; it is to be short.
        """
        process = self.start(*arguments, network=True)
        said = b""
        try:
            process.stdin.close()
            if meanwhile is not None:
                meanwhile(lambda: process.proc.poll() is None)
            with work(what, unit="objects") as doing:
                while piece := process.stderr.read1(4096):
                    # its last line stands after a carriage return, with neither before the next
                    said = (said + piece)[-_KEPT:]
                    for line in re.split(rb"[\r\n]", piece):
                        _tell(doing, what, line)
            out = process.stdout.read()
            process.proc.wait()
            status = process.proc.returncode
        finally:
            process._terminate()
        lines = [line for line in re.split(rb"[\r\n]", said) if not _COUNTED.search(line)]
        return Done(status, out, b"\n".join(lines).decode(errors="replace").strip())

    def text(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        """What the command wrote, without the newline at its end."""
        return self.run(*arguments, expect=expect).out.decode(errors="surrogateescape").rstrip("\n")

    def pieces(self, *arguments: str, data: bytes) -> Iterator[bytes]:
        """What the command writes, as it comes; it ends with the iterator, wherever that stops.

        `data` is given whole before the first piece is read, so it must fit a pipe's buffer.
        """
        if len(data) > PIPE:
            raise ValueError(f"{len(data)} bytes could fill the pipe before anything is read")
        process = self.start(*arguments)
        try:
            process.stdin.write(data)
            process.stdin.close()
            while piece := process.stdout.read1(_PIECE):
                yield piece
            said = process.stderr.read().decode(errors="replace").strip()
            process.proc.wait()
            if process.proc.returncode:
                raise RegistryError(f"git {arguments[0]} failed in {self.folder}: {_said(said)}")
        finally:
            process._terminate()

    def start(self, *arguments: str, network: bool = False) -> Any:
        """The running command, with pipes; the caller ends it."""
        command = ["git"]
        for option in OPTIONS:
            command += ["-c", option]
        command += arguments
        return self._git.execute(
            command, istream=-1, as_process=True, env=self._environment(network)
        )

    def _environment(self, network: bool) -> dict[str, str]:
        environment = {
            "GIT_DIR": str(self.folder),
            "GIT_OBJECT_DIRECTORY": str(self.common / "objects"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **_NEUTRAL,
        }
        if network:
            config = self._network_config()
            environment["GIT_CONFIG_GLOBAL"] = str(config.file)
            environment["GIT_CONFIG_COUNT"] = str(len(config.secrets))
            for at, (key, value) in enumerate(config.secrets):
                environment[f"GIT_CONFIG_KEY_{at}"] = key
                environment[f"GIT_CONFIG_VALUE_{at}"] = value
        if "GIT_COMMON_DIR" in os.environ:
            environment["GIT_COMMON_DIR"] = str(self.common)
        if "GIT_WORK_TREE" in os.environ:  # cannot be unset, nor empty; nothing of ours looks there
            environment["GIT_WORK_TREE"] = str(self.folder)
        if "GIT_INDEX_FILE" in os.environ:
            environment["GIT_INDEX_FILE"] = str(self.folder / "index")
        return environment

    def _network_config(self) -> "_NetworkConfig":
        if self._network is None:
            self._network = _write_network_config(self._git, self.folder)
        return self._network


def load_git() -> "type[Git]":
    """GitPython's command class; it looks for the program when it is imported, hence here."""
    try:
        from git.cmd import Git
    except ImportError as error:
        raise RegistryError(
            "The program git is not found: install Git 2.33 or newer and put it on PATH."
        ) from error
    return Git


@dataclass(frozen=True)
class _NetworkConfig:
    """The part of the user's configuration that reaching a remote needs: a file, and secrets.

    A file, since a local remote's process gets no `-c` options. What may hold a token is in
    `secrets` instead and goes by the environment: never into a file of ours, nor among a command's
    arguments, where every user of the machine sees it.
    """

    file: Path
    secrets: tuple[tuple[str, str], ...]


def _write_network_config(git: "Git", folder: Path) -> _NetworkConfig:
    process = git.execute(
        ["git", "config", "--global", "--includes", "--null", "--list"],
        as_process=True,
        env={"LC_ALL": "C"},
    )
    out, said = process.communicate()
    process._terminate()
    if b"in file ./config" in said:  # the clone's, which Git reads before it looks at ours
        raise DamagedCloneError(folder)
    if process.status and b"unable to read config file" not in said:  # that one: there is none
        raise RegistryError(
            "Git cannot read your own configuration: "
            + _said(said.decode(errors="replace").strip())
        )
    secrets: list[tuple[str, str]] = []
    # A local remote would otherwise tidy itself up in the background, or hold a large file whole.
    lines = [
        "[core]",
        "\tbigFileThreshold = 1m",
        "[gc]",
        "\tautoDetach = false",
        "[maintenance]",
        "\tautoDetach = false",
    ]
    has_ssh = "GIT_SSH_COMMAND" in os.environ
    for entry in out.decode(errors="surrogateescape").split("\0"):
        key, _, value = entry.partition("\n")
        if key.endswith((".extraheader", ".cookie")):
            secrets.append((key, value))
        elif _REACHING.match(key):
            section, _, name = key.rpartition(".")
            top, dot, subsection = section.partition(".")
            lines.append(f"[{top} {_quoted(subsection)}]" if dot else f"[{top}]")
            lines.append(f"\t{name} = {_quoted(value)}")
            has_ssh = has_ssh or key == "core.sshcommand"
    if not has_ssh:
        lines += ["[core]", f"\tsshCommand = {_quoted(_SSH)}"]
    target = folder / f"medperf-network-{_home()}.gitconfig"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix="network-")
    with os.fdopen(handle, "w", errors="surrogateescape") as file:
        file.write("\n".join(lines) + "\n")
    Path(temporary).replace(target)
    return _NetworkConfig(target, tuple(secrets))


def _home() -> str:
    """A name for where the user's configuration is, so that two users' files are two.

    A cron job and a person at the same clone would otherwise lend each other their proxies,
    authorities and helpers, in the middle of a command.
    """
    places = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_SSH_COMMAND")
    named = "\0".join(os.environ.get(one, "") for one in places)
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:12]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def remote_address(url: str) -> str:
    """`url` as Git gets it: a path made absolute, or an https, ssh or file URL."""
    if "://" in url:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "ssh", "file"):
            raise RegistryError(
                f"{parts.scheme}:// is no way to a registry: use https, ssh, file or a path."
            )
        if parts.password is not None or (parts.scheme == "https" and parts.username is not None):
            raise RegistryError(
                f"The address of {parts.hostname} holds credentials, which would end up in files "
                "and logs: take them out and let Git's credential helper keep them."
            )
        if not parts.path.strip("/") or (parts.scheme != "file" and not parts.hostname):
            raise RegistryError(f"{url!r} is not the address of a repository.")
        return url
    if "::" in url or not url.isprintable() or not url:
        raise RegistryError(f"{url!r} is not the address of a repository.")
    if _SCP.match(url) and not Path(url).exists():
        return url
    return str(Path(url).expanduser().absolute())


def is_damage(err: str, folder: Path) -> bool:
    """Whether Git complains of what lies in `folder` itself, and not of the remote."""
    words = ("not a git repository", "is too small", "is corrupt", "is empty", "loose object",
             "garbage at end", "bad config")  # fmt: skip
    if "bad object refs/remotes/" in err:
        return True
    lines = [line for line in err.splitlines() if f"{folder}" in line]
    return any(word in line.lower() for line in lines for word in words)


def remote_error(url: str, action: str, err: str) -> RegistryError:
    """What a failed fetch or push means, and what to do about it."""
    said = err.lower()
    if "couldn't find remote ref" in said:
        return MissingRefError(f"Cannot {action} {url}. Git said: {_said(err)}")
    for words, advice in _ADVICE:
        if any(word in said for word in words):
            broken = advice is _MALFORMED or any(word in said for word in _INCOMPLETE)
            kind = MalformedError if broken else RegistryError
            return kind(f"Cannot {action} {url}: {advice} Git said: {_said(err)}")
    return RegistryError(f"Cannot {action} {url}. Git said: {_said(err)}")


_MALFORMED = "it holds malformed objects, which are not taken. Ask who runs the registry to look."
# a reference that names nothing, or whose objects were lost or cannot be read over there
_INCOMPLETE = ("not our ref", "pack-objects died", "repository corruption", "traverse parents")
_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("dubious ownership",),
        "the repository belongs to another user. If you trust whoever can write to it, run "
        "`git config --global --add safe.directory <its path>`.",
    ),
    (
        ("could not resolve host", "could not resolve hostname", "name or service not known"),
        "the host is not known. Check the address and the network.",
    ),
    (
        (
            "connection refused",
            "connection timed out",
            "failed to connect",
            "network is unreachable",
            "no route to host",
            "couldn't connect to server",
            "operation timed out",
            "early eof",
            "remote end hung up unexpectedly\nfatal: early",
            "operation too slow",
        ),
        "the network or the host is down. Try again later.",
    ),
    (
        ("host key verification failed",),
        "ssh does not know this host's key. Connect to it once with ssh and compare the key.",
    ),
    (
        (".lock': file exists",),
        "another Git is changing the same reference, or one died and left its lock. Try again; if "
        "it stays so and no Git is running there, remove the .lock file.",
    ),
    (
        (
            "permission denied",
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "unable to create temporary object directory",
            "insufficient permission",
            "error: 403",
            "error: 401",
            "not allowed to push",
        ),
        "no permission. Ask who runs the registry for access, or set up your credentials for Git.",
    ),
    (
        _INCOMPLETE,
        "objects that it names are missing there, or damaged. Ask who runs the registry to look, "
        "with `git fsck`.",
    ),
    (
        (
            "does not appear to be a git repository",
            "not a git repository",
            "repository not found",
            "does not exist",
            "no such file or directory",
            "' not found",
        ),
        "there is no repository that you may read. Check the address.",
    ),
    (
        ("fsck error", "error in object", "fsck", "invalid index-pack output"),
        _MALFORMED,
    ),
    (
        ("transport 'ext' not allowed", "not allowed"),
        "this kind of address is not allowed. Use https, ssh, file or a path.",
    ),
    (("no space left", "disk quota"), "the disk is full. Make room and try again."),
)
_STALE = (
    "stale info",
    "fetch first",
    "non-fast-forward",
    "cannot lock ref",
    "failed to update ref",
    "incorrect old value",
    "reference already exists",
    "failed to lock",
    "remote ref updated since checkout",
)


def push_error(url: str, done: Done) -> RegistryError:
    """What a refused push means: a ConflictError if somebody else was faster."""
    refused: list[str] = []
    for line in done.out.decode(errors="replace").splitlines():
        flag, _, rest = line.partition("\t")
        if flag == "!" and "atomic" not in rest.partition("\t")[2]:
            refused.append(rest.partition("\t")[2])
    reasons = " ".join(refused).lower()
    said = f"{reasons} {done.err.lower()}"
    if "exists; cannot create" in said:
        return RegistryError(
            f"{url} has a branch whose name is the beginning of the new one's, or the other way "
            f"round, so nothing was written. Choose another name. Git said: {_said(done.err)}"
        )
    if ".lock': file exists" in said:
        return ConflictError(str(remote_error(url, "push to", done.err)))
    if any(word in said for word in _STALE) and "permission denied" not in said:
        return ConflictError(
            f"Somebody else changed {url} meanwhile; nothing was written. Try again."
        )
    if "hook declined" in reasons or "protected branch" in reasons or "gh006" in done.err.lower():
        return RegistryError(
            f"{url} refuses the change by a rule of its own; nothing was written. It said: "
            f"{_said(done.err)} Open a proposal instead, or ask who runs the registry."
        )
    return remote_error(url, "push to", done.err or "; ".join(refused))


def _said(err: str) -> str:
    """The telling lines of Git's own words, as one line that a terminal can show safely."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("hint:", "To "))]
    text = " / ".join(telling or lines or ["nothing"])[:600]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
