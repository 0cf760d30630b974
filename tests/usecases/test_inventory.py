"""What the use cases start and what they leave alone, on the real store with a collector that a test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.record import Entry
from metadata_inventory.model.urls import NormalizedUrl, normalize
from metadata_inventory.storage.mongo import MongoStore
from metadata_inventory.usecases.inventory import Found, Inventory
from tests.jobs.dispatching import POLICY, HeldCollector, dispatching
from tests.support.builders import FETCHED_AT, a_capture, a_claim, a_failure, a_lease, a_url
from tests.support.waiting import wait_until_async


class Clock:
    """The time of day that the inventory reads. Captures and failures of the builders are of FETCHED_AT."""

    def __init__(self) -> None:
        self.now = FETCHED_AT + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def inventory_on(
    store: MongoStore, collector: HeldCollector, clock: Clock | None = None
) -> AsyncIterator[Inventory]:
    async with dispatching(store, collector) as dispatcher:
        yield Inventory(store, dispatcher, POLICY, DestinationPolicy.parse([]), now=clock or Clock())


def a_store(mongo_uri: str, database_name: str) -> MongoStore:
    return MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000)


async def store_capture(store: MongoStore, url: NormalizedUrl) -> None:
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    await store.complete(lease, a_capture(url))


async def entry_of(store: MongoStore, url: NormalizedUrl) -> Entry:
    entry = await store.find(url)
    assert entry is not None
    return entry


async def look_up_stale(inventory: Inventory, url: NormalizedUrl) -> Found:
    """Look up what is older than the caller takes, and wait until everything that this started has got somewhere."""
    before = asyncio.all_tasks()
    found = await inventory.look_up(url.href, max_age_s=0, wait_s=0, collect=True)
    started = asyncio.all_tasks() - before
    await asyncio.gather(*started)
    return found


@pytest.mark.gen_test
async def test_refresh_that_failed_lately_is_not_tried_again_by_each_stale_look_up(
    mongo_uri: str, database_name: str
) -> None:
    """Once the stored failure's time is over, it is."""
    store, collector, clock, url = a_store(mongo_uri, database_name), HeldCollector(), Clock(), a_url()
    collector.brings = a_failure(FailureCode.TLS_CERTIFICATE_ERROR)  # one that is not tried again by itself
    async with inventory_on(store, collector, clock) as inventory:
        await store_capture(store, url)
        found = await look_up_stale(inventory, url)
        assert found.stale
        assert (await entry_of(store, url)).job is not None
        collector.released.set()

        async def failed() -> bool:
            entry = await entry_of(store, url)
            return entry.failure is not None and entry.job is None

        await wait_until_async(failed, 10, what="the refresh to fail")
        collector.released.clear()
        for _ in range(3):
            found = await look_up_stale(inventory, url)
            assert (found.hit, found.stale) == (True, True)
            assert (await entry_of(store, url)).job is None
        assert len(collector.orders) == 1
        clock.now = FETCHED_AT + timedelta(seconds=POLICY.failure_ttl_s)
        await look_up_stale(inventory, url)
        assert (await entry_of(store, url)).job is not None


@pytest.mark.parametrize(("wait_s", "order"), [(0, ["early", "late"]), (5, ["late", "early"])])
@pytest.mark.gen_test
async def test_collection_that_nobody_waits_for_starts_behind_what_waits_for_its_host(
    mongo_uri: str, database_name: str, wait_s: float, order: list[str]
) -> None:
    """With a caller who waits it goes first."""
    early, late = (normalize(f"https://full.example/{path}") for path in ("early", "late"))
    store, collector = a_store(mongo_uri, database_name), HeldCollector("full.example")
    async with inventory_on(store, collector) as inventory:
        put_down = await inventory.collect(early.href, max_age_s=None, wait_s=0)
        assert put_down.entry.job is not None
        assert put_down.entry.job.token is None
        collector.full_host = ""
        posted = asyncio.create_task(inventory.collect(late.href, max_age_s=None, wait_s=wait_s))
        await wait_until_async(lambda: len(collector.orders) == 2, 10, what="both collections")
        assert [order.url.rpartition("/")[2] for order in collector.orders] == order
        collector.released.set()
        assert (await posted).ended == (wait_s > 0)
