"""Implements `ports.Collector` with lanes: a few lane processes, each with hundreds of transfers under way.

Each lane has a coroutine. While the lane has orders, it hands the new ones to the lane process and takes back outcomes;
otherwise it sleeps. A lane whose process is lost, or is silent for too long, goes on with another process, and the
suspects go to isolation. A host always has the same lane, so that its connections are reused and its limits hold.
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

START_PAUSE_S = 1.0  # between two tries to start the process of a lane that is down


Gate = Callable[[], Awaitable[None]]  # returns when lanes may fetch more outcomes, see `Lanes`


async def always_open() -> None:
    """The gate of lanes whose outcomes are taken as they come."""


class Lane:
    """One lane. `collect` queues an order and waits; the lane's coroutine drives the process."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings, isolation: Isolation, gate: Gate) -> None:
        self._settings = settings
        self._isolation = isolation
        self._gate = gate
        self._handle = LaneProcessHandle(options, settings)
        self._hosts = HostLimits(settings.host_concurrency, settings.host_gap_s)
        self._pending: set[PendingOrder] = set()  # all whose callers wait: here, in the process or in isolation
        self._waiting: dict[str, PendingOrder] = {}  # those of them that are here, by token
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.down = False  # its process does not start; the lane tries again and again

    async def start(self) -> None:
        """Start the process and the lane's coroutine; raises StartError."""
        await self._handle.start()
        self._task = asyncio.create_task(self._run(), name="lane")

    async def close(self) -> None:
        """End the process. Pending orders, here or in isolation, end with an internal error."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._handle.end()
        for pending in self._pending:
            pending.fail()

    @property
    def full(self) -> bool:
        return self._closed or self.down or len(self._pending) >= self._settings.lane_capacity

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        """`Lanes.room`; `ahead` are hosts of this lane only."""
        if self.full:
            return 0
        room_of_host = self._hosts.room(host) - ahead.count(host)
        return max(0, min(self._settings.lane_capacity - len(self._pending) - len(ahead), room_of_host))

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        """The outcome of the order. An order beyond the lane's room, or inside its host's gap, waits in the lane.

        A closed lane returns an internal error. Raises CollectorUnavailable if no process can be started for the order.
        """
        pending = PendingOrder(order, host, asyncio.get_running_loop().create_future())
        if self._closed:
            pending.fail()
            return pending.outcome.result()
        if self.down:
            raise CollectorUnavailable
        self._pending.add(pending)
        self._waiting[order.token] = pending
        self._hosts.enter(host)
        self._wake_up()
        try:
            return await pending.outcome
        finally:
            self._pending.remove(pending)
            self._waiting.pop(order.token, None)
            self._hosts.leave(host, started=pending.started)
            if self._waiting:  # one of them may start now
                self._wake_up()

    def _wake_up(self) -> None:
        """Make the lane's coroutine look at what has changed."""
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
                logger.error("the process of a lane does not start", extra={"waiting": len(self._waiting)})
                await self._start_again()
            except Exception:  # the boundary of the lane's task: no caller may wait for ever
                logger.exception("a lane failed because of an internal error, and goes on with another process")
                await self._give_up(PendingOrder.fail)

    async def _turn(self) -> None:
        """One call of `advance`, or, if there is nothing to advance, the wait for something."""
        self._work.clear()
        if self._waiting or self._handle.busy:
            await self._gate()
        pending_orders = self._take_startable()
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

    async def _give_up(self, end_order: Callable[[PendingOrder], None]) -> None:
        """End the process, and each order in it or here by `end_order`."""
        waiting, self._waiting = self._waiting, {}
        await self._handle.end(end_order)
        for pending in waiting.values():
            end_order(pending)

    async def _start_again(self) -> None:
        """Try until a process has started. Orders are refused meanwhile, so that other workers can claim their jobs."""
        self.down = True
        await self._give_up(PendingOrder.refuse)
        while self.down:
            await asyncio.sleep(START_PAUSE_S)
            with contextlib.suppress(StartError):
                await self._handle.start()
                self.down = False
        logger.info("the process of a lane has started again")

    def _take_startable(self) -> list[PendingOrder]:
        """The orders that may start now, or had started in a process that was lost. `alone` ones go to isolation."""
        room = self._settings.lane_capacity - (len(self._pending) - len(self._waiting))
        taken = []
        for pending in list(self._waiting.values()):  # those of a lost process come first and count as under way
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
    """All lanes of one worker; a `ports.Collector`."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings, gate: Gate = always_open) -> None:
        """Before lanes fetch outcomes and hand over new orders, they wait until `gate` returns."""
        self.settings = settings
        self._isolation = Isolation(options, self.settings)
        self._lanes = [Lane(options, self.settings, self._isolation, gate) for _ in range(self.settings.lanes)]

    async def start(self) -> None:
        """Start all processes, so that the first collection is as quick as any later one; raises StartError."""
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
        """Whether every lane is without a process and fails to start one."""
        return all(lane.down for lane in self._lanes)

    def full(self) -> bool:
        return all(lane.full for lane in self._lanes)

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        return await self._lane(host).collect(order, host)

    def _lane(self, host: str) -> Lane:
        return self._lanes[crc32(host.encode()) % len(self._lanes)]
