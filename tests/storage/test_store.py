"""The contract of RecordStore and ClaimStore, kept by MongoStore on a real server."""

from __future__ import annotations

import asyncio
import os

import pytest
from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from metadata_inventory.model.capture import Header
from metadata_inventory.model.record import ANY, Status
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.mongo import MAX_GROUPED_BYTES, MAX_INLINE_BYTES, MongoStore
from tests.storage.conftest import due, found
from tests.support.builders import FETCHED_AT, a_capture, a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.waiting import wait_until_async

POLICY = a_policy()
STORED_FAILURE = POLICY.stored_failure(a_failure(), attempts=1, delay_s=None)


@pytest.mark.gen_test
async def test_unknown_url_is_not_found(store: MongoStore) -> None:
    assert await store.find(a_url()) is None
    assert await store.find_by_id(a_url().id) is None


@pytest.mark.gen_test
async def test_claim_of_an_unknown_url_leaves_a_pending_entry_that_others_see(
    store: MongoStore, another_store: MongoStore
) -> None:
    url = a_url()
    lease = a_lease(url)
    claimed = await store.claim(a_claim(url, lease))
    seen = await found(another_store.find(url))
    assert seen == claimed
    assert seen.status is Status.PENDING
    assert seen.id == url.id
    assert seen.revision == 0
    assert seen.requested_at == FETCHED_AT
    assert seen.job is not None
    assert (seen.job.owner, seen.job.token, seen.job.attempts) == (lease.owner, lease.token, 0)


@pytest.mark.gen_test
async def test_second_claim_finds_the_first_ones_lease(store: MongoStore) -> None:
    url = a_url()
    first, second = a_lease(url), a_lease(url, "node-2")
    await store.claim(a_claim(url, first))
    entry = await store.claim(a_claim(url, second))
    assert entry.job is not None
    assert entry.job.token == first.token


@pytest.mark.gen_test
async def test_claim_may_be_repeated(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    first = await store.claim(a_claim(url, lease))
    assert await store.claim(a_claim(url, lease)) == first


@pytest.mark.gen_test
async def test_one_of_many_concurrent_claims_wins(mongo_uri: str, database_name: str) -> None:
    stores = [MongoStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000) for _ in range(4)]
    for store in stores:
        store.start()
    url = a_url()
    leases = [a_lease(url, f"node-{n}") for n in range(40)]
    known = [None, ANY]
    entries = await asyncio.gather(
        *(stores[n % 4].claim(a_claim(url, lease, known_settled=known[n % 2])) for n, lease in enumerate(leases))
    )
    winners = {entry.job.token for entry in entries if entry.job}
    assert len(winners) == 1
    assert winners < {lease.token for lease in leases}
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.gen_test
async def test_unique_index_refuses_a_second_document_of_a_url(store: MongoStore) -> None:
    url = a_url()
    await store.claim(a_claim(url))
    with pytest.raises(DuplicateKeyError):
        await store._records.insert_one({"_id": "another", "normalized_url": url.href})


@pytest.mark.gen_test
async def test_job_without_lease_waits_for_any_node(store: MongoStore) -> None:
    url = a_url()
    waiting = await store.claim(a_claim(url))
    assert waiting.job is not None
    assert waiting.job.token is None
    assert await store.backlog(limit=10) == 1
    assert [entry.id for entry in await due(store)] == [url.id]

    lease = a_lease(url, "node-2")
    taken = await store.claim(a_claim(url, lease, known_settled=waiting.settled))
    assert taken.job is not None
    assert taken.job.token == lease.token
    assert await store.backlog(limit=10) == 0
    assert await due(store) == ()


@pytest.mark.gen_test
async def test_expired_lease_is_taken_over_and_the_late_holder_changes_nothing(
    short_lease_store: MongoStore, store: MongoStore
) -> None:
    url = a_url()
    late, next_one = a_lease(url), a_lease(url, "node-2")
    await short_lease_store.claim(a_claim(url, late))
    await wait_until_async(lambda: due(store), timeout_s=5)
    taken = await store.claim(a_claim(url, next_one, known_settled=""))
    assert taken.job is not None
    assert taken.job.token == next_one.token

    assert await store.complete(late, a_capture(url)) is None
    assert await store.fail(late, STORED_FAILURE) is None
    assert await store.postpone(late, STORED_FAILURE, delay_ms=0) is None
    await store.release(late)
    assert await store.renew([late, next_one]) == {late.token: False, next_one.token: True}
    assert await store.find(url) == replace(taken, job=(await found(store.find(url))).job)


@pytest.mark.gen_test
async def test_renewed_lease_does_not_run_out(short_lease_store: MongoStore, store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    before = await short_lease_store.claim(a_claim(url, lease))
    assert await store.renew([lease]) == {lease.token: True}
    after = await found(store.find(url))
    assert before.job is not None
    assert after.job is not None
    assert after.job.due_at > before.job.due_at
    assert await due(store) == ()


@pytest.mark.gen_test
async def test_complete_stores_the_capture_and_ends_the_job(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    capture = a_capture(url, "<p>h\u00e9llo \U0001f30d</p>\0".encode())
    await store.claim(a_claim(url, lease))
    completed = await store.complete(lease, capture)
    read = await found(store.find(url))
    assert completed == read
    assert (read.status, read.revision, read.job, read.failure) == (Status.COMPLETE, 1, None, None)
    assert read.capture == capture
    assert read.settled == lease.token
    assert await store.find_by_id(url.id) == read
    assert await store.content(read) == capture.content


@pytest.mark.gen_test
async def test_outcome_may_be_offered_again(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    first = await store.complete(lease, a_capture(url))
    assert await store.complete(lease, a_capture(url)) == first
    assert first is not None
    assert first.revision == 1


@pytest.mark.gen_test
async def test_text_that_looks_like_an_expression_is_stored_as_it_is(store: MongoStore) -> None:
    url = a_url("?a=$foo&b=$$ROOT")
    lease = a_lease(url)
    headers = (Header("$foo", "$$ROOT"), Header("x.y", "$url"), Header("", "{$set: 1}"))
    claim = replace(a_claim(url, lease), given_url="$url")
    assert (await store.claim(claim)).url == "$url"
    await store.complete(lease, a_capture(url, b"$$NOW", headers))
    read = await found(store.find(url))
    assert read.capture is not None
    assert read.capture.exchanges[0].response is not None
    assert read.capture.exchanges[0].response.headers == headers

    again = a_lease(url)
    await store.claim(a_claim(url, again, known_settled=read.settled))
    odd = replace(STORED_FAILURE, failure=replace(a_failure(), detail="$url $$ROOT"))
    failed = await store.fail(again, odd)
    assert failed is not None
    assert failed.failure == odd


@pytest.mark.gen_test
async def test_smaller_capture_leaves_nothing_of_the_larger(store: MongoStore) -> None:
    url = a_url()
    first, second = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    await store.complete(first, a_capture(url, b"x" * 5000, tuple(Header(f"n{n}", "v") for n in range(50))))
    await store.claim(a_claim(url, second, known_settled=ANY))
    small = a_capture(url, b"y")
    await store.complete(second, small)
    read = await found(store.find(url))
    assert read.capture == small
    assert read.revision == 2


@pytest.mark.gen_test
async def test_failure_of_an_unknown_url_is_stored(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    failed = await store.fail(lease, STORED_FAILURE)
    assert failed == await store.find(url)
    assert failed is not None
    assert (failed.status, failed.failure, failed.job) == (Status.FAILED, STORED_FAILURE, None)


@pytest.mark.gen_test
async def test_failed_refresh_keeps_the_record(store: MongoStore) -> None:
    url = a_url()
    first, second = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    capture = a_capture(url)
    await store.complete(first, capture)
    refreshing = await store.claim(a_claim(url, second, known_settled=first.token))
    assert refreshing.status is Status.COMPLETE
    await store.fail(second, STORED_FAILURE)
    read = await found(store.find(url))
    assert (read.status, read.capture, read.failure, read.revision) == (Status.COMPLETE, capture, STORED_FAILURE, 1)


@pytest.mark.gen_test
async def test_claim_decided_on_an_older_state_starts_nothing(store: MongoStore) -> None:
    url = a_url()
    first, late = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    await store.complete(first, a_capture(url))
    for known in (None, "", "another"):
        entry = await store.claim(a_claim(url, late, known_settled=known))
        assert entry.job is None
    entry = await store.claim(a_claim(url, late, known_settled=first.token))
    assert entry.job is not None


@pytest.mark.gen_test
async def test_postponed_job_counts_the_attempt_and_a_released_one_does_not(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    waiting = await store.postpone(lease, STORED_FAILURE, delay_ms=3_600_000)
    assert waiting is not None
    assert waiting.job is not None
    assert (waiting.job.attempts, waiting.job.token, waiting.failure) == (1, None, STORED_FAILURE)
    assert waiting.status is Status.PENDING
    assert await due(store) == ()

    impatient = a_lease(url)
    entry = await store.claim(a_claim(url, impatient, known_settled=waiting.settled))
    assert entry.job is not None
    assert entry.job.token is None, "not due yet"
    entry = await store.claim(a_claim(url, impatient, known_settled=ANY, run_now=True))
    assert entry.job is not None
    assert (entry.job.token, entry.job.attempts) == (impatient.token, 1)

    await store.release(impatient)
    given_back = await found(store.find(url))
    assert given_back.job is not None
    assert (given_back.job.attempts, given_back.job.token) == (1, None)
    assert [entry.id for entry in await due(store)] == [url.id]


@pytest.mark.gen_test
async def test_large_body_is_read_apart(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    capture = a_capture(url, os.urandom(MAX_GROUPED_BYTES + 1))
    await store.claim(a_claim(url, lease))
    await store.complete(lease, capture)
    read = await found(store.find(url))
    assert read.capture == replace(capture, content=b"")
    assert await store.content(read) == capture.content


@pytest.mark.gen_test(timeout=30)
async def test_body_too_large_for_a_document_is_whole(store: MongoStore) -> None:
    url = a_url()
    page = os.urandom(MAX_INLINE_BYTES + 1)
    for revision in (1, 2):
        lease = a_lease(url)
        await store.claim(a_claim(url, lease, known_settled=ANY))
        capture = a_capture(url, page)
        await store.complete(lease, capture)
        read = await found(store.find(url))
        assert read.revision == revision
        assert await store.content(read) == capture.content


@pytest.mark.gen_test
async def test_each_lease_that_ran_out_is_counted(short_lease_store: MongoStore, store: MongoStore) -> None:
    url = a_url()
    for losses in range(3):
        entry = await short_lease_store.claim(a_claim(url, a_lease(url), known_settled="" if losses else None))
        assert entry.job is not None
        assert (entry.job.losses, entry.job.attempts) == (losses, 0)
        await wait_until_async(lambda: due(store), timeout_s=5)


@pytest.mark.gen_test
async def test_job_that_is_given_back_has_not_settled(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    claimed = await store.claim(a_claim(url, lease))
    await store.release(lease)
    entry = await found(store.find(url))
    assert entry.settled == claimed.settled
    assert entry.job is not None
    assert entry.job.token is None


@pytest.mark.gen_test
async def test_due_jobs_are_read_page_by_page(store: MongoStore) -> None:
    urls = [a_url() for _ in range(4)]
    for url in urls:
        await store.claim(a_claim(url))
        await wait_until_async(lambda url=url: due(store), timeout_s=5)
    seen: list[str] = []
    after = None
    while (jobs := await store.due(1, after=after)).entries:
        seen += [entry.id for entry in jobs.entries]
        after = jobs.last
    assert seen == [url.id for url in urls]


@pytest.mark.gen_test
async def test_jobs_due_at_one_instant_are_read_page_by_page_and_without_some_hosts(store: MongoStore) -> None:
    full = [normalize(f"https://full.example/{number}") for number in range(5)]
    others = [a_url() for _ in range(3)]
    for url in [*full, *others]:
        await store.claim(a_claim(url))
    await store._records.update_many({}, {"$set": {"job.due_ms": 1}})
    seen: list[str] = []
    after = None
    while (jobs := await store.due(2, after=after)).entries:
        seen += [entry.id for entry in jobs.entries]
        after = jobs.last
    assert sorted(seen) == sorted(url.id for url in [*full, *others])
    assert {entry.id for entry in await due(store, except_hosts=["full.example"])} == {url.id for url in others}


@pytest.mark.gen_test
async def test_body_of_a_replaced_capture_is_not_found(store: MongoStore) -> None:
    url = a_url()
    entries = []
    for size in (MAX_GROUPED_BYTES + 1, MAX_GROUPED_BYTES + 2):
        lease = a_lease(url)
        await store.claim(a_claim(url, lease, known_settled=ANY))
        await store.complete(lease, a_capture(url, os.urandom(size)))
        entries.append(await found(store.find(url)))
    assert await store.content(entries[0]) is None
    assert await store.content(entries[1])
