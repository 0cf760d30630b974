"""The contract of QueueStore, kept by MongoQueue on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from metadata_inventory.errors import QueueFull
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.record import ANY, Entry, Job, QueueDepth, Status
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage.mongo import MongoStore
from metadata_inventory.storage.queue import WRITTEN_AT_ONCE, MongoQueue
from metadata_inventory.usecases.queue import Queue
from tests.storage.conftest import due
from tests.support.builders import FETCHED_AT, a_capture, a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.waiting import wait_until_async

POLICY = a_policy()


def job(entry: Entry | None) -> Job:
    assert entry is not None
    assert entry.job is not None
    return entry.job


@pytest.fixture
def queue(store: MongoStore) -> MongoQueue:
    return MongoQueue(store.connection)


async def leave_failed(store: MongoStore, code: FailureCode, *, captured: bool = False) -> NormalizedUrl:
    url = a_url()
    if captured:
        lease = a_lease(url)
        await store.claim(a_claim(url, lease))
        await store.complete(lease, a_capture(url))
    lease = a_lease(url)
    await store.claim(a_claim(url, lease, known_settled=ANY))
    await store.fail(lease, POLICY.stored_failure(a_failure(code), 3, None))
    return url


@pytest.mark.gen_test
async def test_empty_queue_has_no_jobs(queue: MongoQueue) -> None:
    state = await queue.state(leases=10)
    assert (state.waiting, state.running, state.retrying, state.abandoned) == (
        QueueDepth(),
        QueueDepth(),
        QueueDepth(),
        QueueDepth(),
    )
    assert (state.failed, state.leases) == ({}, ())


@pytest.mark.gen_test
async def test_each_job_is_counted_in_its_state(
    store: MongoStore, short_lease_store: MongoStore, queue: MongoQueue
) -> None:
    abandoned = a_url()
    await short_lease_store.claim(a_claim(abandoned, a_lease(abandoned)))
    waiting = await store.claim(a_claim(a_url()))
    await store.claim(a_claim(a_url()))
    running = [a_lease(a_url(), "node-7") for _ in range(3)]
    for lease in running:
        await store.claim(a_claim(lease.url, lease))
    retried = a_lease(a_url())
    await store.claim(a_claim(retried.url, retried))
    failure = POLICY.stored_failure(a_failure(FailureCode.DNS_TIMEOUT), 1, 60)
    postponed = await store.postpone(retried, failure, delay_ms=60_000)
    await leave_failed(store, FailureCode.DNS_ERROR)
    await leave_failed(store, FailureCode.DNS_ERROR, captured=True)
    await leave_failed(store, FailureCode.WORKER_LOST)
    await wait_until_async(lambda: due(store), timeout_s=5)

    state = await queue.state(leases=2)
    assert (state.waiting.count, state.waiting.oldest_queued_at) == (2, job(waiting).queued_at)
    assert (state.running.count, state.abandoned.count) == (3, 1)
    assert (state.retrying.count, state.retrying.codes) == (1, {"dns_timeout": 1})
    assert state.retrying.next_due_at == job(postponed).due_at
    assert state.failed == {"dns_error": 2, "worker_lost": 1}
    assert [(entry.id, job(entry).owner) for entry in state.leases] == [(one.url.id, "node-7") for one in running[:2]]
    assert (await queue.state(leases=0)).leases == ()


@pytest.mark.gen_test
async def test_failed_ones_are_put_back_by_code(store: MongoStore, queue: MongoQueue) -> None:
    dns = await leave_failed(store, FailureCode.DNS_ERROR)
    kept = await leave_failed(store, FailureCode.DNS_ERROR, captured=True)
    lost = await leave_failed(store, FailureCode.WORKER_LOST)
    assert await queue.requeue(["dns_error"], 10, None) == (2, False)
    assert await queue.requeue(["dns_error"], 10, None) == (0, False), "a job that is owed is not requeued"
    await wait_until_async(lambda: due(store), timeout_s=5)
    assert {entry.id for entry in await due(store)} == {dns.id, kept.id}
    entries = [await store.find(url) for url in (dns, kept, lost)]
    assert [entry.status for entry in entries if entry] == [Status.PENDING, Status.COMPLETE, Status.FAILED]
    assert (job(entries[0]).attempts, job(entries[0]).losses) == (0, 0)

    assert await queue.requeue([], 10, None) == (1, False)
    assert (await queue.state(leases=0)).failed == {}


@pytest.mark.gen_test
async def test_no_more_are_put_back_than_asked_for(store: MongoStore, queue: MongoQueue) -> None:
    for _ in range(3):
        await leave_failed(store, FailureCode.CONNECTION_REFUSED)
    assert [await queue.requeue([], 2, None) for _ in range(3)] == [(2, True), (1, False), (0, False)]


@pytest.mark.gen_test
async def test_only_what_failed_before_is_put_back(store: MongoStore, queue: MongoQueue) -> None:
    await leave_failed(store, FailureCode.DNS_ERROR)
    assert await queue.requeue([], 10, FETCHED_AT) == (0, False)
    assert await queue.requeue(["dns_error"], 10, FETCHED_AT) == (0, False)
    assert await queue.requeue([], 10, FETCHED_AT + timedelta(milliseconds=1)) == (1, False)


class Overtaken(MongoQueue):
    """Another program requeues what this one has found, before it does."""

    async def _put_back(self, urls: Sequence[NormalizedUrl], *, more: bool) -> tuple[int, bool]:
        await super()._put_back(urls, more=more)
        return await super()._put_back(urls, more=more)


@pytest.mark.gen_test
async def test_more_may_be_left_although_another_program_was_first(store: MongoStore) -> None:
    for _ in range(3):
        await leave_failed(store, FailureCode.DNS_ERROR)
    assert await Overtaken(store.connection).requeue([], 2, None) == (0, True)


@pytest.mark.gen_test
async def test_slow_database_gets_one_slice(store: MongoStore) -> None:
    """The bound is over at the start, so only the first slice is written."""
    store.connection.timeout_s = 0.0
    queue = MongoQueue(store.connection)
    store.connection.timeout_s = 5.0
    urls = [await leave_failed(store, FailureCode.DNS_ERROR) for _ in range(WRITTEN_AT_ONCE + 1)]
    assert await queue.requeue([], len(urls) + 1, None) == (WRITTEN_AT_ONCE, True)
    assert await queue.requeue([], len(urls) + 1, None) == (1, False)


@pytest.mark.gen_test
async def test_job_that_waits_for_its_next_attempt_takes_a_place(store: MongoStore, queue: MongoQueue) -> None:
    failed, retried = await leave_failed(store, FailureCode.DNS_ERROR), a_url()
    lease = a_lease(retried)
    await store.claim(a_claim(retried, lease))
    await store.postpone(lease, POLICY.stored_failure(a_failure(), 1, 60), delay_ms=60_000)
    with pytest.raises(QueueFull):
        await Queue(queue, limit=1).requeue([], None)
    assert await Queue(queue, limit=2).requeue([], None) == (1, True)
    assert job(await store.find(failed)).attempts == 0


@asynccontextmanager
async def counting_proxy(mongo_uri: str) -> AsyncIterator[tuple[str, Counter[str]]]:
    """A URI that leads to the server through this process, and the bytes that the server has sent, under "sent"."""
    server = urlsplit(mongo_uri)
    counts: Counter[str] = Counter()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                counts[name] += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(forward(reader, back_writer, "received"), forward(back_reader, writer, "sent"))

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        yield mongo_uri.replace(f":{server.port}", f":{port}"), counts


@pytest.mark.gen_test
async def test_requeue_reads_no_more_than_it_puts_back(mongo_uri: str, database_name: str) -> None:
    """Without a limit in its query, the server's second batch would be up to 16 MiB of failed documents."""
    async with counting_proxy(mongo_uri) as (uri, counts):
        store = MongoStore(uri, database_name, timeout_s=5, lease_ms=15_000)
        store.start()
        url, padding = a_url(), "x" * 10_000
        lease = a_lease(url)
        await store.claim(a_claim(url, lease))
        await store.fail(lease, POLICY.stored_failure(a_failure(), 3, None))
        with MongoClient[dict[str, Any]](mongo_uri) as client:
            records = client[database_name]["records"]
            failed = records.find_one({"_id": url.id})
            assert failed is not None
            urls = [a_url() for _ in range(1_000)]
            records.insert_many(
                {**failed, "_id": one.id, "url": one.href, "normalized_url": one.href, "padding": padding}
                for one in urls
            )
            counts.clear()
            assert await MongoQueue(store.connection).requeue([], 150, None) == (150, True)
            assert 150 * len(padding) < counts["sent"] < 2 * 150 * len(padding)
            await store.close()
            client.drop_database(database_name)
