"""The jobs that wait in the database: looked through whenever there may be room, oldest first, and counted.

A host that has no room is left out of the rest of a look, so that however much of it waits, others are found behind it.
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

# How often the backlog is looked through when nothing tells of work; with the lease this bounds a reclaim.
POLL_S = 1.0
# Between two looks, however much is told of.
PAUSE_S = 0.02
# Read at once, and how many times in one look.
PAGE = 100
PAGES = 20
# A count of what waits is believed for so long, or for so many times what it took.
COUNT_S = 1.0
COUNT_SHARE = 5
# So many may go before what waits for their host; then one of those that wait is taken.
MAX_OVERTAKERS = 8


class Backlog:
    """`take` begins an attempt at a due job, and says whether there was room for it; `has_room` only says that.

    `full`: there is no room for any host.
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
        self._stirred = asyncio.Event()
        self._crowded: set[str] = set()  # hosts of which jobs wait for want of room …
        self._noted: set[str] = set()  # … those among them that were told of since the look under way began
        self._overtakers: Counter[str] = Counter()  # by host, since one of its waiting jobs was taken
        self._looking = False
        self._counting: asyncio.Task[None] | None = None
        self._counted_until = float("-inf")
        self._count = 0
        self._by_host: Counter[str] = Counter()  # of hosts that have many, and of what was put down since the count

    def holds(self, host: str) -> bool:
        """Whether jobs of the host are known to wait: what comes later must not start before them."""
        return host in self._crowded

    def lets_pass(self, host: str) -> bool:
        """Whether one more collection may start before those that wait for its host: MAX_OVERTAKERS in a row may."""
        if self._overtakers[host] >= MAX_OVERTAKERS:
            return False
        self._overtakers[host] += 1
        return True

    def note(self, host: str) -> None:
        """A job of the host was put down because there was no room."""
        self._crowded.add(host)
        self._noted.add(host)

    def room_made(self) -> None:
        """Look through the backlog now, if anything was left there."""
        if self._crowded or self._looking:
            self._stirred.set()

    def due_in(self, delay_s: float) -> None:
        """A job becomes due after `delay_s`; it is looked for then."""
        asyncio.get_running_loop().call_later(delay_s, self._stirred.set)

    async def is_full(self, host: str) -> bool:
        """Whether enough waits already, for one more of the host: it may have as many as there are places left.

        So a host alone gets half of all places, two a third each, and however many have much, one that has nothing
        waiting finds a place. The count is at most a second old, or a few times what it took, and made once for
        all who ask meanwhile.

        Raises StorageUnavailable, to all of them at once.
        """
        if time.monotonic() >= self._counted_until:
            if self._counting is None:
                self._counting = asyncio.create_task(self._recount())
                self._counting.add_done_callback(self._counted)
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
        # Below a quarter of all places no host has more than its share, and what comes until the next count is noted.
        many = await self._store.backlog_by_host(max(1, self._limit // 100)) if 4 * count > self._limit else {}
        self._count, self._by_host = count, Counter(many)
        ended_at = time.monotonic()
        self._counted_until = ended_at + max(COUNT_S, COUNT_SHARE * (ended_at - began_at))

    def _counted(self, counting: asyncio.Task[None]) -> None:
        self._counting = None
        if not counting.cancelled():
            counting.exception()  # retrieved: whoever asked may have gone

    async def watch(self) -> None:
        """Take what waits, and what a lost process left behind, whenever there is room; until cancelled."""
        while True:
            self._stirred.clear()
            self._noted.clear()
            self._looking = True
            try:
                left = await self._look_through()
                # Who came meanwhile and finds room now is looked for at once, and need not hold others back.
                self._crowded = left | {host for host in self._noted if not self._has_room(host)}
                self._overtakers = Counter({host: n for host, n in self._overtakers.items() if host in self._crowded})
                if self._noted - self._crowded:
                    self._stirred.set()
            except StorageUnavailable:
                pass  # the adapter has logged it; the next look is soon enough
            except Exception:
                logger.exception("the backlog cannot be read")
            self._looking = False
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # not wait_for: on 3.11 that can swallow a cancellation
                    await self._stirred.wait()

    async def _look_through(self) -> set[str]:
        """Take what there is room for; the hosts of which something was, or may have been, left."""
        crowded: set[str] = set()
        last: Cursor | None = None
        for _ in range(PAGES):
            if self._full():
                return self._crowded | crowded
            due = await self._store.due(PAGE, after=last, except_hosts=crowded)
            for entry in due.entries:
                url = recall(entry.normalized_url)
                if url.host in crowded:
                    continue
                if self._take(url, entry):
                    del self._overtakers[url.host]
                else:
                    crowded.add(url.host)
            last = due.last
            if last is None:
                break
        return crowded
