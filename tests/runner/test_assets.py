"""Assets over real HTTPS on loopback, with a server that misbehaves on request."""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medperf.runner.assets import AssetPolicy, Assets
from medperf.runner.download import check_address, file_path, split_url
from medperf.schemas.errors import AssetError
from medperf.schemas.manifests import Asset

BODY = bytes(range(256)) * 4096  # 1 MiB
CUT = 300_000


@dataclass
class Seen:
    """What the server was asked: (path, Range, If-Range, Host), and how often it cut."""

    requests: list[tuple[str, str | None, str | None, str | None]] = field(default_factory=list)
    cuts: int = 0


class Handler(BaseHTTPRequestHandler):
    """Serves BODY, or does what the path says."""

    protocol_version = "HTTP/1.1"
    seen: Seen

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Answer by the first part of the path."""
        self.close_connection = True
        wanted = self.headers.get("Range")
        self.seen.requests.append(
            (self.path, wanted, self.headers.get("If-Range"), self.headers.get("Host"))
        )
        kind = self.path.split("/")[1]
        getattr(self, f"_{kind}")(wanted)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def _good(self, wanted: str | None, *, etag: str = '"v1"') -> None:
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start and self.headers.get("If-Range") in (None, etag):
            span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
            self._answer(206, BODY[start:], Content_Range=span, ETag=etag)
        else:
            self._answer(200, BODY, ETag=etag)

    def _cut(self, wanted: str | None) -> None:
        if wanted:
            self._good(wanted)
            return
        self.seen.cuts += 1
        self._answer(200, BODY[:CUT], Content_Length=str(len(BODY)), ETag='"v1"')

    def _norange(self, wanted: str | None) -> None:
        if wanted:
            self._answer(200, BODY)
        else:
            self._answer(200, BODY[:CUT], Content_Length=str(len(BODY)))

    def _weak(self, wanted: str | None) -> None:
        if wanted:
            self._good(wanted, etag='W/"1"')
        else:
            self._answer(200, BODY[:CUT], Content_Length=str(len(BODY)), ETag='W/"1"')

    def _replaced(self, wanted: str | None) -> None:
        """The first half is of another file than the second; ranges are given all the same."""
        if wanted:
            self._good(wanted, etag="")
        elif self.seen.cuts == 0:
            self.seen.cuts += 1
            self._answer(200, b"?" * CUT, Content_Length=str(len(BODY)))
        else:
            self._answer(200, BODY)

    def _liar(self, wanted: str | None) -> None:
        if wanted:
            self._answer(206, BODY[:10], Content_Range=f"bytes 0-9/{len(BODY)}")
        else:
            self._norange(None)

    def _beyond(self, wanted: str | None) -> None:
        if wanted:
            self._answer(416, b"")
        elif self.seen.cuts == 0:
            self.seen.cuts += 1
            self._answer(200, BODY[:CUT], Content_Length=str(len(BODY)))
        else:
            self._answer(200, BODY)

    def _endless(self, _: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _turn in range(64):
                self.wfile.write(BODY)
        except OSError:
            pass

    def _short(self, _: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(BODY[:10])

    def _wrong(self, _: str | None) -> None:
        self._answer(200, BODY[::-1])

    def _large(self, _: str | None) -> None:
        self._answer(200, BODY + b"x")

    def _packed(self, _: str | None) -> None:
        self._answer(200, BODY, Content_Encoding="gzip")

    def _slow(self, _: str | None) -> None:
        time.sleep(3)

    def _drip(self, _: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _turn in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)

    def _status(self, _: str | None) -> None:
        self._answer(int(self.path.split("/")[2]), b"")

    def _to(self, _: str | None) -> None:
        self._answer(302, b"", Location=self.path.removeprefix("/to/"))

    def _loop(self, _: str | None) -> None:
        self._answer(302, b"", Location="/loop")


@dataclass
class Server:
    """A running server: its port, the folder with its CA, and what it has seen."""

    port: int
    ca: Path
    seen: Seen

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}/{path}"

    def policy(self, **more: object) -> AssetPolicy:
        given = {"hosts": (f"127.0.0.1:{self.port}",), "ca_file": self.ca, "read_timeout": 1.0}
        return AssetPolicy(**{**given, **more})  # type: ignore[arg-type]


def certificates(folder: Path) -> tuple[Path, Path]:
    """A CA's certificate, and a chain with key for 127.0.0.1 and mirror.localhost."""
    now = datetime.datetime.now(datetime.UTC)

    def build(name: str, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = (
        build("ca", "ca")
        .public_key(ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("mirror.example.org")]
    leaf = (
        build("server", "ca")
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file, chain = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + leaf.public_bytes(pem))
    return ca_file, chain


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificates, made once."""
    return certificates(tmp_path_factory.mktemp("tls"))


class QuietServer(ThreadingHTTPServer):
    """A server whose broken connections are nobody's business."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(certified: tuple[Path, Path]) -> Iterator[Server]:
    """An HTTPS server on 127.0.0.1."""
    seen = Seen()
    handler = type("Handler", (Handler,), {"seen": seen})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified[1])
    with QuietServer(("127.0.0.1", 0), handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Server(http.server_address[1], certified[0], seen)
        http.shutdown()
        thread.join()


@pytest.fixture
def assets(tmp_path: Path, server: Server) -> Assets:
    """A store whose policy names the server."""
    return Assets(tmp_path / "assets", server.policy())


def pinned(url: str, body: bytes = BODY) -> Asset:
    return Asset(url=url, digest="sha256:" + hashlib.sha256(body).hexdigest(), size=len(body))


def leftovers(assets: Assets) -> list[str]:
    return sorted(path.name for path in (assets.root / "partial").iterdir())


def test_an_asset_is_fetched_verified_and_kept_read_only(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("good/x"))
    told: list[tuple[int, int]] = []
    path = assets.fetch(asset, progress=lambda done, total: told.append((done, total)))
    digits = asset.digest.removeprefix("sha256:")
    assert path == assets.root / "sha256" / digits[:2] / digits
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o444
    assert told[-1] == (len(BODY), len(BODY))
    assert leftovers(assets) == []
    assert assets.fetch(asset) == path
    assert len(server.seen.requests) == 1


def test_a_cached_file_that_was_changed_is_fetched_anew(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("good/x"))
    path = assets.fetch(asset)
    path.chmod(0o644)
    path.write_bytes(BODY[::-1])
    assert assets.fetch(asset).read_bytes() == BODY
    assert len(server.seen.requests) == 2


def test_a_wrong_size_of_a_known_digest_does_not_cost_the_cache(
    assets: Assets, server: Server
) -> None:
    asset = pinned(server.url("good/x"))
    path = assets.fetch(asset)
    with pytest.raises(AssetError, match="is pinned with 7 bytes"):
        assets.fetch(asset.model_copy(update={"size": 7}))
    assert path.exists()


@pytest.mark.parametrize(
    ("kind", "second", "condition"),
    [
        ("cut", f"bytes={CUT}-", '"v1"'),
        ("norange", f"bytes={CUT}-", None),
        ("weak", f"bytes={CUT}-", None),
    ],
)
def test_an_interrupted_download_goes_on_where_it_was(
    assets: Assets, server: Server, kind: str, second: str, condition: str | None
) -> None:
    asset = pinned(server.url(f"{kind}/x"))
    with pytest.raises(AssetError, match="connection failed") as caught:
        assets.fetch(asset)
    assert caught.value.transient
    assert assets.fetch(asset).read_bytes() == BODY
    assert server.seen.requests[1][1:3] == (second, condition)
    assert leftovers(assets) == []


def test_a_file_replaced_between_two_halves_is_fetched_from_the_start(
    assets: Assets, server: Server
) -> None:
    asset = pinned(server.url("replaced/x"))
    with pytest.raises(AssetError):
        assets.fetch(asset)
    assert assets.fetch(asset).read_bytes() == BODY
    assert [one[1] for one in server.seen.requests] == [None, f"bytes={CUT}-", None]


def test_a_server_that_refuses_the_range_is_asked_from_the_start(
    assets: Assets, server: Server
) -> None:
    asset = pinned(server.url("beyond/x"))
    with pytest.raises(AssetError):
        assets.fetch(asset)
    assert assets.fetch(asset).read_bytes() == BODY


def test_a_server_that_gives_another_range_gets_nowhere(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("liar/x"))
    for _ in range(2):
        with pytest.raises(AssetError):
            assets.fetch(asset)
    assert not assets.path(asset.digest).exists()


def test_a_partial_file_that_is_whole_needs_no_question(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("good/x"))
    partial = assets.root / "partial" / asset.digest.removeprefix("sha256:")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(BODY)
    assert assets.fetch(asset).read_bytes() == BODY
    assert server.seen.requests == []


@pytest.mark.parametrize("rest", [BODY[::-1], BODY + b"more"])
def test_a_partial_file_that_cannot_be_right_is_thrown_away(
    assets: Assets, server: Server, rest: bytes
) -> None:
    asset = pinned(server.url("good/x"))
    partial = assets.root / "partial" / asset.digest.removeprefix("sha256:")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(rest)
    assert assets.fetch(asset).read_bytes() == BODY
    assert server.seen.requests[0][1] is None


@pytest.mark.parametrize(
    ("path", "message", "transient"),
    [
        ("wrong/x", "not the file that was pinned", False),
        ("large/x", "bytes, but .* were pinned", False),
        ("endless/x", "larger than the .* that were pinned", False),
        ("short/x", "has 10 bytes, but", False),
        ("packed/x", "packs its answer", False),
        ("status/404", "answers 404. Check the address", False),
        ("status/503", "answers 503. Try again later", True),
        ("status/429", "Try again later", True),
        ("slow/x", "does not answer in time", True),
        ("loop", "more than 5 redirects", False),
        ("to/http://127.0.0.1/x", "https only", False),
        ("to/https://user:secret@example.org/x", "user or password", False),
        ("to/https://169.254.169.254/latest", "fetches from", False),
        ("to/file:///etc/passwd", "https only", False),
    ],
)
def test_what_is_not_as_pinned_is_refused_and_leaves_nothing(
    assets: Assets, server: Server, path: str, message: str, transient: bool
) -> None:
    asset = pinned(server.url(path))
    with pytest.raises(AssetError, match=message) as caught:
        assets.fetch(asset)
    assert caught.value.transient is transient
    assert "secret" not in str(caught.value)
    assert not assets.path(asset.digest).exists()
    assert transient or leftovers(assets) == []


def test_a_server_that_drips_is_given_up(tmp_path: Path, server: Server) -> None:
    assets = Assets(tmp_path / "a", server.policy(patience=0.3))
    began = time.monotonic()
    with pytest.raises(AssetError, match="less than 1024 bytes a second") as caught:
        assets.fetch(pinned(server.url("drip/x")))
    assert caught.value.transient
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "address",
    ["10.0.0.5", "192.168.1.1", "169.254.169.254", "127.0.0.2", "0.0.0.1", "224.0.0.1",
     "100.64.0.1", "192.0.0.192", "2130706433", "0x7f000002", "127.2",
     "[::1]", "[fe80::1]", "[fc00::1]", "[fec0::1]", "[::ffff:10.0.0.5]", "[::10.0.0.5]",
     "[64:ff9b::a00:5]", "[2002:a00:5::1]", "[2001::1]", "[ff02::1]", "255.255.255.255"],
)  # fmt: skip
def test_a_redirect_to_a_private_address_is_refused(
    tmp_path: Path, server: Server, address: str
) -> None:
    policy = server.policy(hosts=(f"127.0.0.1:{server.port}", "*"))
    asset = pinned(server.url(f"to/https://{address}/x"))
    with pytest.raises(AssetError, match="no public address"):
        Assets(tmp_path / "a", policy).fetch(asset)
    assert len(server.seen.requests) == 1


def test_public_addresses_are_let_through() -> None:
    place = split_url("https://example.org/x")
    for address in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"):
        check_address(place, address, AssetPolicy())


def test_loopback_is_refused_unless_the_site_names_it(tmp_path: Path, server: Server) -> None:
    policy = server.policy(hosts=())
    with pytest.raises(AssetError, match=r"is at 127\.0\.0\.1, which is no public address"):
        Assets(tmp_path / "a", policy).fetch(pinned(server.url("good/x")))
    assert server.seen.requests == []


def test_the_connection_goes_to_the_address_that_was_checked(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another machine at the second look-up is asked for once only."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: object, *args: object, **more: object) -> object:
        if host == "mirror.example.org":
            asked.append(str(host))
            address = "127.0.0.1" if len(asked) == 1 else "127.0.0.99"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, server.port))]
        return real(host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    policy = server.policy(hosts=("mirror.example.org", "127.0.0.1"))
    url = server.url("good/x", host="mirror.example.org")
    assert Assets(tmp_path / "a", policy).fetch(pinned(url)).read_bytes() == BODY
    assert asked == ["mirror.example.org"]
    assert server.seen.requests[0][3] == f"mirror.example.org:{server.port}"


def test_the_certificate_must_be_for_the_name(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)
    policy = server.policy(hosts=("other.example.org", "127.0.0.1"))
    with pytest.raises(AssetError, match="certificate does not hold") as caught:
        Assets(tmp_path / "a", policy).fetch(pinned(server.url("good/x", host="other.example.org")))
    assert not caught.value.transient


def test_an_unknown_ca_is_refused(tmp_path: Path, server: Server) -> None:
    policy = server.policy(ca_file=None)
    with pytest.raises(AssetError, match="certificate does not hold"):
        Assets(tmp_path / "a", policy).fetch(pinned(server.url("good/x")))


def test_proxies_of_the_environment_are_not_used(
    assets: Assets, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert assets.fetch(pinned(server.url("good/x"))).read_bytes() == BODY


def test_a_server_that_is_not_there_is_transient(tmp_path: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    policy = server.policy(hosts=("127.0.0.1",))
    with pytest.raises(AssetError, match="connection failed") as caught:
        Assets(tmp_path / "a", policy).fetch(pinned(f"https://127.0.0.1:{port}/x"))
    assert caught.value.transient


def test_an_unknown_host_is_transient(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="is not found") as caught:
        Assets(tmp_path / "a", AssetPolicy()).fetch(pinned("https://nowhere.invalid/x"))
    assert caught.value.transient


@pytest.mark.parametrize(
    ("hosts", "host", "port", "allowed"),
    [
        ((), "example.org", 443, True),
        (("example.org",), "example.org", 8443, True),
        (("example.org:443",), "example.org", 8443, False),
        (("*.example.org",), "a.example.org", 443, True),
        (("*.example.org",), "example.org", 443, False),
        (("*.example.org",), "evilexample.org", 443, False),
        (("*",), "anything.example", 443, True),
        (("EXAMPLE.org",), "example.org", 443, True),
    ],
)
def test_hosts_are_matched(hosts: tuple[str, ...], host: str, port: int, allowed: bool) -> None:
    assert AssetPolicy(hosts=hosts).allows_host(host, port) is allowed


@pytest.mark.parametrize(
    "url", ["https://[::1/x", "https://:443/x", "https://x:99999/x", "ftp://x/y", "https://a%20b/"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(AssetError):
        split_url(url)


def test_mirrors_are_asked_in_turn(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("wrong/x"))
    mirrors = [server.url("status/404"), server.url("good/x")]
    assert assets.fetch(asset, mirrors=mirrors).read_bytes() == BODY
    assert [one[0] for one in server.seen.requests] == ["/wrong/x", "/status/404", "/good/x"]


def test_when_all_mirrors_fail_each_reason_is_told(assets: Assets, server: Server) -> None:
    with pytest.raises(
        AssetError, match=r"(?s)not the file that was pinned.*answers 503"
    ) as caught:
        assets.fetch(pinned(server.url("wrong/x")), mirrors=[server.url("status/503")])
    assert caught.value.transient


def test_processes_that_fetch_at_once_download_once(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("good/x"))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: assets.fetch(asset), range(8)))
    assert len(set(paths)) == 1
    assert len(server.seen.requests) == 1


def test_stop_ends_a_download_and_keeps_what_came(assets: Assets, server: Server) -> None:
    asset = pinned(server.url("good/x"))
    stop = threading.Event()
    with pytest.raises(AssetError, match="interrupted"):
        assets.fetch(asset, progress=lambda *_: stop.set(), stop=stop)
    partial = assets.root / "partial" / asset.digest.removeprefix("sha256:")
    came = partial.stat().st_size
    assert 0 < came < len(BODY)
    assert assets.fetch(asset).read_bytes() == BODY
    assert server.seen.requests[1][1] == f"bytes={came}-"


def test_stop_ends_waiting_for_another_download(assets: Assets, server: Server) -> None:
    import fcntl

    asset = pinned(server.url("good/x"))
    partial = assets.root / "partial" / asset.digest.removeprefix("sha256:")
    partial.parent.mkdir(parents=True)
    stop = threading.Event()
    stop.set()
    with partial.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AssetError, match="Waiting for another download"):
            assets.fetch(asset, stop=stop)


def test_a_file_below_an_allowed_folder_is_copied(tmp_path: Path) -> None:
    shared = tmp_path / "shared folder"
    shared.mkdir()
    source = shared / "x y.bin"
    source.write_bytes(BODY)
    assets = Assets(tmp_path / "a", AssetPolicy(files=(shared,)))
    path = assets.fetch(pinned(source.as_uri()))
    assert path.read_bytes() == BODY
    assert assets.policy.allows_file(source)
    assert not assets.policy.allows_file(tmp_path / "other")


@pytest.mark.parametrize("way", ["outside", "dots", "link"])
def test_a_file_elsewhere_is_refused(tmp_path: Path, way: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    shared.joinpath("link").symlink_to(secret)
    url = {
        "outside": secret.as_uri(),
        "dots": f"file://{shared}/../secret",
        "link": shared.joinpath("link").as_uri(),
    }[way]
    assets = Assets(tmp_path / "a", AssetPolicy(files=(shared,)))
    with pytest.raises(AssetError, match=r"policy\.files"):
        assets.fetch(pinned(url))
    assert leftovers(assets) == []


def test_a_local_file_that_is_missing_a_folder_or_wrong_is_refused(tmp_path: Path) -> None:
    assets = Assets(tmp_path / "a", AssetPolicy(files=(tmp_path,)))
    tmp_path.joinpath("wrong").write_bytes(b"x")
    for name, message in [("gone", "cannot be read"), ("home", "plain file"), ("wrong", "1 bytes")]:
        with pytest.raises(AssetError, match=message):
            assets.fetch(pinned(tmp_path.joinpath(name).as_uri()))


@pytest.mark.parametrize(
    "url", ["file://host/x", "file:x", "file:///x?y", "file:///%00", "file:///%ff"]
)
def test_file_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(AssetError):
        file_path(url)


def test_pinning_downloads_measures_and_keeps(assets: Assets, server: Server) -> None:
    asset = assets.pin(server.url("good/x"))
    assert asset == pinned(server.url("good/x"))
    assert assets.fetch(asset).read_bytes() == BODY
    assert len(server.seen.requests) == 1


def test_pinning_a_local_file_asks_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(BODY)
    with pytest.raises(AssetError, match=r"policy\.files"):
        Assets(tmp_path / "a", AssetPolicy()).pin(file.as_uri())
    allowed = Assets(tmp_path / "a", AssetPolicy(files=(tmp_path,)))
    assert allowed.pin(file.as_uri()) == pinned(file.as_uri())
    assert [path.name for path in allowed.root.iterdir()] == ["sha256"]


def test_a_full_disk_is_said_and_what_arrived_is_kept(tmp_path: Path, server: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs {small} 2>/dev/null"):  # noqa: S605
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        assets = Assets(small / "a", server.policy())
        with pytest.raises(AssetError, match=r"disk is full: .* bytes are needed") as caught:
            assets.fetch(pinned(server.url("good/x")))
        assert caught.value.transient
        assert server.seen.requests == []
        with pytest.raises(AssetError, match="disk is full while"):
            assets.pin(server.url("good/x"))
        assert not list(assets.root.glob(".pin-*"))
    finally:
        os.system(f"umount {small}")  # noqa: S605
