"""Every error that the project raises on purpose, in one tree.

    MedperfError                 expected: the message alone is shown, exit code 1
    ├── UsageError               the command line cannot be meant (exit code 2)
    ├── InvalidDocumentError     a manifest breaks its form; carries its problems
    ├── RegistryError            the registry cannot be read, written or believed
    │   ├── StalledError         history or signatures: the site stops until a person has looked
    │   ├── SignatureError       a statement, bundle or commit signature does not hold
    │   ├── KeyFileError         a signing key cannot be read or used
    │   └── ConflictError        somebody else was faster; the same call may be tried again
    ├── AssetError               a file by URL is missing, too large, refused or not as pinned
    ├── CubeError                a cube's files do not describe tasks that can be run
    ├── EngineError              a container engine is missing, broken or refused
    ├── TaskError                a task ran and failed: its exit, the limit it hit, or its output
    ├── DataError                a dataset or a site's file is not as it must be
    ├── WithheldError            the disclosure check keeps a run at the site; carries its reasons
    └── WaitError                nothing is wrong: come back later (exit code 4)

A message is one sentence of what was found and where, and one of what to do next. No path, name or
log line of a private dataset goes into an error that travels: those stay in the site's own log.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class MedperfError(Exception):
    """Something expected went wrong; the message is for the person who typed the command."""

    exit_code = 1


class UsageError(MedperfError):
    """The command cannot be meant as it was typed."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document: where, what was found, what to write instead."""

    file: str
    line: int | None
    field: str
    found: str
    fix: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = f" {self.field}:" if self.field else ""
        fix = f" {self.fix}" if self.fix else ""
        return f"{place}:{field} {self.found}{fix}"


class InvalidDocumentError(MedperfError):
    """A document is not of its form; `problems` says where and what to write instead."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class RegistryError(MedperfError):
    """The registry cannot be read, written or believed."""


class StalledError(RegistryError):
    """The site stops here until a person has looked: `reason` is `history` or `signature`."""

    def __init__(self, reason: str, message: str, *, commit: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.commit = commit


class SignatureError(RegistryError):
    """A statement, a bundle or a commit's signature does not hold."""


class KeyFileError(RegistryError):
    """A signing key cannot be read or used."""


class ConflictError(RegistryError):
    """Somebody else changed the same branch first; nothing was written, so try again."""


class AssetError(MedperfError):
    """A file by URL is missing, too large, refused by policy, or not the bytes that were pinned.

    `transient` says whether trying again later can help: a network fault yes, a wrong digest no.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class CubeError(MedperfError):
    """A cube's MLCube or container-config file does not describe tasks that can be run."""


class EngineError(MedperfError):
    """A container engine is missing, broken, or refused for this run.

    `transient` says whether trying again later can help.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class TaskError(MedperfError):
    """A task ran and failed; `reason` is a machine word (exit, timeout, memory, output, …).

    `log_tail` is the end of the task's own log: for the site's eyes only, never in the message.
    """

    def __init__(self, reason: str, message: str, *, log_tail: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.log_tail = log_tail


class DataError(MedperfError):
    """A dataset, or a file of the site, is not as it must be."""


class WithheldError(MedperfError):
    """The disclosure check keeps this run at the site; `reasons` stay there too."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("The result is withheld: " + "; ".join(reasons))
        self.reasons = tuple(reasons)


class WaitError(MedperfError):
    """Nothing is wrong, but something else must happen first."""

    exit_code = 4
