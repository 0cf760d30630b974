"""Owns one lane process from its start to its end: a pool of one, the process in it, and a pipe to interrupt its wait.

`max_tasks_per_child` is not used, because it deadlocks on Python 3.11.7 (gh-115634).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from metadata_inventory.collect.engine import entry
from metadata_inventory.collect.engine.results import Results
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.collect.pool.forkserver import cleaned_environment, make_context
from metadata_inventory.model.capture import CollectionOrder

logger = logging.getLogger(__name__)

_STATUS_UNKNOWN = 255  # multiprocessing's exit code when the forkserver ended before it could report one
_END_S = 2.0  # how long `end` waits for a killed process to be gone
_FORKSERVER_TRIES = 5  # a forkserver that has just been killed may still look alive
_FORKSERVER_PAUSE_S = 0.05  # between two of those tries
_SPAWNING = threading.Lock()  # held while the environment, which all threads share, is cleaned


class LaneProcessLost(Exception):
    """The process has ended, is silent for too long, or cannot be started.

    Unless `handed_over`, it has never seen the orders of this call.
    """

    def __init__(self, *, handed_over: bool = True) -> None:
        super().__init__()
        self.handed_over = handed_over


class LaneProcess:
    """One process and the calls of `advance` in it, one at a time. Not used again after `end`."""

    def __init__(self, options: CollectorOptions, patience_s: float = 10.0) -> None:
        """`patience_s` is how much longer than its `wait_ms` a call of `advance` may take."""
        self.lost_with_forkserver = False  # known after `end`
        self._context = make_context()
        self._options = options
        self._patience_s = patience_s
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._spawning: asyncio.Future[Future[Results]] | None = None
        self._pidfd = -1  # refers to the process even when multiprocessing takes it for ended
        self._interrupt: Connection | None = None
        self._interruptible = False
        self._ended = False

    async def start(self, timeout_s: float) -> None:
        """Start the process and wait until it has returned from a first call; raises LaneProcessLost."""
        for attempt in range(_FORKSERVER_TRIES):
            try:
                # In a thread: a forkserver that has to be started first takes seconds on a busy machine. Shielded, so
                # that `end` learns of a process that comes too late.
                self._spawning = asyncio.ensure_future(asyncio.to_thread(self._spawn))
                first = await asyncio.wait_for(asyncio.shield(self._spawning), timeout_s)
                break
            except TimeoutError as error:
                raise LaneProcessLost from error
            except (OSError, EOFError) as error:  # EOFError: the forkserver ended while it forked
                logger.warning("a lane process cannot be started", exc_info=error)
                if attempt + 1 == _FORKSERVER_TRIES:
                    raise LaneProcessLost from error
                await asyncio.sleep(_FORKSERVER_PAUSE_S)
        await self._wait_for_results(first, timeout_s)

    def _spawn(self) -> Future[Results]:
        interrupted, interrupt = self._context.Pipe(duplex=False)
        try:
            with _SPAWNING, cleaned_environment():  # making the pool starts the resource tracker already
                pool = ProcessPoolExecutor(
                    max_workers=1,
                    mp_context=self._context,
                    initializer=entry.start,
                    initargs=(self._options, interrupted),
                )
                first = pool.submit(entry.advance, (), (), 0)
                # Private, and the same from 3.11 to 3.13. `active_children` would read the exit codes of other lane
                # processes, and an exit code can be read once: the second reader finds it unknown.
                (process,) = pool._processes.values()
                assert process.pid is not None
        except BaseException:
            interrupt.close()
            raise
        finally:
            interrupted.close()
        self._pool, self._interrupt = pool, interrupt
        self._process = process
        with contextlib.suppress(OSError):  # the process has ended already
            self._pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
        if self._ended:  # `end` did not wait for it
            self._kill()
        return first

    async def advance(self, orders: tuple[CollectionOrder, ...], abandoned: tuple[str, ...], wait_ms: int) -> Results:
        """Call `entry.advance` in the process and return its results; raises LaneProcessLost."""
        assert self._pool is not None
        try:
            results = self._pool.submit(entry.advance, orders, abandoned, wait_ms)
        except (RuntimeError, OSError) as error:  # BrokenProcessPool is a RuntimeError
            raise LaneProcessLost(handed_over=False) from error
        self._interruptible = True
        try:
            return await self._wait_for_results(results, wait_ms / 1000 + self._patience_s)
        finally:
            self._interruptible = False

    @property
    def alive(self) -> bool:
        """Whether the process runs. Reads the sentinel: `is_alive` would take the exit code from the pool's thread."""
        return self._process is None or not wait([self._process.sentinel], timeout=0)

    async def _wait_for_results(self, results: Future[Results], timeout_s: float) -> Results:
        waiter = asyncio.wrap_future(results)
        waiter.add_done_callback(_retrieve)
        done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
        if not done:
            raise LaneProcessLost
        try:
            return waiter.result()
        except Exception as error:  # the pool has several for a process that ended or a message that is cut short
            raise LaneProcessLost from error

    def interrupt(self) -> None:
        """Make the call of `advance` under way return at once. Repeated calls have no further effect."""
        if self._interruptible and self._interrupt is not None:
            self._interruptible = False
            with contextlib.suppress(OSError):  # the process has ended, which the call of `advance` reports
                self._interrupt.send_bytes(b"!")

    async def end(self) -> None:
        """Kill the process and wait, within bounds, until it is gone. A process that comes later is killed then."""
        self._ended = True
        if self._spawning is not None and not self._spawning.done():
            await asyncio.wait({self._spawning}, timeout=_END_S)
            if not self._spawning.done():
                self._spawning.add_done_callback(self._close_late)
                return
        self._kill()
        if self._pool is not None:
            gone = asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
            done, _ = await asyncio.wait({gone}, timeout=_END_S)
            if done and self._process is not None:
                # Read only after the pool's thread has ended, because an exit code can be read once.
                self.lost_with_forkserver = self._process.exitcode == _STATUS_UNKNOWN
        if self._pidfd >= 0:
            # Its connections to origins are closed only now. Its URLs must not be collected again before that.
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            await asyncio.to_thread(ended.poll, _END_S * 1000)
        self._close()

    def _close_late(self, spawning: asyncio.Future[Future[Results]]) -> None:
        """`_spawn` has returned after `end`: it has killed the process itself."""
        if not spawning.cancelled():
            spawning.exception()
        self._close()

    def _close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._interrupt is not None:
            self._interrupt.close()

    def _kill(self) -> None:
        """Kill by process object and by pidfd: once the forkserver is lost, the former does nothing."""
        if self._process is not None:
            self._process.kill()
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _retrieve(waiter: asyncio.Future[Results]) -> None:
    """Mark the exception as seen: after a timeout nobody awaits the future any more."""
    if not waiter.cancelled():
        waiter.exception()
