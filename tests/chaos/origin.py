"""The origin of the chaos test: it responds slowly, fails on the paths that are told to, and logs every request.

No two responses are equal: each page has the path and the serial number of its request, so a stored page shows which
response it is. Raw sockets, because the socket itself tells whether the client is still there: the events of one turn
of the loop have no order, and the end of a killed client may be reported after the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

import psutil

DELAY_S = (0.02, 0.4)
FILLER = "All work and no play makes a page. "
FILLER_REPEATS = (1, 500)  # 17 KiB at most: it fits into a socket's buffer, so that an answer is sent when it is sent


class Manner(StrEnum):
    """How the origin responds to requests of a path."""

    WHOLE = "whole"  # a page
    ERROR = "error"  # a page with status 500
    CUT = "cut"  # half a page, then the connection's end
    RESET = "reset"  # nothing, then the connection's reset
    SILENT = "silent"  # nothing, for as long as the visitor waits


@dataclass(slots=True, eq=False)
class Visit:
    """One request. Instants are of time.monotonic."""

    path: str
    serial: int
    began_at: float
    connection: socket.socket
    ended_at: float = 0.0  # 0: it is under way
    answered: bool = False  # as the path's manner says; else the visitor vanished first


@dataclass(frozen=True, slots=True)
class Overlap:
    """A request that was received while another request of its path was under way."""

    path: str
    at: float
    other_began_at: float
    processes: tuple[tuple[int, ...], tuple[int, ...]]  # who makes it, who made the other: each with those above it


class Origin:
    """A context manager; an event loop in a thread of its own. What it logs is read once it has ended."""

    def __init__(self, manners: Mapping[str, Manner], rng: random.Random) -> None:
        self.visits: list[Visit] = []
        self.overlaps: list[Overlap] = []
        self.under_way: defaultdict[str, set[Visit]] = defaultdict(set)
        self._manners = manners
        self._rng = rng
        self._listening = socket.create_server(("0.0.0.0", 0), backlog=1024)  # on every address of 127.0.0.0/8
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="chaos origin", daemon=True)

    @property
    def busy(self) -> bool:
        """Whether any request is under way."""
        return any(list(self.under_way.values()))

    def page(self, path: str, serial: int) -> str:
        """The bytes of the response: the part of the page that the path's manner sends."""
        text = f"{serial} {path} " + FILLER * random.Random(serial).randint(*FILLER_REPEATS)
        return text[: len(text) // 2] if self._manners[path] is Manner.CUT else text

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._listening.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._hold(self._accept())
        await self._ending.wait()  # then the runner cancels what is left

    async def _accept(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listening)
            connection.setblocking(False)
            self._hold(self._attend(Visitor(connection, self._loop)))

    def _hold(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, visitor: Visitor) -> None:
        try:
            while path := await visitor.request():
                if not await self._visit(path, visitor):
                    break
        except OSError:
            pass  # the visitor vanished, and its visit says so
        finally:
            visitor.close()

    async def _visit(self, path: str, visitor: Visitor) -> bool:
        """Answer one request. Return whether the connection is kept."""
        visit = self._begin(path, visitor.connection)
        try:
            visit.answered = await self._answer(visit, visitor)
        finally:
            visit.ended_at = time.monotonic()
            self.under_way[path].discard(visit)
        return visit.answered and self._manners[path] in (Manner.WHOLE, Manner.ERROR)

    def _begin(self, path: str, connection: socket.socket) -> Visit:
        visit = Visit(path, len(self.visits) + 1, time.monotonic(), connection)
        others = [other for other in self.under_way[path] if not vanished(other.connection)]
        if others and not vanished(connection):
            processes = visiting_processes(connection), visiting_processes(others[0].connection)
            self.overlaps.append(Overlap(path, visit.began_at, others[0].began_at, processes))
        self.visits.append(visit)
        self.under_way[path].add(visit)
        return visit

    async def _answer(self, visit: Visit, visitor: Visitor) -> bool:
        manner = self._manners[visit.path]
        if await visitor.vanishes_within(None if manner is Manner.SILENT else self._rng.uniform(*DELAY_S)):
            return False
        if manner is Manner.RESET:
            visitor.reset()
            return True
        body = self.page(visit.path, visit.serial).encode()
        length = 2 * len(body) if manner is Manner.CUT else len(body)
        status = "500 Internal Server Error" if manner is Manner.ERROR else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n"
        half = len(body) // 2
        await visitor.send(head.encode() + body[:half])
        if await visitor.vanishes_within(self._rng.uniform(*DELAY_S) / 4):
            return False
        await visitor.send(body[half:])
        return True


class Visitor:
    """A connection that is read all the time, so that its end is noticed while the answer is not due yet."""

    def __init__(self, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self._loop = loop
        self._received = b""
        self._reading: asyncio.Task[bytes] | None = None

    async def request(self) -> str:
        """The path of the next request; empty when there is none."""
        while b"\r\n\r\n" not in self._received:
            if await self.vanishes_within(None):
                return ""
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1].decode()

    async def vanishes_within(self, wait_s: float | None) -> bool:
        """Whether the connection ends. None: however long it takes until it ends or more of a request comes."""
        if self._reading is None:
            self._reading = self._loop.create_task(self._loop.sock_recv(self.connection, 65_536))
        done, _ = await asyncio.wait({self._reading}, timeout=wait_s)
        if not done:
            return False
        reading, self._reading = self._reading, None
        received = b"" if reading.exception() is not None else reading.result()
        self._received += received
        return not received

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.connection, data)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self.connection.close()


def vanished(connection: socket.socket) -> bool:
    """Whether either end of the connection is closed."""
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def visiting_processes(connection: socket.socket) -> tuple[int, ...]:
    """The ids of the client process and of its ancestors; empty when it has ended."""
    with contextlib.suppress(OSError, psutil.NoSuchProcess):
        peer = connection.getpeername()
        pid = next((one.pid for one in psutil.net_connections("tcp4") if one.laddr == peer), None)
        if pid is not None:
            return pid, *(parent.pid for parent in psutil.Process(pid).parents())
    return ()
