"""The dispatcher when parts around it fail, in this process: on the real store, with a collector that a test holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from metadata_inventory.clock import now
from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.jobs.backlog import PAGE
from metadata_inventory.model.record import Lease, Status
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.mongo import MongoStore
from tests.jobs.dispatching import HeldCollector, dispatching
from tests.support.builders import a_claim, a_lease, a_url
from tests.support.waiting import wait_until_async


class FaultyStore(MongoStore):
    """Its first renewal fails in a way that nobody foresaw: a fault that the server cannot be made to produce."""

    renewals = 0

    async def renew(self, leases: Sequence[Lease]) -> dict[str, bool]:
        self.renewals += 1
        if self.renewals == 1:
            raise RuntimeError("made up")
        return await super().renew(leases)


class SilentStore(MongoStore):
    """Its renewals are not answered: as with a database that went away for a while."""

    async def renew(self, leases: Sequence[Lease]) -> dict[str, bool]:
        raise StorageUnavailable


@pytest.mark.gen_test
async def test_leases_are_renewed_after_an_unforeseen_error(mongo_uri: str, database_name: str) -> None:
    store, collector = FaultyStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        assert begun.job is not None
        first_end = begun.job.due_at

        async def renewed() -> bool:
            entry = await store.find(url)
            return entry is not None and entry.job is not None and entry.job.due_at > first_end

        await wait_until_async(renewed, 10)
        collector.released.set()
        ended = await dispatcher.settled(url, begun, 10)
        assert ended is not None
        assert ended.status is Status.COMPLETE


@pytest.mark.gen_test
async def test_collection_is_broken_off_before_a_lease_that_is_not_renewed_runs_out(
    mongo_uri: str, database_name: str
) -> None:
    store, collector = SilentStore(mongo_uri, database_name, timeout_s=5, lease_ms=2_000), HeldCollector()
    async with dispatching(store, collector, lease_s=2.0) as dispatcher:
        url = a_url()
        begun = await dispatcher.begin(url, url.href, known_settled=None)
        await wait_until_async(lambda: collector.given_up, 10)
        assert begun.job is not None
        assert now() < begun.job.due_at, "nobody else could have taken it yet"
        assert [order.token for order in collector.given_up] == [begun.job.token]
        await wait_until_async(lambda: len(collector.orders) == 2, 10, what="the job being taken up again")


@pytest.mark.gen_test
async def test_what_one_host_has_too_much_of_hides_no_other(mongo_uri: str, database_name: str) -> None:
    full = [normalize(f"https://full.example/{number}") for number in range(PAGE + 20)]
    other = a_url()
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector("full.example")
    store.start()
    await asyncio.gather(*(store.claim(a_claim(url)) for url in full))
    await store.claim(a_claim(other))
    async with dispatching(store, collector):
        await wait_until_async(lambda: [order.url for order in collector.orders] == [other.href], 10)


@pytest.mark.gen_test
async def test_who_waits_for_another_nodes_job_is_told_of_the_end(mongo_uri: str, database_name: str) -> None:
    store, collector = MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), HeldCollector()
    async with dispatching(store, collector) as dispatcher:
        url = a_url()
        seen = await store.claim(a_claim(url, a_lease(url, "node-2")))
        waiting = asyncio.ensure_future(dispatcher.settled(url, seen, 60))
        await dispatcher.stop(grace_s=0)
        async with asyncio.timeout(10):
            assert await waiting is None
