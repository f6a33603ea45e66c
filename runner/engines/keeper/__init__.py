"""A small process that stands between this one and a task, so that nothing outlives either.

It is run as a program of its own, with a plan as JSON behind a descriptor:

1. die when the process that started it dies; become the reaper of everything that the task starts;
2. root only: take a private mount namespace, so that every mount below goes when it goes;
3. root only: bind the inputs with mapped owners, and mount a sized file system for the outputs;
4. take the lock that says "something lives", join the cgroups, start bubblewrap;
5. wait until bubblewrap and all that it started are gone; SIGTERM kills them;
6. root only: copy plain files from the sized file system to the caller's folder;
7. say how it ended, as one line of JSON on the plan's event descriptor.

`process` does that; `mounts`, `sized_disk` and `plain_files` are used in the caller's process too.
The package imports the standard library and itself alone, and never medperf: it starts in 20 ms and
never sees the caller's environment.
"""

import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("__main__.py")


def command(plan: int) -> list[str]:
    """The command line that runs the keeper, with its plan behind the descriptor `plan`."""
    return [sys.executable, "-I", "-S", "-B", str(PROGRAM), str(plan)]
