"""Miss → claim → lane → outcome → store. Holds the leases of this process, renews them, and takes up work that is due.

An attempt is one claim and what comes of it; it is owned by a task here. Whoever waits for a URL waits for its
attempt: in this process on a future, else by reading the store. A lease that was lost ends its attempt at once, since
somebody else is collecting; what it brought would change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from metadata_inventory.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome
from metadata_inventory.errors import InventoryError, QueueFull, StorageUnavailable
from metadata_inventory.policy import CollectPolicy
from metadata_inventory.ports import ClaimStore, Collector, RecordStore
from metadata_inventory.record import ClaimRequest, Entry, Lease
from metadata_inventory.urls import NormalizedUrl, normalize

logger = logging.getLogger(__name__)

# How often the backlog is looked through when nothing tells of work; with the lease this bounds a reclaim.
POLL_S = 1.0
# How long an outcome is offered to a database that does not answer. Its lease runs out meanwhile; if nobody else took
# the job the outcome is still accepted afterwards.
OFFER_S = 60.0
# Somebody else's attempt is looked for this often.
FOREIGN_POLL_S = (0.05, 0.5)


@dataclass(slots=True, eq=False)
class Attempt:
    """A claim of this process. `answer` gets the entry as the claim found it; `ended` is set when all is over."""

    lease: Lease
    answer: asyncio.Future[Entry]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: Entry | None = None
    task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether the claim was answered, and is ours."""
        if not self.answer.done() or self.answer.cancelled() or self.answer.exception() is not None:
            return False
        job = self.answer.result().job
        return job is not None and job.token == self.lease.token


class Dispatcher:
    def __init__(
        self,
        store: ClaimStore,
        records: RecordStore,
        collector: Collector,
        policy: CollectPolicy,
        *,
        now: Callable[[], datetime],
        owner: str,
        renew_s: float,
        queue_limit: int,
    ) -> None:
        self._store = store
        self._records = records
        self._collector = collector
        self._policy = policy
        self._now = now
        self._owner = owner
        self._renew_s = renew_s
        self._queue_limit = queue_limit
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._work_due = asyncio.Event()
        self._backlog_read_at = float("-inf")
        self._backlog = 0

    def start(self) -> None:
        self.spawn(self._renew_leases())
        self.spawn(self._take_due_jobs())

    async def close(self, grace_s: float) -> None:
        """Let what is under way end within `grace_s`, and give the rest back."""
        under_way = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=grace_s)
        left = [attempt.lease for attempt in self._attempts.values() if attempt.held]
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lease in left:
            with contextlib.suppress(StorageUnavailable):  # then it runs out
                await self._store.postpone(lease, None, delay_ms=0)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background, owned here: its errors are logged, `close` ends it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def begin(
        self, url: NormalizedUrl, given_url: str, *, known_settled: str | None, hasten: bool = False
    ) -> Entry:
        """Owe the URL's collection durably, start it when there is room, and say who has the job now.

        `known_settled` and `hasten` as in `ClaimRequest`. Raises QueueFull, with nothing left behind, and
        StorageUnavailable, after which the claim may still land.
        """
        under_way = self._attempts.get(url.id)
        if under_way is not None:
            return await asyncio.shield(under_way.answer)
        request = ClaimRequest(
            url=url,
            given_url=given_url,
            requested_at=self._now(),
            lease=Lease(url, self._owner, uuid.uuid4().hex) if self._has_room(url.host) else None,
            known_settled=known_settled,
            hasten=hasten,
        )
        if request.lease is not None:
            return await asyncio.shield(self._attempt(request, request.lease).answer)
        await self._check_backlog()
        return await self._store.claim(request)

    async def settled(self, url: NormalizedUrl, seen: Entry, timeout_s: float) -> Entry | None:
        """The entry once the attempt that `seen` shows has ended, whoever makes it; None when the time is over."""
        deadline = time.monotonic() + timeout_s
        attempt = self._attempts.get(url.id)
        if attempt is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(attempt.ended.wait(), timeout_s)
            if attempt.accepted is not None and attempt.accepted.capture is not None:
                return attempt.accepted
        pause_s, longest_s = FOREIGN_POLL_S
        while True:
            entry = await self._records.find(url)
            if entry is None or entry.job is None or entry.settled != seen.settled:
                return entry
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            await asyncio.sleep(min(pause_s, remaining_s))
            pause_s = min(2 * pause_s, longest_s)

    # One attempt

    def _attempt(self, request: ClaimRequest, lease: Lease) -> Attempt:
        attempt = Attempt(lease, asyncio.get_running_loop().create_future())
        self._attempts[lease.url.id] = attempt
        attempt.task = self.spawn(self._run(attempt, request))
        return attempt

    async def _run(self, attempt: Attempt, request: ClaimRequest) -> None:
        lease = attempt.lease
        try:
            try:
                entry = await self._store.claim(request)
            except BaseException as error:
                attempt.answer.set_exception(error if isinstance(error, Exception) else StorageUnavailable())
                attempt.answer.exception()  # retrieved: a claim of the backlog has nobody who waits for it
                if isinstance(error, InventoryError):
                    return
                raise
            attempt.answer.set_result(entry)
            if attempt.held and entry.job is not None:
                attempt.accepted = await self._collect_and_store(lease, entry.job.attempts)
        finally:
            del self._attempts[lease.url.id]
            attempt.ended.set()
            self._work_due.set()  # there is room again

    async def _collect_and_store(self, lease: Lease, attempts: int) -> Entry | None:
        order = CollectionOrder(token=lease.token, url=lease.url.href)
        try:
            outcome = await self._collector.collect(order, lease.url.host)
        except Exception:
            logger.exception("the collector failed", extra={"record": lease.url.id, "host": lease.url.host})
            outcome = self._internal_failure("The collector failed.")
        try:
            return await self._offer(lease, outcome, attempts)
        except StorageUnavailable:
            logger.error("an outcome could not be stored", extra={"record": lease.url.id, "host": lease.url.host})
        except Exception:
            logger.exception("an outcome cannot be stored", extra={"record": lease.url.id, "host": lease.url.host})
            failure = self._internal_failure("What the server answered could not be stored.")
            with contextlib.suppress(StorageUnavailable):
                return await self._offer(lease, failure, attempts)
        return None

    async def _offer(self, lease: Lease, outcome: Outcome, attempts: int) -> Entry | None:
        """Store the outcome, again and again while the database does not answer; the token makes that harmless."""
        deadline = time.monotonic() + OFFER_S
        while True:
            try:
                return await self._store_outcome(lease, outcome, attempts)
            except StorageUnavailable:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(0.5)

    async def _store_outcome(self, lease: Lease, outcome: Outcome, attempts: int) -> Entry | None:
        if isinstance(outcome, Capture):
            return await self._store.complete(lease, outcome)
        attempts += 1
        delay_s = self._policy.retry_delay_s(outcome.code, attempts, random.random())
        failure = self._policy.stored_failure(outcome, attempts, delay_s)
        if delay_s is None:
            return await self._store.fail(lease, failure)
        asyncio.get_running_loop().call_later(delay_s, self._work_due.set)
        return await self._store.postpone(lease, failure, delay_ms=round(delay_s * 1000))

    def _internal_failure(self, detail: str) -> Failure:
        return Failure(code=FailureCode.INTERNAL_ERROR, detail=detail, at=self._now())

    # Room and backlog

    def _has_room(self, host: str) -> bool:
        """Claims that are on their way to the database count as well: they are not in a lane yet."""
        claiming = sum(1 for attempt in self._attempts.values() if not attempt.answer.done())
        return self._collector.room(host) > claiming

    async def _check_backlog(self) -> None:
        """Raise QueueFull when enough waits already; the count is at most a second old."""
        if time.monotonic() - self._backlog_read_at > 1.0:
            self._backlog = await self._store.backlog(self._queue_limit)
            self._backlog_read_at = time.monotonic()
        if self._backlog >= self._queue_limit:
            raise QueueFull
        self._backlog += 1

    async def _take_due_jobs(self) -> None:
        """Take what waits, and what a lost process left behind, whenever there is room."""
        while True:
            self._work_due.clear()
            try:
                for entry in await self._store.due(limit=100):
                    self._take(entry)
            except StorageUnavailable:
                pass  # the adapter has logged it; the next look is soon enough
            except Exception:
                logger.exception("the backlog cannot be read")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work_due.wait(), POLL_S)

    def _take(self, entry: Entry) -> None:
        url = normalize(entry.normalized_url)
        if url.id in self._attempts or not self._has_room(url.host):
            return
        lease = Lease(url, self._owner, uuid.uuid4().hex)
        request = ClaimRequest(
            url=url,
            given_url=entry.url,
            requested_at=entry.requested_at,
            lease=lease,
            known_settled=entry.settled,
        )
        self._attempt(request, lease)

    # Leases

    async def _renew_leases(self) -> None:
        pause_s = self._renew_s
        while True:
            await asyncio.sleep(pause_s)
            attempts = [attempt for attempt in self._attempts.values() if attempt.held]
            pause_s = self._renew_s
            try:
                still_held = await self._store.renew([attempt.lease for attempt in attempts]) if attempts else set()
            except StorageUnavailable:
                pause_s = min(1.0, self._renew_s)
                continue
            for attempt in attempts:
                if attempt.lease.token not in still_held and not attempt.ended.is_set() and attempt.task is not None:
                    logger.warning("a lease was lost", extra={"record": attempt.lease.url.id})
                    attempt.task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a background task failed", exc_info=task.exception())
