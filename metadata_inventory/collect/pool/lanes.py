"""The parent's side of collecting: a few processes, each carrying hundreds of transfers. Implements `ports.Collector`.

A lane is a pool of one process. While anything is in flight a coroutine hands it new orders and takes back what has
finished; when nothing is, the lane sleeps. A lane whose process dies, or does not answer, goes on with another; what
was in it goes to the isolation. A host always goes to the same lane, so that connections are reused and its limits
hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from zlib import crc32

from metadata_inventory.collect.options import CollectorOptions, LaneSettings
from metadata_inventory.collect.pool.host_limits import HostLimits
from metadata_inventory.collect.pool.isolation import Isolation
from metadata_inventory.collect.pool.lane_process_handle import LaneProcessHandle, LostOrders, PendingOrder
from metadata_inventory.errors import CollectorUnavailable, StartError
from metadata_inventory.model.capture import CollectionOrder, Outcome

logger = logging.getLogger(__name__)

# Between two tries to start a lane's process, after several have failed at once.
START_PAUSE_S = 1.0


Gate = Callable[[], Awaitable[None]]


async def always_open() -> None:
    """Nothing is to be waited for."""


class Lane:
    """One lane. Its coroutine drives the process; `collect` only queues."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings, isolation: Isolation, gate: Gate) -> None:
        self._settings = settings
        self._isolation = isolation
        self._gate = gate
        self._handle = LaneProcessHandle(options, settings)
        self._hosts = HostLimits(settings.host_concurrency, settings.host_gap_s)
        self._pending: set[PendingOrder] = set()  # whose callers wait, wherever they are
        self._waiting: dict[str, PendingOrder] = {}  # those of them that are in no process and no isolation
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.down = False  # its process does not start, which is tried again and again

    async def start(self) -> None:
        """Start the process and wait until it answers; raises StartError."""
        await self._handle.start()
        self._task = asyncio.create_task(self._run(), name="lane")

    async def close(self) -> None:
        """End the process; whatever has not ended, here or in the isolation, ends by fault."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._handle.end()
        for pending in self._pending:
            pending.end_by_fault()

    @property
    def full(self) -> bool:
        return self._closed or self.down or len(self._pending) >= self._settings.lane_capacity

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        """`ahead` are the hosts of what is about to come to this lane."""
        if self.full:
            return 0
        room_of_host = self._hosts.room(host) - ahead.count(host)
        return max(0, min(self._settings.lane_capacity - len(self._pending) - len(ahead), room_of_host))

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        """Beyond its room, and within its host's gap, the lane lets an order wait. A closed lane fails it.

        Raises CollectorUnavailable when no process can be started for it.
        """
        pending = PendingOrder(order, host, asyncio.get_running_loop().create_future())
        if self._closed:
            pending.end_by_fault()
            return pending.outcome.result()
        if self.down:
            raise CollectorUnavailable
        self._pending.add(pending)
        self._waiting[order.token] = pending
        self._hosts.enter(host)
        self._stir()
        try:
            return await pending.outcome
        finally:
            self._pending.remove(pending)
            self._waiting.pop(order.token, None)
            self._hosts.leave(host, started=pending.started)
            if self._waiting:  # one of them may start in its place
                self._stir()

    def _stir(self) -> None:
        self._work.set()
        self._handle.interrupt()

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except LostOrders as loss:
                self._waiting = {pending.order.token: pending for pending in loss.unsuspected} | self._waiting
                self._isolation.add(loss.suspects)
            except StartError:
                logger.error("a lane's process does not start", extra={"waiting": len(self._waiting)})
                await self._start_again()
            except Exception:  # the edge of the lane's task: whoever waits must not wait for ever
                logger.exception("a lane is begun again after a fault of its own")
                await self._give_up(PendingOrder.end_by_fault)

    async def _turn(self) -> None:
        """One exchange, or else the wait for something to exchange."""
        self._work.clear()
        if self._waiting or self._handle.busy:
            await self._gate()
        pending_orders = self._take()
        pause_s = self._hosts.next_start_in_s(pending.host for pending in self._waiting.values())
        if pending_orders or self._handle.busy:
            wait_ms = self._settings.wait_ms
            await self._handle.advance(
                pending_orders, wait_ms if pause_s is None else min(wait_ms, ceil(pause_s * 1000))
            )
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):  # not wait_for: on 3.11 that can swallow a cancellation
                    await self._work.wait()

    async def _give_up(self, tell: Callable[[PendingOrder], None]) -> None:
        waiting, self._waiting = self._waiting, {}
        await self._handle.end(tell)
        for pending in waiting.values():
            tell(pending)

    async def _start_again(self) -> None:
        """Refuse what there is and what comes, so that others may take it, until a process has started."""
        self.down = True
        await self._give_up(PendingOrder.refuse)
        while self.down:
            await asyncio.sleep(START_PAUSE_S)
            with contextlib.suppress(StartError):
                await self._handle.start()
                self.down = False
        logger.info("a lane's process has started again")

    def _take(self) -> list[PendingOrder]:
        """What may start now, and what was moved here. Suspects of earlier on go to the isolation, one by one."""
        room = self._settings.lane_capacity - (len(self._pending) - len(self._waiting))
        taken = []
        for pending in list(self._waiting.values()):  # those that were moved come first, and have their places
            if not pending.started:
                if room <= 0:
                    break
                if not self._hosts.may_start(pending.host):
                    continue
                self._hosts.start(pending.host)
                pending.started = True
            room -= 1
            del self._waiting[pending.order.token]
            if pending.order.alone:
                self._isolation.add([pending])
            else:
                taken.append(pending)
        return taken


class Lanes:
    """All lanes of this process; a `ports.Collector`."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings, gate: Gate = always_open) -> None:
        """Outcomes are fetched from the processes, and new orders handed to them, when `gate` has returned."""
        self.settings = settings
        self._isolation = Isolation(options, self.settings)
        self._lanes = [Lane(options, self.settings, self._isolation, gate) for _ in range(self.settings.lanes)]

    async def start(self) -> None:
        """Start every lane's process, so that the first collection is as quick as any; raises StartError."""
        await asyncio.gather(*(lane.start() for lane in self._lanes))

    async def close(self) -> None:
        """End every process within about two seconds."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
        await self._isolation.close()

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        lane = self._lane(host)
        return lane.room(host, [other for other in ahead if self._lane(other) is lane])

    @property
    def down(self) -> bool:
        """Whether no lane has a process, or can start one."""
        return all(lane.down for lane in self._lanes)

    def full(self) -> bool:
        return all(lane.full for lane in self._lanes)

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        return await self._lane(host).collect(order, host)

    def _lane(self, host: str) -> Lane:
        return self._lanes[crc32(host.encode()) % len(self._lanes)]
