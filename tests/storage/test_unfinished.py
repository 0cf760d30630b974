"""Captures that are collected again: they are served meanwhile, and the next attempt knows how full they are."""

from __future__ import annotations

import os

import pytest

from metadata_inventory.model.capture import Header
from metadata_inventory.model.record import ANY, Retry, Status
from metadata_inventory.storage.mongo import MAX_INLINE_BYTES, MongoStore
from tests.storage.conftest import due, found
from tests.support.builders import a_capture, a_claim, a_failure, a_lease, a_policy, a_url
from tests.support.waiting import wait_until_async

STORED_FAILURE = a_policy().stored_failure(a_failure(), attempts=1, delay_s=None)


@pytest.mark.gen_test
async def test_unfinished_capture_is_served_and_its_job_waits_for_the_next_attempt(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    headers = (Header("$set", "$$ROOT"),)
    capture = a_capture(url, b"$content", headers)
    entry = await found(store.complete(lease, capture, Retry(delay_ms=60_000, kept=9)))
    assert (entry.status, entry.revision, entry.failure) == (Status.COMPLETE, 1, None)
    assert entry.job is not None
    assert (entry.job.attempts, entry.job.kept, entry.job.token) == (1, 9, None)
    read = await found(store.find(url))
    assert read.capture == capture
    assert await due(store) == ()

    again = a_lease(url)
    await store.claim(a_claim(url, again, known_settled=ANY, run_now=True))
    held = await found(store.find(url))
    assert held.job is not None
    assert (held.job.token, held.job.kept) == (again.token, None), (
        "a caller who asks now gets what this collection brings"
    )
    done = await found(store.complete(again, capture))
    assert (done.revision, done.job) == (2, None)


@pytest.mark.gen_test
async def test_next_attempt_knows_the_fullness_of_the_kept_capture(store: MongoStore) -> None:
    url = a_url()
    first, second = a_lease(url), a_lease(url)
    await store.claim(a_claim(url, first))
    await store.complete(first, a_capture(url), Retry(delay_ms=0, kept=9))
    await wait_until_async(lambda: due(store), timeout_s=5)
    entry = await store.claim(a_claim(url, second, known_settled=first.token))
    assert entry.job is not None
    assert (entry.job.token, entry.job.kept, entry.job.attempts) == (second.token, 9, 1)
    postponed = await found(store.postpone(second, STORED_FAILURE, delay_ms=60_000))
    assert postponed.job is not None
    assert (postponed.job.kept, postponed.job.attempts) == (9, 2)


@pytest.mark.gen_test
async def test_large_capture_may_be_unfinished(store: MongoStore) -> None:
    url = a_url()
    lease = a_lease(url)
    await store.claim(a_claim(url, lease))
    capture = a_capture(url, os.urandom(MAX_INLINE_BYTES + 1))
    await store.complete(lease, capture, Retry(delay_ms=60_000, kept=9))
    assert await store.content(await found(store.find(url))) == capture.content
