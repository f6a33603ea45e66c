"""What holds for every test: a home of its own, no network, engines only where they are.

A test marked `docker`, `singularity`, `cosign`, `act`, `prism`, `image_registry` or `jq` is skipped
with a reason where that program is absent, and fails instead where `MEDPERF_REQUIRE`
(comma-separated) names it, as CI does.
"""

import contextlib
import functools
import hashlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from medperf.registry.keys import FileSigner

# A busy machine fails no property.
settings.register_profile("medperf", deadline=None)
settings.load_profile("medperf")

RESERVED = (".invalid", ".test", ".example")  # never resolve (RFC 6761), so none need be asked


def _docker() -> str | None:
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    try:
        answer = subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "`docker version` does not answer"
    return "`docker version` finds no daemon" if answer.returncode else None


def _singularity() -> str | None:
    found = shutil.which("apptainer") or shutil.which("singularity")
    return None if found else "neither apptainer nor singularity is on PATH"


def _cosign() -> str | None:
    return None if shutil.which("cosign") else "cosign is not on PATH"


def _act() -> str | None:
    return None if shutil.which("act") else "act is not on PATH"


def _prism() -> str | None:
    return None if shutil.which("npm") else "npm is not on PATH"


def _image_registry() -> str | None:
    found = shutil.which("docker-registry")
    return None if found else "docker-registry is not on PATH (Debian's package of that name)"


def _jq() -> str | None:
    missing = [tool for tool in ("openssl", "jq") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not on PATH" if missing else None


CHECKS: dict[str, Callable[[], str | None]] = {
    "docker": _docker,
    "singularity": _singularity,
    "cosign": _cosign,
    "act": _act,
    "prism": _prism,
    "image_registry": _image_registry,
    "jq": _jq,
}


@functools.cache
def _absence(engine: str) -> str | None:
    return CHECKS[engine]()


def pytest_configure() -> None:
    """Let children take SIGINT, also where the tests themselves were started in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose engine is absent, or fail it where the engine is required."""
    required = {name.strip() for name in os.environ.get("MEDPERF_REQUIRE", "").split(",")}
    for engine in CHECKS:
        if item.get_closest_marker(engine) is None:
            continue
        reason = _absence(engine)
        if reason and engine in required:
            pytest.fail(f"{reason}, but MEDPERF_REQUIRE names {engine}", pytrace=False)
        elif reason:
            pytest.skip(reason)


def _is_local(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback


def _is_number(host: str) -> bool:
    """Whether it is an address, also in one of the old forms: `127.1`, `0x7f000001`."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True
    with contextlib.suppress(OSError):
        socket.inet_aton(host)
        return True
    return False


def _check_address(sock: socket.socket, address: Any) -> None:
    internet = sock.family in {socket.AF_INET, socket.AF_INET6}
    if internet and not _is_local(str(address[0])):
        sock.close()  # socket.create_connection would leave it open
        pytest.fail(f"a test reached for the network: {address!r}")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Sockets reach loopback and local sockets only; a name is never looked up elsewhere."""
    connect, connect_ex, lookup = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check_address(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check_address(self, address)
        return connect_ex(self, address)

    def guarded_lookup(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        if name.rstrip(".").endswith(RESERVED):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not (_is_local(name) or _is_number(name)):
            pytest.fail(f"a test asked the network for a name: {name!r}")
        return lookup(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


def _move_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Point everything that programs take for the user's own folders below `home`."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "SSH_")):
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    for name, folder in {
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
        "XDG_CACHE_HOME": ".cache",
        "XDG_RUNTIME_DIR": ".run",
        "MEDPERF_HOME": "medperf",
    }.items():
        patch.setenv(name, str(home / folder))
    (home / ".run").mkdir(mode=0o700, parents=True)
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")  # the machine's Git settings are nobody's test
    patch.setenv("GIT_TERMINAL_PROMPT", "0")


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for fixtures that live longer than one test."""
    with pytest.MonkeyPatch.context() as patch:
        _move_home(patch, tmp_path_factory.mktemp("session") / "home")
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of this test, empty."""
    folder = tmp_path / "home"
    _move_home(monkeypatch, folder)
    return folder


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of golden values."""
    return Path(__file__).parent / "vectors"


@pytest.fixture(scope="session")
def make_signer() -> Callable[[str], "FileSigner"]:
    """`make_signer("hospital/bob")`: the same Ed25519 key for the same name, every time."""
    from medperf.registry.keys import FileSigner

    def make(name: str) -> FileSigner:
        return FileSigner.from_seed(hashlib.sha256(b"medperf test key " + name.encode()).digest())

    return make
