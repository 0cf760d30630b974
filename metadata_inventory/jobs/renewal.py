"""Renews the leases of this worker's attempts, and moves their fences."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from msgspec import Struct

from metadata_inventory.jobs.attempt import Attempt, Fence
from metadata_inventory.ports import ClaimStore

logger = logging.getLogger(__name__)

# The share of a lease after which a collection is cancelled; cancelling may take the rest.
FENCE_SHARE = 0.95
# The pause after a renewal that the database did not confirm for every lease; `renew_s` when that is shorter.
RETRY_S = 1.0


class LeaseTimes(Struct, frozen=True, kw_only=True):
    """Seconds. `longest_s` bounds an attempt: after it, its lease is not renewed, and another worker takes the job."""

    lease_s: float
    renew_s: float
    longest_s: float


class Renewal:
    """`attempts` are the attempts under way, by record id; the dispatcher keeps them."""

    def __init__(self, store: ClaimStore, attempts: Mapping[str, Attempt], times: LeaseTimes) -> None:
        self._store = store
        self._attempts = attempts
        self._times = times

    def make_fence(self) -> Fence:
        """The fence for a claim that is sent now."""
        return Fence(self._held_until())

    async def run(self) -> None:
        """Renew every `renew_s` until cancelled."""
        pause_s = self._times.renew_s
        while True:
            await asyncio.sleep(pause_s)
            complete = await self._renew()
            pause_s = self._times.renew_s if complete else min(RETRY_S, self._times.renew_s)

    async def _renew(self) -> bool:
        """Whether the database has answered for every lease."""
        earliest = time.monotonic() - self._times.longest_s
        attempts = [one for one in self._attempts.values() if one.job is not None and one.begun_at > earliest]
        held_until = self._held_until()
        try:
            held = await self._store.renew([attempt.lease for attempt in attempts])
        except Exception:  # the boundary of the task: without renewals, every collection here would be made twice
            logger.exception("leases cannot be renewed")
            return False
        for attempt in attempts:
            still_held = held.get(attempt.lease.token)
            if still_held is not None:
                attempt.fence.move(held_until if still_held else 0)
        return all(attempt.lease.token in held for attempt in attempts)

    def _held_until(self) -> float:
        """The fence for a write that is sent now. The server starts the lease later, so this ends first."""
        return time.monotonic() + FENCE_SHARE * self._times.lease_s
