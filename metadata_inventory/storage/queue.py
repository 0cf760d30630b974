"""The jobs of all nodes as operators see them, and the way back for failed ones. Implements `ports.QueueStore`."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from metadata_inventory.model.record import Entry, QueueDepth, QueueState
from metadata_inventory.model.urls import NormalizedUrl, recall
from metadata_inventory.storage import claims
from metadata_inventory.storage.connection import Connection
from metadata_inventory.storage.documents import WITHOUT_CAPTURE, Document, to_entry, to_instant

_DUE: claims.Expression = {"$lte": ["$job.due_ms", claims.NOW]}
_LEASED: claims.Expression = {"$ne": [{"$ifNull": ["$job.lease", None]}, None]}
_STATE: claims.Expression = {
    "$cond": [
        _LEASED,
        {"$cond": [_DUE, "abandoned", "running"]},
        {"$cond": [_DUE, "waiting", "retrying"]},
    ]
}
_BY_STATE: list[dict[str, Any]] = [
    {"$match": claims.OWED},
    {
        "$group": {
            "_id": {"state": _STATE, "code": {"$ifNull": ["$failure.failure.code", None]}},
            "count": {"$sum": 1},
            "queued_ms": {"$min": "$job.queued_ms"},
            "due_ms": {"$min": "$job.due_ms"},
        }
    },
]
_FAILED_BY_CODE: list[dict[str, Any]] = [
    {"$match": claims.FAILED},
    {"$group": {"_id": "$failure.failure.code", "count": {"$sum": 1}}},
]

# Put back by one write, which has to end within the connection's bound: the embedded database takes up to 15 ms each.
WRITTEN_AT_ONCE = 25


class MongoQueue:
    def __init__(self, connection: Connection) -> None:
        self._timeout_s = connection.timeout_s
        self._records = connection.records
        self._available = connection.available

    async def state(self, leases: int) -> QueueState:
        async with self._available():
            groups = [document async for document in await self._records.aggregate(_BY_STATE)]
            failed = [document async for document in await self._records.aggregate(_FAILED_BY_CODE)]
            running = [] if leases == 0 else await self._running(leases)  # to MongoDB a limit of 0 is none
        return QueueState(
            waiting=_depth(groups, "waiting"),
            running=_depth(groups, "running"),
            retrying=_depth(groups, "retrying"),
            abandoned=_depth(groups, "abandoned"),
            failed={group["_id"]: group["count"] for group in failed},
            leases=tuple(running),
        )

    async def _running(self, limit: int) -> list[Entry]:
        found = self._records.find(claims.RUNNING, WITHOUT_CAPTURE).sort(claims.DUE_ORDER).limit(limit)
        return [to_entry(document) async for document in found]

    async def requeue(self, codes: Collection[str], limit: int, failed_before: datetime | None) -> tuple[int, bool]:
        wanted: dict[str, Any] = dict(claims.FAILED)
        if codes:
            wanted["failure.failure.code"] = {"$in": list(codes)}
        if failed_before is not None:
            wanted["failure.failure.at"] = {"$lt": failed_before}
        async with self._available():
            found = self._records.find(wanted, {"normalized_url": 1}).limit(limit)
            urls = [recall(document["normalized_url"]) async for document in found]
            return await self._put_back(urls, more=len(urls) == limit)

    async def _put_back(self, urls: Sequence[NormalizedUrl], *, more: bool) -> tuple[int, bool]:
        """Slice by slice, each with the whole bound for itself; where the database is slow, not all of them."""
        deadline = time.monotonic() + self._timeout_s
        put_back = 0
        for start in range(0, len(urls), WRITTEN_AT_ONCE):
            if start and time.monotonic() >= deadline:
                return put_back, True
            slice_ = [claims.requeue(url) for url in urls[start : start + WRITTEN_AT_ONCE]]
            put_back += (await self._records.bulk_write(slice_, ordered=False)).modified_count
        return put_back, more


def _depth(groups: Sequence[Document], state: str) -> QueueDepth:
    ours = [group for group in groups if group["_id"]["state"] == state]
    if not ours:
        return QueueDepth()
    return QueueDepth(
        count=sum(group["count"] for group in ours),
        oldest_queued_at=to_instant(min(group["queued_ms"] for group in ours)),
        next_due_at=to_instant(min(group["due_ms"] for group in ours)),
        codes={group["_id"]["code"]: group["count"] for group in ours if group["_id"]["code"]},
    )
