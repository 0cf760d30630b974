"""Stores on the real server. Each has its own client, as each process has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from pymongo import MongoClient
from tornado.ioloop import IOLoop

from metadata_inventory.model.record import Entry
from metadata_inventory.storage.mongo import MongoStore

OpenStore = Callable[..., MongoStore]


async def found(entry: Awaitable[Entry | None]) -> Entry:
    value = await entry
    assert value is not None
    return value


async def due(store: MongoStore, except_hosts: Sequence[str] = ()) -> Sequence[Entry]:
    """The first jobs that any worker may take."""
    return (await store.due(10, except_hosts=except_hosts)).entries


@pytest.fixture
def open_store(io_loop: IOLoop, mongo_uri: str, database_name: str) -> Iterator[OpenStore]:
    """Opens stores on one database, and closes them after the test."""
    opened: list[MongoStore] = []

    def open_one(*, lease_ms: int = 15_000, timeout_s: float = 5.0, uri: str = mongo_uri) -> MongoStore:
        async def start() -> MongoStore:
            store = MongoStore(uri, database_name, timeout_s=timeout_s, lease_ms=lease_ms)
            store.start()
            opened.append(store)
            return store

        return io_loop.run_sync(start)

    yield open_one

    async def close() -> None:
        await asyncio.gather(*(store.close() for store in opened))

    io_loop.run_sync(close)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client.drop_database(database_name)


@pytest.fixture
def store(open_store: OpenStore) -> MongoStore:
    return open_store()


@pytest.fixture
def another_store(open_store: OpenStore) -> MongoStore:
    return open_store()


@pytest.fixture
def short_lease_store(open_store: OpenStore) -> MongoStore:
    """A store whose leases run out after a millisecond."""
    return open_store(lease_ms=1)
