"""What comes of an attempt whose claim or lease goes wrong, and of the jobs that wait for its room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.jobs import backlog
from metadata_inventory.model.record import Entry, Job, Lease
from metadata_inventory.model.urls import NormalizedUrl, normalize
from metadata_inventory.storage.mongo import MongoStore
from tests.jobs.dispatching import HeldCollector, dispatching
from tests.support.builders import a_capture, a_claim, a_failure, a_lease, a_url
from tests.support.failpoints import block_commands
from tests.support.waiting import wait_until_async

# Of a waiter that is told of the end; it would wait this long by itself.
PATIENCE_S = 600.0
TOLD_S = 10.0


class PagedStore(MongoStore):
    """Its pages of the backlog arrive when the test lets them: a look is under way until then."""

    def __init__(self, uri: str, database: str) -> None:
        super().__init__(uri, database, timeout_s=5, lease_ms=15_000)
        self.pages = 0
        self.let_through = asyncio.Semaphore(0)

    async def due(self, *args: Any, **options: Any) -> Any:
        page = await super().due(*args, **options)
        self.pages += 1
        await self.let_through.acquire()
        return page


def job_of(entry: Entry | None) -> Job:
    assert entry is not None
    assert entry.job is not None
    return entry.job


def token_of(entry: Entry | None) -> str | None:
    return job_of(entry).token


def of_one_host(*paths: str) -> list[NormalizedUrl]:
    return [normalize(f"https://full.example/{path}") for path in paths]


# A host that stays crowded


@pytest.mark.gen_test
async def test_later_collection_does_not_start_before_earlier_jobs(mongo_uri: str, database_name: str) -> None:
    """The look under way does not find it: that there was no room for it is all that is known."""
    early, late = of_one_host("early", "late")
    store, collector = PagedStore(mongo_uri, database_name), HeldCollector("full.example")
    async with dispatching(store, collector) as dispatcher:
        await wait_until_async(lambda: store.pages == 1, 10)
        assert token_of(await dispatcher.begin(early, early.href, known_settled=None)) is None
        store.let_through.release()
        await wait_until_async(lambda: store.pages == 2, 10, what="the next look")
        collector.full_host = ""
        assert token_of(await dispatcher.begin(late, late.href, known_settled=None)) is None
        for _ in range(100):
            store.let_through.release()
        await wait_until_async(lambda: len(collector.orders) == 2, 10)
        assert [order.url for order in collector.orders] == [early.href, late.href]


@pytest.mark.gen_test
async def test_what_finds_room_at_the_end_of_a_look_holds_nobody_back(
    mongo_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "POLL_S", PATIENCE_S)  # a look that nothing tells of comes too late
    early, late = of_one_host("early", "late")
    store, collector = PagedStore(mongo_uri, database_name), HeldCollector("full.example")
    async with dispatching(store, collector) as dispatcher:
        await wait_until_async(lambda: store.pages == 1, 10)
        assert token_of(await dispatcher.begin(early, early.href, known_settled=None)) is None
        collector.full_host = ""
        store.let_through.release()
        await wait_until_async(lambda: store.pages == 2, 10, what="the next look, at once")
        assert token_of(await dispatcher.begin(late, late.href, known_settled=None)) is not None
        for _ in range(100):
            store.let_through.release()
        await wait_until_async(lambda: len(collector.orders) == 2, 10)


@pytest.mark.gen_test
async def test_claim_that_somebody_else_won_makes_room_for_what_waits(
    mongo_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "POLL_S", PATIENCE_S)
    wanted, waiting = a_url(), a_url()
    store = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000)
    store.start()
    collector = HeldCollector(capacity=1)
    await store.claim(a_claim(wanted, a_lease(wanted, "node-2")))
    await store.claim(a_claim(waiting))
    await block_commands(mongo_uri, "update", times=1, block_s=1.5)
    async with dispatching(store, collector) as dispatcher:
        claiming = asyncio.ensure_future(dispatcher.begin(wanted, wanted.href, known_settled=None))
        await wait_until_async(lambda: waiting.host in collector.refused, 10, what="the claim taking the only place")
        await claiming
        await wait_until_async(lambda: collector.orders, 10)
        assert [order.url for order in collector.orders] == [waiting.href]


# An attempt that ends too late, or begins too late


@pytest.mark.gen_test
async def test_attempt_that_takes_too_long_is_broken_off_before_its_lease_ends(
    mongo_uri: str, database_name: str
) -> None:
    store = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=6_000)
    collector = HeldCollector()
    async with dispatching(store, collector, lease_s=6.0, longest_s=1.0) as dispatcher:
        url = a_url()
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        first_end = end = job_of(begun).due_at

        async def broken_off() -> bool:
            nonlocal end
            job = job_of(await store.find(url))
            if job.token == token_of(begun):
                end = job.due_at
            return bool(collector.given_up)

        await wait_until_async(broken_off, 15)
        assert end > first_end, "for a while its lease was renewed"
        assert collector.given_up_at[0] < end, "nobody else could have taken it yet"
        assert [order.token for order in collector.given_up] == [token_of(begun)]
        await wait_until_async(lambda: len(collector.orders) == 2, 10, what="the job being taken up again")


@pytest.mark.gen_test
async def test_claim_that_is_answered_too_late_is_given_back_unused(mongo_uri: str, database_name: str) -> None:
    """By our own clock the lease has run out, although in the database (where it is longer here) it has not."""
    store = MongoStore(mongo_uri, database_name, timeout_s=10, lease_ms=60_000)
    collector = HeldCollector()
    async with dispatching(store, collector, lease_s=1.0) as dispatcher:
        await store.check()
        url = a_url()
        await block_commands(mongo_uri, "update", times=1, block_s=1.5)
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        late = token_of(begun)
        assert late is not None
        await wait_until_async(lambda: collector.orders, 10, what="the job being taken anew")
        assert late not in [order.token for order in collector.orders]
        taken = job_of(await store.find(url))
        assert taken.token != late
        assert (taken.attempts, taken.losses) == (0, 0)


@pytest.mark.gen_test
async def test_attempt_without_a_collector_is_given_back_and_not_counted(mongo_uri: str, database_name: str) -> None:
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=60_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        await dispatcher.begin(url, url.href, known_settled=None)
        await wait_until_async(lambda: collector.orders, 10)
        collector.down = True
        collector.released.set()

        async def given_back() -> bool:
            return job_of(await store.find(url)).token is None

        await wait_until_async(given_back, 10)
        job = job_of(await store.find(url))
        assert (job.attempts, job.losses) == (0, 0)
        assert len(collector.orders) == 1, "nor is it taken again while there is none"


# Who waits


class UnreadStore(MongoStore):
    """Nobody can look up what has become of a URL."""

    async def find(self, url: NormalizedUrl) -> Entry | None:
        raise StorageUnavailable


@pytest.mark.gen_test
async def test_who_waits_is_told_of_that_attempt_and_not_of_later_ones(mongo_uri: str, database_name: str) -> None:
    store, collector = UnreadStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector()
    collector.brings = a_failure()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        waiting = asyncio.ensure_future(dispatcher.wait_settled(url, begun, PATIENCE_S))
        await wait_until_async(lambda: collector.orders, 10)
        collector.released.set()
        told = await waiting
        assert told is not None
        assert told.failure is not None
        assert told.failure.attempts == 1


async def take_over(store: MongoStore, url: NormalizedUrl) -> Lease:
    """Give the job to another node, as if the lease of the one that holds it had run out."""
    lease = a_lease(url, "node-2")
    await store._records.update_one(
        {"_id": url.id}, {"$set": {"job.lease": {"owner": lease.owner, "token": lease.token}}}
    )
    return lease


@pytest.mark.gen_test
async def test_who_waits_is_told_when_the_lease_is_lost(mongo_uri: str, database_name: str) -> None:
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        waiting = asyncio.ensure_future(dispatcher.wait_settled(url, begun, PATIENCE_S))
        await wait_until_async(lambda: collector.orders, 10)
        lease = await take_over(store, url)
        await store.complete(lease, a_capture(url))
        async with asyncio.timeout(TOLD_S):
            ended = await waiting
        assert ended is not None
        assert ended.settled == lease.token
        assert [order.token for order in collector.given_up] == [token_of(begun)]


@pytest.mark.gen_test
async def test_who_waits_is_told_when_somebody_else_has_won_the_claim(mongo_uri: str, database_name: str) -> None:
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        lease = a_lease(url, "node-2")
        seen = await store.claim(a_claim(url, lease))
        await block_commands(mongo_uri, "update", times=1, block_s=0.5)
        claiming = asyncio.ensure_future(dispatcher.begin(url, url.href, known_settled=None))
        waiting = asyncio.ensure_future(dispatcher.wait_settled(url, seen, PATIENCE_S))
        assert token_of(await claiming) == lease.token
        await store.complete(lease, a_capture(url))
        async with asyncio.timeout(TOLD_S):
            ended = await waiting
        assert ended is not None
        assert ended.settled == lease.token
        assert not collector.orders


@pytest.mark.gen_test
async def test_who_waits_is_told_when_the_claim_is_not_answered(mongo_uri: str, database_name: str) -> None:
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=1, lease_ms=15_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        await store.check()
        url = a_url()
        seen = await store.claim(a_claim(a_url()))
        await block_commands(mongo_uri, "update", times=1, block_s=2.0)
        claiming = asyncio.ensure_future(dispatcher.begin(url, url.href, known_settled=None))
        waiting = asyncio.ensure_future(dispatcher.wait_settled(url, seen, PATIENCE_S))
        with pytest.raises(StorageUnavailable):
            await claiming
        async with asyncio.timeout(TOLD_S):
            assert await waiting is None
