"""Claims jobs for this worker, runs their attempts, and releases unfinished ones when it stops.

A job is claimed only when a lane has room; otherwise it is put into the backlog. Each attempt is owned by a task here.
A caller that waits for a URL waits for its attempt: it waits on the state of an attempt of this worker, and reads the
store again and again for one of another worker. When a lease is lost, its attempt ends at once: another worker collects
the URL, and this outcome would not be accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from metadata_inventory.errors import InventoryError, QueueFull, StorageUnavailable
from metadata_inventory.jobs.attempt import Attempt, AttemptState
from metadata_inventory.jobs.backlog import Backlog
from metadata_inventory.jobs.execution import Execution
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.jobs.renewal import LeaseTimes, Renewal
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.model.record import ClaimRequest, Entry, Lease
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.ports import ClaimStore, Collector, RecordStore
from metadata_inventory.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

# How long releasing unfinished jobs may take when the worker stops.
RELEASE_S = 2.0
# The first and the longest pause between two looks at another worker's attempt.
FOREIGN_POLL_S = (0.05, 0.5)


class Dispatcher:
    """`owner` names this worker in its leases; `queue_limit` bounds the jobs that wait in the database."""

    def __init__(
        self,
        store: ClaimStore,
        records: RecordStore,
        collector: Collector,
        policy: CollectPolicy,
        gate: MemoryGate,
        *,
        now: Callable[[], datetime],
        owner: str,
        times: LeaseTimes,
        queue_limit: int,
    ) -> None:
        self._store = store
        self._records = records
        self._collector = collector
        self._attempts: dict[str, Attempt] = {}
        self._execution = Execution(store, collector, policy, gate, now=now)
        self._renewal = Renewal(store, self._attempts, times)
        self._backlog = Backlog(store, self._take, self._has_room, collector.full, limit=queue_limit)
        self._now = now
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._unfinished: list[Lease] = []
        self._closing = False

    def start(self) -> None:
        self.spawn(self._renewal.run())
        self._watch = self.spawn(self._backlog.watch())

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, let attempts end within `grace_s`, and cancel the rest."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
        running = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        if running:
            await asyncio.wait(running, timeout=grace_s)
        self._unfinished = [attempt.lease for attempt in self._attempts.values() if attempt.job is not None]
        await cancel_and_wait(self._tasks)

    async def release_unfinished(self) -> None:
        """Release the jobs whose attempts `stop` cancelled; call it once no lane process collects them any more."""
        releases = (self._store.release(lease) for lease in self._unfinished)
        with contextlib.suppress(TimeoutError):  # then the leases run out
            async with asyncio.timeout(RELEASE_S):
                await asyncio.gather(*releases, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background: errors are logged, `stop` ends the task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def begin(
        self,
        url: NormalizedUrl,
        given_url: str,
        *,
        known_settled: str | None,
        run_now: bool = False,
        skip_queue: bool = False,
    ) -> Entry:
        """Store durably that a collection of the URL is owed, start it when a lane has room, and return the entry.

        `known_settled` and `run_now` are those of `ClaimRequest`. With `skip_queue` the collection may start before
        jobs of its host that wait. Raises QueueFull, after which nothing is stored, and StorageUnavailable, after which
        the claim may still take effect.
        """
        while (attempt := self._attempts.get(url.id)) is not None:
            entry = await attempt.wait_for_claim()
            if attempt.job is not None or not run_now:
                return entry
            # That attempt did not get the job; `run_now` also claims one that is not due yet.
            await attempt.wait_for(AttemptState.ENDED)
        lease = self._make_lease(url) if self._may_start(url.host, skip_queue=skip_queue) else None
        request = ClaimRequest(
            url=url,
            given_url=given_url,
            requested_at=self._now(),
            lease=lease,
            known_settled=known_settled,
            run_now=run_now,
        )
        if lease is not None:
            return await self._start(request, lease).wait_for_claim()
        return await self._put_into_backlog(request)

    async def wait_settled(self, url: NormalizedUrl, seen: Entry, timeout_s: float) -> Entry | None:
        """The entry once the attempt that `seen` shows has ended, in any worker; None when the time is over.

        Raises StorageUnavailable, also when the outcome is known and the database does not take it.
        """
        deadline = time.monotonic() + timeout_s
        pause_s, longest_s = FOREIGN_POLL_S
        while True:
            attempt = self._attempts.get(url.id)  # looked for each time: it may begin here meanwhile
            if attempt is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(deadline - time.monotonic()):
                        await attempt.wait_for(AttemptState.UNSTORED)
                if attempt.state is AttemptState.UNSTORED:
                    raise StorageUnavailable
                settled = attempt.settled
                if settled is not None and (settled.capture is not None or settled.revision == 0):
                    return settled  # otherwise the entry has an earlier capture, which is read below
            entry = await self._records.find(url)
            if entry is None or entry.job is None or entry.settled != seen.settled:
                return entry
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or self._closing:
                return None
            await asyncio.sleep(min(pause_s, remaining_s))
            pause_s = min(2 * pause_s, longest_s)

    async def _put_into_backlog(self, request: ClaimRequest) -> Entry:
        url = request.url
        if await self._backlog.is_full(url.host):
            stored = await self._records.find(url)
            if stored is None or stored.job is None:
                raise QueueFull
        entry = await self._store.claim(request)
        self._backlog.note_waiting(url.host)
        if self._has_room(url.host):
            self._backlog.wake()
        return entry

    def _make_lease(self, url: NormalizedUrl) -> Lease:
        return Lease(url, self._owner, uuid.uuid4().hex)

    def _start(self, request: ClaimRequest, lease: Lease) -> Attempt:
        attempt = Attempt(lease, self._renewal.make_fence())
        self._attempts[lease.url.id] = attempt
        attempt.task = self.spawn(self._run(attempt, request))
        return attempt

    async def _run(self, attempt: Attempt, request: ClaimRequest) -> None:
        try:
            entry = await self._claim(attempt, request)
            if entry is not None and attempt.job is not None:
                attempt.settled = await self._execution.run(attempt, entry, attempt.job)
                self._expect_retry(attempt.settled)
        finally:
            del self._attempts[attempt.lease.url.id]
            attempt.reach(AttemptState.ENDED)
            if attempt.claim_answered:
                self._backlog.wake()

    async def _claim(self, attempt: Attempt, request: ClaimRequest) -> Entry | None:
        """The entry as the claim found it; None when the database did not answer."""
        try:
            entry = await self._store.claim(request)
        except BaseException as error:
            attempt.note_claim(error if isinstance(error, Exception) else StorageUnavailable())
            if isinstance(error, InventoryError):
                return None
            raise
        attempt.note_claim(entry)
        return entry

    def _expect_retry(self, entry: Entry | None) -> None:
        if entry is not None and entry.job is not None:
            self._backlog.wake_in(max(0.0, (entry.job.due_at - self._now()).total_seconds()))

    def _has_room(self, host: str) -> bool:
        """Whether a lane has room for the host. Claims under way count too: they are in no lane yet."""
        claiming = [one.lease.url.host for one in self._attempts.values() if one.state is AttemptState.CLAIMING]
        return not self._closing and self._collector.room(host, claiming) > 0

    def _may_start(self, host: str, *, skip_queue: bool) -> bool:
        if not self._has_room(host):
            return False
        return not self._backlog.has_waiting(host) or (skip_queue and self._backlog.allow_skip(host))

    def _take(self, url: NormalizedUrl, entry: Entry) -> bool:
        """Start an attempt at a due job, unless one runs here already; False when no lane has room."""
        if url.id in self._attempts:
            return True
        if not self._has_room(url.host):
            return False
        lease = self._make_lease(url)
        request = ClaimRequest(
            url=url,
            given_url=entry.url,
            requested_at=entry.requested_at,
            lease=lease,
            known_settled=entry.settled,
        )
        self._start(request, lease)
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a background task failed", exc_info=task.exception())
