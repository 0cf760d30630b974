"""Who collects what in this process: claims jobs when there is room for them, renews their leases, lets go of them.

An attempt is one claim and what comes of it; it is owned by a task here. Whoever waits for a URL waits for its
attempt: in this process on a future, else by reading the store. A lease that was lost ends its attempt at once, since
somebody else is collecting; what it brought would change nothing.
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
from metadata_inventory.jobs.backlog import Backlog
from metadata_inventory.jobs.execution import Attempt, Execution
from metadata_inventory.jobs.memory_gate import MemoryGate
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.model.record import ClaimRequest, Entry, Lease
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.ports import ClaimStore, Collector, RecordStore
from metadata_inventory.tasks import break_off

logger = logging.getLogger(__name__)

# How long giving back what is left may take in the end.
HAND_BACK_S = 2.0
# A collection is broken off after this part of its lease; what is left is for the breaking off.
FENCE = 0.95
# Somebody else's attempt is looked for this often.
FOREIGN_POLL_S = (0.05, 0.5)


class Dispatcher:
    """`longest_s` bounds an attempt, whatever holds it up: its lease is not renewed after that, and others take it."""

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
        lease_s: float,
        renew_s: float,
        longest_s: float,
        queue_limit: int,
    ) -> None:
        self._store = store
        self._records = records
        self._collector = collector
        self._execution = Execution(store, collector, policy, gate, now=now)
        self._backlog = Backlog(store, self._take, self._has_room, collector.full, limit=queue_limit)
        self._now = now
        self._owner = owner
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._longest_s = longest_s
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._left: list[Lease] = []
        self._closing = False

    def start(self) -> None:
        self.spawn(self._renew_leases())
        self._watching = self.spawn(self._backlog.watch())

    async def stop(self, grace_s: float) -> None:
        """Take no more work, let what is under way end within `grace_s`, and break the rest off."""
        self._closing = True
        if self._watching is not None:
            self._watching.cancel()
        under_way = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=grace_s)
        self._left = [attempt.lease for attempt in self._attempts.values() if attempt.held]
        await break_off(self._tasks)

    async def give_back(self) -> None:
        """Let others take what was broken off; to be called when nothing here collects it any more."""
        given_back = (self._store.release(lease) for lease in self._left)
        with contextlib.suppress(TimeoutError):  # then the leases run out
            async with asyncio.timeout(HAND_BACK_S):
                await asyncio.gather(*given_back, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background, owned here: its errors are logged, `stop` ends it."""
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
        """Owe the URL's collection durably, start it when there is room, and say who has the job now.

        `known_settled` and `run_now` as in `ClaimRequest`; with `skip_queue` it goes before what waits for its host.
        Raises QueueFull, with nothing left behind, and StorageUnavailable, after which the claim may still land.
        """
        while (under_way := self._attempts.get(url.id)) is not None:
            entry = await asyncio.shield(under_way.answer)
            if under_way.held or not run_now:
                return entry
            await under_way.ended.wait()  # it took nothing, and asked for less than we do
        lease = Lease(url, self._owner, uuid.uuid4().hex) if self._may_start(url.host, skip_queue=skip_queue) else None
        request = ClaimRequest(
            url=url,
            given_url=given_url,
            requested_at=self._now(),
            lease=lease,
            known_settled=known_settled,
            run_now=run_now,
        )
        if lease is not None:
            return await asyncio.shield(self._attempt(request, lease).answer)
        if await self._backlog.is_full(url.host):
            waiting = await self._records.find(url)
            if waiting is None or waiting.job is None:
                raise QueueFull
        entry = await self._store.claim(request)
        self._backlog.note(url.host)
        if self._has_room(url.host):
            self._backlog.room_made()
        return entry

    async def settled(self, url: NormalizedUrl, seen: Entry, timeout_s: float) -> Entry | None:
        """The entry once the attempt that `seen` shows has ended, whoever makes it; None when the time is over.

        Raises StorageUnavailable, also when an outcome is there and the database does not take it.
        """
        deadline = time.monotonic() + timeout_s
        pause_s, longest_s = FOREIGN_POLL_S
        while True:
            attempt = self._attempts.get(url.id)  # it may begin here while we look elsewhere
            if attempt is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(deadline - time.monotonic()):
                        await attempt.unblocked.wait()
                if attempt.unblocked.is_set() and not attempt.ended.is_set():
                    raise StorageUnavailable
                accepted = attempt.accepted
                if accepted is not None and (accepted.capture is not None or accepted.revision == 0):
                    return accepted  # else a capture of earlier belongs to it, which is read below
            entry = await self._records.find(url)
            if entry is None or entry.job is None or entry.settled != seen.settled:
                return entry
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or self._closing:
                return None
            await asyncio.sleep(min(pause_s, remaining_s))
            pause_s = min(2 * pause_s, longest_s)

    # One attempt

    def _attempt(self, request: ClaimRequest, lease: Lease) -> Attempt:
        attempt = Attempt(lease, asyncio.get_running_loop().create_future(), self._held_until())
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
                attempt.accepted = await self._execution.run(attempt, entry, entry.job)
                self._expect_retry(attempt.accepted)
        finally:
            del self._attempts[lease.url.id]
            attempt.ended.set()
            attempt.unblocked.set()
            if attempt.claimed:
                self._backlog.room_made()

    def _expect_retry(self, entry: Entry | None) -> None:
        if entry is not None and entry.job is not None:
            self._backlog.due_in(max(0.0, (entry.job.due_at - self._now()).total_seconds()))

    def _has_room(self, host: str) -> bool:
        """Claims that are on their way to the database count as well: they are not in a lane yet."""
        ahead = [attempt.lease.url.host for attempt in self._attempts.values() if not attempt.answer.done()]
        return not self._closing and self._collector.room(host, ahead) > 0

    def _may_start(self, host: str, *, skip_queue: bool) -> bool:
        if not self._has_room(host):
            return False
        return not self._backlog.holds(host) or (skip_queue and self._backlog.lets_pass(host))

    def _take(self, url: NormalizedUrl, entry: Entry) -> bool:
        """Begin an attempt at a due job, unless it is under way here; False when there is no room."""
        if url.id in self._attempts:
            return True
        if not self._has_room(url.host):
            return False
        lease = Lease(url, self._owner, uuid.uuid4().hex)
        request = ClaimRequest(
            url=url,
            given_url=entry.url,
            requested_at=entry.requested_at,
            lease=lease,
            known_settled=entry.settled,
        )
        self._attempt(request, lease)
        return True

    # Leases

    async def _renew_leases(self) -> None:
        pause_s = self._renew_s
        while True:
            await asyncio.sleep(pause_s)
            oldest = time.monotonic() - self._longest_s
            attempts = [one for one in self._attempts.values() if one.held and one.begun_at > oldest]
            pause_s = self._renew_s
            held_until = self._held_until()
            try:
                held = await self._store.renew([attempt.lease for attempt in attempts])
            except Exception:  # an edge: without renewals everything here would be collected twice
                logger.exception("leases cannot be renewed")
                held = {}
            for attempt in attempts:
                still_held = held.get(attempt.lease.token)
                if still_held is None:
                    pause_s = min(1.0, self._renew_s)
                else:
                    attempt.hold(held_until if still_held else 0)

    def _held_until(self) -> float:
        """For a claim or renewal that is sent now: the server's clock starts later, so ours runs out before its."""
        return time.monotonic() + FENCE * self._lease_s

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a background task failed", exc_info=task.exception())
