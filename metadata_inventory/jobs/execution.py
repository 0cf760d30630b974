"""Runs one attempt whose claim is held: collects, and settles the outcome.

The policy decides what is stored. A capture ends the job, unless it is unfinished; a failure ends the job or gives it a
time for its next attempt. While the database does not answer, the outcome is offered again: writes under the same
fencing token change nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

from metadata_inventory.errors import CollectorUnavailable, StorageUnavailable
from metadata_inventory.jobs.attempt import Attempt, AttemptState
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.model.policy import MAX_LOSSES, CollectPolicy, fullness
from metadata_inventory.model.record import Entry, Job, Lease, Retry
from metadata_inventory.ports import ClaimStore, Collector

logger = logging.getLogger(__name__)

# How long an outcome is offered to a database that does not answer. The lease runs out meanwhile; the outcome is still
# accepted afterwards, unless another worker has claimed the job.
OFFER_S = 60.0
OFFER_PAUSE_S = 0.5


class Execution:
    """Keeps nothing between attempts."""

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
        """The entry as stored; None when the lease was lost, or the database did not answer for OFFER_S.

        `entry` and its `job` are as the claim left them.
        """
        if attempt.fence.passed:  # the claim was answered too late to begin
            await self._release(attempt.lease)
            return None
        try:
            async with attempt.fence.guard():
                outcome = self._give_up(job) or await self._collect(attempt.lease, entry)
        except TimeoutError:
            logger.warning("a lease was lost", extra=_identify(attempt.lease))
            return None
        except CollectorUnavailable:  # another worker may have room; the attempt is not counted
            await self._release(attempt.lease)
            return None
        attempt.reach(AttemptState.SETTLING)
        with self._gate.holding(_weigh(outcome)):
            return await self._offer_or_fail(attempt, outcome, job)

    def _give_up(self, job: Job) -> Failure | None:
        """A failure for a job whose worker was lost MAX_LOSSES times: it would otherwise stay pending for ever."""
        if job.losses < MAX_LOSSES:
            return None
        return Failure(
            code=FailureCode.WORKER_LOST,
            detail=f"The process that collected this URL was lost {job.losses} times.",
            at=self._now(),
        )

    async def _collect(self, lease: Lease, entry: Entry) -> Outcome:
        suspected = entry.failure is not None and entry.failure.failure.code is FailureCode.WORKER_LOST
        order = CollectionOrder(token=lease.token, url=lease.url.href, alone=suspected)
        try:
            return await self._collector.collect(order, lease.url.host)
        except CollectorUnavailable:
            raise
        except Exception:  # the boundary of the attempt: the job must end, and no 202 stay unanswered
            logger.exception("the collector failed", extra=_identify(lease))
            return self._internal_failure("The collector failed.")

    async def _release(self, lease: Lease) -> None:
        with contextlib.suppress(StorageUnavailable):  # then the lease runs out
            await self._store.release(lease)

    async def _offer_or_fail(self, attempt: Attempt, outcome: Outcome, job: Job) -> Entry | None:
        """Settle the outcome; one that the database cannot take is settled as `internal_error`."""
        try:
            return await self._offer(attempt, outcome, job)
        except StorageUnavailable:
            logger.error("an outcome could not be stored", extra=_identify(attempt.lease))
        except Exception:  # a document too large, or values that BSON refuses: offering it again would not help
            logger.exception("an outcome cannot be stored", extra=_identify(attempt.lease))
            failure = self._internal_failure("The server's response could not be stored.")
            with contextlib.suppress(StorageUnavailable):
                return await self._offer(attempt, failure, job)
        return None

    async def _offer(self, attempt: Attempt, outcome: Outcome, job: Job) -> Entry | None:
        """Settle, again and again for OFFER_S while the database does not answer; raises StorageUnavailable then."""
        deadline = time.monotonic() + OFFER_S
        while True:
            try:
                return await self._settle(attempt.lease, outcome, job)
            except StorageUnavailable:
                attempt.reach(AttemptState.UNSTORED)
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(OFFER_PAUSE_S)

    def _internal_failure(self, detail: str) -> Failure:
        return Failure(code=FailureCode.INTERNAL_ERROR, detail=detail, at=self._now())

    async def _settle(self, lease: Lease, outcome: Outcome, job: Job) -> Entry | None:
        match outcome:
            case Failure():
                attempts = job.attempts + 1
                delay_s = self._policy.retry_delay_s(outcome.code, attempts, random.random())
                return await self._settle_failure(lease, outcome, attempts, delay_s)
            case Capture():
                return await self._settle_capture(lease, outcome, job)
            case _:
                assert_never(outcome)

    async def _settle_capture(self, lease: Lease, capture: Capture, job: Job) -> Entry | None:
        attempts = job.attempts + 1
        brought = fullness(capture)
        if brought is None:
            return await self._store.complete(lease, capture)
        delay_s = self._policy.capture_retry_delay_s(capture, attempts, random.random())
        if job.kept is not None and brought < job.kept:
            return await self._settle_failure(lease, _came_short(capture), attempts, delay_s)
        retry = None if delay_s is None else Retry(delay_ms=round(delay_s * 1000), kept=brought)
        return await self._store.complete(lease, capture, retry)

    async def _settle_failure(
        self, lease: Lease, failure: Failure, attempts: int, delay_s: float | None
    ) -> Entry | None:
        stored = self._policy.stored_failure(failure, attempts, delay_s)
        if delay_s is None:
            return await self._store.fail(lease, stored)
        return await self._store.postpone(lease, stored, delay_ms=round(delay_s * 1000))


def _weigh(outcome: Outcome) -> int:
    """Bytes that count at the memory gate: the body's."""
    match outcome:
        case Capture():
            return len(outcome.content)
        case Failure():
            return 0
        case _:
            assert_never(outcome)


def _came_short(capture: Capture) -> Failure:
    return Failure(
        code=FailureCode.HTTP_RESPONSE_INCOMPLETE,
        detail="This attempt brought less of the body than an earlier one, which is kept.",
        at=capture.fetched_at,
        exchanges=capture.exchanges,
    )


def _identify(lease: Lease) -> dict[str, str]:
    """The fields by which a log line identifies a job."""
    return {"record": lease.url.id, "host": lease.url.host}
