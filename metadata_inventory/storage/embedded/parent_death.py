"""The parent-death watch of a program that is not ours: `python -m` this module `--parent PID -- PROGRAM ARGUMENT…`.

Asks the kernel to kill this process when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG), then turns into
the program by exec, which keeps that wish, the process id and the inherited descriptors. SIGKILL and not SIGTERM: the
parent was killed itself and nobody is left to see that a gentle end takes place; what the database acknowledged is on
disk already. It is the starting *thread* that counts, so the parent starts programs from its main thread.

Linux only. Elsewhere the program runs untethered: it is ended with the service, but outlives a service that is killed,
and the lock that it holds keeps its data directory from being opened twice.
"""

from __future__ import annotations

import os
import signal
import sys

MODULE = "metadata_inventory.storage.embedded.parent_death"

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def command(program: list[str]) -> list[str]:
    """The command that runs `program` tethered to the process that calls this."""
    return [
        sys.executable,
        "-m",
        "metadata_inventory.storage.embedded.parent_death",
        "--parent",
        str(os.getpid()),
        "--",
        *program,
    ]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--parent", parent, "--", program, *rest]:
            if sys.platform == "linux":
                _die_with(int(parent))
            os.execv(program, [program, *rest])
        case _:
            sys.exit(f"usage: python -m {MODULE} --parent PID -- PROGRAM [ARGUMENT...]")


def _die_with(parent: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the wish was made
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
