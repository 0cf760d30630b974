"""The use cases of operators: see what is owed, and put back what has failed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from metadata_inventory.errors import QueueFull
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.record import QueueState
from metadata_inventory.ports import QueueStore

# Running jobs that are shown one by one.
SHOWN_LEASES = 100
# Put back at once; the rest is for the next call. Few enough that a call is answered within seconds.
REQUEUED_AT_ONCE = 200


class Queue:
    """`limit` is how many jobs may wait, for room or for their next attempt."""

    def __init__(self, store: QueueStore, *, limit: int) -> None:
        self._store = store
        self.limit = limit

    async def state(self) -> QueueState:
        """Raises StorageUnavailable."""
        return await self._store.state(SHOWN_LEASES)

    async def requeue(self, codes: Collection[FailureCode], failed_before: datetime | None) -> tuple[int, bool]:
        """Owe the failed ones a collection again, those with one of the codes or all, of these what failed by then.

        How many were put back, and whether some may be left: no more are than the queue has room for, or
        REQUEUED_AT_ONCE. Raises QueueFull when there is no room, StorageUnavailable.
        """
        state = await self._store.state(leases=0)
        room = self.limit - state.waiting.count - state.retrying.count
        if room <= 0:
            raise QueueFull
        limit = min(room, REQUEUED_AT_ONCE)
        return await self._store.requeue(codes, limit, failed_before)
