"""The datasets on this machine: prepared folders with random names (design §12).

A folder's name says nothing, since a cube can see it in its mount table. What binds a folder to a
dataset of the registry is the commitment: HMAC of the folder's own secret over its content hash.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..schemas.digests import commitment
from ..schemas.documents import dump
from ..schemas.errors import DataError, InvalidDocumentError, UsageError
from ..schemas.manifests import Line, Name, Pin, Ref, Text
from ..schemas.names import nearest
from ..schemas.yaml_subset import parse
from .settings import Part


class DatasetRecord(Part):
    """What the site knows of a dataset beside its bytes: what people call it, what prepared it."""

    name: Name
    description: Text
    location: Line
    benchmark: Ref
    preparator: Pin
    prepared: bool = False
    sanity_checked: bool = True


@dataclass(frozen=True)
class LocalDataset:
    """One prepared (or not yet fully prepared) dataset folder."""

    path: Path
    record: DatasetRecord

    @property
    def data(self) -> Path:
        """What a model sees."""
        return self.path / "data"

    @property
    def labels(self) -> Path:
        """What an evaluator sees beside predictions; the data where the cube has both in one."""
        labels = self.path / "labels"
        return labels if labels.is_dir() else self.data

    @property
    def lines(self) -> bytes:
        """The content lines that were written when the preparation ended."""
        file = self.path / "content.txt"
        if not file.is_file():
            raise DataError(
                f"Dataset {self.record.name!r} is not fully prepared: "
                "run the same 'medperf dataset create' again to go on."
            )
        return file.read_bytes()

    @property
    def content_hash(self) -> bytes:
        """The 32 bytes of the content hash."""
        import hashlib

        return hashlib.sha256(self.lines).digest()

    @property
    def uid(self) -> str:
        """The first 12 hex digits of the content hash: its name before it is in the registry."""
        return self.content_hash.hex()[:12]

    @property
    def secret(self) -> bytes:
        """The 32 random bytes that keep the commitment from being guessed; else a DataError."""
        try:
            return (self.path / "secret").read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.path / 'secret'} cannot be read ({error.strerror}): without it nobody can "
                f"tell whether the dataset {self.record.name} is the one that was registered. Put "
                "it back from a backup, or prepare the data again as a new dataset."
            ) from error

    def commitment(self) -> str:
        """The dataset's commitment, as its manifest publishes it."""
        return commitment(self.secret, self.content_hash)

    def write_record(self) -> None:
        """Replaces the record."""
        beside = self.path / f"record.yaml.{os.getpid()}.tmp"
        fields = self.record.model_dump(by_alias=True, exclude_none=True, mode="json")
        beside.write_bytes(dump(fields))
        beside.replace(self.path / "record.yaml")


@dataclass(frozen=True)
class LocalDatasets:
    """`datasets/` of a site."""

    root: Path

    def all(self) -> Iterator[LocalDataset]:
        """Every dataset folder that has a record, by name."""
        found = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            file = path / "record.yaml"
            if not file.is_file():
                continue
            try:
                value = parse(file.read_bytes(), file=str(file)).value
                found.append(LocalDataset(path, DatasetRecord.model_validate(value)))
            except (ValidationError, InvalidDocumentError) as error:
                raise DataError(
                    f"{file} cannot be read. Move the folder away, or restore the file from a copy."
                ) from error
        yield from sorted(found, key=lambda dataset: (dataset.record.name, dataset.path.name))

    def prepared(self) -> Iterator[LocalDataset]:
        """The datasets whose preparation ended well."""
        return (dataset for dataset in self.all() if (dataset.path / "content.txt").is_file())

    def create(self, record: DatasetRecord) -> LocalDataset:
        """A new folder with a random name and a fresh secret."""
        path = self.root / secrets.token_hex(8)
        path.mkdir(parents=True, mode=0o700)
        file = os.open(path / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(secrets.token_bytes(32))
        dataset = LocalDataset(path, record)
        dataset.write_record()
        return dataset

    def unfinished(self, name: str) -> LocalDataset | None:
        """The dataset of this name whose preparation has not ended, to go on with."""
        return next(
            (
                dataset
                for dataset in self.all()
                if dataset.record.name == name and not (dataset.path / "content.txt").is_file()
            ),
            None,
        )

    def meant(self, uid: str) -> list[LocalDataset]:
        """The prepared datasets that `uid` may mean: by 12 or more hex digits, else by name."""
        known, name = list(self.prepared()), uid.rpartition("/")[2]
        by_uid = [d for d in known if len(uid) >= 12 and d.content_hash.hex().startswith(uid)]
        return by_uid or [d for d in known if d.record.name == name]

    def find(self, uid: str) -> LocalDataset:
        """The prepared dataset that `uid` means: 12 or more hex digits, a name, or owner/name."""
        same = self.meant(uid)
        if len(same) == 1:
            return same[0]
        if same:  # the same data, prepared twice, or two preparations of one name
            names = {d.record.name for d in same}
            words = sorted(names) if len(names) == len(same) else [d.uid for d in same]
            raise UsageError(
                f"More than one local dataset is called {uid!r}: write {' or '.join(words)}."
            )
        name = uid.rpartition("/")[2]
        close = nearest(name, (d.record.name for d in self.prepared()))
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(
            f"There is no prepared dataset {uid!r} on this machine.{hint} "
            "'medperf dataset ls --local' lists what is here."
        )

    def committed(self, value: str) -> LocalDataset | None:
        """The local dataset whose commitment is `value`."""
        return next((d for d in self.prepared() if d.commitment() == value), None)
