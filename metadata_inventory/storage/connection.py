"""The connection to MongoDB that the stores of one process share: client, bounds, codec and indexes.

Every operation is bounded by `timeoutMS`. Writes are acknowledged by a majority of the nodes and its journals. Until
the server has the indexes, operations wait for them within the same bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from metadata_inventory.errors import InvalidSettings, StorageUnavailable
from metadata_inventory.storage import filters
from metadata_inventory.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

# A new index on a large collection takes long, and a build that is cancelled begins anew.
INDEX_BUILD_S = 3600
DURABLE = WriteConcern("majority", j=True)
# A date that Python cannot hold becomes a value of another type, which makes its own document unreadable. By default
# the driver would raise, and fail the whole batch.
CODEC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
Documents = AsyncCollection[dict[str, Any]]


class Connection:
    """Made inside the loop that uses it. `start` and `close` belong to its owner."""

    def __init__(self, uri: str, database: str, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._client = _make_client(uri, timeout_s)
        # These override the URI: a claim is read back, and only the primary is sure to have its result.
        self.database: AsyncDatabase[dict[str, Any]] = self._client.get_database(
            database,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("local"),
            write_concern=DURABLE,
        )
        self.records: Documents = self.database.get_collection("records")
        self._prepared = asyncio.Event()
        self._preparing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to build the indexes."""
        self._preparing = asyncio.create_task(self._prepare())

    async def close(self) -> None:
        if self._preparing is not None:
            await cancel_and_wait([self._preparing])
        await self._client.close()

    @contextlib.asynccontextmanager
    async def available(self) -> AsyncIterator[None]:
        """Wait for the indexes within the bound. Turns the driver's errors into StorageUnavailable."""
        try:
            if not self._prepared.is_set():
                async with asyncio.timeout(self.timeout_s):  # not wait_for: on 3.11 that can swallow a cancellation
                    await self._prepared.wait()
            yield
        except TimeoutError as error:
            raise StorageUnavailable from error
        except PyMongoError as error:
            logger.warning("the database failed: %s", name_of(error))
            raise StorageUnavailable from error

    async def _prepare(self) -> None:
        delay_s = 0.1
        while not self._prepared.is_set():
            try:
                with pymongo.timeout(INDEX_BUILD_S):
                    await self.records.create_index("normalized_url", unique=True)
                    await self.records.create_index(filters.OWED_INDEX, partialFilterExpression=filters.OWED)
                    await self.records.create_index(filters.FAILED_INDEX, partialFilterExpression=filters.HAS_FAILED)
                self._prepared.set()
            except PyMongoError as error:
                logger.warning("the database cannot be prepared yet: %s", name_of(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)


def _make_client(uri: str, timeout_s: float) -> AsyncMongoClient[dict[str, Any]]:
    """A client that has not connected yet. Raises InvalidSettings without the driver's text, which quotes the URI."""
    try:
        return AsyncMongoClient(
            uri,
            timeoutMS=int(timeout_s * 1000),
            serverSelectionTimeoutMS=int(timeout_s * 1000),
            appname="metadata-inventory",
            serverMonitoringMode="poll",
        )
    except (PyMongoError, ValueError) as error:
        raise InvalidSettings(f"The database's driver does not take the URI ({type(error).__name__}).") from None


def name_of(error: PyMongoError) -> str:
    """The error's class and codes. Its text is never logged: it quotes documents, with the query strings of URLs."""
    codes = {getattr(error, "code", None)}
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {one.get("code") for kind in ("writeErrors", "writeConcernErrors") for one in details.get(kind, [])}
    return " ".join([type(error).__name__, *(str(code) for code in codes if code is not None)])
