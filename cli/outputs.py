"""Where a command writes what it makes: looked at before it works, so that nothing is done in vain.

Every option and argument that names a file or a folder to be written has the type `Output`; a test
goes through all commands for it. Whether something can be written is tried, not read from modes: a
folder's account, its file system and a kernel's own (`/proc`) all have a say.
"""

import os
from pathlib import Path
from typing import Any, Literal

import click


class Output(click.Path):
    """A path to be written: a `file` in a folder that is there, a `folder`, made where needed."""

    def __init__(self, kind: Literal["file", "folder", "either"], path_type: type = Path) -> None:
        super().__init__(file_okay=kind != "folder", dir_okay=kind != "file", path_type=path_type)
        self._makes_folders = kind == "folder"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The path; a usage error, with the reason, where nothing could be written."""
        try:
            problem = self._problem(Path(value).absolute())
        except OSError as error:
            problem = f"{error.strerror} ({error.filename or value})"
        if problem:
            self.fail(f"Nothing can be written to {str(value)!r}: {problem}.", param, ctx)
        return super().convert(value, param, ctx)

    def _problem(self, path: Path) -> str:
        """Why nothing can be written there; an OSError says it too."""
        if path.is_dir() and not self.dir_okay:
            return "a folder is there. Name a file in it, or beside it"
        if path.exists() and not path.is_dir():
            if not self.file_okay:
                return "a file is there. Name a folder, a new one or one that is there"
            return "" if os.access(path, os.W_OK) else f"your account may not change {path}"
        there = next(one for one in (path, *path.parents) if one.exists())
        if not there.is_dir():
            return f"{there} is no folder"
        if not self._makes_folders and there not in (path, path.parent):
            return f"there is no folder {path.parent}"
        import tempfile  # for the few commands that write, not for each that starts

        with tempfile.TemporaryFile(dir=there, prefix=".medperf-"):
            return ""


class Storage(Output):
    """The folder where a profile's data live: from where one stands, or from `~`; kept whole."""

    def __init__(self) -> None:
        super().__init__("folder", str)

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The whole path; a usage error where nothing could be written."""
        try:
            whole = str(Path(value).expanduser().absolute())
        except RuntimeError:
            problem = "whose home folder that is is not known here. Write the whole path"
            self.fail(f"Nothing can be written to {str(value)!r}: {problem}.", param, ctx)
        return super().convert(whole, param, ctx)
