"""Headers of strangers' tar files, read within bounds.

Python reads a member's long name, its pax records and the map of a sparse file whole, as large as
the archive says they are: some bytes of a packed archive could take all memory. Nothing that is
packed plainly has such headers.
"""

import tarfile
from typing import Any, NoReturn

LIMIT = 64 * 1024
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class HeaderError(tarfile.TarError):
    """A member's header is none of a plain file or folder, or too large to be read."""


class BoundedTarInfo(tarfile.TarInfo):
    """A header for `tarfile.open(tarinfo=…)`; a HeaderError refuses what is not plain."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENDED and info.size > LIMIT:
            _refuse(f"it has a header of {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            _refuse("it holds a sparse file")
        return info

    def _proc_gnusparse_10(self, *_: Any) -> None:
        """The form whose map stands in the file itself, without a bound."""
        _refuse("it holds a sparse file")


def _refuse(what: str) -> NoReturn:
    # no ReadError: tarfile would go on and try the file as one of another compression
    raise HeaderError(f"{what}: pack it again with plain names and files")
