"""The parent's side of collecting: a few processes, each carrying hundreds of transfers. Implements `ports.Collector`.

A lane is a pool of one process. While anything is in flight a coroutine hands it new orders and takes back what has
finished; when nothing is, the lane sleeps. A lane whose process dies, or does not answer, is replaced; what was in it
ends as `worker_lost`. A host always goes to the same lane, so that connections are reused and its limit holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from zlib import crc32

from metadata_inventory.capture import CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.collect.lane_process import LaneLost, LaneProcess
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.collect.outcomes import DETAILS
from metadata_inventory.collect.worker import Results, now
from metadata_inventory.errors import StartError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """The shape of the lanes, as the parent keeps them."""

    lanes: int = 2  # processes
    capacity: int = 512  # collections in flight in one lane
    per_host: int = 512  # collections in flight for one host
    wait_ms: int = 200  # how long a process may wait for something to finish; new orders interrupt it
    patience_s: float = 10.0  # beyond `wait_ms`; a process that is silent for longer is killed
    start_s: float = 30.0  # how long a process may take to start


@dataclass(slots=True, eq=False)
class _Order:
    order: CollectionOrder
    host: str
    outcome: asyncio.Future[Outcome]
    moved: bool = False  # handed to a second process, because the first was lost and this order had no part in it


class Lane:
    """One lane. Its coroutine owns the process; `collect` only queues."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings) -> None:
        self._options = options
        self._settings = settings
        self._process: LaneProcess | None = None
        self._waiting: dict[str, _Order] = {}
        self._in_flight: dict[str, _Order] = {}
        self._hosts: Counter[str] = Counter()
        self._abandoned: list[str] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the process and wait until it answers; raises StartError."""
        try:
            await self._ensure_process()
        except LaneLost as error:
            raise StartError("A collector's process does not start.") from error
        self._task = asyncio.create_task(self._run(), name="lane")

    async def close(self) -> None:
        """End the process; what is still in flight ends as lost."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._discard_process()
        for entry in [*self._waiting.values(), *self._in_flight.values()]:
            self._end(entry, _lost())

    def room(self, host: str) -> int:
        if self._closed:
            return 0
        taken = len(self._waiting) + len(self._in_flight)
        return max(0, min(self._settings.capacity - taken, self._settings.per_host - self._hosts[host]))

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        """Beyond its room the lane lets orders wait. A closed lane loses them."""
        if self._closed:
            return _lost()
        entry = _Order(order, host, asyncio.get_running_loop().create_future())
        self._waiting[order.token] = entry
        self._hosts[host] += 1
        self._stir()
        try:
            return await entry.outcome
        finally:
            self._forget(entry)

    def _forget(self, entry: _Order) -> None:
        """The caller has gone, with the outcome or without it."""
        self._hosts[entry.host] -= 1
        if not self._hosts[entry.host]:
            del self._hosts[entry.host]
        token = entry.order.token
        self._waiting.pop(token, None)
        if self._in_flight.pop(token, None) is not None:
            self._abandoned.append(token)
            self._stir()

    def _stir(self) -> None:
        self._work.set()
        if self._process is not None:
            self._process.nudge()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            if not (self._waiting or self._in_flight or self._abandoned):
                self._work.clear()
                continue
            try:
                await self._exchange()
            except Exception:  # the edge of the lane's task: whoever waits must not wait for ever
                logger.exception("a lane is begun again after a fault of its own")
                await self._replace_process(unseen=())

    async def _exchange(self) -> None:
        orders: tuple[CollectionOrder, ...] = ()
        try:
            process = await self._ensure_process()
            orders = self._take_orders()
            abandoned, self._abandoned = tuple(self._abandoned), []
            self._settle(await process.exchange(orders, abandoned, self._settings.wait_ms))
        except LaneLost as lost:
            await self._replace_process(unseen=() if lost.handed_over else orders)

    def _settle(self, results: Results) -> None:
        for token, outcome in results:
            entry = self._in_flight.get(token)
            if entry is not None:
                self._end(entry, outcome)

    def _take_orders(self) -> tuple[CollectionOrder, ...]:
        count = self._settings.capacity - len(self._in_flight)
        tokens = list(self._waiting)[:count]
        for token in tokens:
            self._in_flight[token] = self._waiting.pop(token)
        return tuple(self._in_flight[token].order for token in tokens)

    def _end(self, entry: _Order, outcome: Outcome) -> None:
        self._waiting.pop(entry.order.token, None)
        self._in_flight.pop(entry.order.token, None)
        if not entry.outcome.done():
            entry.outcome.set_result(outcome)

    async def _ensure_process(self) -> LaneProcess:
        """The process, started when there is none or when it died while nothing was in flight."""
        if self._process is not None and self._process.broken and not self._in_flight:
            await self._discard_process()
        if self._process is None:
            process = LaneProcess(self._options)
            self._process = process
            try:
                await process.start(self._settings.start_s)
            except LaneLost:
                await self._discard_process()
                raise
            process.patience_s = self._settings.patience_s
        return self._process

    async def _discard_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def _replace_process(self, unseen: tuple[CollectionOrder, ...]) -> None:
        """End what was in flight as lost, but begin again what the process never saw, or everything when the process
        only fell with its forkserver.
        """
        process = self._process
        await self._discard_process()
        blameless = process is not None and process.fell_with_forkserver
        self._abandoned.clear()
        logger.warning("a lane's process was lost", extra={"in_flight": len(self._in_flight), "blameless": blameless})
        if process is None:
            # It does not even start: what waits for it is told so, instead of trying without end.
            self._in_flight |= self._waiting
        tokens = {order.token for order in unseen}
        for token, entry in list(self._in_flight.items()):
            if (blameless or token in tokens) and not entry.moved:
                entry.moved = True
                del self._in_flight[token]
                self._waiting[token] = entry
            else:
                self._end(entry, _lost())


class Lanes:
    """All lanes of this process; a `ports.Collector`."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings | None = None) -> None:
        self.settings = settings or LaneSettings()
        self._lanes = [Lane(options, self.settings) for _ in range(self.settings.lanes)]

    async def start(self) -> None:
        """Start every lane's process, so that the first collection is as quick as any; raises StartError."""
        await asyncio.gather(*(lane.start() for lane in self._lanes))

    async def close(self) -> None:
        """End every process within about two seconds."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))

    def room(self, host: str) -> int:
        return self._lane(host).room(host)

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        return await self._lane(host).collect(order, host)

    def _lane(self, host: str) -> Lane:
        return self._lanes[crc32(host.encode()) % len(self._lanes)]


def _lost() -> Failure:
    return Failure(code=FailureCode.WORKER_LOST, detail=DETAILS[FailureCode.WORKER_LOST], at=now())
