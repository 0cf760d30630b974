"""How often the backlog is looked through while a host that waits stays without room."""

from __future__ import annotations

import pytest

from metadata_inventory.jobs import backlog as module
from tests.jobs.test_backlog import CountingStore, Room, watching
from tests.support.builders import a_claim, a_url
from tests.support.waiting import wait_until_async


class FullHost(Room):
    """Has no room for the one host that waits, and room for others."""

    def has_room(self, host: str) -> bool:
        return False

    def full(self) -> bool:
        return False


@pytest.mark.gen_test
async def test_jobs_that_wait_for_their_host_are_not_looked_for_again_at_once(
    mongo_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look comes when room is told of, or after POLL_S."""
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "POLL_S", 3600.0)
    store, url = CountingStore(mongo_uri, database_name, timeout_s=5, lease_ms=15_000), a_url()
    async with watching(store, FullHost(0)) as backlog:
        await wait_until_async(lambda: store.pages == 1, 10, what="the first look")
        await store.claim(a_claim(url))
        backlog.note_waiting(url.host)
        backlog.wake()
        await wait_until_async(lambda: store.pages > 1, 10, what="the look that leaves the job waiting")
        seen = []
        for _ in range(2):
            for _ in range(20):  # each takes about as long as reading a page of the backlog
                await store.find(url)
            seen.append(store.pages)
        assert backlog.has_waiting(url.host)
        assert seen[0] == seen[1]
