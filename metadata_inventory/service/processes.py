"""The supervisor's child processes: what a worker is given, and how a child that ends is started again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection

from msgspec import Struct

from metadata_inventory.errors import StartError
from metadata_inventory.service.settings import Settings

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
STABLE_AFTER_S = 60.0


class WorkerInput(Struct, frozen=True, kw_only=True):
    """The input of a worker: one line of JSON on its standard input, read at its start.

    Standard input then stays open; its end means that the supervisor has ended. `settings.mongo_uri` is never None: if
    the operator gave none, it is the embedded database's.
    """

    number: int  # 1 … processes
    socket_fds: tuple[int, ...]  # the listening sockets, inherited under these descriptors
    ready_fd: int  # inherited too; the worker writes a byte to it once it answers requests
    settings: Settings


class SupervisedProcess:
    """A child process that is started again when it ends.

    The delay before each start doubles, up to MAX_DELAY_S, until a child has run for STABLE_AFTER_S. No method but
    `stop` waits: the supervisor calls `restart_if_due` when a child has ended, and when the time that it returned is
    over.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], subprocess.Popen[bytes]],
        *,
        process: subprocess.Popen[bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`process` is the child if it is running already; otherwise the first `restart_if_due` starts one."""
        self.name = name
        self.process = process
        self.failures = 0  # how often a child has ended, or could not be started
        self._spawn = spawn
        self._clock = clock
        self._started_at = clock()
        self._due_at = clock()
        self._doublings = 0

    def restart_if_due(self) -> float | None:
        """Notice that the child has ended; start another when its delay is over.

        Returns the seconds until the next start, or None while a child is running.
        """
        if self.process is not None and self.process.poll() is not None:
            self._delay_start(f"process {self.process.pid} ended {_describe_end(self.process.returncode)}")
            _close_stdin(self.process)
            self.process = None
        if self.process is None and self._clock() >= self._due_at:
            self._started_at = self._clock()
            try:
                self.process = self._spawn()
                logger.info("%s: started process %d", self.name, self.process.pid)
            except (OSError, StartError) as error:
                self._delay_start(f"cannot be started ({error})")
        return None if self.process is not None else max(0.0, self._due_at - self._clock())

    def terminate(self) -> None:
        """Send SIGTERM to the child, if there is one."""
        if self.process is not None:
            self.process.terminate()

    def stop(self, deadline: float) -> None:
        """Wait until the child has ended; kill it at `deadline` (of time.monotonic)."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        if self.process.returncode is None:
            logger.warning("%s: process %d does not end and is killed", self.name, self.process.pid)
            self.process.kill()
            self.process.wait()
        _close_stdin(self.process)
        self.process = None

    def _delay_start(self, reason: str) -> None:
        self.failures += 1
        if self._clock() - self._started_at >= STABLE_AFTER_S:
            self._doublings = 0
        delay_s = min(FIRST_DELAY_S * 2.0**self._doublings, MAX_DELAY_S)
        self._doublings = min(self._doublings + 1, 16)
        self._due_at = self._clock() + delay_s
        logger.error("%s: %s; the next one starts in %.1f s", self.name, reason, delay_s)


class ReadySignal:
    """Tells whether any child has ever reported that it is ready: all inherit one pipe and write a byte to it."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._received = False

    def received(self) -> bool:
        """Also empties the pipe, so that no child ever blocks when it writes."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                self._received = True
        return self._received

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


def reap_orphans(own: Collection[int]) -> None:
    """Reap children that have ended, except those whose ids are in `own`.

    As process 1 of a container, this process becomes the parent of processes that have lost theirs, such as the lane
    processes of a worker that was killed. Nothing else reaps them. The own children are reaped by their Popen objects.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def _describe_end(returncode: int) -> str:
    if returncode >= 0:
        return f"with status {returncode}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-returncode).name}"
    return f"by signal {-returncode}"


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
