"""Data that somebody prepared elsewhere: copied in as `prepare` would have left them."""

import shutil
from pathlib import Path

from ..schemas.errors import UsageError
from .cubes import ReadyCube
from .tarballs import files_below


def take_prepared(
    ready: ReadyCube, data: Path, labels: Path, metadata: Path | None, into: Path
) -> None:
    """Copies prepared data (labels and metadata, where the cube has them) into a dataset's folder.

    Links and devices are refused: only plain files can be hashed.
    """
    _copy(data, into / "data", "--data_path")
    if ready.task("prepare").output("output_labels_path") is not None:
        _copy(labels, into / "labels", "--labels_path")
    elif labels.resolve() != data.resolve():
        raise UsageError(
            f"{ready.name} keeps labels in the data: give the same folder as --labels_path."
        )
    if metadata is not None:
        _copy(metadata, into / "metadata", "--metadata_path")


def _copy(source: Path, target: Path, option: str) -> None:
    if not source.is_dir():
        raise UsageError(f"{option} must be a folder in the prepared form: {source} is none.")
    for name, path in files_below(source).items():
        place = target / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        place.chmod(0o600)
