"""The state of one attempt: one claim of this worker, and everything until its outcome is settled or its lease is lost.

A state is followed only by a later one. Callers wait until an attempt has reached a state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

from metadata_inventory.model.record import Entry, Job, Lease


class AttemptState(IntEnum):
    CLAIMING = 1  # the claim is on its way; it is not known yet who holds the job
    COLLECTING = 2  # the job is held, and its collection runs
    SETTLING = 3  # the outcome is on its way to the database
    UNSTORED = 4  # the database has refused the outcome or not answered; the outcome is offered again
    ENDED = 5  # nothing of it runs any more


class Fence:
    """Cancels a collection when its lease runs out by this process's clock, so that no two collections overlap."""

    def __init__(self, until: float) -> None:
        """`until` is an instant of `time.monotonic`, as everywhere here."""
        self._until = until
        self._timeout: asyncio.Timeout | None = None

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._until

    def move(self, until: float) -> None:
        """Call it with a later instant when the lease was renewed, and with a past one when it was lost."""
        self._until = until
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(self._by_loop())

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Cancel the block when the fence is reached, and raise TimeoutError."""
        async with asyncio.timeout_at(self._by_loop()) as self._timeout:
            try:
                yield
            finally:
                self._timeout = None

    def _by_loop(self) -> float:
        return asyncio.get_running_loop().time() + self._until - time.monotonic()


class Attempt:
    """An attempt, run by a task of the dispatcher. `settled` is the entry as stored, once the outcome is accepted."""

    def __init__(self, lease: Lease, fence: Fence) -> None:
        self.lease = lease
        self.fence = fence
        self.state = AttemptState.CLAIMING
        self.begun_at = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.settled: Entry | None = None
        self._claimed: Entry | Exception | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def job(self) -> Job | None:
        """The job as the claim left it, when this attempt holds it; else, and until the claim was carried out, None."""
        if not isinstance(self._claimed, Entry) or self._claimed.job is None:
            return None
        return self._claimed.job if self._claimed.job.token == self.lease.token else None

    @property
    def claim_answered(self) -> bool:
        """Whether the database has answered the claim, whoever holds the job."""
        return isinstance(self._claimed, Entry)

    def note_claim(self, claimed: Entry | Exception) -> None:
        """The entry as the claim found it, or the error that the claim ended with."""
        self._claimed = claimed
        self.reach(AttemptState.ENDED if self.job is None else AttemptState.COLLECTING)

    def reach(self, state: AttemptState) -> None:
        """Enter a later state and wake the callers that wait. Does nothing when the state was reached before."""
        if state <= self.state:
            return
        self.state = state
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, state: AttemptState) -> None:
        """Return once this state, or a later one, is reached."""
        while self.state < state:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def wait_for_claim(self) -> Entry:
        """The entry as the claim found it; raises the claim's error."""
        await self.wait_for(AttemptState.COLLECTING)
        if isinstance(self._claimed, Entry):
            return self._claimed
        raise self._claimed or RuntimeError("an attempt ended without its claim")
