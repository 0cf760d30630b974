"""What runs in a lane's process: `start` once, then `exchange` again and again. Called through a process pool.

The process has no database, no configuration and no web server. It gets frozen messages and returns values; it never
raises, since an exception that does not unpickle breaks the pool for good.
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
from multiprocessing.connection import Connection, wait

from metadata_inventory.collect.engine import resolver
from metadata_inventory.collect.engine.engine import Engine, Results, fault
from metadata_inventory.collect.engine.memory_limit import end_exhausted, limit_data
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.model.capture import CollectionOrder

logger = logging.getLogger(__name__)

_STACK_BYTES = 1024 * 1024  # of a thread that looks up a name; the default of 8 MiB counts as data, used or not

_PR_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>

_engine: Engine | None = None
_options: CollectorOptions | None = None
_interrupt: Connection | None = None


def start(options: CollectorOptions, interrupt: Connection | None = None) -> None:
    """Make this process a lane's: the pool's initializer. `interrupt` is readable when the parent has more orders."""
    global _engine, _options, _interrupt
    resolver.shorten_patience()
    parent = multiprocessing.parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches all; the parent decides
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
        threading.stack_size(_STACK_BYTES)
        limit_data(options.lane_memory_bytes)
        _renounce_privileges()
    _options, _interrupt = options, interrupt
    _engine = Engine(options, interrupt)
    gc.freeze()


def stop() -> None:
    """Give everything up; for a process that is not a lane's own."""
    global _engine
    if _engine is not None:
        _engine.close()
        _engine = None


def advance(orders: tuple[CollectionOrder, ...], abandoned: tuple[str, ...], wait_ms: int) -> Results:
    """Take orders, give up others, and return what has finished, by token; waits `wait_ms` at most for something."""
    global _engine
    if _engine is None or _options is None:
        return tuple((order.token, fault()) for order in orders)
    try:
        return _engine.advance(orders, abandoned, wait_ms)
    except MemoryError:
        end_exhausted()
    except Exception:  # the edge of the process: nothing is raised into the pool
        logger.exception("the lane's collections are ended by a fault of ours")
        results = _engine.fail_all()
        told = {token for token, _ in results}
        _engine = Engine(_options, _interrupt)
        return results + tuple((order.token, fault()) for order in orders if order.token not in told)


def _end_with(sentinel: int) -> None:
    """End this process when the parent ends, however that does: under a forkserver PDEATHSIG watches the wrong one."""
    wait([sentinel])
    os._exit(0)


def _renounce_privileges() -> None:
    """Whatever this process may come to execute gains nothing from set-user-ID bits or file capabilities; for good."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            logger.warning("no_new_privs cannot be set: %s", os.strerror(ctypes.get_errno()))
