"""A dispatcher in this process, on the real store, with a collector that a test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from metadata_inventory.clock import now
from metadata_inventory.errors import CollectorUnavailable
from metadata_inventory.jobs.dispatcher import Dispatcher
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.model.capture import CollectionOrder, Outcome
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.mongo import MongoStore
from tests.support.builders import a_capture, a_policy

POLICY = a_policy()


class HeldCollector:
    """A Collector of `capacity` whose collections end when the test lets them. `full_host` has no room."""

    def __init__(self, full_host: str = "", *, capacity: int = 10) -> None:
        self.full_host = full_host
        self.orders: list[CollectionOrder] = []
        self.given_up: list[CollectionOrder] = []
        self.given_up_at: list[datetime] = []
        self.refused: set[str] = set()  # hosts that were asked for and had no room
        self.released = asyncio.Event()
        self.brings: Outcome | None = None  # else a capture
        self.down = False  # it has no room, and gives back what it has
        self._free = capacity

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        room = 0 if host == self.full_host or self.down else max(0, self._free - len(ahead))
        if room == 0:
            self.refused.add(host)
        return room

    def full(self) -> bool:
        return self.down

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        self.orders.append(order)
        self._free -= 1
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.given_up.append(order)
            self.given_up_at.append(now())
            raise
        finally:
            self._free += 1
        if self.down:
            raise CollectorUnavailable
        return self.brings or a_capture(normalize(order.url))


@asynccontextmanager
async def dispatching(
    store: MongoStore, collector: HeldCollector, *, lease_s: float = 15.0, longest_s: float = 600.0
) -> AsyncIterator[Dispatcher]:
    store.start()
    dispatcher = Dispatcher(
        store,
        store,
        collector,
        POLICY,
        MemoryGate(1 << 30),
        now=now,
        owner="node-1",
        lease_s=lease_s,
        renew_s=0.2,
        longest_s=longest_s,
        queue_limit=1_000,
    )
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        await dispatcher.stop(grace_s=0)
        await dispatcher.give_back()
        await store.close()
