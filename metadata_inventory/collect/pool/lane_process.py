"""One lane's process, seen from the parent: a pool of one, the process in it, and a pipe to interrupt its waiting.

`max_tasks_per_child` is not used: it deadlocks on Python 3.11.7 (gh-115634).
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
_END_S = 2.0  # how long a killed process may take to be gone
_FORKSERVER_TRIES = 5  # a forkserver that was killed this moment may still look alive
_FORKSERVER_PAUSE_S = 0.05
_SPAWNING = threading.Lock()  # the environment is cleaned meanwhile, and that is the whole process's


class LaneProcessLost(Exception):
    """The process has died, does not answer, or cannot be started. Unless `handed_over` it never saw the orders."""

    def __init__(self, *, handed_over: bool = True) -> None:
        super().__init__()
        self.handed_over = handed_over


class LaneProcess:
    """Starts one process and talks to it, one exchange at a time. Not used again after `end`."""

    def __init__(self, options: CollectorOptions, patience_s: float = 10.0) -> None:
        """`patience_s` is how much longer than asked an exchange may take."""
        self.fell_with_forkserver = False
        self._context = make_context()
        self._options = options
        self._patience_s = patience_s
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._spawning: asyncio.Future[Future[Results]] | None = None
        self._pidfd = -1  # the process itself, whatever multiprocessing believes of it
        self._interrupt: Connection | None = None
        self._interruptible = False
        self._ended = False

    async def start(self, timeout_s: float) -> None:
        """Start and wait for the first answer; raises LaneProcessLost."""
        for attempt in range(_FORKSERVER_TRIES):
            try:
                # In a thread: a forkserver that has to be started first takes seconds on a busy machine. Not cancelled,
                # so that `end` knows of what was started.
                self._spawning = asyncio.ensure_future(asyncio.to_thread(self._spawn))
                first = await asyncio.wait_for(asyncio.shield(self._spawning), timeout_s)
                break
            except TimeoutError as error:
                raise LaneProcessLost from error
            except (OSError, EOFError) as error:  # EOFError: the forkserver fell while it forked
                logger.warning("a lane's process cannot be started", exc_info=error)
                if attempt + 1 == _FORKSERVER_TRIES:
                    raise LaneProcessLost from error
                await asyncio.sleep(_FORKSERVER_PAUSE_S)
        await self._answer(first, timeout_s)

    def _spawn(self) -> Future[Results]:
        interrupted, interrupt = self._context.Pipe(duplex=False)
        try:
            with _SPAWNING, cleaned_environment():  # the pool's locks start the resource tracker already
                pool = ProcessPoolExecutor(
                    max_workers=1,
                    mp_context=self._context,
                    initializer=entry.start,
                    initargs=(self._options, interrupted),
                )
                first = pool.submit(entry.advance, (), (), 0)
                # Private, and the same from 3.11 to 3.13. `active_children` would read the exit codes of other lanes'
                # processes, and of two that read one the second finds it unknown.
                (process,) = pool._processes.values()
                assert process.pid is not None
        except BaseException:
            interrupt.close()
            raise
        finally:
            interrupted.close()
        self._pool, self._interrupt = pool, interrupt
        self._process = process
        with contextlib.suppress(OSError):  # it has ended already
            self._pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
        if self._ended:  # which could not wait so long
            self._kill()
        return first

    async def advance(self, orders: tuple[CollectionOrder, ...], abandoned: tuple[str, ...], wait_ms: int) -> Results:
        """Hand over and take back; raises LaneProcessLost."""
        assert self._pool is not None
        try:
            answer = self._pool.submit(entry.advance, orders, abandoned, wait_ms)
        except (RuntimeError, OSError) as error:  # BrokenProcessPool is a RuntimeError
            raise LaneProcessLost(handed_over=False) from error
        self._interruptible = True
        try:
            return await self._answer(answer, wait_ms / 1000 + self._patience_s)
        finally:
            self._interruptible = False

    @property
    def alive(self) -> bool:
        """Asked of the sentinel, which stays as it is: `is_alive` reads the exit code, as the pool's thread does."""
        return self._process is None or not wait([self._process.sentinel], timeout=0)

    async def _answer(self, answer: Future[Results], timeout_s: float) -> Results:
        waiter = asyncio.wrap_future(answer)
        waiter.add_done_callback(_retrieve)
        done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
        if not done:
            raise LaneProcessLost
        try:
            return waiter.result()
        except Exception as error:  # whatever the pool makes of a process that ended or a message that is none
            raise LaneProcessLost from error

    def interrupt(self) -> None:
        """Make the process return from the exchange under way; once for each is enough."""
        if self._interruptible and self._interrupt is not None:
            self._interruptible = False
            with contextlib.suppress(OSError):  # it died; the exchange will tell
                self._interrupt.send_bytes(b"!")

    async def end(self) -> None:
        """Kill the process and wait, within bounds, until it is gone; one that is yet to start is killed then."""
        self._ended = True
        if self._spawning is not None and not self._spawning.done():
            await asyncio.wait({self._spawning}, timeout=_END_S)
            if not self._spawning.done():
                self._spawning.add_done_callback(self._forget)
                return
        self._kill()
        if self._pool is not None:
            gone = asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
            done, _ = await asyncio.wait({gone}, timeout=_END_S)
            if done and self._process is not None:
                # Not looked at before the pool's thread has gone: of two that read an exit code one finds it unknown.
                self.fell_with_forkserver = self._process.exitcode == _STATUS_UNKNOWN
        if self._pidfd >= 0:
            # Its connections are closed when it is gone: whoever collects its URLs again waits for that.
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            await asyncio.to_thread(ended.poll, _END_S * 1000)
        self._close()

    def _forget(self, spawning: asyncio.Future[Future[Results]]) -> None:
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
        """A process whose forkserver was lost counts as ended, and `kill` does nothing then; it may well run on."""
        if self._process is not None:
            self._process.kill()
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _retrieve(waiter: asyncio.Future[Results]) -> None:
    """Nobody may be left to look at the exception."""
    if not waiter.cancelled():
        waiter.exception()
