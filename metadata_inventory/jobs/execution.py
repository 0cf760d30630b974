"""One attempt, once its claim is held: collect, and store what came of it.

What is stored is decided by the policy: a capture, which ends the job unless it is unfinished; a failure, which is
tried again or ends it. A database that does not answer is offered the outcome again and again; the lease's token makes
that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from metadata_inventory.errors import CollectorUnavailable, StorageUnavailable
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.model.policy import MAX_LOSSES, CollectPolicy, fullness
from metadata_inventory.model.record import Entry, Job, Lease, Retry
from metadata_inventory.ports import ClaimStore, Collector

logger = logging.getLogger(__name__)

# How long an outcome is offered to a database that does not answer. Its lease runs out meanwhile; if nobody else took
# the job the outcome is still accepted afterwards.
OFFER_S = 60.0


@dataclass(slots=True, eq=False)
class Attempt:
    """A claim of this process. `answer` gets the entry as the claim found it; `ended` is set when all is over.

    `unblocked` is set when the attempt has ended, or the database has refused its outcome: callers stop waiting.
    `held_until` (of time.monotonic) is when others may take the job, by our own clock: without a renewal the collection
    is broken off then, so that no two overlap.
    """

    lease: Lease
    answer: asyncio.Future[Entry]
    held_until: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    unblocked: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: Entry | None = None
    task: asyncio.Task[None] | None = None
    begun_at: float = field(default_factory=time.monotonic)
    _fence: asyncio.Timeout | None = None  # while it collects

    @property
    def claimed(self) -> bool:
        """Whether the claim was answered, by whatever."""
        return self.answer.done() and not self.answer.cancelled() and self.answer.exception() is None

    @property
    def held(self) -> bool:
        """Whether the claim was answered, and is ours."""
        if not self.claimed:
            return False
        job = self.answer.result().job
        return job is not None and job.token == self.lease.token

    def hold(self, until: float) -> None:
        """The lease was renewed, or with an instant that is past, lost. What is collected already is offered anyway."""
        self.held_until = until
        if self._fence is not None and not self._fence.expired():
            self._fence.reschedule(self._by_loop(until))

    @asynccontextmanager
    async def fenced(self) -> AsyncIterator[None]:
        """Within, the task is cancelled when the lease runs out; raises TimeoutError then."""
        async with asyncio.timeout_at(self._by_loop(self.held_until)) as self._fence:
            try:
                yield
            finally:
                self._fence = None

    @staticmethod
    def _by_loop(until: float) -> float:
        return asyncio.get_running_loop().time() + until - time.monotonic()


class Execution:
    """Stateless between attempts."""

    def __init__(
        self,
        store: ClaimStore,
        collector: Collector,
        policy: CollectPolicy,
        gate: MemoryGate,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._collector = collector
        self._policy = policy
        self._gate = gate
        self._now = now

    async def run(self, attempt: Attempt, entry: Entry, job: Job) -> Entry | None:
        """The entry as stored; None when the lease was lost, or the database did not answer for too long.

        `entry` and its `job` are as the claim left them.
        """
        lease, unanswered = attempt.lease, attempt.unblocked.set
        about = {"record": lease.url.id, "host": lease.url.host}
        if time.monotonic() >= attempt.held_until:  # the claim was answered too late to begin
            with contextlib.suppress(StorageUnavailable):
                await self._store.release(lease)
            return None
        try:
            async with attempt.fenced():
                outcome = self._give_up(job) or await self._collect(lease, entry)
        except TimeoutError:
            logger.warning("a lease was lost", extra=about)
            return None
        except CollectorUnavailable:  # others may have room, and the attempt is not counted
            with contextlib.suppress(StorageUnavailable):
                await self._store.release(lease)
            return None
        try:
            with self._gate.holding(len(outcome.content) if isinstance(outcome, Capture) else 0):
                return await _offer(lambda: self._settle(lease, outcome, job), unanswered)
        except StorageUnavailable:
            logger.error("an outcome could not be stored", extra=about)
        except Exception:
            logger.exception("an outcome cannot be stored", extra=about)
            failure = self._internal_failure("What the server answered could not be stored.")
            with contextlib.suppress(StorageUnavailable):
                return await _offer(lambda: self._settle(lease, failure, job), unanswered)
        return None

    def _give_up(self, job: Job) -> Failure | None:
        """A job that took worker after worker with it is not tried again: no 202 is a dead end."""
        if job.losses < MAX_LOSSES:
            return None
        return Failure(code=FailureCode.WORKER_LOST, detail="Worker after worker was lost with it.", at=self._now())

    async def _collect(self, lease: Lease, entry: Entry) -> Outcome:
        suspected = entry.failure is not None and entry.failure.failure.code is FailureCode.WORKER_LOST
        order = CollectionOrder(token=lease.token, url=lease.url.href, alone=suspected)
        try:
            return await self._collector.collect(order, lease.url.host)
        except CollectorUnavailable:
            raise
        except Exception:
            logger.exception("the collector failed", extra={"record": lease.url.id, "host": lease.url.host})
            return self._internal_failure("The collector failed.")

    def _internal_failure(self, detail: str) -> Failure:
        return Failure(code=FailureCode.INTERNAL_ERROR, detail=detail, at=self._now())

    async def _settle(self, lease: Lease, outcome: Outcome, job: Job) -> Entry | None:
        attempts = job.attempts + 1
        if isinstance(outcome, Failure):
            delay_s = self._policy.retry_delay_s(outcome.code, attempts, random.random())
            return await self._settle_failure(lease, outcome, attempts, delay_s)
        brought = fullness(outcome)
        if brought is None:
            return await self._store.complete(lease, outcome)
        delay_s = self._policy.capture_retry_delay_s(outcome, attempts, random.random())
        if job.kept is not None and brought < job.kept:
            return await self._settle_failure(lease, _came_short(outcome), attempts, delay_s)
        retry = None if delay_s is None else Retry(delay_ms=round(delay_s * 1000), kept=brought)
        return await self._store.complete(lease, outcome, retry)

    async def _settle_failure(
        self, lease: Lease, failure: Failure, attempts: int, delay_s: float | None
    ) -> Entry | None:
        stored = self._policy.stored_failure(failure, attempts, delay_s)
        if delay_s is None:
            return await self._store.fail(lease, stored)
        return await self._store.postpone(lease, stored, delay_ms=round(delay_s * 1000))


def _came_short(capture: Capture) -> Failure:
    return Failure(
        code=FailureCode.HTTP_RESPONSE_INCOMPLETE,
        detail="Another attempt brought less than an earlier one, which is kept.",
        at=capture.fetched_at,
        exchanges=capture.exchanges,
    )


async def _offer(settle: Callable[[], Awaitable[Entry | None]], unanswered: Callable[[], None]) -> Entry | None:
    deadline = time.monotonic() + OFFER_S
    while True:
        try:
            return await settle()
        except StorageUnavailable:
            unanswered()
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(0.5)
