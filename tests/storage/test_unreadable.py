"""Documents of a newer version, or broken ones: told once in the log, left as they are, and in nobody's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from msgspec.structs import replace

from metadata_inventory.errors import RecordUnreadable
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.record import ANY
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage.connection import CODEC
from metadata_inventory.storage.documents import to_entry
from metadata_inventory.storage.migrations import VERSIONS
from metadata_inventory.storage.mongo import MAX_GROUPED_BYTES, MongoStore
from metadata_inventory.storage.queue import MongoQueue
from tests.storage.conftest import due, found
from tests.support.builders import a_capture, a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.waiting import wait_until_async

POLICY = a_policy()
NEEDLE = "needle"  # nothing stored is quoted in the log

# What is changed in a document that has a capture, a failure and a job that is due → what the log says of it.
NEWER: dict[str, tuple[dict[str, Any], str]] = {
    part: ({"$set": {f"{part}.version": version + 1, f"{part}.more": NEEDLE}}, f"its {part} has the newer version")
    for part, version in VERSIONS.items()
}
BROKEN_HEAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown status": ({"$set": {"status": NEEDLE}}, "the field status has a wrong type or an unknown value"),
    "no status": ({"$unset": {"status": ""}}, "the field status is missing"),
    "no revision": ({"$unset": {"revision": ""}}, "the field revision is missing"),
    "no settled": ({"$unset": {"settled": ""}}, "the field settled is missing"),
    "odd url": ({"$set": {"url": 5}}, "the field url has a wrong type"),
    "odd date": ({"$set": {"requested_at": NEEDLE}}, "the field requested_at has a wrong type"),
}
UNKNOWN_CODE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown failure code": ({"$set": {"failure.failure.code": NEEDLE}}, "the field failure.failure.code has a wrong"),
    "odd failure code": ({"$set": {"failure.failure.code": [NEEDLE]}}, "the field failure.failure.code has a wrong"),
}
BROKEN_FAILURE: dict[str, tuple[dict[str, Any], str]] = UNKNOWN_CODE | {
    "half a failure": ({"$unset": {"failure.attempts": ""}}, "the field failure.attempts is missing"),
    "odd failure": ({"$set": {"failure": NEEDLE}}, "the field failure has a wrong type"),
}
BROKEN_JOB: dict[str, tuple[dict[str, Any], str]] = {
    "odd losses": ({"$set": {"job.losses": NEEDLE}}, "the field job.losses has a wrong type"),
    "odd kept": ({"$set": {"job.kept": NEEDLE}}, "the field job.kept has a wrong type"),
    "no attempts": ({"$unset": {"job.attempts": ""}}, "the field job.attempts is missing"),
    "odd lease": ({"$set": {"job.lease": NEEDLE}}, "the field job.lease has a wrong type"),
    "odd version": ({"$set": {"job.version": NEEDLE}}, "the field job.version is not a version"),
    "no time": ({"$unset": {"job.queued_ms": ""}}, "the field job.queued_ms is missing"),
    "far time": ({"$set": {"job.queued_ms": 2**60}}, "the field job.queued_ms or job.due_ms is out of range"),
}
BROKEN_CAPTURE: dict[str, tuple[dict[str, Any], str]] = {
    "half a capture": ({"$unset": {"capture.body.length": ""}}, "the field capture.body.length is missing"),
    "no response": ({"$set": {"capture.exchanges": []}}, "the field capture.exchanges ends without a response"),
}
HEADS = NEWER | BROKEN_HEAD | BROKEN_FAILURE | BROKEN_JOB
ALL = HEADS | BROKEN_CAPTURE


def changed(kinds: dict[str, tuple[dict[str, Any], str]]) -> Callable[[Any], Any]:
    return pytest.mark.parametrize(("change", "reason"), kinds.values(), ids=kinds)


@pytest.fixture
def queue(store: MongoStore) -> MongoQueue:
    return MongoQueue(store.connection)


async def stored(store: MongoStore, url: NormalizedUrl) -> dict[str, Any]:
    document = await store._records.find_one({"_id": url.id})
    assert document is not None
    return document


async def leave_due(store: MongoStore, change: dict[str, Any] | None = None) -> NormalizedUrl:
    """A URL with a capture, a failure and a job that is due; changed then."""
    url = a_url()
    first, second = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    await store.complete(first, a_capture(url))
    await store.claim(a_claim(url, second, known_settled=first.token))
    await store.postpone(second, POLICY.stored_failure(a_failure(FailureCode.DNS_TIMEOUT), 1, 0), delay_ms=0)
    await wait_until_async(lambda: is_due(store, url), 5)
    if change is not None:
        await store._records.update_one({"_id": url.id}, change)
    return url


async def is_due(store: MongoStore, url: NormalizedUrl) -> bool:
    return url.id in {entry.id for entry in await due(store)}


async def leave_failed(store: MongoStore, change: dict[str, Any] | None = None) -> NormalizedUrl:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    await store.fail(lease, POLICY.stored_failure(a_failure(FailureCode.DNS_ERROR), 3, None))
    if change is not None:
        await store._records.update_one({"_id": url.id}, change)
    return url


def the_line(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one line at ERROR since the last look."""
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert NEEDLE not in caplog.text
    caplog.clear()
    return line


@pytest.mark.gen_test
@changed(ALL)
async def test_reading_it_is_an_error_that_the_log_explains(
    store: MongoStore, caplog: pytest.LogCaptureFixture, change: dict[str, Any], reason: str
) -> None:
    url = await leave_due(store, change)
    for read in (store.find(url), store.find_by_id(url.id)):
        with pytest.raises(RecordUnreadable) as raised:
            await read
        assert raised.value.retry_after_s == 3600
        line = the_line(caplog)
        assert reason in line.getMessage()
        assert vars(line)["record"] == url.id
        assert line.exc_info is None


@pytest.mark.gen_test
@changed(ALL)
async def test_others_of_its_batch_and_behind_it_are_read(
    store: MongoStore, change: dict[str, Any], reason: str
) -> None:
    odd, url = await leave_due(store, change), await leave_due(store)
    answers = await asyncio.gather(*(store.find(one) for one in (odd, url, a_url())), return_exceptions=True)
    assert isinstance(answers[0], RecordUnreadable)
    assert answers[1] == await store.find(url)
    assert answers[2] is None
    seen = [entry.id for entry in await due(store)]
    assert seen[-1] == url.id
    assert (odd.id in seen) == (reason in [known for _, known in BROKEN_CAPTURE.values()]), "those are read without it"


@pytest.mark.gen_test
@changed(NEWER | BROKEN_HEAD | BROKEN_FAILURE)
async def test_claim_of_it_is_an_error_that_the_log_explains(
    store: MongoStore, caplog: pytest.LogCaptureFixture, change: dict[str, Any], reason: str
) -> None:
    url = await leave_due(store, change)
    caplog.clear()
    with pytest.raises(RecordUnreadable):
        await store.claim(a_claim(url, a_lease(url), known_settled=ANY, run_now=True))
    line = the_line(caplog)
    assert reason in line.getMessage()
    assert vars(line)["record"] == url.id


@pytest.mark.gen_test
@changed(NEWER | BROKEN_HEAD | UNKNOWN_CODE)
async def test_no_claim_changes_it(store: MongoStore, change: dict[str, Any], reason: str) -> None:
    url = await leave_due(store, change)
    before = await stored(store, url)
    for request in (
        a_claim(url, a_lease(url), known_settled=ANY, run_now=True),
        a_claim(url, a_lease(url), known_settled=ANY),
        a_claim(url, a_lease(url), known_settled=before.get("settled")),
        a_claim(url, None, known_settled=None),
    ):
        with pytest.raises(RecordUnreadable):
            await store.claim(request)
        assert await stored(store, url) == before


@pytest.mark.gen_test
@changed(BROKEN_JOB | BROKEN_CAPTURE)
async def test_what_the_next_collection_replaces_is_repaired_by_it(
    store: MongoStore, change: dict[str, Any], reason: str
) -> None:
    """The claim writes the job as a whole, the outcome the capture. Neither fails others of its batch."""
    url, other = await leave_due(store, change), a_url()
    lease = a_lease(url)
    await asyncio.gather(
        store.claim(a_claim(url, lease, known_settled=ANY)),
        store.claim(a_claim(other, a_lease(other))),
    )
    await store.complete(lease, a_capture(url, b"mended"))
    assert (await found(store.find(url))).capture == a_capture(url, b"mended")


def test_date_that_python_cannot_hold_is_a_wrong_type() -> None:
    """The embedded database refuses to store one; others do not."""
    whole = bson.encode({"_id": a_url().id, "requested_at": DatetimeMS(2**60)})
    read = bson.decode(whole, codec_options=CODEC)
    assert isinstance(read["requested_at"], DatetimeMS)
    with pytest.raises(RecordUnreadable):
        to_entry(read)


@pytest.mark.gen_test
async def test_lease_that_a_newer_program_has_rewritten_is_lost_and_its_job_untouched(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    await store._records.update_one({"_id": url.id}, {"$set": {"job.version": VERSIONS["job"] + 1}})
    before = await stored(store, url)
    failure = POLICY.stored_failure(a_failure(), 1, None)
    assert await store.renew([lease]) == {lease.token: False}
    assert await store.complete(lease, a_capture(url)) is None
    assert await store.fail(lease, failure) is None
    assert await store.postpone(lease, failure, delay_ms=0) is None
    await store.release(lease)
    assert await stored(store, url) == before


@pytest.mark.gen_test
async def test_outcome_of_a_document_that_broke_meanwhile_is_none(
    store: MongoStore, caplog: pytest.LogCaptureFixture
) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    await store._records.update_one({"_id": url.id}, {"$set": {"url": 5}})
    assert await store.complete(lease, a_capture(url)) is None
    assert "the field url has a wrong type" in the_line(caplog).getMessage()
    assert (await stored(store, url))["settled"] == lease.token


@pytest.mark.gen_test
async def test_odd_lease_costs_no_other_its_own(store: MongoStore) -> None:
    leases = [a_lease(a_url()) for _ in range(2)]
    for lease in leases:
        await store.claim(a_claim(lease.url, lease))
    await store._records.update_one({"_id": leases[0].url.id}, {"$set": {"job": NEEDLE}})
    assert await store.renew(leases) == {leases[0].token: False, leases[1].token: True}


@pytest.mark.gen_test
@pytest.mark.parametrize("content", [None, 5])
async def test_content_that_is_none_is_an_error_that_the_log_explains(
    store: MongoStore, caplog: pytest.LogCaptureFixture, content: Any
) -> None:
    url = a_url()
    lease = a_lease(url)
    capture = a_capture(url)
    large = replace(capture, body=replace(capture.body, stored_length=MAX_GROUPED_BYTES + 1))
    await store.claim(a_claim(url, lease))
    await store.complete(lease, large)
    change = {"$unset": {"content": ""}} if content is None else {"$set": {"content": content}}
    await store._records.update_one({"_id": url.id}, change)
    entry = await found(store.find(url))
    with pytest.raises(RecordUnreadable):
        await store.content(entry)
    assert "the field content is missing or has a wrong type" in the_line(caplog).getMessage()


@pytest.mark.gen_test
@pytest.mark.parametrize("href", ["needle", "ftp://example.com/", "https://example.com/"], ids=["text", "ftp", "other"])
async def test_url_that_is_not_the_documents_own_is_an_error(
    store: MongoStore, queue: MongoQueue, caplog: pytest.LogCaptureFixture, href: str
) -> None:
    odd, url = await leave_due(store), await leave_due(store)
    await store._records.update_one({"_id": odd.id}, {"$set": {"normalized_url": href}})
    with pytest.raises(RecordUnreadable):
        await store.find_by_id(odd.id)
    assert "the field normalized_url is not the URL of its id" in the_line(caplog).getMessage()
    assert [entry.id for entry in await due(store)] == [url.id]
    assert (await queue.state(leases=0)).waiting.count == 2


@pytest.mark.gen_test
@changed(NEWER)
async def test_newer_job_is_left_to_newer_workers_without_a_word(
    store: MongoStore, caplog: pytest.LogCaptureFixture, change: dict[str, Any], reason: str
) -> None:
    """While a release is being replaced there may be thousands, and each would be logged at every look."""
    await leave_due(store, change)
    url = await leave_due(store)
    caplog.clear()
    assert [entry.id for entry in await due(store)] == [url.id]
    assert not caplog.records


@pytest.mark.gen_test
@changed(HEADS)
async def test_queue_counts_it_and_lists_the_others(
    store: MongoStore, queue: MongoQueue, change: dict[str, Any], reason: str
) -> None:
    leases = [a_lease(await leave_due(store)) for _ in range(2)]
    for lease in leases:
        await store.claim(a_claim(lease.url, lease, known_settled=ANY, run_now=True))
    await store._records.update_one({"_id": leases[0].url.id}, change)
    state = await queue.state(leases=10)
    assert [entry.id for entry in state.leases] == [leases[1].url.id]
    assert state.running.count == 2
    assert None not in (state.running.oldest_queued_at, state.running.next_due_at)


@pytest.mark.gen_test
async def test_queue_of_jobs_without_any_instant_has_none(store: MongoStore, queue: MongoQueue) -> None:
    await leave_due(store, {"$unset": {"job.queued_ms": ""}, "$set": {"job.host": [NEEDLE]}})
    waiting = (await queue.state(leases=10)).waiting
    assert (waiting.count, waiting.oldest_queued_at) == (1, None)
    assert waiting.next_due_at is not None
    assert await store.backlog_by_host(1) == {}


@pytest.mark.gen_test
async def test_failure_codes_that_are_unknown_or_no_text_are_counted(store: MongoStore, queue: MongoQueue) -> None:
    for code in ("of a later release", ["a"], [["a"], "b"]):
        await leave_failed(store, {"$set": {"failure.failure.code": code}})
        await leave_due(store, {"$set": {"failure.failure.code": code}})
    await leave_due(store, {"$set": {"failure.failure.code": {"a": 1}}})
    state = await queue.state(leases=10)
    assert state.failed == {"of a later release": 1, "record_unreadable": 2}
    assert state.waiting.codes == {"of a later release": 1, "record_unreadable": 3}


@pytest.mark.gen_test
@changed(
    {
        **{kind: HEADS[kind] for kind in ("capture", "failure")},
        **BROKEN_HEAD,
        "unknown code": ALL["unknown failure code"],
    }
)
async def test_requeue_leaves_it_and_puts_back_the_others(
    store: MongoStore, queue: MongoQueue, change: dict[str, Any], reason: str
) -> None:
    odd = [await leave_failed(store, change) for _ in range(3)]
    before = [await stored(store, url) for url in odd]
    others = [await leave_failed(store) for _ in range(2)]
    assert await queue.requeue([], 2, None) == (2, True), "those that are left take no place"
    assert await queue.requeue([], 2, None) == (0, False)
    assert [await stored(store, url) for url in odd] == before
    assert all([(await found(store.find(url))).job for url in others])


@pytest.mark.gen_test
async def test_requeue_leaves_a_newer_job_that_it_does_not_recognise(store: MongoStore, queue: MongoQueue) -> None:
    """Its job has no `due_ms`, so that by our filter none is owed."""
    url = await leave_failed(store, {"$set": {"job": {"version": VERSIONS["job"] + 1, "turn": 7}}})
    before = await stored(store, url)
    assert await queue.requeue([], 10, None) == (0, False)
    with pytest.raises(RecordUnreadable):
        await store.claim(a_claim(url, a_lease(url), known_settled=ANY, run_now=True))
    assert await stored(store, url) == before
