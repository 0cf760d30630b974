"""The use cases of operators: see which collections are owed, and requeue failed ones."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from metadata_inventory.errors import QueueFull
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.record import QueueState
from metadata_inventory.ports import QueueStore

# At most so many running jobs are listed.
SHOWN_LEASES = 100
# Requeued by one call, which takes seconds; a further call requeues the next ones.
MAX_REQUEUED = 200


class Queue:
    """`limit` bounds the jobs that wait for a lane with room, or for the time of their next attempt."""

    def __init__(self, store: QueueStore, *, limit: int) -> None:
        self._store = store
        self.limit = limit

    async def state(self) -> QueueState:
        """Raises StorageUnavailable."""
        return await self._store.state(SHOWN_LEASES)

    async def requeue(self, codes: Collection[FailureCode], failed_before: datetime | None) -> tuple[int, bool]:
        """Requeue failed entries: those with one of the codes (none given: with any) that failed before the instant.

        Returns how many were requeued, and whether others may be left: one call requeues no more than may wait, and
        no more than MAX_REQUEUED. Raises QueueFull when no further job may wait, and StorageUnavailable.
        """
        state = await self._store.state(leases=0)
        room = self.limit - state.waiting.count - state.retrying.count
        if room <= 0:
            raise QueueFull
        limit = min(room, MAX_REQUEUED)
        return await self._store.requeue(codes, limit, failed_before)
