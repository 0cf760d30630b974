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
from collections.abc import Awaitable, Callable
from datetime import datetime

from metadata_inventory.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.policy import MAX_LOSSES, CollectPolicy, fullness
from metadata_inventory.ports import ClaimStore, Collector
from metadata_inventory.record import Entry, Job, Lease, Retry

logger = logging.getLogger(__name__)

# How long an outcome is offered to a database that does not answer. Its lease runs out meanwhile; if nobody else took
# the job the outcome is still accepted afterwards.
OFFER_S = 60.0


class Execution:
    """Stateless between attempts."""

    def __init__(
        self, store: ClaimStore, collector: Collector, policy: CollectPolicy, *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._collector = collector
        self._policy = policy
        self._now = now

    async def run(self, lease: Lease, entry: Entry, job: Job, unanswered: Callable[[], None]) -> Entry | None:
        """The entry as stored; None when the lease was lost, or the database did not answer for too long.

        `entry` and its `job` are as the claim left them. `unanswered` is called when the database does not answer the
        first time: it is tried again, but whoever waits need not.
        """
        about = {"record": lease.url.id, "host": lease.url.host}
        outcome = self._give_up(job) or await self._collect(lease, entry)
        try:
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
        except Exception:
            logger.exception("the collector failed", extra={"record": lease.url.id, "host": lease.url.host})
            return self._internal_failure("The collector failed.")

    def _internal_failure(self, detail: str) -> Failure:
        return Failure(code=FailureCode.INTERNAL_ERROR, detail=detail, at=self._now())

    async def _settle(self, lease: Lease, outcome: Outcome, job: Job) -> Entry | None:
        if isinstance(outcome, Failure):
            return await self._settle_failure(lease, outcome, job)
        brought = fullness(outcome)
        if brought is not None and job.kept is not None and brought < job.kept:
            return await self._settle_failure(lease, _came_short(outcome), job)
        return await self._store.complete(lease, outcome, self._retry(outcome, brought, job))

    def _retry(self, capture: Capture, brought: int | None, job: Job) -> Retry | None:
        if brought is None:
            return None
        delay_s = self._policy.capture_retry_delay_s(capture, job.attempts + 1, random.random())
        return None if delay_s is None else Retry(delay_ms=round(delay_s * 1000), kept=brought)

    async def _settle_failure(self, lease: Lease, failure: Failure, job: Job) -> Entry | None:
        attempts = job.attempts + 1
        delay_s = self._policy.retry_delay_s(failure.code, attempts, random.random())
        stored = self._policy.stored_failure(failure, attempts, delay_s)
        if delay_s is None:
            return await self._store.fail(lease, stored)
        return await self._store.postpone(lease, stored, delay_ms=round(delay_s * 1000))


def _came_short(capture: Capture) -> Failure:
    return Failure(
        code=FailureCode.HTTP_RESPONSE_INCOMPLETE,
        detail="Another attempt brought less than the one before it, which is kept.",
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
