"""The stores on MongoDB 7 or later, stand-alone, replica set or sharded; and on SecantusDB, which speaks its protocol.

Writes are acknowledged by a majority and its journals. Every operation is bounded by `timeoutMS`. A timeout means
unknown: the same write goes again until it is answered or the deadline is over (`claims` says why that is harmless),
and what became of it is then read. What lands after we gave up is a lease that will run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from bson.codec_options import CodecOptions
from gridfs import AsyncGridFSBucket
from msgspec.structs import replace
from pymongo import AsyncMongoClient, UpdateOne, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from metadata_inventory.capture import Capture
from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.record import ClaimRequest, Entry, Lease, StoredFailure
from metadata_inventory.storage import claims
from metadata_inventory.storage.batching import Batcher
from metadata_inventory.storage.bodies import BodyFiles
from metadata_inventory.storage.documents import WITHOUT_CAPTURE, Document, to_entry
from metadata_inventory.urls import NormalizedUrl

logger = logging.getLogger(__name__)

DURABLE = WriteConcern("majority", j=True)
DUPLICATE_KEY = 11000

# A document takes 16 MiB; a larger body goes to GridFS, so that exchanges always fit beside it.
MAX_INLINE_BYTES = 8 * 1024 * 1024
# A body up to this comes with the group query; a larger one is read when it is wanted.
MAX_GROUPED_BYTES = 256 * 1024

_SMALL_CONTENT = {
    "$cond": [{"$gt": ["$capture.body.stored_length", MAX_GROUPED_BYTES]}, "$$REMOVE", "$content"],
}


class MongoStore:
    """RecordStore and ClaimStore. Made inside the loop that uses it; `start` and `close` belong to its owner."""

    def __init__(self, uri: str, database: str, *, timeout_s: float, lease_ms: int) -> None:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            uri,
            timeoutMS=int(timeout_s * 1000),
            serverSelectionTimeoutMS=int(timeout_s * 1000),
            appname="metadata-inventory",
            serverMonitoringMode="poll",
        )
        self._database: AsyncDatabase[dict[str, Any]] = self._client.get_database(
            database, codec_options=CodecOptions(tz_aware=True, tzinfo=UTC), write_concern=DURABLE
        )
        self._records = self._database.get_collection("records")
        self._timeout_s = timeout_s
        self._lease_ms = lease_ms
        self._prepared = asyncio.Event()
        self._preparing: asyncio.Task[None] | None = None
        self._bodies = BodyFiles(AsyncGridFSBucket(self._database, bucket_name="bodies"))
        self._write: Batcher[UpdateOne, None] = Batcher(self._write_batch, size=_encoded_bytes)
        self._read: Batcher[str, Document | None] = Batcher(self._read_batch)
        self._read_job: Batcher[str, Document | None] = Batcher(self._read_job_batch)

    def start(self) -> None:
        """Begin to make the indexes; until the server has them, operations wait within their bound."""
        self._preparing = asyncio.create_task(self._prepare())

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._client.close()

    # RecordStore

    async def find(self, url: NormalizedUrl) -> Entry | None:
        document = await self._read(url.href)
        return to_entry(document) if document else None

    async def find_by_id(self, record_id: str) -> Entry | None:
        async with self._available():
            found = await self._records.find_one({"_id": record_id}, {"normalized_url": 1})
        if found is None:
            return None
        document = await self._read(found["normalized_url"])
        return to_entry(document) if document else None

    async def content(self, entry: Entry) -> bytes:
        if entry.capture is None:
            return b""
        if entry.capture.content:
            return entry.capture.content
        async with self._available():
            identity = {"_id": entry.id, "normalized_url": entry.normalized_url, "revision": entry.revision}
            document = await self._records.find_one(identity, {"content": 1, "content_file": 1})
            if document is not None and "content" in document:
                return bytes(document["content"])
            return await self._bodies.get(entry.capture.body.sha256)

    async def check(self) -> None:
        async with self._available():
            health = self._database.get_collection("health")
            await health.update_one({"_id": "check"}, {"$set": {"at": time.time()}}, upsert=True)
            await health.find_one({"_id": "check"})

    # ClaimStore

    async def claim(self, request: ClaimRequest) -> Entry:
        await self._write(claims.claim(request, self._lease_ms))
        document = await self._read_job(request.url.href)
        if document is None:  # deleted in between: what the claim put down was deleted with it
            raise StorageUnavailable("The record was deleted while it was being claimed.", retry_after_s=1)
        return to_entry(document)

    async def renew(self, leases: Sequence[Lease]) -> set[str]:
        await asyncio.gather(*(self._write(claims.renew(lease, self._lease_ms)) for lease in leases))
        documents = await asyncio.gather(*(self._read_job(lease.url.href) for lease in leases))
        entries = [to_entry(document) for document in documents if document]
        held = {entry.job.token for entry in entries if entry.job is not None}
        return {lease.token for lease in leases} & held

    async def complete(self, lease: Lease, capture: Capture) -> Entry | None:
        inline = len(capture.content) <= MAX_INLINE_BYTES
        if not inline:
            async with self._available():
                await self._bodies.put(capture.body.sha256, capture.content)
        entry = await self._settle(lease, claims.complete(lease, capture, content_inline=inline))
        return replace(entry, capture=capture) if entry else None

    async def fail(self, lease: Lease, failure: StoredFailure) -> Entry | None:
        return await self._settle(lease, claims.fail(lease, failure))

    async def postpone(self, lease: Lease, failure: StoredFailure | None, *, delay_ms: int) -> Entry | None:
        return await self._settle(lease, claims.postpone(lease, failure, delay_ms))

    async def due(self, limit: int) -> list[Entry]:
        async with self._available():
            found = self._records.find(claims.DUE, WITHOUT_CAPTURE).sort("job.due_ms").limit(limit)
            return [to_entry(document) async for document in found]

    async def backlog(self, limit: int) -> int:
        async with self._available():
            return await self._records.count_documents(claims.UNLEASED, limit=limit)

    async def _settle(self, lease: Lease, write: UpdateOne) -> Entry | None:
        await self._write(write)
        document = await self._read_job(lease.url.href)
        if document is None or document["settled"] != lease.token:
            return None
        return to_entry(document)

    # What goes over the wire

    async def _write_batch(self, writes: list[UpdateOne]) -> list[None]:
        deadline = time.monotonic() + self._timeout_s
        async with self._available():
            while True:
                try:
                    await self._records.bulk_write(writes, ordered=False)
                except BulkWriteError as error:
                    _raise_unless_duplicates(error)
                except PyMongoError as error:
                    if not _unknown(error) or time.monotonic() >= deadline:
                        raise
                    logger.warning(
                        "a write of %d operations was not answered, repeating it: %s", len(writes), _name(error)
                    )
                    await asyncio.sleep(0.05)
                    continue
                return [None] * len(writes)

    async def _read_batch(self, urls: list[str]) -> list[Document | None]:
        async with self._available():
            stages: list[dict[str, Any]] = [
                {"$match": {"normalized_url": {"$in": urls}}},
                {"$set": {"content": _SMALL_CONTENT}},
            ]
            return _in_order(urls, [document async for document in await self._records.aggregate(stages)])

    async def _read_job_batch(self, urls: list[str]) -> list[Document | None]:
        async with self._available():
            found = self._records.find({"normalized_url": {"$in": urls}}, WITHOUT_CAPTURE)
            return _in_order(urls, [document async for document in found])

    @contextlib.asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        """Wait for the indexes within the bound; the driver's errors become StorageUnavailable."""
        try:
            if not self._prepared.is_set():
                await asyncio.wait_for(self._prepared.wait(), self._timeout_s)
            yield
        except TimeoutError as error:
            raise StorageUnavailable from error
        except PyMongoError as error:
            logger.warning("the database failed: %s", _name(error))
            raise StorageUnavailable from error

    async def _prepare(self) -> None:
        delay_s = 0.1
        while not self._prepared.is_set():
            try:
                await self._records.create_index("normalized_url", unique=True)
                await self._records.create_index("job.due_ms", partialFilterExpression={"job.due_ms": {"$gt": 0}})
                self._prepared.set()
            except PyMongoError as error:
                logger.warning("the database cannot be prepared yet: %s", _name(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)


def _encoded_bytes(write: UpdateOne) -> int:
    """About how large the write is; only a capture's content makes one large."""
    update = write._doc
    fields: Mapping[str, Any] = update.get("$set", {}) if isinstance(update, Mapping) else {}
    return 4096 + len(fields.get("content", b""))


def _name(error: PyMongoError) -> str:
    """What may be logged of an error: the driver's own texts quote documents, with the query strings of URLs."""
    return f"{type(error).__name__} {getattr(error, 'code', None) or ''}".strip()


def _in_order(urls: list[str], documents: list[dict[str, Any]]) -> list[Document | None]:
    by_url = {document["normalized_url"]: document for document in documents}
    return [by_url.get(url) for url in urls]


def _unknown(error: PyMongoError) -> bool:
    """Whether the write may have been carried out, or may yet be, although an error came back."""
    return error.timeout or isinstance(error, AutoReconnect)


def _raise_unless_duplicates(error: BulkWriteError) -> None:
    """A duplicate key is an answer: somebody else was first."""
    details = error.details or {}
    codes = {failure["code"] for failure in details.get("writeErrors", [])}
    if codes != {DUPLICATE_KEY} or details.get("writeConcernErrors"):
        raise error
