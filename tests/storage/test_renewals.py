"""Renewals wait neither for outcomes nor for reads."""

from __future__ import annotations

import asyncio

import pytest

from metadata_inventory.storage.mongo import MongoStore
from tests.storage.conftest import found
from tests.support.builders import a_capture, a_claim, a_lease, a_url
from tests.support.failpoints import block_commands


@pytest.mark.gen_test
@pytest.mark.parametrize("command", ["update", "find"])
async def test_renewal_waits_for_nothing_else(store: MongoStore, mongo_uri: str, command: str) -> None:
    """Blocks one command of an outcome. On the shared server it may hit another test's: then the test tries again."""
    for _ in range(5):
        kept, written = a_lease(a_url()), a_lease(a_url())
        claimed, _ = await asyncio.gather(*(store.claim(a_claim(lease.url, lease)) for lease in (kept, written)))
        await block_commands(mongo_uri, command, times=1, block_s=3.0)
        writing = asyncio.ensure_future(store.complete(written, a_capture(written.url)))
        for _ in range(3):  # reads that most likely end after the outcome was sent
            await store.find(written.url)
        assert await store.renew([kept]) == {kept.token: True}
        answered_first = not writing.done()
        completed = await found(writing)
        assert completed.revision == 1
        renewed = await found(store.find(kept.url))
        assert claimed.job is not None
        assert renewed.job is not None
        assert renewed.job.due_at > claimed.job.due_at
        if answered_first:
            return
    raise AssertionError("no renewal was answered while a write was under way")
