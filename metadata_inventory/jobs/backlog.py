"""The jobs in the database that no worker holds: read, oldest first, whenever a lane may have room, and counted.

One pass through them is a look. A host for which its lane has no room is left out of the rest of the look, so that the
jobs of other hosts behind it are found, however many of its jobs wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.model.record import Cursor, Entry
from metadata_inventory.model.urls import NormalizedUrl, recall
from metadata_inventory.ports import ClaimStore

logger = logging.getLogger(__name__)

# The longest pause between two looks; together with the lease it bounds how late a lost worker's job is taken.
POLL_S = 1.0
# The shortest pause between two looks.
PAUSE_S = 0.02
# Jobs read at once, and pages of them in one look.
PAGE = 100
PAGES = 20
# How long a count of the waiting jobs is used: COUNT_S, or COUNT_SHARE times as long as counting took.
COUNT_S = 1.0
COUNT_SHARE = 5
# Collections of a host that may start before its waiting jobs; after them, one of the waiting jobs is taken.
MAX_SKIPS = 8


class Backlog:
    """`take` starts an attempt at a due job and says whether its lane had room; `has_room` only says that.

    `full` says that no lane has room. `limit` bounds the jobs that wait.
    """

    def __init__(
        self,
        store: ClaimStore,
        take: Callable[[NormalizedUrl, Entry], bool],
        has_room: Callable[[str], bool],
        full: Callable[[], bool],
        *,
        limit: int,
    ) -> None:
        self._store = store
        self._take = take
        self._has_room = has_room
        self._full = full
        self._limit = limit
        self._wanted = asyncio.Event()  # set: look again
        self._waiting_hosts: set[str] = set()  # hosts with jobs that wait for room …
        self._new_hosts: set[str] = set()  # … and those of them that were noted since the present look began
        self._skips: Counter[str] = Counter()  # by host, since one of its waiting jobs was taken
        self._looking = False
        self._counting: asyncio.Task[None] | None = None
        self._count_until = float("-inf")
        self._count = 0
        self._by_host: Counter[str] = Counter()  # of hosts with many jobs, and of jobs that were added since the count

    def has_waiting(self, host: str) -> bool:
        """Whether jobs of the host are known to wait for room: later collections must not start before them."""
        return host in self._waiting_hosts

    def allow_skip(self, host: str) -> bool:
        """Whether one more collection may start before the host's waiting jobs: MAX_SKIPS in a row may."""
        if self._skips[host] >= MAX_SKIPS:
            return False
        self._skips[host] += 1
        return True

    def note_waiting(self, host: str) -> None:
        """Note that a job of the host was put into the backlog because its lane had no room."""
        self._waiting_hosts.add(host)
        self._new_hosts.add(host)

    def wake(self) -> None:
        """A lane may have room: look now, if any job is known to wait."""
        if self._waiting_hosts or self._looking:
            self._wanted.set()

    def wake_in(self, delay_s: float) -> None:
        """Look after `delay_s`, when a job becomes due."""
        asyncio.get_running_loop().call_later(delay_s, self._wanted.set)

    async def is_full(self, host: str) -> bool:
        """Whether no further job of the host may wait. A host may have as many jobs waiting as there are places left.

        So one host alone gets half of all places, two get a third each, and a host that has nothing waiting finds a
        place however many the others have. The count is at most COUNT_S old, or a few times as old as counting took;
        one count serves all callers that ask meanwhile, and its StorageUnavailable is raised to all of them.
        """
        if time.monotonic() >= self._count_until:
            if self._counting is None:
                self._counting = asyncio.create_task(self._recount())
                self._counting.add_done_callback(self._end_count)
            await asyncio.shield(self._counting)
        free = self._limit - self._count
        if free <= 0 or self._by_host[host] > free:
            return True
        self._count += 1
        self._by_host[host] += 1
        return False

    async def _recount(self) -> None:
        began_at = time.monotonic()
        count = await self._store.backlog(self._limit)
        # Below a quarter of all places no host has more than its share, and jobs added until the next count are noted.
        many = await self._store.backlog_by_host(max(1, self._limit // 100)) if 4 * count > self._limit else {}
        self._count, self._by_host = count, Counter(many)
        ended_at = time.monotonic()
        self._count_until = ended_at + max(COUNT_S, COUNT_SHARE * (ended_at - began_at))

    def _end_count(self, counting: asyncio.Task[None]) -> None:
        self._counting = None
        if not counting.cancelled():
            counting.exception()  # retrieved here, since every caller may have gone

    async def watch(self) -> None:
        """Take due jobs, and those of lost workers, whenever a lane has room; until cancelled."""
        while True:
            self._wanted.clear()
            self._new_hosts.clear()
            self._looking = True
            try:
                self._conclude_look(await self._look())
            except StorageUnavailable:
                pass  # the store has logged it; the next look comes soon
            except Exception:  # the boundary of the task: without looks, no waiting job is ever taken
                logger.exception("the backlog cannot be read")
            self._looking = False
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # not wait_for: on 3.11 that can swallow a cancellation
                    await self._wanted.wait()

    def _conclude_look(self, left: set[str]) -> None:
        """`left` are the hosts with jobs that were not taken. A host that was noted meanwhile and has room
        does not count as waiting, and the next look begins at once."""
        self._waiting_hosts = left | {host for host in self._new_hosts if not self._has_room(host)}
        self._skips = Counter({host: count for host, count in self._skips.items() if host in self._waiting_hosts})
        if self._new_hosts - self._waiting_hosts:
            self._wanted.set()

    async def _look(self) -> set[str]:
        """Take the jobs that lanes have room for. Returns the hosts with jobs that were, or may have been, left."""
        left: set[str] = set()
        last: Cursor | None = None
        for _ in range(PAGES):
            if self._full():
                return self._waiting_hosts | left
            due = await self._store.due(PAGE, after=last, except_hosts=left)
            for entry in due.entries:
                url = recall(entry.normalized_url)
                if url.host in left:
                    continue
                if self._take(url, entry):
                    del self._skips[url.host]
                else:
                    left.add(url.host)
            last = due.last
            if last is None:
                break
        return left
