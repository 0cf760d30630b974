"""The backstop for a lane's memory: RLIMIT_DATA. What the byte budget does not see must not take the machine along."""

from __future__ import annotations

import os
import resource
from typing import NoReturn

EXHAUSTED = 70  # the exit status; EX_SOFTWARE of sysexits.h


def limit_data(limit_bytes: int) -> None:
    """Bound this process's data; 0 is no bound. RLIMIT_AS would fail first on the stacks of threads."""
    if limit_bytes:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_exhausted() -> NoReturn:
    """End this process, which was refused memory: anything may be half-made then, in libcurl too.

    The parent collects what was in it again, apart from everything else, until the one that needs so much is found.
    """
    os._exit(EXHAUSTED)
