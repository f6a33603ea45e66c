"""A bounded fuzz of everything that reads a stranger's bytes.

    python tests/properties/fuzz.py --seconds 5

Seeds are valid documents, changed a few times each: bits, cuts, repeats, inserted pieces that have
broken parsers before. A reader may accept, or refuse with an error of ours; anything else that it
raises, and any input that takes it longer than a second, is a finding. Same `--seed`, same inputs.
"""

import argparse
import io
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medperf.registry.checkpoints import _read as read_checkpoint
from medperf.registry.handover import read_handover
from medperf.registry.keys import FileSigner
from medperf.registry.paths import classify
from medperf.registry.public_keys import from_key_bytes, key_blob
from medperf.registry.sshsig import commit_signer, sign_commit, sshsig_sign, sshsig_verify
from medperf.registry.statements import (
    make_approval,
    make_handover,
    make_release,
    make_result,
    read_bundle,
)
from medperf.runner import container_config, mlcube_format
from medperf.runner.archives import unpack
from medperf.runner.content import parse_lines
from medperf.schemas.documents import load
from medperf.schemas.errors import MedperfError
from medperf.schemas.evaluator_file import parse_evaluator_file
from medperf.schemas.yaml_subset import parse

TESTS = Path(__file__).parents[1]
Reader = Callable[[bytes], object]
PIECES = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"&a ", b"*a", b"<<: ", b"!!python/object ", b"\t",
    b"\r\n", b"---\n", b"{", b"[" * 300, b"]", b'"', b"'", b"\\u0000", b"\\ud800", b"1e400",
    b"-0", b"0x1F", b".nan", b".inf", b"1" * 5000, b"\xe2\x80\xae", b"\xe2\x80\x8b", b"? ",
    b": ", b"- ", b"|\n", b"../", b"\x1b[31m", b"e\xcc\x81", b"%", b"# x\n", b"null", b"true",
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader and what is valid for it."""

    name: str
    read: Reader
    seeds: Sequence[bytes]


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed one to six times."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        what = rng.randrange(7)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del data[at : at + rng.randint(1, 40)]
        elif what == 2:
            data[at:at] = rng.choice(PIECES)
        elif what == 3:
            data[at:at] = data[at : at + rng.randint(1, 80)]
        elif what == 4:
            other = rng.choice(seeds)
            start = rng.randint(0, len(other))
            data[at:at] = other[start : start + rng.randint(1, 200)]
        elif what == 5:
            del data[at:]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(data[:100_000])


def as_text(read: Callable[[str], object]) -> Reader:
    """A reader of text, given what other readers hand on: bytes that are UTF-8."""
    return lambda data: read(data.decode(errors="replace"))


def targets(folder: Path) -> list[Target]:
    """Every reader, with its seeds."""
    signer = FileSigner.from_seed(bytes(32))
    manifests = [
        path.read_bytes() for path in (TESTS / "fixtures" / "manifests" / "valid").rglob("*.yaml")
    ]
    bundles = [path.read_bytes() for path in (TESTS / "vectors").glob("*.sigstore.json")]
    bundles.append(
        make_approval(signer, by="a/b", registry="x", subject_name="x.yaml", data=b"x", reason="y")
    )
    bundles += [
        make_result(signer, by="a/b", registry="x", run_key="0" * 64, subject_name="x", data=b"x"),
        make_release(signer, by="a/b", registry="x", run_key="0" * 64, data=b"x"),
        make_handover(signer, by="a/b", registry="x", subject_name="1.json", data=b"x"),
    ]
    handover = (
        b'{"commits":["' + b"a" * 40 + b'","' + b"b" * 40 + b'"],"new":{"head":"' + b"d" * 40
        + b'","root":"' + b"c" * 40 + b'"},"old":{"head":"' + b"b" * 40 + b'","root":"'
        + b"a" * 40 + b'"},"reason":"R","registry":"x"}'
    )  # fmt: skip
    commit = sign_commit(
        b"tree " + b"0" * 40 + b"\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nHello\n",
        signer,
    )
    armour = sshsig_sign(signer, b"data", "git").encode()
    checkpoint = (
        b'{"commit":"' + b"0" * 40 + b'","date":"2026-11-21T09:30:00Z",'
        b'"expires":"2026-12-21T09:30:00Z","registry":"x","tree":"' + b"0" * 40 + b'"}'
    )
    results = [
        b'{"AUC": {"Edema": 0.9}, "n": {"Edema": 60}}',
        b"AUC:\n  Edema: .nan\nn: {Edema: 1}\n",
    ]
    mlcube = (
        b"name: x\ntasks:\n  infer:\n    parameters:\n"
        b"      inputs: {data_path: d/}\n      outputs: {output_path: o/}\n"
    )
    config = (
        b"container_type: DockerImage\nimage: a/b:1\ntasks:\n  infer:\n    run_args: {command: x}\n"
        b"    input_volumes: {data_path: {mount_path: /d, type: directory}}\n"
        b"    output_volumes: {output_path: {mount_path: /o, type: directory}}\n"
    )
    signed = bundles[-1]

    def verify_bundle(data: bytes) -> object:
        return read_bundle(data).verify(signer.public_key)

    def unpack_archive(data: bytes) -> object:
        with tempfile.TemporaryDirectory(dir=folder) as into:
            file = Path(into) / "x.tar.gz"
            file.write_bytes(data)
            unpack(file, Path(into) / "out")
            return None

    paths = [b"results/a/b/c__d/e__f/0123456789abcdef.yaml", b"owners/a.1.a.b.revoke.sigstore.json"]
    return [
        Target("YAML subset", lambda data: parse(data, file="x"), manifests),
        Target("manifests", lambda data: load(data, file="x"), manifests),
        Target("evaluator's file", parse_evaluator_file, results),
        Target("bundles", verify_bundle, [*bundles, signed]),
        Target("checkpoints", lambda data: read_checkpoint(data, "a/b"), [checkpoint]),
        Target("hand-overs", read_handover, [handover]),
        Target("paths", as_text(classify), paths),
        Target("signed commits", commit_signer, [commit]),
        Target("SSH signatures", as_text(lambda t: sshsig_verify(t, b"data", "git")), [armour]),
        Target("public keys", as_text(key_blob), [from_key_bytes(bytes(range(32))).encode()]),
        Target("mlcube.yaml", as_text(mlcube_format.read), [mlcube]),
        Target("container_config.yaml", as_text(container_config.read), [config]),
        Target("content lines", parse_lines, [b"0" * 64 + b" 12 data/a b.txt\n"]),
        Target("archives", unpack_archive, [_archive("w:gz"), _archive("w")]),
    ]


def _archive(mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name in ("data/a.txt", "data/b c.txt", "x" * 120 + "/long"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


@dataclass(frozen=True)
class Figures:
    """How often a reader was asked, how often it accepted, and what it should not have done."""

    name: str
    executions: int
    accepted: int
    findings: tuple[str, ...]


def fuzz(target: Target, *, seconds: float, seed: int = 0) -> Figures:
    """Ask one reader for so long."""
    rng = random.Random(f"{seed} {target.name}")  # noqa: S311 - the same inputs again
    executions = accepted = 0
    findings: dict[str, None] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end or executions < 20:
        data = mutate(rng, target.seeds)
        executions += 1
        start = time.process_time()
        try:
            target.read(data)
            accepted += 1
        except MedperfError:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            findings[f"{type(error).__name__}: {error} for {data[:200]!r}"] = None
        if time.process_time() - start > 1:
            findings[f"slow ({time.process_time() - start:.1f} s) for {data[:200]!r}"] = None
    return Figures(target.name, executions, accepted, tuple(findings))


def main() -> int:
    """Fuzz every reader, and print its figures."""
    options = argparse.ArgumentParser(description="Fuzz every reader.")
    options.add_argument("--seconds", type=float, default=5.0, help="for each reader")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            figures = fuzz(target, seconds=asked.seconds, seed=asked.seed)
            found += len(figures.findings)
            sys.stdout.write(
                f"{figures.name:24} {figures.executions:8} executions "
                f"{figures.accepted:8} accepted {len(figures.findings):3} findings\n"
            )
            for finding in figures.findings[:5]:
                sys.stdout.write(f"    {finding}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
