"""Bytes from an address that a stranger wrote, without becoming the stranger's hand in our network.

Before each connection, and again for each redirect:

1. the address is https, without a user or password in it, and its host is one that the site allows;
2. the host is looked up, and *every* address found must be a public one;
3. the connection goes to exactly an address that was checked (the name is not looked up again, so
   it cannot mean another machine by then), with TLS verified for the name.

Proxies and other settings of the environment are not used: they would move step 3 elsewhere. A
site's own mirror in its intranet is allowed by writing its address (`10.0.0.5`, or with a port
`10.0.0.5:8443`) into `hosts`; that is also how a test reaches a server on this machine.
"""

import ipaddress
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from ..schemas.errors import AssetError

if TYPE_CHECKING:
    import ssl

    import httpx

REDIRECTS = 5
ADDRESSES = 3

_EMBEDDING = (  # IPv6 addresses that carry an IPv4 address which a gateway may unpack
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
_NEVER = (  # not public, whatever this Python's own tables say of them
    ipaddress.ip_network("2001::/32"),
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("fec0::/10"),  # site-local, of old
    ipaddress.ip_network("192.0.0.0/24"),  # where one cloud answers about its machines
)


@dataclass(frozen=True)
class AssetPolicy:
    """What a site lets be fetched.

    `files`: folders below which `file:` addresses may be read; none by default. `hosts`: names
    (`example.org`, `*.example.org`, `*`), each with an optional `:port`, that may be asked; empty
    means any public host. A private address is reached only if it is itself written in `hosts`.
    `ca_file`: a bundle of certificates to trust instead of the usual ones. Timeouts in seconds;
    a server that sends fewer than `slowest` bytes a second, asked after the first `patience`
    seconds, is given up, or one byte a minute would hold a pass for ever.
    """

    files: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    ca_file: Path | None = None
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    patience: float = 60.0
    slowest: int = 1024

    def allows_file(self, path: Path) -> bool:
        """Whether `path`, its links followed, lies below one of the policy's folders."""
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in self.files)

    def names(self, host: str, port: int) -> bool:
        """Whether `host` itself is written in `hosts`, patterns aside."""
        spellings = {host, f"{host}:{port}", f"[{host}]:{port}"}
        return any(entry.lower() in spellings for entry in self.hosts)

    def allows_host(self, host: str, port: int) -> bool:
        """Whether this host may be asked at all."""
        if not self.hosts or self.names(host, port):
            return True
        for entry in self.hosts:
            name, _, only = entry.lower().partition(":")
            suits = name == "*" or (name.startswith("*.") and host.endswith(name[1:]))
            if suits and only in ("", str(port)):
                return True
        return False


@dataclass(frozen=True)
class Place:
    """An address in its parts: what TLS and `Host` are told, and where to connect."""

    url: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


def split_url(url: str) -> Place:
    """The parts of an https address; AssetError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or 443
        host = host if ":" in host else host.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise AssetError(f"{url} is not an address: {error}.") from error
    if parts.scheme != "https":
        raise AssetError(f"{url} is refused: assets are fetched by https only.")
    if parts.username is not None or parts.password is not None:
        raise AssetError(f"The address at {host} is refused: it has a user or password in it.")
    if not host or "%" in host:
        raise AssetError(f"{url} is refused: it names no host.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(url, host.lower(), port, target)


def check_address(place: Place, address: str, policy: AssetPolicy) -> None:
    """AssetError if a connection for `place` may not go to this IP address."""
    if policy.names(address, place.port):
        return
    if not _is_public(ipaddress.ip_address(address)):
        raise AssetError(
            f"{place.url} is refused: {place.host} is at {address}, which is no public address. "
            f"If it is this site's own mirror, add {address!r} to policy.hosts."
        )


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        for network, shift in _EMBEDDING:
            if address in network:
                inner = ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
                return _is_public(inner)
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def checked_addresses(place: Place, policy: AssetPolicy) -> list[str]:
    """The IP addresses of the place's host, each of them allowed; at most a few, in DNS's order."""
    if not policy.allows_host(place.host, place.port):
        raise AssetError(
            f"{place.url} is refused: this site fetches from {', '.join(policy.hosts)} only. "
            "Add the host to policy.hosts, or ask for a mirror."
        )
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AssetError(
            f"{place.url}: the host {place.host} is not found ({error.strerror}). Check the "
            "network and the address.",
            transient=True,
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    for address in addresses:
        check_address(place, address, policy)
    return addresses[:ADDRESSES]


@dataclass(frozen=True)
class Reply:
    """An answer whose body is still to come: status, headers with lower-case names, pieces."""

    url: str
    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes] = field(repr=False)


@contextmanager
def open_url(url: str, policy: AssetPolicy, *, headers: Mapping[str, str]) -> Iterator[Reply]:
    """The answer to a GET, redirects followed one by one and each checked like the first."""
    import httpx

    timeout = httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout)
    with httpx.Client(
        verify=_tls(policy), trust_env=False, follow_redirects=False, timeout=timeout
    ) as client:
        for _ in range(REDIRECTS + 1):
            place = split_url(url)
            response = _connect(client, place, policy, headers)
            try:
                if response.status_code not in (301, 302, 303, 307, 308):
                    with _translated(place):
                        pieces = _pieces(response, place, policy)
                        yield Reply(url, response.status_code, response.headers, pieces)
                    return
                url = urljoin(place.url, response.headers.get("location", ""))
            finally:
                response.close()
    raise AssetError(f"{url} is refused: more than {REDIRECTS} redirects.")


def _tls(policy: AssetPolicy) -> "ssl.SSLContext":
    import ssl

    import httpx

    if policy.ca_file is not None:
        return ssl.create_default_context(cafile=str(policy.ca_file))
    return httpx.create_ssl_context(trust_env=False)


def _connect(
    client: "httpx.Client", place: Place, policy: AssetPolicy, headers: Mapping[str, str]
) -> "httpx.Response":
    import httpx

    addresses = checked_addresses(place, policy)
    sent = {**headers, "Host": place.authority, "Accept-Encoding": "identity"}
    for at, address in enumerate(addresses, start=1):
        host = f"[{address}]" if ":" in address else address
        request = client.build_request(
            "GET",
            f"https://{host}:{place.port}{place.target}",
            headers=sent,
            # given extensions replace the client's, timeouts too
            extensions={"timeout": client.timeout.as_dict(), "sni_hostname": place.host},
        )
        with _translated(place):
            try:
                return client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if at == len(addresses):
                    raise
    raise AssetError(f"{place.url}: the host {place.host} has no address.", transient=True)


def _pieces(response: "httpx.Response", place: Place, policy: AssetPolicy) -> Iterator[bytes]:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise AssetError(f"{place.url}: the server packs its answer though asked not to.")
    began, came = time.monotonic(), 0
    for piece in response.iter_raw():
        came += len(piece)
        seconds = time.monotonic() - began
        if seconds > policy.patience and came < seconds * policy.slowest:
            raise AssetError(
                f"{place.url}: the server sends less than {policy.slowest} bytes a second. Try "
                "again later: what has arrived is kept.",
                transient=True,
            )
        yield piece


@contextmanager
def _translated(place: Place) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise AssetError(
            f"{place.url}: the server does not answer in time. Try again later.", transient=True
        ) from error
    except httpx.HTTPError as error:
        cause = str(error) or type(error).__name__
        certificate = "CERTIFICATE_VERIFY_FAILED" in cause
        raise AssetError(
            f"{place.url}: the connection failed ({cause}). "
            + ("Its certificate does not hold." if certificate else "Try again later."),
            transient=not certificate,
        ) from error


def file_path(url: str) -> Path:
    """The path of a `file:` address; AssetError if it names another host or is not absolute."""
    try:
        parts = urlsplit(url)
        path = Path(unquote(parts.path, errors="strict"))
    except (ValueError, UnicodeError) as error:
        raise AssetError(f"{url} is not an address: {error}.") from error
    if parts.netloc or not path.is_absolute() or "\0" in str(path) or parts.query:
        raise AssetError(f"{url} is refused: write file:/// and an absolute path.")
    return path
