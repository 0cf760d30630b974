"""Runs a program under a parent-death watch: `python -m` this module `--parent PID -- PROGRAM ARGUMENT…`.

It asks the kernel to kill this process when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG), and then
becomes the program by exec, which keeps that request, the process id and the inherited descriptors. The signal is
SIGKILL: the parent was killed itself, so no process is left to wait for a gentle end, and everything that the database
acknowledged is on disk already. The *thread* that started the process counts, so the parent starts programs from its
main thread.

Linux only. Elsewhere the program runs without the watch: it is ended with the service, but outlives a service that is
killed, and the lock that it inherits keeps its data directory from being opened twice.
"""

from __future__ import annotations

import os
import signal
import sys

MODULE = "metadata_inventory.storage.embedded.parent_death"

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def command(program: list[str]) -> list[str]:
    """The command that runs `program` and lets it end with the process that calls this."""
    return [
        sys.executable,
        "-m",
        MODULE,
        "--parent",
        str(os.getpid()),
        "--",
        *program,
    ]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--parent", parent, "--", program, *rest]:
            if sys.platform == "linux":
                _end_with(int(parent))
            os.execv(program, [program, *rest])
        case _:
            sys.exit(f"usage: python -m {MODULE} --parent PID -- PROGRAM [ARGUMENT...]")


def _end_with(parent: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
