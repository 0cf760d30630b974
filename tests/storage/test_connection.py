"""Index builds have a bound of their own, and operations wait for them within theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.storage import connection
from metadata_inventory.storage.mongo import MongoStore
from tests.storage.conftest import OpenStore
from tests.support.builders import a_url
from tests.support.failpoints import block_commands, fail_commands
from tests.support.waiting import wait_until_async

TIMEOUT_S = 0.5


@pytest.fixture
def unprepared_store(io_loop: IOLoop, mongo_uri: str, open_store: OpenStore) -> Iterator[MongoStore]:
    """A store of which each index takes longer to build than the bound on an operation."""
    io_loop.run_sync(lambda: block_commands(mongo_uri, "createIndexes", times=1_000, block_s=2 * TIMEOUT_S))
    yield open_store(timeout_s=TIMEOUT_S)
    io_loop.run_sync(lambda: fail_commands(mongo_uri, mode={"times": 0}))


async def is_ready(store: MongoStore) -> bool:
    try:
        await store.check()
    except StorageUnavailable:
        return False
    return True


@pytest.mark.gen_test
async def test_indexes_may_take_longer_than_an_operation(unprepared_store: MongoStore) -> None:
    """Under the bound on operations a slow build would be cancelled, begun anew and cancelled again, without end."""
    asked_at = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await unprepared_store.find(a_url())
    assert time.monotonic() - asked_at < 5, "an operation that needs them ends within its own bound"
    await wait_until_async(lambda: is_ready(unprepared_store), 15)


def test_index_build_over_its_bound_is_begun_anew(
    io_loop: IOLoop, mongo_uri: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "INDEX_BUILD_S", TIMEOUT_S)
    io_loop.run_sync(lambda: block_commands(mongo_uri, "createIndexes", times=1, block_s=6))
    store = open_store(timeout_s=20)
    io_loop.run_sync(store.check, timeout=4)
