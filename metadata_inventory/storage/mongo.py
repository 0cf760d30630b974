"""The stores on MongoDB 7 or later, stand-alone, replica set or sharded; and on SecantusDB, which speaks its protocol.

Writes are acknowledged by a majority and its journals. Every operation is bounded by `timeoutMS`. A timeout means
unknown: the same write goes again until it is answered or the deadline is over (`claims` says why that is harmless),
and what became of it is then read. What lands after we gave up is a lease that will run out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import pymongo
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from gridfs import AsyncGridFSBucket
from msgspec.structs import replace
from pymongo import UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from metadata_inventory.errors import CaptureTooLarge, StorageUnavailable
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import ClaimRequest, Cursor, DueJobs, Entry, Lease, Retry, StoredFailure
from metadata_inventory.model.urls import NormalizedUrl, recall
from metadata_inventory.storage import claims
from metadata_inventory.storage.batching import Batcher
from metadata_inventory.storage.bodies import BodyFiles
from metadata_inventory.storage.connection import Connection, name_of
from metadata_inventory.storage.documents import WITHOUT_CAPTURE, Document, capture_fields, failure_fields, to_entry

logger = logging.getLogger(__name__)

DUPLICATE_KEY = 11000

# A document takes 16 MiB; a larger body goes to GridFS, so that exchanges always fit beside it.
MAX_INLINE_BYTES = 8 * 1024 * 1024
# What the rest of a capture may take: with a body inside the document, both stay below its 16 MiB.
MAX_CAPTURE_BYTES = 7 * 1024 * 1024
# A body up to this comes with the group query; a larger one is read when it is wanted.
MAX_GROUPED_BYTES = 256 * 1024

_SMALL_CONTENT = {
    "$cond": [{"$gt": ["$capture.body.stored_length", MAX_GROUPED_BYTES]}, "$$REMOVE", "$content"],
}


# What an operation that cannot be put into a message is refused with, by the driver or by BSON.
UNSENDABLE = (BSONError, OverflowError, UnicodeError)


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a batch, and about how many bytes it is."""

    operation: UpdateOne
    size_bytes: int = 4096


class MongoStore:
    """RecordStore and ClaimStore. Made inside the loop that uses it; `start` and `close` belong to its owner."""

    def __init__(self, uri: str, database: str, *, timeout_s: float, lease_ms: int) -> None:
        self.connection = Connection(uri, database, timeout_s=timeout_s)
        self._records = self.connection.records
        self._available = self.connection.available
        self._lease_ms = lease_ms
        self._bodies = BodyFiles(AsyncGridFSBucket(self.connection.database, bucket_name="bodies"))
        self._write: Batcher[Write, None] = Batcher(self._write_batch, size=lambda write: write.size_bytes)
        # Apart, so that leases do not run out behind large bodies, or slow reads.
        self._write_renewal: Batcher[Write, None] = Batcher(self._write_batch)
        self._read_renewal: Batcher[str, Document | None] = Batcher(self._read_job_batch)
        self._read: Batcher[str, Document | None] = Batcher(self._read_batch)
        self._read_job: Batcher[str, Document | None] = Batcher(self._read_job_batch)

    def start(self) -> None:
        """Begin to make the indexes; until the server has them, operations wait within their bound."""
        self.connection.start()

    async def close(self) -> None:
        batchers = (self._write, self._write_renewal, self._read, self._read_job, self._read_renewal)
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
        document = await self._read(found["normalized_url"])
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
            return bytes(document["content"])

    async def check(self) -> None:
        async with self._available():
            health = self.connection.database.get_collection("health")
            await health.update_one({"_id": "check"}, {"$set": {"at": time.time()}}, upsert=True)
            await health.find_one({"_id": "check"})

    # ClaimStore

    async def claim(self, request: ClaimRequest) -> Entry:
        await self._write(Write(claims.claim(request, self._lease_ms)))
        document = await self._read_job(request.url.href)
        if document is None:  # deleted in between: what the claim put down was deleted with it
            raise StorageUnavailable("The record was deleted while it was being claimed.", retry_after_s=1)
        return to_entry(document)

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
            filters = claims.due(after, except_hosts)
            found = self._records.find(filters, WITHOUT_CAPTURE).sort(claims.DUE_ORDER).limit(limit)
            documents = [document async for document in found]
        last = documents[-1] if documents else None
        return DueJobs(
            entries=tuple(entry for document in documents if (entry := _readable(document))),
            last=Cursor(last["job"]["due_ms"], last["_id"]) if last else None,
        )

    async def backlog(self, limit: int) -> int:
        async with self._available():
            return await self._records.count_documents(claims.WAITING, limit=limit)

    async def backlog_by_host(self, at_least: int) -> dict[str, int]:
        stages: list[dict[str, Any]] = [
            {"$match": claims.WAITING},
            {"$group": {"_id": "$job.host", "count": {"$sum": 1}}},
            {"$match": {"count": {"$gte": at_least}}},
        ]
        async with self._available():
            return {group["_id"]: group["count"] async for group in await self._records.aggregate(stages)}

    async def _renew(self, lease: Lease) -> bool:
        await self._write_renewal(Write(claims.renew(lease, self._lease_ms)))
        document = await self._read_renewal(lease.url.href)
        return document is not None and claims.holder(document) == lease.token

    async def _settle(self, lease: Lease, write: Write) -> Entry | None:
        await self._write(write)
        document = await self._read_job(lease.url.href)
        if document is None or document["settled"] != lease.token:
            return None
        return to_entry(document)

    # What goes over the wire

    async def _write_batch(self, writes: list[Write]) -> list[Exception | None]:
        """Carry the operations out, each answered for itself: a bad one does not take its neighbours along."""
        deadline = time.monotonic() + self.connection.timeout_s
        async with self._available():
            try:
                return await self._write_repeatedly([write.operation for write in writes], deadline)
            except UNSENDABLE as error:
                if len(writes) == 1:
                    return [error]
        return [answer for write in writes for answer in await self._write_batch([write])]

    async def _write_repeatedly(self, operations: list[UpdateOne], deadline: float) -> list[Exception | None]:
        while True:
            try:
                with pymongo.timeout(max(0.05, deadline - time.monotonic())):
                    await self._records.bulk_write(operations, ordered=False)
                return [None] * len(operations)
            except PyMongoError as error:
                if isinstance(error, BulkWriteError) and not _unknown(error):
                    return _read_errors(error, len(operations))
                if not _unknown(error) or time.monotonic() >= deadline:
                    raise
                logger.warning("%d writes were not answered, repeating them: %s", len(operations), name_of(error))
                await asyncio.sleep(0.05)

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


def _in_order(urls: list[str], documents: list[dict[str, Any]]) -> list[Document | None]:
    by_url = {document["normalized_url"]: document for document in documents}
    return [by_url.get(url) for url in urls]


def _unknown(error: PyMongoError) -> bool:
    """Whether the write may have been carried out, or may yet be, although an error came back.

    A write concern's error is such: the primary has written, and a majority of it has not said so. The write that is
    repeated changes nothing, and waits for the majority of what it found.
    """
    if isinstance(error, BulkWriteError) and (error.details or {}).get("writeConcernErrors"):
        return True
    return error.timeout or isinstance(error, AutoReconnect)


def _read_errors(error: BulkWriteError, count: int) -> list[Exception | None]:
    """What became of each operation. A duplicate key is an answer: of two inserts another one was first."""
    answers: list[Exception | None] = [None] * count
    for failed in (error.details or {}).get("writeErrors", []):
        if failed["code"] != DUPLICATE_KEY:
            logger.warning("the database refused a write: error %s", failed["code"])
            answers[failed["index"]] = StorageUnavailable("The database refused to write.")
    return answers


def _bounded(failure: StoredFailure) -> StoredFailure:
    """The failure with no more exchanges than a document takes."""
    if len(bson.encode(failure_fields(failure))) <= MAX_CAPTURE_BYTES:
        return failure
    return replace(failure, failure=replace(failure.failure, exchanges=()))


def _readable(document: Document) -> Entry | None:
    """The entry; None, told in the log, when this version cannot read it. Others behind it are not to suffer."""
    try:
        entry = to_entry(document)
        recall(entry.normalized_url)
        return entry
    except Exception:
        logger.exception("a document cannot be read", extra={"record": document.get("_id")})
        return None
