"""Limits the memory of a lane process by RLIMIT_DATA: the body budget does not see everything that takes memory."""

from __future__ import annotations

import os
import resource
from typing import NoReturn

EXHAUSTED = 70  # the exit status, EX_SOFTWARE of sysexits.h


def limit_data(limit_bytes: int) -> None:
    """Limit this process's data; 0 is no limit. RLIMIT_AS would count the reserved stacks of threads as well."""
    if limit_bytes:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_exhausted() -> NoReturn:
    """End this process after an allocation failed: any state may be inconsistent then, in libcurl too.

    The parent collects the orders that were in it again in isolation, until the one that needs so much is found.
    """
    os._exit(EXHAUSTED)
