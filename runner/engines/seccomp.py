"""The one list of system calls that no task may make, in the two forms that engines take.

It cuts what namespaces leave open: AF_VSOCK (a virtual machine's way to its host, untouched by an
empty network namespace), keyrings, new user namespaces with their capabilities, mounts, io_uring,
bpf, and looking into other processes. Everything else is allowed, so ordinary programs, threads and
multiprocessing work.

* Families above 16 (netlink) are refused, not 40 alone: `socket(0x100000028)` passes a 64-bit rule
  that asks for 40, and gives AF_VSOCK.
* `clone3` answers ENOSYS, so that libraries fall back to `clone`, whose flags a filter can see.
* Another architecture's calls (`int 0x80`) kill the process; x32's are refused.
"""

import json
import platform
import struct
from dataclasses import dataclass

from ...schemas.errors import EngineError

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
CLONE_NEWUSER = 0x1000_0000
LAST_FAMILY = 16  # AF_NETLINK, the last family that ordinary programs use

# name -> (x86_64, aarch64)
DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_CLONE, _CLONE3, _SOCKET, _SETAFFINITY = (56, 220), (435, 435), (41, 198), (203, 122)


@dataclass(frozen=True)
class _Machine:
    column: int
    audit: int
    oci: str
    x32: bool


_MACHINES = {
    "x86_64": _Machine(0, 0xC000_003E, "SCMP_ARCH_X86_64", True),
    "aarch64": _Machine(1, 0xC000_00B7, "SCMP_ARCH_AARCH64", False),
}


def _machine(name: str | None) -> _Machine:
    name = name or platform.machine()
    if name not in _MACHINES:
        raise EngineError(
            f"The list of forbidden system calls is not known for {name} machines, so nothing can "
            f"be isolated here: run tasks on {' or '.join(_MACHINES)}."
        )
    return _MACHINES[name]


def oci(machine: str | None = None, *, errno: bool = True) -> str:
    """The list as the JSON text that Docker and Apptainer take.

    `errno=False` leaves `clone3` out: Apptainer answers EPERM whatever is asked for, and then no
    thread can start.
    """
    rules: list[dict[str, object]] = [
        _rule(sorted(DENIED), EPERM),
        _rule(
            ["clone"], EPERM, value=CLONE_NEWUSER, valueTwo=CLONE_NEWUSER, op="SCMP_CMP_MASKED_EQ"
        ),
        _rule(["socket"], EAFNOSUPPORT, value=LAST_FAMILY, op="SCMP_CMP_GT"),
    ]
    if errno:
        rules.append(_rule(["clone3"], ENOSYS))
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [_machine(machine).oci],
        "syscalls": rules,
    }
    return json.dumps(profile)


def _rule(names: list[str], errno: int, **argument: object) -> dict[str, object]:
    rule: dict[str, object] = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    if argument:
        rule["args"] = [{"index": 0, **argument}]
    return rule


_LOAD, _EQUAL, _GREATER, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _ARCHITECTURE, _ARGUMENT0 = 0, 4, 16  # offsets in struct seccomp_data; low half of args[0]


def bpf(machine: str | None = None, *, pin_cpus: bool = False) -> bytes:
    """The list as the compiled filter that `bwrap --seccomp` reads.

    `pin_cpus` refuses sched_setaffinity too, so that a task cannot undo its CPU mask.
    """
    this = _machine(machine)
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, this.audit, jump=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if this.x32:
        program += [_step(_AT_LEAST, 0x4000_0000, skip=1), _step(_RETURN, _ERRNO | EPERM)]
    denied = {numbers[this.column]: EPERM for numbers in DENIED.values()}
    denied[_CLONE3[this.column]] = ENOSYS
    if pin_cpus:
        denied[_SETAFFINITY[this.column]] = EPERM
    for number, errno in sorted(denied.items()):
        program += [_step(_EQUAL, number, skip=1), _step(_RETURN, _ERRNO | errno)]
    program += [
        _step(_EQUAL, _CLONE[this.column], skip=5),
        _step(_LOAD, _ARGUMENT0),
        _step(_AND, CLONE_NEWUSER),
        _step(_EQUAL, CLONE_NEWUSER, skip=1),
        _step(_RETURN, _ERRNO | EPERM),
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, _SOCKET[this.column], skip=3),
        _step(_LOAD, _ARGUMENT0),
        _step(_GREATER, LAST_FAMILY, skip=1),
        _step(_RETURN, _ERRNO | EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, *, jump: int = 0, skip: int = 0) -> bytes:
    """One instruction: on a match go on `jump` further, else `skip` further."""
    return struct.pack("<HBBI", code, jump, skip, value)
