"""Downloads of assets beside curl, from one server on loopback."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medperf.runner.assets import AssetPolicy, Assets
from medperf.schemas.digests import file_digest
from medperf.schemas.errors import AssetError
from medperf.schemas.manifests import Asset
from tests.runner.test_assets import certificates

from .measure import ROOT, command, timed
from .report import Case


def cases(folder: Path, quick: bool, runs: int) -> Iterator[Case]:
    """An asset fetched whole, and one whose download is cut in the middle."""
    name = f"download of {100 if quick else 500} MB, hashed while it arrives"
    if shutil.which("curl") is None:
        yield Case(name, "not measured: no curl here")
        return
    place = folder / "downloads"
    place.mkdir()
    file = place / "file"
    file.write_bytes(os.urandom(1 << 20) * (100 if quick else 500))
    pinned = Asset(url="https://127.0.0.1/x", digest=file_digest(file), size=file.stat().st_size)
    ca, chain = certificates(place)
    with _served(chain, file) as port:
        url = f"https://127.0.0.1:{port}/whole"
        curl = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(ca), url]
        theirs = command([*curl, "-o", place / "curl"], runs=runs)
        hashed = f"{' '.join(curl)} | tee {place / 'curl'} | sha256sum"
        both = command(["sh", "-c", hashed], runs=runs)
        asset = pinned.model_copy(update={"url": url})
        _fetch(asset, ca, place)  # the first one imports
        ours = timed(lambda: _fetch(asset, ca, place), runs=runs)
        yield Case(
            name,
            f"{ours:.2f} s = {both.seconds / ours:.2f} x the floor's speed, "
            f"{theirs.seconds / ours:.2f} x curl's alone",
            f"curl | sha256sum {both.seconds:.2f} s, curl {theirs.seconds:.2f} s",
            ">= 0.9 x",
            both.seconds / ours >= 0.9,
        )
        yield _resumed(place, port, ca, pinned)
    shutil.rmtree(place)


def _resumed(place: Path, port: int, ca: Path, pinned: Asset) -> Case:
    policy = AssetPolicy(hosts=(f"127.0.0.1:{port}",), ca_file=ca)
    asset = pinned.model_copy(update={"url": f"https://127.0.0.1:{port}/cut"})
    store = Assets(place / "cut", policy)
    with suppress(AssetError):
        store.fetch(asset)
    had = sum(one.stat().st_size for one in (place / "cut" / "partial").iterdir())
    whole = store.fetch(asset).stat().st_size
    figure = f"{had / 1e6:.0f} of {whole / 1e6:.0f} MB were kept, the rest was asked for"
    return Case("download after a cut", figure, "", "resumed", 0 < had < whole)


@contextmanager
def _served(chain: Path, file: Path) -> Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.serve", str(chain), str(file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


def _fetch(asset: Asset, ca: Path, place: Path) -> None:
    """One asset into a new store."""
    policy = AssetPolicy(hosts=(asset.url.split("/")[2],), ca_file=ca)
    with tempfile.TemporaryDirectory(dir=place) as root:
        Assets(Path(root), policy).fetch(asset)
