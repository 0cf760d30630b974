"""The store with operations that cannot be sent, and with a database that fails or is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import ReadPreference
from tornado.ioloop import IOLoop

from metadata_inventory.errors import CaptureTooLarge, StorageUnavailable
from metadata_inventory.model.capture import Header
from metadata_inventory.model.record import Entry
from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from metadata_inventory.storage.mongo import MongoStore
from tests.storage.conftest import OpenStore
from tests.support.builders import a_capture, a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.failpoints import block_commands, fail_commands
from tests.support.waiting import wait_until_async

POLICY = a_policy()
STORED_FAILURE = POLICY.stored_failure(a_failure(), attempts=1, delay_s=None)


@pytest.mark.gen_test
async def test_many_operations_at_once_each_get_their_own_answer(store: MongoStore) -> None:
    urls = [a_url() for _ in range(300)]
    leases = [a_lease(url) for url in urls]
    entries = await asyncio.gather(*(store.claim(a_claim(lease.url, lease)) for lease in leases))
    assert [entry.id for entry in entries] == [url.id for url in urls]
    pages = [f"<p>{url.id}</p>".encode() for url in urls]
    await asyncio.gather(
        *(store.complete(lease, a_capture(lease.url, page)) for lease, page in zip(leases, pages, strict=True))
    )
    read = await asyncio.gather(*(store.find(url) for url in urls))
    assert [entry.capture for entry in read if entry] == [
        a_capture(url, page) for url, page in zip(urls, pages, strict=True)
    ]


@pytest.mark.gen_test
async def test_operation_that_cannot_be_sent_fails_alone(store: MongoStore) -> None:
    urls = [a_url() for _ in range(3)]
    leases = [a_lease(url) for url in urls]
    claims = [a_claim(lease.url, lease) for lease in leases]
    claims[1] = replace(claims[1], given_url="\ud800")  # BSON has no lone surrogates
    answers = await asyncio.gather(*(store.claim(claim) for claim in claims), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Entry, UnicodeEncodeError, Entry]


@pytest.mark.gen_test
async def test_capture_too_large_for_a_document_fails_alone(store: MongoStore) -> None:
    urls = [a_url() for _ in range(3)]
    leases = [a_lease(url) for url in urls]
    await asyncio.gather(*(store.claim(a_claim(lease.url, lease)) for lease in leases))
    captures = [a_capture(url) for url in urls]
    captures[1] = a_capture(urls[1], headers=tuple(Header(f"n{n}", "x" * 10_000) for n in range(1_000)))
    answers = await asyncio.gather(
        *(store.complete(lease, capture) for lease, capture in zip(leases, captures, strict=True)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Entry, CaptureTooLarge, Entry]
    exchanges = captures[1].exchanges
    failed = await store.fail(leases[1], replace(STORED_FAILURE, failure=replace(a_failure(), exchanges=exchanges)))
    assert failed is not None
    assert failed.failure == replace(STORED_FAILURE, failure=a_failure())


@pytest.mark.gen_test
async def test_lease_that_cannot_be_renewed_costs_no_other_its_own(store: MongoStore) -> None:
    """The first renewal cannot be sent: BSON has no lone surrogates."""
    unsendable = replace(a_url(), href="https://example.com/\ud800")
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    assert await store.renew([a_lease(unsendable), lease]) == {lease.token: True}


def test_reads_go_to_the_primary_whatever_the_uri_says(open_store: OpenStore, mongo_uri: str) -> None:
    store = open_store(uri=mongo_uri + "&readPreference=secondaryPreferred&readConcernLevel=available")
    assert store._records.read_preference == ReadPreference.PRIMARY
    assert store._records.read_concern.level == "local"


@pytest.mark.gen_test
async def test_check_reads_and_writes(store: MongoStore) -> None:
    await store.check()


@pytest.fixture
def short_bound_store(open_store: OpenStore) -> MongoStore:
    return open_store(timeout_s=0.5)


# Errors of a primary that steps down or ends, and of a write that too few other nodes have.
UNKNOWN: dict[str, dict[str, Any]] = {
    "cut off": {"closeConnection": True},
    "not the primary": {"errorCode": 10107},
    "primary stepped down": {"errorCode": 189},
    "interrupted by a change": {"errorCode": 11602},
    "shutting down": {"errorCode": 91},
    "too few have it": {"writeConcernError": {"code": 64, "errmsg": "made up"}},
    "shut down while others copied it": {"writeConcernError": {"code": 91, "errmsg": "made up"}},
    "stepped down while others copied it": {"writeConcernError": {"code": 189, "errmsg": "made up"}},
}


@pytest.mark.gen_test
@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN)
async def test_write_that_was_not_answered_is_repeated(
    store: MongoStore, mongo_uri: str, fault: dict[str, Any]
) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    await fail_commands(mongo_uri, "update", mode={"times": 2}, **fault)
    completed = await store.complete(lease, a_capture(url))
    assert completed is not None
    assert completed.revision == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("code", [10107, 11602])
async def test_read_that_a_change_of_the_primary_interrupted_is_repeated(
    store: MongoStore, mongo_uri: str, code: int
) -> None:
    url = a_url()
    lease = a_lease(url)
    claimed = await store.claim(a_claim(url, lease))
    await fail_commands(mongo_uri, "find", "aggregate", mode={"times": 2}, errorCode=code)
    assert await store.find(url) == claimed


@pytest.mark.gen_test
async def test_write_that_is_never_confirmed_is_an_error_within_the_bound(
    short_bound_store: MongoStore, mongo_uri: str
) -> None:
    await short_bound_store.check()
    error = {"code": 64, "errmsg": "made up"}
    await fail_commands(mongo_uri, "update", mode={"times": 1_000}, writeConcernError=error)
    try:
        with pytest.raises(StorageUnavailable):
            async with asyncio.timeout(5):
                await short_bound_store.claim(a_claim(a_url()))
    finally:
        await fail_commands(mongo_uri, "update", mode={"times": 0})


@pytest.mark.gen_test
async def test_claim_that_lands_after_the_bound_is_a_lease(short_bound_store: MongoStore, mongo_uri: str) -> None:
    store = short_bound_store
    await store.check()
    url = a_url()
    lease = a_lease(url)
    await block_commands(mongo_uri, "update", times=1, block_s=1.0)
    with pytest.raises(StorageUnavailable):
        async with asyncio.timeout(5):
            await store.claim(a_claim(url, lease))

    async def landed() -> bool:
        entry = await store.find(url)
        return entry is not None and entry.job is not None and entry.job.token == lease.token

    await wait_until_async(landed, 10)
    completed = await store.complete(lease, a_capture(url))
    assert completed is not None
    assert completed.revision == 1


@pytest.mark.timeout(60)
def test_database_that_is_away_is_an_error_within_the_bound_and_comes_back(
    io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory, open_store: OpenStore
) -> None:
    database = EmbeddedDatabase(tmp_path_factory.mktemp("away"))
    database.start()
    url = a_url()
    lease = a_lease(url)
    try:
        store = open_store(uri=database.uri, timeout_s=1.0)
        io_loop.run_sync(lambda: store.claim(a_claim(url, lease)))
        assert database.process is not None
        database.process.kill()
        database.process.wait()
        for operation in (
            lambda: store.find(url),
            lambda: store.claim(a_claim(url, lease)),
            lambda: store.due(limit=1),
            store.check,
        ):
            with pytest.raises(StorageUnavailable):
                io_loop.run_sync(operation, timeout=5)
        database.spawn()

        async def is_back() -> bool:
            try:
                await store.check()
            except StorageUnavailable:
                return False
            return True

        io_loop.run_sync(lambda: wait_until_async(is_back, timeout_s=20))
        entry = io_loop.run_sync(lambda: store.find(url))
        assert entry is not None
        assert entry.job is not None
        assert entry.job.token == lease.token, "what was acknowledged survives a kill of the database"
    finally:
        database.stop()
