"""Kills an embedded database that has panicked, so that its owner starts another.

SecantusDB 0.7.0b3 does not end by itself when a write to its journal fails, as on a full disk: WiredTiger panics, and
from then on every read and write ends with an internal error, even when the disk has room again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from pymongo import MongoClient

logger = logging.getLogger(__name__)

# The pause between two reads; so many internal errors in a row are a panic.
WATCH_S = 1.0
PANIC_AFTER = 2
INTERNAL_ERROR = 1


def start(process: subprocess.Popen[bytes], uri: str) -> None:
    """Watch the database in a thread, until its owner has noticed that the process ended."""
    threading.Thread(target=_watch, args=(process, uri), name="database watch", daemon=True).start()


def _watch(process: subprocess.Popen[bytes], uri: str) -> None:
    """Only reads `returncode`: `poll` and `wait` are the owner's alone.

    Two threads that call them on one Popen at once can both miss the end, and then nobody would start the next one.
    """
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    internal_errors = 0
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, timeoutMS=2000, serverSelectionTimeoutMS=2000) as client:
        while process.returncode is None and internal_errors < PANIC_AFTER:
            time.sleep(WATCH_S)
            try:
                client.local.watched.find_one()
                internal_errors = 0
            except OperationFailure as error:
                internal_errors = internal_errors + 1 if error.code == INTERNAL_ERROR else 0
            except PyMongoError:  # starting, stopped or slow
                internal_errors = 0
    if process.returncode is None:
        logger.error("the embedded database answers reads with internal errors (is the disk full?) and is killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
