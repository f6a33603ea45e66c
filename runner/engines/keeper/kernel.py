"""Calls of the kernel that Python has no function for: an OSError says which one failed."""

import ctypes
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """The result of a call of the C library; OSError names `what` failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int, *arguments: Any) -> int:
    """The result of a system call by its number."""
    return checked(libc.syscall(number, *arguments), what)
