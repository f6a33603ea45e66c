"""Digests, canonical JSON, the run key, the content hash and the commitment of a dataset.

A digest is the sha256 of bytes, written `sha256:<64 hex>`; a manifest's is that of the file's bytes
in Git, never of a re-dump. Golden values for everything here are in tests/vectors.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO

from .progress import is_watched, work

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def is_digest(text: str) -> bool:
    """Whether `text` is `sha256:` and 64 hex digits."""
    return bool(_DIGEST.match(text))


def digest(data: bytes) -> str:
    """The digest of `data`, as `sha256:<64 hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """The digest of a file's bytes, read in bounded pieces."""
    with path.open("rb") as file:
        if is_watched():
            return "sha256:" + _watched_digest(file)
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _watched_digest(file: IO[bytes]) -> str:
    sha = hashlib.sha256()
    with work("Checking a file", os.fstat(file.fileno()).st_size) as checking:
        while piece := file.read(1 << 20):
            sha.update(piece)
            checking.advance(len(piece))
    return sha.hexdigest()


def canonical_json(value: object) -> bytes:
    """`value` as canonical JSON (design §3): sorted keys, no spaces, UTF-8. A float is a bug."""
    _refuse_floats(value)
    return _ENCODER.encode(value).encode()


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError("canonical JSON has no floats")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def run_key(*, registry: str, benchmark: str, dataset: str, model: str, partial: bool) -> str:
    """The 64 hex digits that name a run: what is computed, from which bytes, for which registry.

    `benchmark`, `dataset` and `model` are manifest digests, `registry` is the registry's id.
    """
    return _run_key(registry, benchmark, dataset, model, partial)


@lru_cache(maxsize=1024)  # a result's is asked for by its own rules, then by the registry's
def _run_key(registry: str, benchmark: str, dataset: str, model: str, partial: bool) -> str:
    # canonical JSON of the five, each value encoded once: a plan asks for tens of thousands
    inputs = (
        f'{{"benchmark":{_encoded(benchmark)},"dataset":{_encoded(dataset)},'
        f'"model":{_encoded(model)},"partial":{_encoded(partial)},'
        f'"registry":{_encoded(registry)}}}'
    )
    return hashlib.sha256(inputs.encode()).hexdigest()


@lru_cache(maxsize=4096)
def _encoded(value: str | bool) -> str:
    return _ENCODER.encode(value)


def content_lines(files: Iterable[tuple[str, int, str]]) -> bytes:
    """The text whose sha256 is a prepared dataset's content hash.

    `files` are (sha256 hex, size in bytes, path relative to the prepared folder, `/`-separated).
    """
    entries = sorted(files, key=lambda entry: entry[2].encode())
    return "".join(f"{sha} {size} {path}\n" for sha, size, path in entries).encode()


def commitment(secret: bytes, content_hash: bytes) -> str:
    """64 hex digits that bind a dataset without telling what it is (a plain hash confirms a guess).

    `secret` is the dataset's own 32 random bytes, `content_hash` the 32 bytes of its content hash.
    """
    if len(secret) != 32 or len(content_hash) != 32:
        raise ValueError("secret and content hash are 32 bytes each")
    message = b"medperf dataset v1\n" + content_hash
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
