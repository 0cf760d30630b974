"""The functions that the parent calls in a lane process through its pool: `start` once, then `advance` again and again.

A lane process has no database, no settings and no web server. It is sent frozen values and returns values. It never
raises, because an exception that cannot be unpickled breaks the pool for good.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait

from metadata_inventory.collect.engine import resolver
from metadata_inventory.collect.engine.engine import Engine
from metadata_inventory.collect.engine.memory_limit import end_exhausted, limit_data
from metadata_inventory.collect.engine.outcomes import build_failure
from metadata_inventory.collect.engine.results import Results
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.model.capture import CollectionOrder, FailureCode

logger = logging.getLogger(__name__)

_STACK_BYTES = 1024 * 1024  # of a thread; the default of 8 MiB counts against RLIMIT_DATA, used or not

_PR_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>

_engine: Engine | None = None
_options: CollectorOptions | None = None
_interrupt: Connection | None = None


def start(options: CollectorOptions, interrupt: Connection | None = None) -> None:
    """Turn this process into a lane process; the initializer of the pool.

    `interrupt` becomes readable when the parent has more orders.
    """
    global _engine, _options, _interrupt
    resolver.limit_lookup_time()
    parent = multiprocessing.parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C of a terminal reaches all processes; the parent decides
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent-death-watch", daemon=True).start()
        threading.stack_size(_STACK_BYTES)
        limit_data(options.lane_memory_bytes)
        _renounce_privileges()
    _options, _interrupt = options, interrupt
    _engine = Engine(options, interrupt)
    gc.freeze()


def stop() -> None:
    """Close the engine; for a process that goes on without it, such as a test."""
    global _engine
    if _engine is not None:
        _engine.close()
        _engine = None


def advance(orders: tuple[CollectionOrder, ...], abandoned: tuple[str, ...], wait_ms: int) -> Results:
    """Begin the orders, abandon other tokens, and return the outcomes; waits `wait_ms` at most for the first."""
    global _engine
    if _engine is None or _options is None:
        return _fail(orders)
    try:
        return _engine.advance(orders, abandoned, wait_ms)
    except MemoryError:
        end_exhausted()
    except Exception:  # the boundary of the process: nothing may be raised into the pool
        logger.exception("all collections of a lane process failed because of an internal error")
        results = _engine.fail_all()
        returned = {token for token, _ in results}
        _engine = Engine(_options, _interrupt)
        return results + _fail(order for order in orders if order.token not in returned)


def _fail(orders: Iterable[CollectionOrder]) -> Results:
    return tuple((order.token, build_failure(FailureCode.INTERNAL_ERROR)) for order in orders)


def _end_with(sentinel: int) -> None:
    """The parent-death watch. PDEATHSIG would not do: under a forkserver the parent it watches is the forkserver."""
    wait([sentinel])
    os._exit(0)


def _renounce_privileges() -> None:
    """Set no_new_privs: nothing that this process executes gains privileges by set-user-ID or file capabilities."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            logger.warning("no_new_privs cannot be set: %s", os.strerror(ctypes.get_errno()))
