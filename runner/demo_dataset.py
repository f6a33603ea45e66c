"""A benchmark's demo dataset: raw data in an archive, with a `paths.yaml` that says where."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..schemas.errors import CubeError, DataError
from . import cube_yaml
from .archives import ArchiveLimits, unpack
from .content import read_small
from .prepared import RawData

_DEMO_LIMITS = ArchiveLimits(size=20 << 30)
_PATHS_LIMIT = 64 * 1024


def unpack_demo(archive: Path, into: Path) -> RawData:
    """The raw data of a benchmark's demo dataset, unpacked into the new folder `into`.

    The archive's root has a `paths.yaml` that names data, labels and perhaps metadata in it.
    """
    what = "The demo dataset"
    unpack(archive, into, what=what, limits=_DEMO_LIMITS)
    index = into / "paths.yaml"
    try:
        text = read_small(index, _PATHS_LIMIT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{what} has no paths.yaml of at most {_PATHS_LIMIT} bytes at the root of its archive: "
            "its owner must pack it with one."
        ) from error
    try:
        paths = cube_yaml.parse(text, file="paths.yaml")
    except CubeError as error:
        raise DataError(f"{what}: {error}") from error
    if not isinstance(paths, dict):
        raise DataError(f"{what}: paths.yaml must name data_path and labels_path.")
    return RawData(
        data=_demo_path(into, paths, "data_path"),
        labels=_demo_path(into, paths, "labels_path"),
        metadata=_demo_path(into, paths, "metadata_path") if paths.get("metadata_path") else None,
    )


def _demo_path(into: Path, paths: Mapping[str, object], key: str) -> Path:
    value = paths.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"The demo dataset: paths.yaml has no {key}.")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\0" in value:
        raise DataError(f"The demo dataset: {key} in paths.yaml leads out of it: {value!r}.")
    found = into / path
    if not found.exists():
        raise DataError(f"The demo dataset: {key} in paths.yaml names {value!r}, which is missing.")
    return found
