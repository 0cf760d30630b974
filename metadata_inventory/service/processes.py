"""Child processes of the supervisor: what they are given, and that they are started again when they end."""

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

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
STABLE_AFTER_S = 60.0


class WorkerOrder(Struct, frozen=True, kw_only=True):
    """What a worker is told, as one line of JSON on its standard input, which then stays open.

    `settings.mongo_uri` is resolved: with the embedded database it is that one's. The end of the input is the
    supervisor's end.
    """

    number: int  # 1 … processes
    socket_fds: tuple[int, ...]  # the listening sockets, inherited under these descriptors
    ready_fd: int  # inherited too; it gets a byte when the worker answers requests
    settings: Settings


class SupervisedProcess:
    """A child that is started again when it ends, later each time, until it has lasted a minute.

    It never waits: `tend` is called when a child has ended, and when the time that it named is over.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], subprocess.Popen[bytes]],
        *,
        process: subprocess.Popen[bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`process` is the child when it is running already; without it the first `tend` starts one."""
        self.name = name
        self.process = process
        self.ends = 0  # how often a child has ended, or could not be started
        self._spawn = spawn
        self._clock = clock
        self._started_at = clock()
        self._due_at = clock()
        self._failures = 0

    def tend(self) -> float | None:
        """Notice the child's end, start the next when it is time. The seconds until then; None while one is running."""
        if self.process is not None and self.process.poll() is not None:
            self._note_end(f"process {self.process.pid} ended {_describe_end(self.process.returncode)}")
            _close_stdin(self.process)
            self.process = None
        if self.process is None and self._clock() >= self._due_at:
            self._started_at = self._clock()
            try:
                self.process = self._spawn()
                log.info("%s: started process %d", self.name, self.process.pid)
            except (OSError, StartError) as error:
                self._note_end(f"cannot be started ({error})")
        return None if self.process is not None else max(0.0, self._due_at - self._clock())

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the end of the child until `deadline` (of time.monotonic), then kill it."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        if self.process.returncode is None:
            log.warning("%s: process %d does not end and is killed", self.name, self.process.pid)
            self.process.kill()
            self.process.wait()
        _close_stdin(self.process)
        self.process = None

    def _note_end(self, what: str) -> None:
        self.ends += 1
        if self._clock() - self._started_at >= STABLE_AFTER_S:
            self._failures = 0
        delay_s = min(FIRST_DELAY_S * 2.0**self._failures, LONGEST_DELAY_S)
        self._failures = min(self._failures + 1, 16)
        self._due_at = self._clock() + delay_s
        log.error("%s: %s; the next one starts in %.1f s", self.name, what, delay_s)


class ReadySignal:
    """Whether any child ever reported that it is ready: a pipe that all of them inherit, and write a byte to."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._reached = False

    def reached(self) -> bool:
        """Also empties the pipe, so that nobody ever waits who writes to it."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                self._reached = True
        return self._reached

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


def reap_strangers(own: Collection[int]) -> None:
    """Reap ended children that are not in `own`.

    As process 1 of a container this process inherits whatever lost its parent, such as a dead worker's collectors;
    nobody else would reap them. Ours are left to their Popen objects.
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
