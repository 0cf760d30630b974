"""RecordStore and ClaimStore on MongoDB 7 or later (stand-alone, replica set or sharded), and on SecantusDB.

Operations that arrive together are sent together (`batching`). A write is carried out first, and its document then
read: that shows whether the write took effect, also when it was repeated after a timeout (`writes`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from gridfs import AsyncGridFSBucket
from msgspec.structs import replace

from metadata_inventory.errors import CaptureTooLarge, StorageUnavailable
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import ClaimRequest, Cursor, DueJobs, Entry, Lease, Retry, StoredFailure
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage import claims, filters
from metadata_inventory.storage.batching import Batcher
from metadata_inventory.storage.bodies import BodyFiles
from metadata_inventory.storage.connection import Connection
from metadata_inventory.storage.documents import (
    WITHOUT_CAPTURE,
    Document,
    capture_fields,
    failure_fields,
    to_entry,
    to_head,
    to_readable_head,
    unreadable,
)
from metadata_inventory.storage.writes import Write, carry_out

logger = logging.getLogger(__name__)

# A document takes 16 MiB. A larger body goes to GridFS, so that the exchanges always fit beside it.
MAX_INLINE_BYTES = 8 * 1024 * 1024
# Bound on the rest of a capture: with a body inside the document, both together stay below its 16 MiB.
MAX_CAPTURE_BYTES = 7 * 1024 * 1024
# A stored body up to this length is read together with its document; a longer one only when it is asked for.
MAX_GROUPED_BYTES = 256 * 1024

_SMALL_CONTENT = {
    "$cond": [{"$gt": ["$capture.body.stored_length", MAX_GROUPED_BYTES]}, "$$REMOVE", "$content"],
}


class MongoStore:
    """Made inside the loop that uses it. `start` and `close` belong to its owner."""

    def __init__(self, uri: str, database: str, *, timeout_s: float, lease_ms: int) -> None:
        self.connection = Connection(uri, database, timeout_s=timeout_s)
        self._records = self.connection.records
        self._available = self.connection.available
        self._lease_ms = lease_ms
        self._bodies = BodyFiles(AsyncGridFSBucket(self.connection.database, bucket_name="bodies"))
        self._write: Batcher[Write, None] = Batcher(self._write_batch, size=lambda write: write.size_bytes)
        # Batches of their own, so that no lease runs out behind large bodies or slow reads.
        self._write_renewal: Batcher[Write, None] = Batcher(self._write_batch)
        self._read_renewal: Batcher[str, Document | None] = Batcher(self._read_head_batch)
        self._read: Batcher[str, Document | None] = Batcher(self._read_batch)
        self._read_head: Batcher[str, Document | None] = Batcher(self._read_head_batch)

    def start(self) -> None:
        """Begin to build the indexes. Until the server has them, operations wait within their bound."""
        self.connection.start()

    async def close(self) -> None:
        batchers = (self._write, self._write_renewal, self._read, self._read_head, self._read_renewal)
        await asyncio.gather(*(batcher.close() for batcher in batchers))
        await self.connection.close()

    # RecordStore

    async def find(self, url: NormalizedUrl) -> Entry | None:
        document = await self._read(url.href)
        return to_entry(document) if document else None

    async def find_by_id(self, record_id: str) -> Entry | None:
        async with self._available():
            found = await self._records.find_one({"_id": record_id}, {"normalized_url": 1})
        if found is None:
            return None
        url = found.get("normalized_url")
        if not isinstance(url, str):
            raise unreadable(found, "the field normalized_url is missing or has a wrong type")
        document = await self._read(url)
        return to_entry(document) if document else None

    async def content(self, entry: Entry) -> bytes | None:
        if entry.capture is None or entry.capture.content:
            return entry.capture.content if entry.capture else b""
        async with self._available():
            identity = {"_id": entry.id, "normalized_url": entry.normalized_url, "revision": entry.revision}
            document = await self._records.find_one(identity, {"content": 1, "content_file": 1})
            if document is None:
                return None
            if document.get("content_file"):
                return await self._bodies.get(entry.capture.body.sha256)
        content = document.get("content")
        if not isinstance(content, bytes):
            raise unreadable(document, "the field content is missing or has a wrong type")
        return content

    async def check(self) -> None:
        async with self._available():
            health = self.connection.database.get_collection("health")
            await health.update_one({"_id": "check"}, {"$set": {"at": time.time()}}, upsert=True)
            await health.find_one({"_id": "check"})

    # ClaimStore

    async def claim(self, request: ClaimRequest) -> Entry:
        await self._write(Write(claims.claim(request, self._lease_ms)))
        document = await self._read_head(request.url.href)
        if document is None:  # deleted in between, and the claim's job with it
            raise StorageUnavailable("The record was deleted while it was being claimed.", retry_after_s=1)
        return to_head(document)

    async def renew(self, leases: Sequence[Lease]) -> dict[str, bool]:
        answers = await asyncio.gather(*map(self._renew, leases), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, StorageUnavailable):
                logger.error("a lease cannot be renewed", exc_info=answer)
        return {lease.token: held for lease, held in zip(leases, answers, strict=True) if isinstance(held, bool)}

    async def complete(self, lease: Lease, capture: Capture, retry: Retry | None = None) -> Entry | None:
        encoded = bson.encode(capture_fields(capture))
        if len(encoded) > MAX_CAPTURE_BYTES:
            raise CaptureTooLarge
        inline = len(capture.content) <= MAX_INLINE_BYTES
        if not inline:
            async with self._available():
                await self._bodies.put(capture.body.sha256, capture.content)
        operation = claims.complete(lease, capture, RawBSONDocument(encoded), retry, content_inline=inline)
        size_bytes = len(encoded) + (len(capture.content) if inline else 0)
        entry = await self._settle(lease, Write(operation, size_bytes))
        return replace(entry, capture=capture) if entry else None

    async def fail(self, lease: Lease, failure: StoredFailure) -> Entry | None:
        return await self._settle(lease, Write(claims.fail(lease, _bounded(failure))))

    async def postpone(self, lease: Lease, failure: StoredFailure, *, delay_ms: int) -> Entry | None:
        return await self._settle(lease, Write(claims.postpone(lease, _bounded(failure), delay_ms)))

    async def release(self, lease: Lease) -> None:
        await self._write(Write(claims.release(lease)))

    async def due(self, limit: int, *, after: Cursor | None = None, except_hosts: Collection[str] = ()) -> DueJobs:
        async with self._available():
            wanted = filters.due(after, except_hosts)
            found = self._records.find(wanted, WITHOUT_CAPTURE).sort(filters.DUE_ORDER).limit(limit)
            documents = [document async for document in found]
        last = documents[-1] if documents else None
        return DueJobs(
            entries=tuple(entry for document in documents if (entry := to_readable_head(document))),
            last=Cursor(last["job"]["due_ms"], last["_id"]) if last else None,
        )

    async def backlog(self, limit: int) -> int:
        async with self._available():
            return await self._records.count_documents(filters.WAITING, limit=limit)

    async def backlog_by_host(self, at_least: int) -> dict[str, int]:
        stages: list[dict[str, Any]] = [
            {"$match": filters.WAITING},
            {"$group": {"_id": "$job.host", "count": {"$sum": 1}}},
            {"$match": {"count": {"$gte": at_least}}},
        ]
        async with self._available():
            groups = [group async for group in await self._records.aggregate(stages)]
        return {group["_id"]: group["count"] for group in groups if isinstance(group["_id"], str)}

    async def _renew(self, lease: Lease) -> bool:
        await self._write_renewal(Write(claims.renew(lease, self._lease_ms)))
        document = await self._read_renewal(lease.url.href)
        return document is not None and claims.holder(document) == lease.token

    async def _settle(self, lease: Lease, write: Write) -> Entry | None:
        """The entry with the outcome; None when the lease was lost, or the document cannot be read any more."""
        await self._write(write)
        document = await self._read_head(lease.url.href)
        if document is None or document.get("settled") != lease.token:
            return None
        return to_readable_head(document)

    # Batches

    async def _write_batch(self, writes: list[Write]) -> list[Exception | None]:
        return await carry_out(self.connection, writes)

    async def _read_batch(self, urls: list[str]) -> list[Document | None]:
        async with self._available():
            stages: list[dict[str, Any]] = [
                {"$match": {"normalized_url": {"$in": urls}}},
                {"$set": {"content": _SMALL_CONTENT}},
            ]
            return _in_order(urls, [document async for document in await self._records.aggregate(stages)])

    async def _read_head_batch(self, urls: list[str]) -> list[Document | None]:
        async with self._available():
            found = self._records.find({"normalized_url": {"$in": urls}}, WITHOUT_CAPTURE)
            return _in_order(urls, [document async for document in found])


def _in_order(urls: list[str], documents: list[dict[str, Any]]) -> list[Document | None]:
    by_url = {url: document for document in documents if isinstance(url := document["normalized_url"], str)}
    return [by_url.get(url) for url in urls]


def _bounded(failure: StoredFailure) -> StoredFailure:
    """The failure, without its exchanges when a document cannot hold them."""
    if len(bson.encode(failure_fields(failure))) <= MAX_CAPTURE_BYTES:
        return failure
    return replace(failure, failure=replace(failure.failure, exchanges=()))
