"""The static index tried by simulation: one list of all results, signed once, read, not judged.

A row says of one result what judging its history says: path, digest, blob and state. As JSON Lines
it is hashed and read from end to end; as SQLite it is hashed once and then asked.
"""

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .measure import Sample, command
from .report import Case


def cases(clone: Path, folder: Path, name: str) -> Iterator[Case]:
    """Both forms made from a clone, then read in processes of their own."""
    rows, database = folder / "index.jsonl", folder / "index.sqlite"
    made = _call("write", clone, rows, database)
    packed = command(["gzip", "--keep", "-6", rows], runs=1)
    size = f"{rows.stat().st_size / 1e6:,.1f} MB"
    small = f"{rows.with_suffix('.jsonl.gz').stat().st_size / 1e6:,.1f} MB packed"
    beside = f"written in {made.seconds:.1f} s, packed in {packed.seconds:.1f} s"
    yield Case(f"static index, JSON Lines: {name}", f"{size}, {small}", beside)
    yield _case(f"static index hashed and read whole: {name}", _call("scan", rows))
    size = f"{database.stat().st_size / 1e6:,.1f} MB"
    hashed = _call("hashed", database)
    yield Case(f"static index, SQLite, hashed: {name}", f"{size}, {hashed.seconds:.2f} s")
    yield _case(f"a dataset's results asked of it: {name}", _call("ask", database))


def _call(what: str, *paths: Path) -> Sample:
    return command([sys.executable, "-m", "bench.listing", what, *paths], runs=1)


def _case(name: str, sample: Sample) -> Case:
    return Case(name, f"{sample.seconds:.2f} s, {sample.memory:.0f} MB, the interpreter included")


def write(clone: str, rows: str, database: str) -> None:
    """Both forms of the list of what main holds now."""
    listed = ["git", "-C", clone, "ls-tree", "-r", "main", "results/"]
    kept = sqlite3.connect(database)
    with (
        subprocess.Popen(listed, stdout=subprocess.PIPE, text=True) as process,
        Path(rows).open("w") as lines,
        kept,
    ):
        assert process.stdout is not None
        kept.execute(
            "create table results (path text primary key, digest blob, oid blob, state text)"
            " without rowid"
        )
        for line in process.stdout:
            meta, _, path = line.rstrip("\n").partition("\t")
            if not path.endswith(".yaml"):
                continue
            oid = meta.split(" ")[2]
            digest = hashlib.sha256(oid.encode())  # the file's own would take as many bytes
            row = {"blob": oid, "digest": f"sha256:{digest.hexdigest()}", "path": path}
            lines.write(json.dumps({**row, "state": "valid"}, separators=(",", ":")) + "\n")
            kept.execute(
                "insert into results values (?, ?, ?, 'valid')",
                (path, digest.digest(), bytes.fromhex(oid)),
            )
    kept.close()
    if process.returncode:
        raise RuntimeError(f"git ls-tree ended with {process.returncode}")


def scan(rows: str) -> None:
    """Every row, and the digest that a checkpoint would sign."""
    sha = hashlib.sha256()
    valid = 0
    with Path(rows).open("rb") as lines:
        for line in lines:
            sha.update(line)
            valid += json.loads(line)["state"] == "valid"
    assert valid


def hashed(database: str) -> None:
    """The digest that a checkpoint would sign."""
    with Path(database).open("rb") as file:
        hashlib.file_digest(file, "sha256")


def ask(database: str) -> None:
    """What one dataset has of one benchmark."""
    kept = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
    between = (
        "results/committee/cxr1/hospital0__chest/",
        "results/committee/cxr1/hospital0__chest0",
    )
    found = kept.execute("select * from results where path between ? and ?", between).fetchall()
    assert found
    kept.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
