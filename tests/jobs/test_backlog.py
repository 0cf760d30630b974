"""The backlog alone, on the real store, with a `take` that a test holds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.jobs.backlog import MAX_SKIPS, PAGE, Backlog
from metadata_inventory.model.record import Cursor, DueJobs, Entry
from metadata_inventory.model.urls import NormalizedUrl, normalize
from metadata_inventory.storage.mongo import MongoStore
from metadata_inventory.tasks import cancel_and_wait
from tests.support.builders import a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.waiting import wait_until_async

POLICY = a_policy()


class CountingStore(MongoStore):
    """Counts what it is asked for."""

    pages = 0
    counts = 0

    async def due(self, limit: int, *, after: Cursor | None = None, except_hosts: Collection[str] = ()) -> DueJobs:
        self.pages += 1
        return await super().due(limit, after=after, except_hosts=except_hosts)

    async def backlog(self, limit: int) -> int:
        self.counts += 1
        return await super().backlog(limit)


class Room:
    """Room for `places` more, of whatever host. Keeps what was taken."""

    def __init__(self, places: float = math.inf) -> None:
        self.taken: list[str] = []
        self.places = places
        self.asked = 0

    def take(self, url: NormalizedUrl, entry: Entry) -> bool:
        if self.places < 1:
            return False
        self.places -= 1
        self.taken.append(url.href)
        return True

    def has_room(self, host: str) -> bool:
        return self.places > 0

    def full(self) -> bool:
        self.asked += 1
        return self.places < 1


@asynccontextmanager
async def watching(store: MongoStore, room: Room, limit: int = 1) -> AsyncIterator[Backlog]:
    store.start()
    backlog = Backlog(store, room.take, room.has_room, room.full, limit=limit)
    task = asyncio.create_task(backlog.watch())
    try:
        yield backlog
    finally:
        await cancel_and_wait([task])
        await store.close()


@pytest.mark.gen_test
async def test_nothing_is_looked_through_while_there_is_no_room_for_any_host(
    mongo_uri: str, database_name: str
) -> None:
    store, room, url = CountingStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), Room(0), a_url()
    async with watching(store, room) as backlog:
        await store.claim(a_claim(url))
        backlog.note_waiting(url.host)
        for asked in (2, 3, 4):
            backlog.wake()
            await wait_until_async(lambda asked=asked: room.asked >= asked, 10)
        assert store.pages == 0
        assert backlog.has_waiting(url.host)
        room.places = math.inf
        backlog.wake()
        await wait_until_async(lambda: room.taken, 10)
        await wait_until_async(lambda: not backlog.has_waiting(url.host), 10)


@pytest.mark.gen_test
async def test_what_cannot_be_read_hides_nothing_behind_it(mongo_uri: str, database_name: str) -> None:
    store, room, url = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), Room(0), a_url()
    async with watching(store, room) as backlog:
        await asyncio.gather(*(store.claim(a_claim(a_url())) for _ in range(PAGE)))
        await store._records.update_many({}, {"$set": {"status": "of a later version"}})
        await store._records.update_one({}, {"$set": {"status": "pending", "normalized_url": "no URL"}})
        await store.claim(a_claim(url))
        room.places = math.inf
        backlog.note_waiting(url.host)
        backlog.wake()
        await wait_until_async(lambda: room.taken == [url.href], 10)


@pytest.mark.gen_test
async def test_a_few_collections_only_start_before_what_waits_for_a_host(mongo_uri: str, database_name: str) -> None:
    """Once one of those that wait is taken, a few more may."""
    store, room, url = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), Room(0), a_url()
    async with watching(store, room) as backlog:
        for waiting in (url, normalize(url.href + "behind")):
            await store.claim(a_claim(waiting))
            backlog.note_waiting(waiting.host)
        assert [backlog.allow_skip(url.host) for _ in range(MAX_SKIPS + 2)] == [True] * MAX_SKIPS + [False] * 2
        assert backlog.allow_skip(a_url().host), "each host for itself"
        room.places = 1
        backlog.wake()
        await wait_until_async(lambda: room.taken, 10)
        assert backlog.has_waiting(url.host)
        assert backlog.allow_skip(url.host)


@pytest.mark.gen_test
async def test_who_asks_while_the_database_is_away_is_told_after_one_wait(database_name: str) -> None:
    store = CountingStore("mongodb://127.0.0.1:1", database_name, timeout_s=0.5, lease_ms=15_000)
    async with watching(store, Room()) as backlog:
        answers = await asyncio.gather(*(backlog.is_full("example.com") for _ in range(20)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StorageUnavailable] * 20
        assert store.counts == 1


@pytest.mark.gen_test
async def test_what_is_put_down_since_the_count_counts(mongo_uri: str, database_name: str) -> None:
    store = CountingStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000)
    async with watching(store, Room()) as backlog:
        assert await asyncio.gather(*(backlog.is_full("example.com") for _ in range(3))) == [False, True, True]
        assert store.counts == 1


@pytest.mark.gen_test
async def test_a_host_has_as_many_waiting_as_there_are_places_left(mongo_uri: str, database_name: str) -> None:
    """Those waiting for their retry count as well; with 200 places one host gets about 100, the next one about 50."""
    store = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000)
    crowd = [normalize(f"https://crowd.example/{number}") for number in range(90)]
    lease = a_lease(crowd[0])
    async with watching(store, Room(), limit=200) as backlog:
        await store.claim(a_claim(crowd[0], lease))
        await store.postpone(lease, POLICY.stored_failure(a_failure(), 1, 60), delay_ms=60_000)
        await asyncio.gather(*(store.claim(a_claim(url)) for url in crowd[1:]))
        answers = [await backlog.is_full("crowd.example") for _ in range(30)]
        assert answers == [False] * 11 + [True] * 19
        answers = [await backlog.is_full("other.example") for _ in range(60)]
        assert answers == [False] * 50 + [True] * 10
        assert [await backlog.is_full(f"{number}.example") for number in range(50)] == [False] * 49 + [True]
