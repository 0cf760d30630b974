"""The data directory of the embedded database, and the lock that lets one program at a time use it.

The lock is flock(2) on `<directory>/lock`. It belongs to the open file, not to a process: a child that inherits the
descriptor keeps the lock held when its parent is killed. The file holds the process id of the holder, for messages.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from metadata_inventory.errors import DataDirectoryInUse, EmbeddedDatabaseFailed, InvalidSettings

log = logging.getLogger(__name__)

Cancelled = Callable[[], bool]

POLL_S = 0.02
# How long to wait for the lock when the process that took it is gone: its database ends in a moment, later under load.
ORPHAN_WAIT_S = 5.0
# How long when that process lives: most likely the service was started twice, and somebody waits for the message.
HOLDER_WAIT_S = 1.0


class DataDirectory:
    """One directory, ours while `fd` is not None."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd: int | None = None

    def lock(self, cancelled: Cancelled) -> int:
        """Lock the directory, after making it when absent. Returns the lock's descriptor. Harmless when repeated.

        Raises DataDirectoryInUse after waiting some seconds for a holder that may be about to end; InvalidSettings
        when the directory cannot be used; EmbeddedDatabaseFailed soon after `cancelled` turned true.
        """
        if self.fd is None:
            try:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise InvalidSettings(f"The data directory {self.path} cannot be used: {error.strerror}.") from error
            try:
                self._wait_for_lock(fd, cancelled)
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            except BaseException:
                os.close(fd)
                raise
            self.fd = fd
        return self.fd

    def release(self) -> None:
        """Unlock the directory. Harmless when repeated."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _wait_for_lock(self, fd: int, cancelled: Cancelled) -> None:
        began_at = time.monotonic()
        logged = False
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
                longest_s = HOLDER_WAIT_S if _is_running(holder) else ORPHAN_WAIT_S
                if time.monotonic() - began_at > longest_s:
                    raise DataDirectoryInUse(
                        f"The data directory {self.path} is in use by another program (process {holder or 'unknown'}). "
                        "Stop that program, choose another directory with --data-dir, or set MONGO_URI."
                    ) from error
            raise_if(cancelled)
            if not logged:
                log.info("waiting for process %s to release %s", holder or "unknown", self.path)
                logged = True
            time.sleep(POLL_S)


def raise_if(cancelled: Cancelled) -> None:
    """Raises EmbeddedDatabaseFailed when the start was cancelled."""
    if cancelled():
        raise EmbeddedDatabaseFailed("The start was interrupted.")


def _is_running(holder: str) -> bool:
    # Our own id was written in another container, where ids begin anew, and says nothing.
    if not holder.isascii() or not holder.isdigit() or int(holder) in (0, os.getpid()):
        return False
    try:
        os.kill(int(holder), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
