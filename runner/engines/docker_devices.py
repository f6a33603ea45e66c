"""Devices that a vendor's container runtime gives by itself: none but those the site asked for.

Such a runtime stands before runc, reads the variables of the container (which are the image's and
the cube's) and gives devices for them, on the site's behalf. What each does, by its own sources:

| runtime | its variable | unset, or empty |
|---|---|---|
| NVIDIA | `NVIDIA_VISIBLE_DEVICES`, a `DOCKER_RESOURCE_…` if so configured | all, for CUDA images |
| AMD | `AMD_VISIBLE_DEVICES`, any `DOCKER_RESOURCE_…` | none (the hook fails for `none`) |
| Habana | `HABANA_VISIBLE_DEVICES…` | all, with their network; its hook fails for `none` |
| Ascend | `ASCEND_VISIBLE_DEVICES`, `ASCEND_VNPU_SPECS`, `ASCEND_RUNTIME_…` | none |
| Xilinx | `XILINX_VISIBLE_DEVICES`, `XILINX_VISIBLE_CARDS` | none |

There is no word for "none" that all of them know, and for Habana's none at all. So a task without
GPUs asks for runc itself where the daemon's default is one of them, and these variables are left
out in any case.
"""

import posixpath
import re
from typing import Any

VISIBLE = "NVIDIA_VISIBLE_DEVICES"
_NVIDIAS_HARMLESS = ("NVIDIA_REQUIRE_", "NVIDIA_DISABLE_REQUIRE")
_OTHERS = (
    "DOCKER_RESOURCE_",
    "HABANA_VISIBLE_",
    "ASCEND_RUNTIME_",
    "ASCEND_VNPU_",
    "ASCEND_ALLOW_LINK",
)
_GIVES = ("_VISIBLE_DEVICES", "_VISIBLE_CARDS")
_LIBRARIES_OWN = tuple(
    f"{library}_VISIBLE_DEVICES" for library in ("CUDA", "HIP", "ROCR", "ASCEND_RT", "MUSA")
)
"""By these, programs choose among the devices that they have been given: no runtime reads them."""

_VENDORS = ("nvidia", "amd", "habana", "ascend", "xilinx", "mthreads")
_VENDORS_PROGRAM = re.compile(r"-(container|docker)-runtime\b")
_PLAIN = ("runc", "crun", "io.containerd.runc.v2")


def gives_devices(name: str, *, gpus: bool) -> bool:
    """Whether a runtime may give devices for this variable: which is the site's choice.

    There are more than GPUs: for NVIDIA_MOFED it gives InfiniBand, which is a network.
    """
    if name.startswith("NVIDIA_"):
        asks = name == "NVIDIA_DRIVER_CAPABILITIES" or name.startswith(_NVIDIAS_HARMLESS)
        return not (gpus and asks)
    return name.startswith(_OTHERS) or (name.endswith(_GIVES) and name not in _LIBRARIES_OWN)


def runtime_for(daemon: dict[str, Any], *, gpus: bool) -> str | None:
    """The runtime to ask for: runc, where the default gives devices and none are wanted; else None.

    Other defaults (gVisor, Kata) are the site's choice for its safety, and stay.
    """
    if gpus or "runc" not in (daemon.get("Runtimes") or {}):
        return None
    default = str(daemon.get("DefaultRuntime") or "runc")
    path = str((daemon["Runtimes"].get(default) or {}).get("path") or "")
    names = posixpath.basename(default), posixpath.basename(path)
    vendors = any(name in _VENDORS or _VENDORS_PROGRAM.search(name) for name in names)
    return "runc" if vendors else None


def may_hook(daemon: dict[str, Any], *, gpus: bool) -> bool:
    """Whether hooks of a vendor's may run on the host with the task's variables."""
    runtime = runtime_for(daemon, gpus=gpus) or daemon.get("DefaultRuntime") or "runc"
    return gpus or posixpath.basename(str(runtime)) not in _PLAIN
