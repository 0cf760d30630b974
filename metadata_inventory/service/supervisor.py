"""The supervisor: the process that `metadata-inventory serve` starts. It starts and restarts all others.

    supervisor ─┬─ database   (only without MONGO_URI; its parent-death watch ends it with the supervisor)
                ├─ worker 1   (inherits the listening sockets; ends when its standard input ends)
                └─ worker N

Every child is started from the main thread, since the database's parent-death watch reacts to the end of the thread
that started it. No child gets secrets of the environment. On SIGTERM, SIGINT and SIGHUP the workers are ended first,
so that they finish their requests, and the database last.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Self

import msgspec

from metadata_inventory import __version__
from metadata_inventory.environment import clean_environment
from metadata_inventory.errors import AddressInUse, EmbeddedDatabaseFailed, WorkersFailed
from metadata_inventory.model.destinations import LOOPBACK
from metadata_inventory.service.kubernetes import find_service_variables
from metadata_inventory.service.processes import ReadySignal, SupervisedProcess, WorkerInput, reap_orphans
from metadata_inventory.service.settings import Settings
from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from metadata_inventory.storage.mongo_uri import redact_uri

logger = logging.getLogger(__name__)

# What `signal.signal` takes and returns.
Handler = Callable[[int, FrameType | None], object] | int | None

BACKLOG = 1024
DATABASE_GRACE_S = 10.0
# After `shutdown_grace_s` a worker cuts off its requests. It has this time to end its lane processes and to release
# the jobs that it has claimed.
WORKER_MARGIN_S = 6.0
# How often each worker is started before any of them has been ready. A start that fails takes a second or two; when
# lane processes hang instead of ending, at most a minute and a half.
FIRST_STARTS = 5


class Supervisor:
    """One run of the service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environ = clean_environment(os.environ)
        self._sockets: list[socket.socket] = []
        self._database: EmbeddedDatabase | None = None
        self._database_process: SupervisedProcess | None = None
        self._workers: list[SupervisedProcess] = []
        self._readiness = ReadySignal()

    def run(self) -> int:
        """Start everything, keep it running until a signal requests the stop, stop everything. Returns the exit status.

        Raises StartError; everything that was started has ended by then.
        """
        with Signals() as signals:
            try:
                self._start(signals)
                self._keep_running(signals)
            except EmbeddedDatabaseFailed:
                if not signals.stop_requested:
                    raise
            finally:
                self._stop(signals)
                self._readiness.close()
        return 0

    def _start(self, signals: Signals) -> None:
        logger.info("metadata-inventory %s", __version__)
        if variables := find_service_variables(os.environ):
            logger.info("set by Kubernetes for a Service, and not taken as settings: %s", ", ".join(variables))
        _warn_of_allowed_destinations(self._settings)
        if self._settings.mongo_uri is None:
            self._database = EmbeddedDatabase(self._settings.data_dir, environ=self._environ)
            self._database.lock(cancelled=lambda: signals.stop_requested)
            self._start_database(self._database, signals)
        else:
            logger.info("records are kept in %s", redact_uri(self._settings.mongo_uri))
        # Not earlier: until now the embedded database may have asked for no password.
        self._sockets = listen(self._settings.host, self._settings.port)
        for number in range(1, self._settings.processes + 1):
            worker = SupervisedProcess(f"worker {number}", partial(self._spawn_worker, number))
            self._workers.append(worker)
            worker.restart_if_due()
        if self._settings.keys_file is None and not _is_loopback(self._sockets):
            logger.warning("anyone who reaches %s may read and collect: no API keys are asked for", self._settings.host)
            if not self._settings.client_rate_per_s:
                logger.warning("they may collect without limit: client_rate_per_s sets no limit")
        logger.info("listening on %s", url_of(self._settings.host, self._sockets[0].getsockname()[1]))

    def _start_database(self, database: EmbeddedDatabase, signals: Signals) -> None:
        database.start(cancelled=lambda: signals.stop_requested)
        self._settings = msgspec.structs.replace(self._settings, mongo_uri=database.uri)
        self._database_process = SupervisedProcess("embedded database", database.spawn, process=database.process)
        logger.info("records are kept in %s by the embedded database on port %d", database.data_dir, database.port)

    def _spawn_worker(self, number: int) -> subprocess.Popen[bytes]:
        fds = tuple(listening.fileno() for listening in self._sockets)
        process = subprocess.Popen(
            [sys.executable, "-m", "metadata_inventory.service.worker"],
            stdin=subprocess.PIPE,
            env=self._environ,
            pass_fds=(*fds, self._readiness.writer),
            process_group=0,  # Ctrl-C in a terminal is for the supervisor alone, which lets workers finish
        )
        assert process.stdin is not None
        worker_input = WorkerInput(
            number=number, socket_fds=fds, ready_fd=self._readiness.writer, settings=self._settings
        )
        with contextlib.suppress(BrokenPipeError):  # it has ended already; `restart_if_due` will notice
            process.stdin.write(msgspec.json.encode(worker_input) + b"\n")
            process.stdin.flush()
        return process

    def _children(self) -> list[SupervisedProcess]:
        return [*([] if self._database_process is None else [self._database_process]), *self._workers]

    def _keep_running(self, signals: Signals) -> None:
        while not signals.stop_requested:
            waits = [wait_s for child in self._children() if (wait_s := child.restart_if_due()) is not None]
            reap_orphans({child.process.pid for child in self._children() if child.process is not None})
            # A worker that was ready once may fail for a passing reason. When none ever was, more starts do not help.
            if not self._readiness.received() and all(worker.failures >= FIRST_STARTS for worker in self._workers):
                raise WorkersFailed
            signals.wait(min(waits, default=None))

    def _stop(self, signals: Signals) -> None:
        for listening in self._sockets:
            listening.close()
        if self._workers:
            logger.info("ending")
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + self._settings.shutdown_grace_s + WORKER_MARGIN_S
        while any(worker.process is not None and worker.process.poll() is None for worker in self._workers):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or signals.immediate_stop_requested:
                break
            signals.wait(remaining_s)
        for worker in self._workers:
            worker.stop(deadline=time.monotonic())
        if self._database is not None:
            self._database.stop(grace_s=0 if signals.immediate_stop_requested else DATABASE_GRACE_S)
        logger.info("ended")


class Signals:
    """Lets the supervisor wait for signals. The first one requests the stop, a second one a stop without delay."""

    def __init__(self) -> None:
        self._requests = 0
        self._reader, self._writer = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._previous: dict[signal.Signals, Handler] = {}
        self._previous_fd = -1

    @property
    def stop_requested(self) -> bool:
        return self._requests > 0

    @property
    def immediate_stop_requested(self) -> bool:
        return self._requests > 1

    def wait(self, timeout_s: float | None) -> None:
        """Wait until a signal arrives, at most `timeout_s`.

        The end of a child is a signal, too. A signal that arrived since the last call ends the wait at once.
        """
        if self._selector.select(timeout_s):
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass

    def __enter__(self) -> Self:
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and it stays ignored
                self._previous[number] = signal.signal(number, self._count_request)
        # Without a handler of Python's own, the wakeup descriptor is not written to.
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _count_request(self, number: int, frame: FrameType | None) -> None:
        self._requests += 1


def _is_loopback(sockets: Sequence[socket.socket]) -> bool:
    return all(ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback for listening in sockets)


def _warn_of_allowed_destinations(settings: Settings) -> None:
    if settings.allow_loopback:
        logger.warning(
            "allow_loopback is on: clients that submit URLs reach EVERY service of this host on %s, on every port, the "
            "database among them; for development only",
            " and ".join(LOOPBACK),
        )
    if settings.allow_destinations:
        logger.warning("allow_destinations is set: URLs may also lead to %s", ", ".join(settings.allow_destinations))


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of the host (a name can have two), all on one port. Raises AddressInUse."""
    from tornado.netutil import bind_sockets

    try:
        return bind_sockets(port, address=host or None, backlog=BACKLOG)
    except OSError as error:
        raise AddressInUse(f"Cannot listen on {url_of(host, port)}: {error.strerror or error}.") from error


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host or '0.0.0.0'}:{port}"
