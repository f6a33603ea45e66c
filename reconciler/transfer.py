"""Moving a prepared dataset to another machine, in one archive that is verified by its content.

The archive is private: it holds the prepared data and labels, what the preparator wrote beside
them, and the dataset's secret, without which the commitment in the registry could not be met.
Where it lands, every file is hashed again before the dataset is one there.
"""

import os
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from ..runner.archives import ArchiveLimits, unpack
from ..runner.content import changed, read_small
from ..runner.tarballs import files_below, write_tar
from ..schemas.documents import dump
from ..schemas.errors import DataError, InvalidDocumentError, UsageError
from ..schemas.manifests import MANIFEST_LIMIT
from ..schemas.yaml_subset import parse
from .datasets import DatasetRecord, LocalDataset
from .execute import check_unchanged
from .lock import locked
from .workplace import Workplace

PARTS = ("data", "labels", "metadata")
FILES = ("content.txt", "secret", "statistics.yaml", "report.yaml")
RECORD = "medperf-dataset.yaml"
_LIMITS = ArchiveLimits(entries=20_000_000, size=1 << 50, ratio_free=1 << 50)


def export_dataset(dataset: LocalDataset, target: Path) -> Path:
    """The dataset as one archive at `target`, readable by the caller alone.

    DataError if the data are not what was prepared: what differs would be refused over there.
    """
    if target.exists():
        raise UsageError(f"{target} exists: name a new file.")
    check_unchanged(dataset)
    fields = dataset.record.model_dump(by_alias=True, exclude_none=True, mode="json")
    files: dict[str, Path | bytes] = {RECORD: dump(fields)}
    for part in PARTS:
        folder = dataset.path / part
        if folder.is_dir():
            files.update({f"{part}/{name}": path for name, path in files_below(folder).items()})
    for name in FILES:
        if (dataset.path / name).is_file():
            files[name] = dataset.path / name
    return write_tar(files, target, compress=False)


def import_dataset(place: Workplace, archive: Path) -> LocalDataset:
    """The dataset of an exported archive, now on this machine.

    DataError where the archive is not whole or not an export; UsageError where it is here already.
    Nothing is left behind by an import that fails or is killed.
    """
    if not archive.is_file():
        raise UsageError(f"There is no file {archive}.")
    root = place.datasets.root
    with locked(place.storage):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in root.glob(".importing-*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".importing-", dir=root))
        try:
            folder = work / "dataset"
            unpack(archive, folder, what="The exported dataset", limits=_LIMITS)
            dataset = _checked(folder, archive)
            _refuse_second(place, dataset)
            _private(folder)
            dataset.write_record()
            (folder / RECORD).unlink()
            final = root / os.urandom(8).hex()
            folder.rename(final)
            return LocalDataset(final, dataset.record)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _checked(folder: Path, archive: Path) -> LocalDataset:
    """The unpacked dataset, every file of it compared with its list."""
    try:
        data = read_small(folder / RECORD, MANIFEST_LIMIT)
        record = DatasetRecord.model_validate(parse(data, file=RECORD).value)
        lines = (folder / "content.txt").read_bytes()
        secret = read_small(folder / "secret", 4096)
    except (OSError, ValidationError, InvalidDocumentError) as error:
        raise DataError(
            f"{archive} is not an exported dataset: 'medperf dataset export' makes one."
        ) from error
    if len(secret) != 32:
        raise DataError(f"{archive} holds a secret that is not 32 bytes long: export it again.")
    strange = sorted({path.name for path in folder.iterdir()} - {*PARTS, *FILES, RECORD})
    if strange:
        raise DataError(f"{archive} holds {strange[0]!r}, which no export does.")
    if differences := changed(folder, lines):
        raise DataError(
            f"{archive} is damaged: {len(differences)} files differ from the list in it, the first "
            f"is {differences[0]}. Copy it again."
        )
    return LocalDataset(folder, record)


def _refuse_second(place: Workplace, dataset: LocalDataset) -> None:
    for known in place.datasets.all():
        if known.record.name == dataset.record.name:
            raise UsageError(
                f"A dataset called {known.record.name!r} is on this machine already. "
                "Use that one, or another profile."
            )


def _private(folder: Path) -> None:
    """Modes as `dataset create` leaves them: for this account alone."""
    folder.chmod(0o700)
    (folder / "secret").chmod(0o600)
