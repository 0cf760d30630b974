"""Leases are renewed whatever else the database is busy with."""

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
    """A command of an outcome is blocked; when it is another one's, since the server is shared, that is tried again."""
    for _ in range(5):
        kept, written = a_lease(a_url()), a_lease(a_url())
        claimed, _ = await asyncio.gather(*(store.claim(a_claim(lease.url, lease)) for lease in (kept, written)))
        await block_commands(mongo_uri, command, times=1, block_s=3.0)
        writing = asyncio.ensure_future(store.complete(written, a_capture(written.url)))
        for _ in range(3):  # answered after the outcome was sent, most likely; when it was not, once more
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
    raise AssertionError("it was never answered while a write was under way")
