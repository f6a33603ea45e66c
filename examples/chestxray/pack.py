"""The archives of a cube, made so that the same files give the same bytes.

    python pack.py CUBE_DIR OUT_DIR

Writes `OUT_DIR/<cube>-sandbox.tar.gz` (main.py at its root) and, for a cube with weights,
`OUT_DIR/<cube>-additional_files.tar.gz` (contents of workspace/additional_files at its root), and
prints a line for each: name, sha256, size.
"""

import gzip
import hashlib
import sys
import tarfile
from pathlib import Path


def pack(files: dict[str, Path], archive: Path) -> str:
    """Write the archive; its digest as `sha256:<64 hex>`. Owner, dates and order tell nothing."""
    with (
        archive.open("wb") as sink,
        gzip.GzipFile("", "wb", 9, sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                tar.addfile(entry, source)
    return "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()


def archives(cube: Path) -> dict[str, dict[str, Path]]:
    """What goes into each archive of a cube: archive name → name inside → file."""
    wanted = {f"{cube.name}-sandbox.tar.gz": {"main.py": cube / "main.py"}}
    folder = cube / "workspace/additional_files"
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    if files:
        wanted[f"{cube.name}-additional_files.tar.gz"] = files
    return wanted


def main(cube: Path, out: Path) -> None:
    """Pack one cube."""
    out.mkdir(parents=True, exist_ok=True)
    for name, files in archives(cube.resolve()).items():
        digest = pack(files, out / name)
        print(name, digest, (out / name).stat().st_size)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: pack.py CUBE_DIR OUT_DIR")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
